//! `cargo xtask chaos`: the test that kills nodes at random, for longer than `cargo test` lets it.

use anyhow::{Context as _, Result, ensure};

use crate::build;

/// The test, in `tests/e2e/tests/chaos`.
const TEST: &str = "kills::";

/// Options of `cargo xtask chaos`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Make the choices of another run, which printed this.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut cargo = build::cargo();
    cargo.args(["test", "--package", "wk-e2e", "--test", "chaos", "--", "--nocapture", TEST]);
    cargo.env("WK_CHAOS_SECONDS", (arguments.minutes * 60).to_string());
    if let Some(seed) = arguments.seed {
        cargo.env("WK_CHAOS_SEED", seed.to_string());
    }
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "something went wrong: see above");
    Ok(())
}
