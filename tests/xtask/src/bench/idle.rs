//! What a node costs that has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::process::{self, Memory};
use super::table::{Table, median};
use super::{Bench, app, progress};
use crate::nodes::{self, Node};

/// After a change, until it is quiet: voters are promoted and statuses written within a few seconds.
const SETTLE: Duration = Duration::from_secs(8);
/// Long enough for processor time in hundredths of a second to mean something.
const WATCHED: Duration = Duration::from_secs(20);
const PODS: u16 = 50;

/// What was seen of one node.
struct Seen {
    memory: Memory,
    /// Milliseconds of processor time a second.
    cpu: f64,
    /// Bytes written to disk a second.
    written: f64,
}

pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let mut table = Table::new(
        &format!("A node that does nothing, over {} s (of three nodes: the median):", WATCHED.as_secs()),
        &["nodes", "pods", "RSS", "PSS", "of it anonymous", "CPU", "disk writes"],
    );
    for count in [1, 3] {
        let nodes = bench.nodes(&format!("idle-{count}"), count).await?;
        for pods in [0, PODS] {
            progress(&format!("idle, {count} nodes, {pods} pods"));
            if pods > 0 {
                super::deploy(&nodes[0], &app(), "hello", pods).await?;
            }
            tokio::time::sleep(SETTLE).await;
            let seen = watch(&nodes).await?;
            let of = |figure: fn(&Seen) -> f64| median(&seen.iter().map(figure).collect::<Vec<f64>>());
            table.row(&[
                count.to_string(),
                pods.to_string(),
                mebibytes(of(|seen| to_float(seen.memory.resident))),
                mebibytes(of(|seen| to_float(seen.memory.proportional))),
                mebibytes(of(|seen| to_float(seen.memory.anonymous))),
                format!("{:.2} % of a core", of(|seen| seen.cpu) / 10.0),
                format!("{:.1} KiB/s", of(|seen| seen.written) / 1024.0),
            ]);
        }
        nodes::stop_all(nodes).await?;
    }
    Ok(table.finish())
}

async fn watch(nodes: &[Node]) -> Result<Vec<Seen>> {
    let read = || nodes.iter().map(|node| Ok((process::cpu(node.pid)?, process::written(node.pid)?))).collect();
    let before: Vec<(Duration, u64)> = Result::from_iter::<Vec<Result<_>>>(read())?;
    let begun = Instant::now();
    tokio::time::sleep(WATCHED).await;
    let seconds = begun.elapsed().as_secs_f64();
    let mut seen = Vec::new();
    for (node, (cpu, written)) in nodes.iter().zip(before) {
        seen.push(Seen {
            cpu: (process::cpu(node.pid)?.saturating_sub(cpu)).as_secs_f64() * 1000.0 / seconds,
            written: to_float(process::written(node.pid)?.saturating_sub(written)) / seconds,
            memory: process::memory(node.pid)?,
        });
    }
    Ok(seen)
}

fn to_float(number: u64) -> f64 {
    number as f64
}

fn mebibytes(kibibytes: f64) -> String {
    format!("{:.1} MiB", kibibytes / 1024.0)
}
