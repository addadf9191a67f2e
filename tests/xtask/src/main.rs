//! The project's own tasks: `cargo xtask TASK`. One file a task.
//!
//! Not here: anything a user of wk needs. The laws of the project are tests: `tests/laws.rs`.

mod bench;
mod build;
mod chaos;
mod clients;
mod demo;
mod fuzz;
mod guests;
mod nodes;
mod sim;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks for people who work on wk.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build wk, start three nodes on this machine, deploy an app, and run until Ctrl-C.
    Demo(demo::Arguments),
    /// Measure a release build against its peers, and print a table for the README.
    Bench(bench::Arguments),
    /// Kill nodes again and again under a load of writes, and look for every write that was acknowledged.
    Chaos(chaos::Arguments),
    /// Build the cluster tests of the crate `kube-client`, and run them against three nodes.
    Clients(clients::Arguments),
    /// Feed the decoders of disk and network with mutated bytes.
    Fuzz(fuzz::Arguments),
    /// Build the wasm guests that examples and tests use, and put them next to their sources.
    Guests(guests::Arguments),
    /// A peer of `bench store`.
    #[command(hide = true)]
    StorePeer(bench::store::peer::Arguments),
    /// Simulate clusters of the store: networks that fail, disks that forget, clocks that drift.
    Sim(sim::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Chaos(arguments) => chaos::run(&arguments),
        Task::Clients(arguments) => clients::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Guests(arguments) => guests::run(&arguments),
        Task::StorePeer(arguments) => bench::store::peer::run(arguments),
        Task::Sim(arguments) => sim::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

#[expect(clippy::print_stderr, reason = "what went wrong is for the person at the terminal")]
fn complain(error: &anyhow::Error) -> ExitCode {
    // Causes on one line and no backtrace: they are mostly about the machine, not about this program.
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// The repository's top folder.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the top").to_owned()
}
