//! Thousands of pods on one node: idle ones that answer HTTP, of many components, and commands that run on.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::table::{Table, duration, median};
use super::{Bench, deploy, process, progress, start};
use crate::nodes::{self, Node};
use crate::root;

/// Pods of one component.
const PODS_EACH: u16 = 100;
/// Commands that run at the same time, for each ten idle pods.
const COMMANDS_SHARE: u16 = 10;
/// Statuses are written and old versions of objects forgotten after this: watches may resume from what is 75 s old.
const SETTLE: Duration = Duration::from_mins(2);
/// What a first request is allowed, in milliseconds.
const FIRST_MAX: f64 = 10.0;
/// Requests in which each pod of an app is to have answered one, for each of them.
const ASKED_MAX: u16 = 3;
/// What an idle node uses is watched for so long.
const WATCHED: Duration = Duration::from_secs(20);
/// A program that never ends.
const COMMAND: &str = "examples/ticker/ticker.wasm";

pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let pods = bench.arguments.pods.max(PODS_EACH);
    let mut table = Table::new(
        "One node, pods made by Deployments through the API; memory and processor time of the whole node, control plane included:",
        &[
            "pods",
            "components",
            "all ready after",
            "CPU to start one",
            "RSS a pod",
            "anonymous a pod",
            "RSS of the node",
            "idle CPU",
            "first request p50",
            "p99",
            "slowest",
            "over 10 ms",
            "RSS a pod then",
        ],
    );
    idle(bench, pods / PODS_EACH, &mut table).await?;
    commands(bench, pods / COMMANDS_SHARE, &mut table).await?;
    Ok(table.finish())
}

async fn idle(bench: &Bench<'_>, components: u16, table: &mut Table) -> Result<()> {
    let nodes = bench.nodes("density", 1).await?;
    let before = Before::of(&nodes[0])?;
    let begun = Instant::now();
    for number in 0..components {
        let file = deploy::like_no_other(bench.dir)?;
        deploy(&nodes[0], &file, &name(number), PODS_EACH).await?;
        let memory = process::memory(nodes[0].pid)?.resident / 1024;
        progress(&format!("{} pods after {:?}, {memory} MiB", (number + 1) * PODS_EACH, begun.elapsed()));
    }
    let ready = begun.elapsed();
    let pods = u64::from(components * PODS_EACH);
    let seen = Seen::of(&nodes[0], &before, pods).await?;
    progress(&format!("first requests; load {}", load()));
    let first = first_requests(nodes[0].plan.address, components)?;
    let after = Seen::of(&nodes[0], &before, pods).await?;
    row(table, &format!("{pods} idle, HTTP"), components, ready, &seen, Some((&first[..], &after)));
    nodes::stop_all(nodes).await
}

async fn commands(bench: &Bench<'_>, count: u16, table: &mut Table) -> Result<()> {
    let nodes = bench.nodes("density-commands", 1).await?;
    let before = Before::of(&nodes[0])?;
    let begun = Instant::now();
    deploy(&nodes[0], &root().join(COMMAND), "ticker", count).await?;
    let ready = begun.elapsed();
    let seen = Seen::of(&nodes[0], &before, u64::from(count)).await?;
    row(table, &format!("{count} commands that print a line a second"), 1, ready, &seen, None);
    nodes::stop_all(nodes).await
}

/// A node without pods.
struct Before {
    memory: process::Memory,
    cpu: Duration,
}

impl Before {
    fn of(node: &Node) -> Result<Self> {
        Ok(Self { memory: process::memory(node.pid)?, cpu: process::cpu(node.pid)? })
    }
}

/// What the node takes for its pods.
struct Seen {
    resident: f64,
    anonymous: f64,
    whole: u64,
    spent: Duration,
    cpu: f64,
}

impl Seen {
    async fn of(node: &Node, before: &Before, pods: u64) -> Result<Self> {
        let spent = process::cpu(node.pid)?.saturating_sub(before.cpu) / u32::try_from(pods)?;
        tokio::time::sleep(SETTLE).await;
        let (cpu, begun) = (process::cpu(node.pid)?, Instant::now());
        tokio::time::sleep(WATCHED).await;
        let used = process::cpu(node.pid)?.saturating_sub(cpu).as_secs_f64();
        let memory = process::memory(node.pid)?;
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / pods as f64;
        Ok(Self {
            resident: each(memory.resident, before.memory.resident),
            anonymous: each(memory.anonymous, before.memory.anonymous),
            whole: memory.resident / 1024,
            spent,
            cpu: used / begun.elapsed().as_secs_f64() * 100.0,
        })
    }
}

/// Milliseconds of the first request that each pod answers, connecting included: the app is asked until each did.
fn first_requests(address: Ipv4Addr, components: u16) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    for number in 0..components {
        let (app, mut answered) = (name(number), BTreeSet::new());
        for _ in 0..PODS_EACH * ASKED_MAX {
            let begun = Instant::now();
            let answer = start::answer(address, &app)?;
            let milliseconds = begun.elapsed().as_secs_f64() * 1000.0;
            ensure!(answer.contains(" 200 "), "{app} answers {answer:?}");
            let pod = answer.lines().find_map(|line| line.strip_prefix("wk-pod: ")).context("no pod says its name")?;
            if answered.insert(pod.to_owned()) {
                took.push(milliseconds);
            }
            if answered.len() == usize::from(PODS_EACH) {
                break;
            }
        }
        ensure!(answered.len() == usize::from(PODS_EACH), "{} pods of {app} answered", answered.len());
    }
    Ok(took)
}

/// What else the machine had to do: the kernel's averages of 1, 5 and 15 minutes.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn name(number: u16) -> String {
    format!("app-{number}")
}

fn row(table: &mut Table, pods: &str, components: u16, ready: Duration, seen: &Seen, then: Option<(&[f64], &Seen)>) {
    let figure = |of: fn(&[f64]) -> f64| then.map_or_else(String::new, |(first, _)| format!("{:.1} ms", of(first)));
    let over = |first: &[f64]| first.iter().filter(|took| **took > FIRST_MAX).count();
    table.row(&[
        pods.to_owned(),
        components.to_string(),
        duration(ready.as_secs_f64() * 1000.0),
        format!("{:.1} ms", seen.spent.as_secs_f64() * 1000.0),
        format!("{:.1} KiB", seen.resident),
        format!("{:.1} KiB", seen.anonymous),
        format!("{} MiB", seen.whole),
        format!("{:.1} % of a core", seen.cpu),
        figure(median),
        figure(|first| percentile(first, 0.99)),
        figure(|first| percentile(first, 1.0)),
        then.map_or_else(String::new, |(first, _)| over(first).to_string()),
        then.map_or_else(String::new, |(_, after)| format!("{:.1} KiB", after.resident)),
    ]);
}

/// The figure that this share of all do not exceed.
fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_sign_loss, reason = "both factors are at least 0")]
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_of_the_sorted_figures() {
        let figures: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        assert!((percentile(&figures, 0.99) - 99.0).abs() < 1e-9 && (percentile(&figures, 1.0) - 100.0).abs() < 1e-9);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
