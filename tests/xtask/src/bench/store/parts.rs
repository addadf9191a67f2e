//! What is measured while all peers are up: writes, reads, watches.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::client::{self, Client, Deliveries, Place, Watched};
use super::cluster::Cluster;
use super::load::{self, Latency, Measured, Window};

/// Objects that the writers overwrite, in turns.
pub(super) const OBJECTS: usize = 10_000;
/// Clients that read.
pub(super) const READERS: usize = 64;
/// Clients that write while others watch.
pub(super) const WATCHED_WRITERS: usize = 64;
/// Clients that watch.
pub(super) const WATCHERS: usize = 1000;
/// Groups that are watched by as many clients each.
pub(super) const GROUPS: usize = 10;
/// Writes a second to the groups: each reaches a hundred watchers.
pub(super) const GROUP_WRITES: u32 = 100;
/// Bytes of an object where not more is said.
pub(super) const OBJECT_BYTES: usize = 1024;

fn object(number: usize) -> Place {
    Place::new("objects", &format!("object-{number:06}"))
}

/// Concurrent writers, spread over all peers; a single one at the leader.
pub(super) async fn writes(cluster: &Cluster, writers: usize, bytes: usize, window: Window) -> Result<Measured> {
    let clients = match writers {
        1 => cluster.connect(&[cluster.leader().await?]).await?,
        _ => cluster.connect_all().await?,
    };
    load::run(
        &clients,
        writers,
        window,
        &cluster.pids(),
        || {},
        move |client, worker, repetition| async move {
            let place = object((worker + repetition * writers) % OBJECTS);
            client.put(&place, &client::value(bytes)).await
        },
    )
    .await
}

/// Linearizable reads, at all peers or at the leader alone.
pub(super) async fn reads(cluster: &Cluster, leader_only: bool, window: Window) -> Result<Measured> {
    let leader = cluster.leader().await?;
    let clients = if leader_only { cluster.connect(&[leader]).await? } else { cluster.connect_all().await? };
    for number in 0..READERS {
        clients[0].put(&object(number), &client::value(OBJECT_BYTES)).await?;
    }
    load::run(
        &clients,
        READERS,
        window,
        &cluster.pids(),
        || {},
        |client, worker, _| async move {
            let found = client.get(&object(worker)).await?;
            ensure!(found.len() >= OBJECT_BYTES, "an object that was written is not read");
            Ok(())
        },
    )
    .await
}

/// What was seen of watchers.
pub(super) struct Watches {
    pub(super) writes_per_second: f64,
    /// From before the write was sent.
    pub(super) delivery: Latency,
    /// Deliveries for each write acknowledged.
    pub(super) deliveries: f64,
}

/// As many writers as can, and watchers of one object each.
pub(super) async fn watch_objects(cluster: &Cluster, window: Window) -> Result<Watches> {
    let watched = |number: usize| Place::new(&format!("watched-{number}"), "object");
    let clients = cluster.connect_all().await?;
    let deliveries = Deliveries::default();
    let each = (0..WATCHERS).map(|number| Watched::Object(watched(number)));
    let _watching = watch(&clients, each, &deliveries).await?;
    let begin = || drop(deliveries.drain());
    let writes =
        load::run(&clients, WATCHED_WRITERS, window, &cluster.pids(), begin, move |client, worker, repetition| {
            let place = watched((worker + repetition * WATCHED_WRITERS) % WATCHERS);
            async move { client.put(&place, &client::value(OBJECT_BYTES)).await }
        })
        .await?;
    Ok(seen(writes.per_second, &deliveries, window))
}

/// Writes at a steady rate to groups that many watch.
pub(super) async fn watch_groups(cluster: &Cluster, window: Window) -> Result<Watches> {
    let clients = cluster.connect_all().await?;
    let deliveries = Deliveries::default();
    let group = |number: usize| -> Arc<str> { format!("group-{}", number % GROUPS).into() };
    let _watching = watch(&clients, (0..WATCHERS).map(|number| Watched::Group(group(number))), &deliveries).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / GROUP_WRITES);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let end = client::now() + window.warm_up + window.measured;
    let (mut is_warm, mut written) = (false, 0_u32);
    for number in 0_usize.. {
        ticks.tick().await;
        if !is_warm && client::now() + window.measured >= end {
            is_warm = true;
            deliveries.drain();
        }
        if client::now() >= end {
            break;
        }
        let place = Place { group: group(number), name: "object".into() };
        clients[number % clients.len()].put(&place, &client::value(OBJECT_BYTES)).await?;
        written += u32::from(is_warm);
    }
    Ok(seen(f64::from(written) / window.measured.as_secs_f64(), &deliveries, window))
}

async fn watch(
    clients: &[Client],
    watched: impl Iterator<Item = Watched>,
    deliveries: &Deliveries,
) -> Result<Vec<client::Watching>> {
    let watched: Vec<Watched> = watched.collect();
    let mut watching = Vec::new();
    for (client, watched) in clients.iter().zip(watched.chunks(WATCHERS.div_ceil(clients.len()))) {
        watching.push(client.watch(watched, deliveries).await?);
    }
    Ok(watching)
}

fn seen(writes_per_second: f64, deliveries: &Deliveries, window: Window) -> Watches {
    let taken = deliveries.drain();
    let per_second = taken.len() as f64 / window.measured.as_secs_f64();
    Watches { writes_per_second, delivery: Latency::of(&taken), deliveries: per_second / writes_per_second }
}
