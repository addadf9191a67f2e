//! `cargo xtask clients`: builds the cluster tests that come with the crate `kube-client`, and runs them against three
//! nodes. They are another project's, in the version that this one uses; nothing of them is changed.
//!
//! Not here: the cluster they run against and how often each must pass (`tests/e2e/tests/busybox.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::build;
use crate::root;

/// Options of `cargo xtask clients`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The binary, where it is built already.
    #[arg(long, value_name = "FILE")]
    built: Option<PathBuf>,
}

/// The crate, and what its tests need besides.
const CRATE: &str = "kube-client";
const FEATURES: &str = "client,config,rustls-tls,ring,ws,jsonpatch,gzip,unstable-client,kubelet-debug";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let built = match &arguments.built {
        Some(built) => std::path::absolute(built)?,
        None => build_tests()?,
    };
    let mut cargo = build::cargo();
    cargo.args(["test", "--package", "wk-e2e", "--test", "busybox", "--", "--nocapture", "kube_client"]);
    let status = cargo.env("WK_KUBE_CLIENT_TESTS", built).status().context("start cargo")?;
    ensure!(status.success(), "not all of the crate's tests pass: see above");
    Ok(())
}

/// Copies the crate's sources as they came, adds what its tests use, and builds them.
fn build_tests() -> Result<PathBuf> {
    let (version, sources) = sources()?;
    let folder = root().join("target/clients").join(format!("{CRATE}-{version}"));
    copy(&sources, &folder)?;
    let manifest = folder.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).context("read the crate's manifest")?;
    if !text.contains("[dev-dependencies.kube]") {
        let more = format!("version = \"={version}\"\nfeatures = [\"derive\", \"client\", \"ws\"]\n");
        text = format!("{text}\n[dev-dependencies.kube]\n{more}\n[workspace]\n");
        fs::write(&manifest, text).context("write the crate's manifest")?;
    }
    let mut cargo = build::cargo();
    cargo.current_dir(&folder).env("CARGO_TARGET_DIR", root().join("target/clients/target"));
    cargo.args(["test", "--lib", "--no-run", "--no-default-features", "--features", FEATURES]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let output = cargo.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "the crate's tests do not build: cargo ended with {}", output.status);
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = |line: &str| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["profile"]["test"] == true).then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    };
    messages.lines().find_map(executable).context("cargo did not say where the binary is")
}

/// The version of the crate that this project uses, and where cargo keeps its sources.
fn sources() -> Result<(String, PathBuf)> {
    let output: std::process::Output = {
        let mut cargo: Command = build::cargo();
        cargo.args(["metadata", "--format-version", "1"]).stderr(Stdio::inherit()).output().context("start cargo")?
    };
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo's metadata has packages")?;
    let package = packages.iter().find(|package| package["name"] == CRATE).context("the crate is used here")?;
    let text = |key: &str| package[key].as_str().map(str::to_owned).context("a package has a version and a manifest");
    let manifest = PathBuf::from(text("manifest_path")?);
    Ok((text("version")?, manifest.parent().context("a manifest lies in a folder")?.to_owned()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}
