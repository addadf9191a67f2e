//! Clients that send one request after another, and what was seen of it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

use super::client::now;
use crate::bench::process;
use crate::bench::table::median;

/// How long a load runs before it is measured, and while.
#[derive(Clone, Copy)]
pub(in crate::bench) struct Window {
    pub(in crate::bench) warm_up: Duration,
    pub(in crate::bench) measured: Duration,
}

/// What was seen of a load.
pub(in crate::bench) struct Measured {
    pub(in crate::bench) per_second: f64,
    pub(in crate::bench) latency: Latency,
    /// Microseconds of processor time of all peers for each request.
    pub(in crate::bench) cpu: f64,
}

/// In milliseconds.
#[derive(Clone, Copy)]
pub(in crate::bench) struct Latency {
    pub(in crate::bench) median: f64,
    pub(in crate::bench) p99: f64,
}

impl Latency {
    pub(in crate::bench) fn of(taken: &[Duration]) -> Self {
        let mut millis: Vec<f64> = taken.iter().map(|took| took.as_secs_f64() * 1000.0).collect();
        millis.sort_by(f64::total_cmp);
        let p99 = millis.get(millis.len() * 99 / 100).copied().unwrap_or(f64::NAN);
        Self { median: median(&millis), p99 }
    }
}

/// Lets `count` workers, spread over the clients, repeat `act` with their own number and the number of the repetition.
/// Fails if one request does.
pub(in crate::bench) async fn run<Client, Act, Done>(
    clients: &[Client],
    count: usize,
    window: Window,
    pids: &[u32],
    begin: impl FnOnce(),
    act: Act,
) -> Result<Measured>
where
    Client: Clone + Send + 'static,
    Act: Fn(Client, usize, usize) -> Done + Clone + Send + 'static,
    Done: Future<Output = Result<()>> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for worker in 0..count {
        let (client, stop, act) = (clients[worker % clients.len()].clone(), Arc::clone(&stop), act.clone());
        workers.spawn(async move {
            let mut seen = Vec::new();
            for repetition in 0.. {
                let sent = now();
                act(client.clone(), worker, repetition).await?;
                seen.push((sent, now()));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            anyhow::Ok(seen)
        });
    }
    tokio::time::sleep(window.warm_up).await;
    let (began, cpu_before) = (now(), cpu(pids)?);
    begin();
    tokio::time::sleep(window.measured).await;
    let (ended, cpu_after) = (now(), cpu(pids)?);
    stop.store(true, Ordering::Relaxed);
    let mut taken = Vec::new();
    while let Some(seen) = workers.join_next().await {
        taken.extend(in_window(seen?.context("a request of the load failed")?, &(began..ended)));
    }
    let requests = taken.len() as f64;
    Ok(Measured {
        per_second: requests / ended.saturating_sub(began).as_secs_f64(),
        latency: Latency::of(&taken),
        cpu: cpu_after.saturating_sub(cpu_before).as_secs_f64() * 1_000_000.0 / requests,
    })
}

/// How long those took that were answered in the window.
fn in_window(seen: Vec<(Duration, Duration)>, window: &Range<Duration>) -> impl Iterator<Item = Duration> {
    seen.into_iter()
        .filter(|(_, answered)| window.contains(answered))
        .map(|(sent, answered)| answered.saturating_sub(sent))
}

fn cpu(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| process::cpu(*pid)).sum()
}
