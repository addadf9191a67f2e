//! Builds `wk` with cargo and says where the binary is.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::root;

/// Which of cargo's profiles.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    Dev,
    Release,
    /// As wk is given to others: optimised as a whole.
    Dist,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }
}

/// Builds `wk`; cargo's own progress is shown.
pub(crate) fn wk(profile: Profile) -> Result<PathBuf> {
    wk_with(profile, &[])
}

/// Builds `wk` with these options of cargo, at the same place.
pub(crate) fn wk_with(profile: Profile, options: &[&str]) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["build", "--package", "wk-cli", "--profile", profile.name()]);
    cargo.args(["--message-format", "json-render-diagnostics"]).args(options);
    let output = cargo.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "wk does not build: cargo ended with {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    messages.lines().find_map(executable).context("cargo did not say where the binary is")
}

/// Runs this program with the arguments it has, built with optimisation.
pub(crate) fn again_in_release() -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["run", "--release", "--package", "xtask", "--"]).args(std::env::args_os().skip(1));
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "the release build of this task ended with {status}");
    Ok(())
}

/// Cargo, in the repository's top folder.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo xtask` tells this process about the crate xtask. Build scripts of dependencies that look at those
    // variables would be run again, and with them everything that builds on them, now and at the next plain `cargo`.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_about_this_crate(name)) {
        cargo.env_remove(name);
    }
    cargo.current_dir(root());
    cargo
}

pub(crate) fn is_about_this_crate(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start))
}

/// The path in cargo's message about the binary `wk`.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["reason"] == "compiler-artifact" && message["target"]["name"] == "wk")
        .then(|| message["executable"].as_str().map(PathBuf::from))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_found_in_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"wk"},"executable":"target/debug/wk"}"#;
        assert_eq!(executable(message), Some(PathBuf::from("target/debug/wk")));
        assert_eq!(executable(r#"{"reason":"compiler-artifact","target":{"name":"wk_node"},"executable":null}"#), None);
        assert_eq!(executable("Compiling"), None);
    }
}
