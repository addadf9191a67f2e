//! Five thousand watches: each of an object of its own, and all of the same collection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use h2::RecvStream;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::client::Client;
use super::{Cluster, WORKERS, progress};
use crate::bench::process;
use crate::bench::store::load::Latency;
use crate::bench::table::Table;

const WATCHERS: usize = 5000;
/// Their objects are in a namespace of their own.
const NAMESPACE: &str = "watched";
const WATCHED: &str = "/api/v1/namespaces/watched/configmaps";
/// Changes while each watches its own object, at so many a second.
const CHANGES: usize = 2000;
const CHANGES_A_SECOND: usize = 500;
/// Changes that all watchers are told, one after the other.
const TOLD_TO_ALL: usize = 10;
/// Delivering takes milliseconds; after this, something is lost.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Watches under way. They end when this is dropped.
struct Watches {
    #[expect(dead_code, reason = "its tasks end with it")]
    tasks: JoinSet<Result<()>>,
    seen: Arc<Seen>,
}

/// What the watchers were told.
#[derive(Default)]
struct Seen {
    /// How long after its writing each change came.
    took: Mutex<Vec<Duration>>,
    number: AtomicUsize,
}

pub(super) async fn measure(cluster: &Cluster) -> Result<String> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster.clients[0].post("/api/v1/namespaces", &namespace).await?;
    progress("making what is watched");
    make_objects(cluster).await?;
    let mut table = Table::new(
        &format!(
            "{WATCHERS} watches over {} connections to three nodes; from before the write to the watcher's client:",
            cluster.clients.len()
        ),
        &["", "opened in", "p50 ms", "p99 ms", "delivered a second", "CPU µs of all nodes", "MiB of each node"],
    );
    let own =
        |number: usize| format!("{WATCHED}?watch=true&resourceVersion=0&fieldSelector=metadata.name%3Dw-{number}");
    row(cluster, &mut table, "each of its own object", own, 1).await?;
    let all = |_| format!("{WATCHED}?watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan");
    row(cluster, &mut table, "all of the same collection", all, WATCHERS).await?;
    Ok(table.finish())
}

/// Opens the watches, changes objects, and adds what was seen to the table. Each change is told to `each` watchers.
async fn row(
    cluster: &Cluster,
    table: &mut Table,
    what: &str,
    path: impl Fn(usize) -> String,
    each: usize,
) -> Result<()> {
    progress(&format!("watches, {what}"));
    let begun = Instant::now();
    let watches = open(cluster, path).await?;
    let opened = begun.elapsed();
    let cpu = |cluster: &Cluster| -> Result<Duration> { cluster.pids().iter().map(|pid| process::cpu(*pid)).sum() };
    // What they are shown at their beginning is told too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    watches.seen.took.lock().unwrap_or_else(PoisonError::into_inner).clear();
    watches.seen.number.store(0, Ordering::Relaxed);
    let (before, begun) = (cpu(cluster)?, Instant::now());
    let changes = if each == 1 { CHANGES } else { TOLD_TO_ALL };
    change(cluster, &watches.seen, changes, each).await?;
    let (took, used) = (begun.elapsed(), cpu(cluster)?.saturating_sub(before));
    let deliveries = (changes * each) as f64;
    let latency = Latency::of(&watches.seen.took.lock().unwrap_or_else(PoisonError::into_inner));
    table.row(&[
        what.to_owned(),
        format!("{:.1} s", opened.as_secs_f64()),
        format!("{:.1}", latency.median),
        format!("{:.1}", latency.p99),
        format!("{:.0}", deliveries / took.as_secs_f64()),
        format!("{:.0}", used.as_secs_f64() * 1e6 / deliveries),
        format!("{:?}", cluster.memory()?),
    ]);
    Ok(())
}

async fn make_objects(cluster: &Cluster) -> Result<()> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let client = cluster.clients[worker % cluster.clients.len()].clone();
        workers.spawn(async move {
            for number in (worker..WATCHERS).step_by(WORKERS) {
                client.post(WATCHED, &object(number)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

fn object(number: usize) -> Value {
    let data = json!({"text": "x".repeat(200), "written": "0"});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("w-{number}")}, "data": data})
}

async fn open(cluster: &Cluster, path: impl Fn(usize) -> String) -> Result<Watches> {
    let (seen, mut tasks, mut opening) = (Arc::new(Seen::default()), JoinSet::new(), JoinSet::new());
    for number in 0..WATCHERS {
        let (client, path) = (cluster.clients[number % cluster.clients.len()].clone(), path(number));
        opening.spawn(async move { client.watch(&path).await });
        // Some at a time: a crowd of thousands is refused, as it should be.
        while opening.len() >= WORKERS / 2 {
            follow(&mut opening, &mut tasks, &seen).await?;
        }
    }
    while !opening.is_empty() {
        follow(&mut opening, &mut tasks, &seen).await?;
    }
    Ok(Watches { tasks, seen })
}

async fn follow(
    opening: &mut JoinSet<Result<RecvStream>>,
    tasks: &mut JoinSet<Result<()>>,
    seen: &Arc<Seen>,
) -> Result<()> {
    if let Some(opened) = opening.join_next().await {
        tasks.spawn(read(opened??, Arc::clone(seen)));
    }
    Ok(())
}

async fn read(mut events: RecvStream, seen: Arc<Seen>) -> Result<()> {
    while let Some(data) = events.data().await {
        let data = data?;
        events.flow_control().release_capacity(data.len())?;
        let now = now();
        for written in written(&data) {
            seen.took.lock().unwrap_or_else(PoisonError::into_inner).push(now.saturating_sub(written));
            seen.number.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// When the changes in these lines were written. Events of ours fit into a frame.
fn written(lines: &[u8]) -> impl Iterator<Item = Duration> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let (_, rest) = line.split_once("\"written\":\"")?;
        rest.split_once('"')?.0.parse().ok().map(Duration::from_nanos)
    })
}

/// Changes objects, and waits until every watcher was told what concerns it.
async fn change(cluster: &Cluster, seen: &Seen, changes: usize, each: usize) -> Result<()> {
    let (begun, mut under_way) = (Instant::now(), JoinSet::new());
    for number in 0..changes {
        let client = cluster.clients[number % cluster.clients.len()].clone();
        under_way.spawn(async move { write(&client, number % WATCHERS).await });
        if each > 1 {
            // The next one when all have this one.
            told(seen, (number + 1) * each).await?;
        } else {
            let due = Duration::from_secs(1) * u32::try_from(number)? / u32::try_from(CHANGES_A_SECOND)?;
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        }
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    told(seen, changes * each).await
}

async fn write(client: &Client, number: usize) -> Result<()> {
    let change = json!({"data": {"written": now().as_nanos().to_string()}});
    client.merge(&format!("{WATCHED}/w-{number}"), &change).await.map(drop)
}

async fn told(seen: &Seen, number: usize) -> Result<()> {
    let begun = Instant::now();
    while seen.number.load(Ordering::Relaxed) < number {
        let told = seen.number.load(Ordering::Relaxed);
        ensure!(begun.elapsed() < WAIT_MAX, "watchers were told {told} of {number} changes");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Time since this process first asked: writers and watchers are all in it.
fn now() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_writing_is_found_in_each_line() {
        let lines = b"{\"type\":\"MODIFIED\",\"object\":{\"data\":{\"written\":\"7\"}}}\n{\"written\":\"9\"}\n";
        let found: Vec<u128> = written(lines).map(|at| at.as_nanos()).collect();
        assert_eq!(found, [7, 9]);
    }
}
