//! What it costs to keep pods apart in processes: the same app in the node's process, in the worker of its namespace and
//! in a worker of each pod, behind one ingress, in turns; what a worker holds; how soon one that was killed is back.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::ingress::{Load, press, wrk};
use super::table::{Table, duration, median, ratio};
use super::{Bench, WAIT_MAX, app, process, progress, start};
use crate::nodes::{self, Node};

/// How far apart, which is also what the app and its namespace are called.
const MODES: [&str; 3] = ["shared", "namespace", "pod"];
const REPLICAS: &str = "3";
const CONNECTIONS: [u16; 2] = [1, 32];
/// Between two kills: a worker that lives shorter than ten seconds is not brought back at once for ever.
const BETWEEN_KILLS: Duration = Duration::from_secs(11);
/// How often a killed app is asked.
const ASK_EVERY: Duration = Duration::from_millis(1);

pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let wrk = wrk()?;
    let nodes = bench.nodes("isolation", 1).await?;
    let node = &nodes[0];
    for mode in MODES {
        node.wk(&["create", "namespace", mode]).await?;
        node.wk(&["label", "namespace", mode, &format!("wk.dev/isolation={mode}")]).await?;
        let file = app();
        let file = file.to_str().context("a path that is text")?;
        node.wk(&["deploy", file, "--name", mode, "-n", mode, "--replicas", REPLICAS]).await?;
    }
    let mut text = requests(bench, &wrk, node).await?;
    text.push('\n');
    text.push_str(&memory(node)?);
    text.push('\n');
    text.push_str(&back(bench, node).await?);
    nodes::stop_all(nodes).await?;
    Ok(text)
}

async fn requests(bench: &Bench<'_>, wrk: &Path, node: &Node) -> Result<String> {
    let mut table = Table::new(
        &format!(
            "`wrk -t2 -cC -d{}s` against one node's ingress, {REPLICAS} replicas, a fresh instance for each request, {} rounds in \
             turns; processor time of the node and its workers together:",
            bench.arguments.seconds,
            bench.rounds()
        ),
        &["connections", "isolation", "requests/s", "to shared", "CPU a request", "to shared", "p50", "p99"],
    );
    for connections in CONNECTIONS {
        let mut rounds: [Vec<Load>; MODES.len()] = Default::default();
        for round in 0..=bench.rounds() {
            progress(&format!("isolation with {connections} connections, round {round} of {}", bench.rounds()));
            let seconds = if round == 0 { 1 } else { bench.arguments.seconds };
            let mut order: Vec<usize> = (0..MODES.len()).collect();
            if round % 2 == 0 {
                order.reverse();
            }
            for index in order {
                let before = cpu(node)?;
                let mut load = press(wrk, &node.ingress(), MODES[index], connections, seconds).await?;
                load.cpu = cpu(node)?.saturating_sub(before).as_secs_f64() * 1e6 / load.requests;
                if round > 0 {
                    rounds[index].push(load);
                }
            }
        }
        let of = |index: usize, figure: fn(&Load) -> f64| rounds[index].iter().map(figure).collect::<Vec<f64>>();
        for (index, mode) in MODES.into_iter().enumerate() {
            let beside = |figure: fn(&Load) -> f64| format!("{:.2}x", ratio(&of(index, figure), &of(0, figure)));
            table.row(&[
                connections.to_string(),
                mode.to_owned(),
                format!("{:.0}", median(&of(index, |load| load.per_second))),
                beside(|load| load.per_second),
                format!("{:.1} us", median(&of(index, |load| load.cpu))),
                beside(|load| load.cpu),
                format!("{:.2} ms", median(&of(index, |load| load.median_ms))),
                format!("{:.2} ms", median(&of(index, |load| load.p99_ms))),
            ]);
        }
    }
    Ok(table.finish())
}

/// Processor time of the node and of its workers.
fn cpu(node: &Node) -> Result<Duration> {
    let workers = process::children(node.pid)?;
    // One that has just ended is nobody's load.
    let workers: Duration = workers.into_iter().filter_map(|pid| process::cpu(pid).ok()).sum();
    Ok(process::cpu(node.pid)? + workers)
}

fn memory(node: &Node) -> Result<String> {
    let mut table = Table::new(
        "Memory of the node and its workers, after that load; the smallest is a spare one that waits:",
        &["process", "RSS", "proportional", "anonymous"],
    );
    let mut row = |name: &str, pid: u32| {
        let memory = process::memory(pid)?;
        let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
        table.row(&[name.to_owned(), mib(memory.resident), mib(memory.proportional), mib(memory.anonymous)]);
        anyhow::Ok(())
    };
    row("node", node.pid)?;
    for pid in process::children(node.pid)? {
        row("worker", pid)?;
    }
    Ok(table.finish())
}

/// Kills the worker of a namespace, again and again, and asks until its app answers: with a spare process that waits,
/// and without one.
async fn back(bench: &Bench<'_>, node: &Node) -> Result<String> {
    node.wk(&["delete", "deployment/pod", "-n", "pod"]).await?;
    let mut table = Table::new(
        "The worker of a namespace killed, until its app with three pods answers again:",
        &["killed", "median", "slowest"],
    );
    for (what, with_spare) in [("it alone", false), ("it and the spare process", true)] {
        let mut took = Vec::new();
        for round in 0..bench.rounds() {
            progress(&format!("a worker is killed, {what}, round {round} of {}", bench.rounds()));
            tokio::time::sleep(BETWEEN_KILLS).await;
            let (workers, spares) = workers(node).await?;
            let killed = if with_spare { [workers, spares].concat() } else { workers };
            took.push(kill(node, &killed).await?.as_secs_f64() * 1000.0);
            let spared = start::status_line(node.plan.address, MODES[0])?;
            ensure!(spared.contains(" 200 "), "an app that shares nothing with them answers {spared:?}");
        }
        let slowest = took.iter().copied().fold(0.0, f64::max);
        table.row(&[what.to_owned(), duration(median(&took)), duration(slowest)]);
    }
    Ok(table.finish())
}

/// The one worker that has something to do, and those that wait, which have one thread.
async fn workers(node: &Node) -> Result<(Vec<u32>, Vec<u32>)> {
    let begun = Instant::now();
    loop {
        let children = process::children(node.pid)?;
        let (spares, workers): (Vec<u32>, Vec<u32>) =
            children.into_iter().partition(|pid| process::threads(*pid).is_ok_and(|threads| threads == 1));
        if workers.len() == 1 && spares.len() == 1 {
            return Ok((workers, spares));
        }
        ensure!(begun.elapsed() < WAIT_MAX, "there are the workers {workers:?} and {spares:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn kill(node: &Node, pids: &[u32]) -> Result<Duration> {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let begun = Instant::now();
    let killed = Command::new("kill").arg("-KILL").args(&pids).stdin(Stdio::null()).status().await?;
    ensure!(killed.success(), "the workers {pids:?} cannot be killed");
    // The connection of a request that was let down may be closed without an answer.
    while !start::status_line(node.plan.address, MODES[1]).is_ok_and(|line| line.contains(" 200 ")) {
        ensure!(begun.elapsed() < WAIT_MAX, "the app is not back after {WAIT_MAX:?}");
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(begun.elapsed())
}
