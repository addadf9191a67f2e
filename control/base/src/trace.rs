//! Setting up `tracing` for a process.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Writes events to standard error, filtered by `$WK_LOG` (the syntax of `tracing_subscriber::EnvFilter`), else by
/// `default`. Does nothing when a subscriber is there already, as under a test runner.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_env("WK_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
