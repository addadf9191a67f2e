//! What is measured of peers that die and start again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::process;
use super::client::{self, Client, Place};
use super::cluster::{Cluster, Plan};
use super::parts::OBJECT_BYTES;

/// Clients that write to the followers while the leader dies.
pub(super) const WRITERS: usize = 16;
/// Between two attempts to write after that: what the figure is exact to.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// An election that takes longer has failed.
const FAILOVER_MAX: Duration = Duration::from_secs(20);
/// Before the leader dies, writes flow for this long.
const FLOW: Duration = Duration::from_millis(500);
/// Clients that write the objects a peer is restarted with.
const FILLERS: usize = 256;
/// Until memory that was used for starting is given back, as far as it ever is.
const SETTLE: Duration = Duration::from_secs(2);

/// Milliseconds from the leader's death to the first answer to a write that was sent after it.
pub(super) async fn failover(cluster: &mut Cluster) -> Result<f64> {
    let leader = cluster.leader().await?;
    let others: Vec<usize> = (0..cluster.plan.peers).filter(|peer| *peer != leader).collect();
    let clients = cluster.connect(&others).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for worker in 0..WRITERS {
        let (client, stop) = (clients[worker % clients.len()].clone(), Arc::clone(&stop));
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let place = Place::new("failover", &format!("load-{worker}"));
                // Some fail, and that is what happens to clients of either side.
                let _ = client.put(&place, &client::value(OBJECT_BYTES)).await;
            }
        });
    }
    tokio::time::sleep(FLOW).await;
    let began = client::now();
    cluster.kill(leader)?;
    let took = first_write(&clients).await.map(|at| at.saturating_sub(began).as_secs_f64() * 1000.0);
    stop.store(true, Ordering::Relaxed);
    load.abort_all();
    cluster.spawn(leader)?;
    cluster.answers(leader).await?;
    took
}

/// When the first of writes that are sent all the time, without waiting for those before, is answered.
async fn first_write(clients: &[Client]) -> Result<Duration> {
    let (done, mut first) = mpsc::channel(1);
    let mut probes = JoinSet::new();
    let send = async {
        let mut ticks = tokio::time::interval(PROBE_EVERY);
        for number in 0_usize.. {
            ticks.tick().await;
            let (client, done) = (clients[number % clients.len()].clone(), done.clone());
            probes.spawn(async move {
                let place = Place::new("failover", &format!("probe-{}", number % 100));
                if client.put(&place, &client::value(OBJECT_BYTES)).await.is_ok() {
                    let _ = done.try_send(client::now());
                }
            });
        }
    };
    tokio::select! {
        () = send => unreachable!("it goes on for ever"),
        at = tokio::time::timeout(FAILOVER_MAX, first.recv()) => at.ok().flatten().context("no write is accepted"),
    }
}

/// What was seen of a peer with many objects.
pub(super) struct Restart {
    /// Milliseconds from the start of the process to the first linearizable read.
    pub(super) millis: Vec<f64>,
    /// Bytes of memory for each object: resident, and of it what no file backs.
    pub(super) resident: f64,
    pub(super) anonymous: f64,
}

/// Fills a peer that is alone, kills it, and starts it again.
pub(super) async fn restart(plan: Plan, objects: usize, times: usize) -> Result<Restart> {
    let mut cluster = Cluster::start(plan).await?;
    tokio::time::sleep(SETTLE).await;
    let empty = process::memory(cluster.pid(0)?)?;
    let clients = cluster.connect_all().await?;
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let client = clients[filler % clients.len()].clone();
        fillers.spawn(async move {
            for number in (filler..objects).step_by(FILLERS) {
                client.put(&place(number), &client::value(OBJECT_BYTES)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled?.context("write the objects")?;
    }
    drop(clients);
    let mut millis = Vec::new();
    for _ in 0..times {
        cluster.kill(0)?;
        let began = client::now();
        cluster.spawn(0)?;
        cluster.answers(0).await?;
        millis.push(client::now().saturating_sub(began).as_secs_f64() * 1000.0);
    }
    tokio::time::sleep(SETTLE).await;
    let found = Client::connect(cluster.plan.side, cluster.address(0)).await?.get(&place(objects - 1)).await?;
    anyhow::ensure!(found.len() >= OBJECT_BYTES, "an object is gone after the restart");
    let full = process::memory(cluster.pid(0)?)?;
    let each = |full: u64, empty: u64| full.saturating_sub(empty) as f64 * 1024.0 / objects as f64;
    Ok(Restart {
        millis,
        resident: each(full.resident, empty.resident),
        anonymous: each(full.anonymous, empty.anonymous),
    })
}

fn place(number: usize) -> Place {
    Place::new("objects", &format!("object-{number:06}"))
}
