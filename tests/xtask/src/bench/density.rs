//! Thousands of pods on one node: idle ones that answer HTTP, of many components, and commands that run on.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::table::{Table, duration, median};
use super::{Bench, deploy, process, progress, start};
use crate::nodes::{self, Node};
use crate::root;

/// Pods of one component.
const PODS_EACH: u16 = 100;
/// Commands that run at the same time, for each ten idle pods.
const COMMANDS_SHARE: u16 = 10;
/// Statuses are written and old versions of objects forgotten after this.
const SETTLE: Duration = Duration::from_secs(15);
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
            "RSS a pod",
            "anonymous a pod",
            "idle CPU",
            "first request p50",
            "p99",
            "slowest",
        ],
    );
    idle(bench, pods / PODS_EACH, &mut table).await?;
    commands(bench, pods / COMMANDS_SHARE, &mut table).await?;
    Ok(table.finish())
}

async fn idle(bench: &Bench<'_>, components: u16, table: &mut Table) -> Result<()> {
    let nodes = bench.nodes("density", 1).await?;
    let before = process::memory(nodes[0].pid)?;
    let begun = Instant::now();
    for number in 0..components {
        let file = deploy::like_no_other(bench.dir)?;
        deploy(&nodes[0], &file, &name(number), PODS_EACH).await?;
        let memory = process::memory(nodes[0].pid)?.resident / 1024;
        progress(&format!("{} pods after {:?}, {memory} MiB", (number + 1) * PODS_EACH, begun.elapsed()));
    }
    let ready = begun.elapsed();
    let seen = Seen::of(&nodes[0], before, u64::from(components * PODS_EACH)).await?;
    progress("first requests");
    let first = first_requests(nodes[0].plan.address, components)?;
    row(table, &format!("{} idle, HTTP", components * PODS_EACH), components, ready, &seen, Some(&first));
    nodes::stop_all(nodes).await
}

async fn commands(bench: &Bench<'_>, count: u16, table: &mut Table) -> Result<()> {
    let nodes = bench.nodes("density-commands", 1).await?;
    let before = process::memory(nodes[0].pid)?;
    let begun = Instant::now();
    deploy(&nodes[0], &root().join(COMMAND), "ticker", count).await?;
    let ready = begun.elapsed();
    let seen = Seen::of(&nodes[0], before, u64::from(count)).await?;
    row(table, &format!("{count} commands that print a line a second"), 1, ready, &seen, None);
    nodes::stop_all(nodes).await
}

/// What the node takes for its pods.
struct Seen {
    resident: f64,
    anonymous: f64,
    cpu: f64,
}

impl Seen {
    async fn of(node: &Node, before: process::Memory, pods: u64) -> Result<Self> {
        tokio::time::sleep(SETTLE).await;
        let (cpu, begun) = (process::cpu(node.pid)?, Instant::now());
        tokio::time::sleep(WATCHED).await;
        let used = process::cpu(node.pid)?.saturating_sub(cpu).as_secs_f64();
        let memory = process::memory(node.pid)?;
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / pods as f64;
        Ok(Self {
            resident: each(memory.resident, before.resident),
            anonymous: each(memory.anonymous, before.anonymous),
            cpu: used / begun.elapsed().as_secs_f64() * 100.0,
        })
    }
}

/// Milliseconds of the first requests: as many to each app as it has pods, and the balancer gives each pod one.
fn first_requests(address: Ipv4Addr, components: u16) -> Result<Vec<f64>> {
    let mut took = Vec::new();
    for number in 0..components {
        for _ in 0..PODS_EACH {
            let begun = Instant::now();
            let line = start::status_line(address, &name(number))?;
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
            ensure!(line.contains(" 200 "), "{} answers {line:?}", name(number));
        }
    }
    Ok(took)
}

fn name(number: u16) -> String {
    format!("app-{number}")
}

fn row(table: &mut Table, pods: &str, components: u16, ready: Duration, seen: &Seen, first: Option<&[f64]>) {
    let figure = |of: fn(&[f64]) -> f64| first.map_or_else(String::new, |first| format!("{:.1} ms", of(first)));
    table.row(&[
        pods.to_owned(),
        components.to_string(),
        duration(ready.as_secs_f64() * 1000.0),
        format!("{:.1} KiB", seen.resident),
        format!("{:.1} KiB", seen.anonymous),
        format!("{:.1} % of a core", seen.cpu),
        figure(median),
        figure(|first| percentile(first, 0.99)),
        figure(|first| percentile(first, 1.0)),
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
