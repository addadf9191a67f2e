//! The `wk` program under test: built once by each test process, beside the test itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names a `wk` to test instead of building one, for instance of another profile.
const OVERRIDE: &str = "WK_TEST_BINARY";

/// What cargo sets for the test alone. Build scripts look at some of these: with them in place, cargo inside cargo
/// would take its own packages for changed and build half the tree again.
const OF_THE_TEST: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// The program, as up to date as the sources.
///
/// # Panics
/// If it cannot be built.
pub fn wk() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os(OVERRIDE) {
        Some(path) => path.into(),
        None => build(),
    })
}

/// Builds `wk` in the profile and the target directory of the running test. Cargo's own lock keeps test processes
/// that run side by side from building at once.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // TARGET/PROFILE/deps/TEST
    let profile_dir = test.ancestors().nth(2).expect("cargo puts tests two levels below the target directory");
    let target = profile_dir.parent().expect("the profile's directory lies in the target directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| OF_THE_TEST.iter().any(|prefix| name.starts_with(prefix)));
        if ours {
            command.env_remove(name);
        }
    }
    command.current_dir(crate::files::root()).arg("build").args([
        "--quiet",
        "--package",
        "wk-cli",
        "--profile",
        profile,
    ]);
    command.arg("--target-dir").arg(target);
    let output = command.output().expect("cargo runs, it built this test");
    assert!(output.status.success(), "cannot build wk:\n{}", String::from_utf8_lossy(&output.stderr));
    profile_dir.join("wk")
}
