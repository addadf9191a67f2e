//! `cargo xtask bench`: wk as it is given to others, measured on this machine, beside its peers, in one run.
//!
//! Absolute figures drift with the machine and with what else it does. So each figure that has a peer is measured in
//! turns with it, round by round, and what is printed is the median and the median of the rounds' ratios.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its result goes to the terminal")]

mod api;
mod contest;
mod density;
mod deploy;
mod idle;
mod ingress;
mod isolation;
mod limits;
mod modes;
mod process;
mod start;
pub(crate) mod store;
mod swarm;
mod table;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::build::{self, Profile};
use crate::nodes::{self, Node, Plan};
use crate::root;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    alone: Option<Alone>,
    /// Only these parts.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// How often each figure is measured.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Seconds of load in each round.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=60))]
    seconds: u8,
    /// Pods of the part `density`; as many components as a hundredth of them.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=16000))]
    pods: u16,
    /// Pods that the part `api` lists.
    #[arg(long, value_name = "N", default_value_t = 30_000, value_parser = clap::value_parser!(u16).range(64..))]
    listed: u16,
    /// Address of the first node; others take those that follow it.
    #[arg(long, value_name = "IP", default_value = "127.0.0.11")]
    base_ip: Ipv4Addr,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    wk: Option<PathBuf>,
    /// For the part `limits`: that binary built with `--features wk-engine/unlimited`, instead of building one.
    #[arg(long, value_name = "FILE")]
    unlimited: Option<PathBuf>,
    /// The `wasmtime` to compare with [default: the one on PATH]
    #[arg(long, value_name = "FILE")]
    wasmtime: Option<PathBuf>,
}

/// What is measured without nodes, and only when asked for.
#[derive(clap::Subcommand)]
enum Alone {
    /// Three peers of the store beside three of etcd.
    Store(store::Arguments),
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    /// Gets, lists, writes and watches through the Kubernetes API of three nodes.
    Api,
    /// Requests through the ingress, beside `wasmtime serve`.
    Ingress,
    /// The same for each way of using instances, with a guest that computes as well.
    Modes,
    /// The same with limits and without. Only when asked for.
    Limits,
    /// From `wk deploy` to ready replicas.
    Deploy,
    /// Fifty replicas, beside Docker Swarm. Wants root and `dockerd`: only when asked for.
    Swarm,
    /// Memory, CPU and disk of a node that does nothing.
    Idle,
    /// From `wk up` to a node that serves.
    Start,
    /// Requests to pods in the node's process beside pods in workers. Only when asked for.
    Isolation,
    /// Thousands of pods on one node. Takes its time: only when asked for.
    Density,
}

/// What the parts share.
struct Bench<'a> {
    arguments: &'a Arguments,
    wk: PathBuf,
    dir: &'a Path,
}

const APP: &str = "examples/hello-http/hello-http.wasm";
/// How often something is asked for again.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Deleting and starting fifty pods takes seconds; a minute means that it will not happen.
const WAIT_MAX: Duration = Duration::from_mins(1);

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(Alone::Store(arguments)) = &arguments.alone {
        // The store is part of this program, which cargo builds without optimisation unless it is told.
        return if cfg!(debug_assertions) { build::again_in_release() } else { store::run(arguments) };
    }
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let peers = if wanted(Part::Ingress) || wanted(Part::Modes) {
        Some(ingress::Tools::find(arguments.wasmtime.as_deref())?)
    } else {
        None
    };
    for plan in Plan::several(Path::new("wk"), Path::new("."), arguments.base_ip, 3) {
        plan.check_ports()?;
    }
    let temporary = tempfile::Builder::new().prefix("wk-bench-").tempdir().context("make a folder for the data")?;
    let unlimited = match &arguments.unlimited {
        _ if !arguments.only.contains(&Part::Limits) => None,
        Some(wk) => Some(std::path::absolute(wk)?),
        None => Some(limits::build(temporary.path())?),
    };
    let wk = match &arguments.wk {
        Some(wk) => std::path::absolute(wk)?,
        None => build::wk(Profile::Dist)?,
    };
    let bench = Bench { arguments, wk, dir: temporary.path() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        println!("{}", machine());
        if wanted(Part::Start) {
            println!("{}", start::measure(&bench).await.context("measure starting")?);
        }
        if wanted(Part::Idle) {
            println!("{}", idle::measure(&bench).await.context("measure an idle node")?);
        }
        if wanted(Part::Api) {
            println!("{}", api::measure(&bench).await.context("measure the API")?);
        }
        if wanted(Part::Deploy) {
            println!("{}", deploy::measure(&bench).await.context("measure deploying")?);
        }
        if bench.arguments.only.contains(&Part::Density) {
            println!("{}", density::measure(&bench).await.context("measure thousands of pods")?);
        }
        if bench.arguments.only.contains(&Part::Isolation) {
            println!("{}", isolation::measure(&bench).await.context("measure isolation")?);
        }
        if bench.arguments.only.contains(&Part::Swarm) {
            println!("{}", swarm::measure(&bench).await.context("measure beside Docker Swarm")?);
        }
        if let Some(unlimited) = &unlimited {
            println!("{}", limits::measure(&bench, unlimited).await.context("measure what limits cost")?);
        }
        if wanted(Part::Ingress)
            && let Some(tools) = &peers
        {
            println!("{}", ingress::measure(&bench, tools).await.context("measure the ingress")?);
        }
        if wanted(Part::Modes)
            && let Some(tools) = &peers
        {
            println!("{}", modes::measure(&bench, tools).await.context("measure ways of using instances")?);
        }
        Ok(())
    })
}

/// What was measured on, in one line.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!(
        "Measured by `cargo xtask bench` on {cores} cores ({model}), Linux {}; everything on this machine.\n",
        kernel.trim()
    )
}

fn progress(text: &str) {
    eprintln!("bench: {text}");
}

impl Bench<'_> {
    fn rounds(&self) -> u8 {
        self.arguments.rounds
    }

    /// Fresh nodes, with their data in a folder of this name.
    async fn nodes(&self, folder: &str, count: u8) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        let plans = Plan::several(&self.wk, &self.dir.join(folder), self.arguments.base_ip, count);
        nodes::start_all(plans, &mut nodes).await?;
        Ok(nodes)
    }
}

/// Deploys a file and returns once all its replicas are ready.
async fn deploy(node: &Node, file: &Path, name: &str, replicas: u16) -> Result<()> {
    let file = file.to_str().context("a path that is text")?;
    node.wk(&["deploy", file, "--name", name, "--replicas", &replicas.to_string(), "--timeout", "120s"]).await?;
    Ok(())
}

/// Deletes what [`deploy`] made and waits until its pods are gone.
async fn delete(node: &Node, name: &str) -> Result<()> {
    node.wk(&["delete", "deployments,services,ingresses", name]).await?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < WAIT_MAX {
        if !node.wk(&["get", "pods", "-o", "name"]).await?.contains(name) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY * 4).await;
    }
    bail!("pods of {name} are still there after {WAIT_MAX:?}")
}

fn app() -> PathBuf {
    root().join(APP)
}
