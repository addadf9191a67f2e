//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/`, one after the other.
//!
//! Needs a nightly toolchain and cargo-fuzz. What a target trips over is kept in `fuzz/artifacts`; what it learns, in
//! `fuzz/corpus`. Neither is committed. `fuzz/seeds` is: the ordinary tests run over it too.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::{build, root};

/// Memory one input may take in all: a decoder that believes a length it reads takes more. What a target needs itself,
/// with the sanitizer's shadow of it, is far below.
const RSS_MIB: u32 = 1024;

/// The largest block of memory asked for at once. No input is longer than a hundredth of it.
const BLOCK_MIB: u32 = 64;

/// Bytes of one input: room for some dozens of records.
const INPUT_BYTES_MAX: u32 = 16 << 10;

/// Targets that run without the address sanitizer: a code generator takes an hour to build with it, and does nothing unsafe.
const WITHOUT_SANITIZER: [&str; 1] = ["prepare"];

/// What to run, and for how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Targets, all of them if none is named.
    targets: Vec<String>,
    /// How long each one runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let known = targets()?;
    for target in &arguments.targets {
        ensure!(known.contains(target), "there is no target {target}; there are {}", known.join(", "));
    }
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    for target in chosen {
        fuzz(target, arguments.seconds)?;
    }
    Ok(())
}

/// The targets there are: one file each.
fn targets() -> Result<Vec<String>> {
    let items = std::fs::read_dir(root().join("fuzz/targets")).context("list fuzz/targets")?;
    let mut names = items
        .map(|item| Ok(item?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn fuzz(target: &str, seconds: u32) -> Result<()> {
    let corpus = root().join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&corpus).with_context(|| format!("make {}", corpus.display()))?;
    let sanitizer = if WITHOUT_SANITIZER.contains(&target) { "none" } else { "address" };
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "fuzz", "run", "--fuzz-dir", "fuzz", "--sanitizer", sanitizer]);
    // Each has its own builds of all there is, or would build it anew after the other.
    command.arg("--target-dir").arg(root().join("fuzz/target").join(sanitizer)).arg(target).current_dir(root());
    // The first directory gets what is learned.
    command.arg(corpus).arg(root().join("fuzz/seeds").join(target)).arg("--");
    command.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-rss_limit_mb={RSS_MIB}"),
        format!("-malloc_limit_mb={BLOCK_MIB}"),
    ]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| build::is_about_this_crate(name)) {
        command.env_remove(name);
    }
    let status = command.status().context("start rustup")?;
    ensure!(
        status.success(),
        "target {target} ended with {status}: see above and fuzz/artifacts (needed: `rustup toolchain install nightly` \
         and `cargo install cargo-fuzz`)"
    );
    Ok(())
}
