//! `cargo xtask sim`: more simulated worlds than `cargo test` has time for, or one of them again.
//!
//! Not here: the worlds (`control/store/src/sim.rs`). They are a test of the store's own, because they look into it; what
//! is asked of it goes by the environment.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The test that does it.
const TEST: &str = "sim::tests::search";

/// What to simulate.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Search for so long, one seed after the other.
    #[arg(long, value_name = "N", required_unless_present = "seed")]
    minutes: Option<u64>,
    /// The seed to begin with; without --minutes, the one to replay, telling all that happens.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(crate::root()).args(["test", "--quiet", "--release", "--package", "wk-store", "--lib"]);
    cargo.args(["--", "--exact", TEST, "--nocapture"]);
    for (name, value) in [("WK_SIM_MINUTES", arguments.minutes), ("WK_SIM_SEED", arguments.seed)] {
        cargo.env_remove(name);
        cargo.envs(value.map(|value| (name, value.to_string())));
    }
    let status = cargo.status().context("start cargo")?;
    ensure!(status.success(), "a promise was broken: see above");
    Ok(())
}
