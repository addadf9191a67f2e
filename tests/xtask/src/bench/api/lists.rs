//! Lists of all pods: as objects and as the table that kubectl asks for, whole and in pages.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::client::{Client, JSON, TABLE};
use super::{Cluster, PODS, WORKERS, pod};
use crate::bench::table::{Table, duration, median, range};
use crate::bench::{Bench, process, progress};

/// A page of kubectl's.
const PAGE: usize = 500;
/// Old versions of objects are forgotten, and memory is given back, after this.
const SETTLE: Duration = Duration::from_secs(5);
/// No pod of ours is shorter, in either form.
const POD_BYTES_MIN: usize = 200;

/// What is asked for.
struct Form {
    what: &'static str,
    accept: &'static str,
    limit: Option<usize>,
    gzip: bool,
}

const FORMS: [Form; 5] = [
    Form { what: "JSON, whole", accept: JSON, limit: None, gzip: false },
    Form { what: "JSON, whole, gzip", accept: JSON, limit: None, gzip: true },
    Form { what: "JSON, pages of 500", accept: JSON, limit: Some(PAGE), gzip: false },
    Form { what: "table, whole", accept: TABLE, limit: None, gzip: false },
    Form { what: "table, pages of 500", accept: TABLE, limit: Some(PAGE), gzip: false },
];

/// One list, from its first page to its last.
struct Seen {
    took: Duration,
    cpu: Duration,
    bytes: usize,
}

pub(super) async fn measure(bench: &Bench<'_>, cluster: &Cluster) -> Result<String> {
    let before = cluster.memory()?;
    progress(&format!("making {} pods", cluster.pods));
    let begun = Instant::now();
    make_pods(cluster).await?;
    let made = begun.elapsed();
    tokio::time::sleep(SETTLE).await;
    let after = cluster.memory()?;
    let mut table = Table::new(
        &format!(
            "All {} pods listed by one client at one of three nodes in turns (HTTP/2 with TLS). They were made in {} ({:.0} \
             a second, {WORKERS} clients); the nodes had {before:?} MiB in memory before, {after:?} MiB with them:",
            cluster.pods,
            duration(made.as_secs_f64() * 1000.0),
            cluster.pods as f64 / made.as_secs_f64(),
        ),
        &["list", "took", "range", "CPU of the node", "MB"],
    );
    for form in FORMS {
        progress(&format!("list: {}", form.what));
        let mut seen = Vec::new();
        for round in 0..usize::from(bench.rounds()) {
            let node = round % cluster.nodes.len();
            seen.push(list(&cluster.clients[node], cluster.nodes[node].pid, &form, cluster.pods).await?);
        }
        let millis: Vec<f64> = seen.iter().map(|seen| seen.took.as_secs_f64() * 1000.0).collect();
        let cpu: Vec<f64> = seen.iter().map(|seen| seen.cpu.as_secs_f64() * 1000.0).collect();
        let (low, high) = range(&millis);
        table.row(&[
            form.what.to_owned(),
            duration(median(&millis)),
            format!("{low:.0} to {high:.0}"),
            duration(median(&cpu)),
            format!("{:.1}", seen[0].bytes as f64 / 1e6),
        ]);
    }
    let memory = cluster.memory()?;
    Ok(format!("{}\nAfter these lists the nodes had {memory:?} MiB in memory.\n", table.finish()))
}

async fn make_pods(cluster: &Cluster) -> Result<()> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (client, pods) = (cluster.clients[worker % cluster.clients.len()].clone(), cluster.pods);
        workers.spawn(async move {
            for number in (worker..pods).step_by(WORKERS) {
                client.post(PODS, &pod(number)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

async fn list(client: &Client, pid: u32, form: &Form, pods: usize) -> Result<Seen> {
    let mut headers = vec![("accept", form.accept)];
    if form.gzip {
        headers.push(("accept-encoding", "gzip"));
    }
    let (cpu, begun) = (process::cpu(pid)?, Instant::now());
    let (mut bytes, mut pages, mut token) = (0, 0, None);
    loop {
        let path = match (form.limit, &token) {
            (None, _) => PODS.to_owned(),
            (Some(limit), None) => format!("{PODS}?limit={limit}"),
            (Some(limit), Some(token)) => format!("{PODS}?limit={limit}&continue={token}"),
        };
        let answer = client.get(&path, &headers).await?;
        bytes += answer.bytes;
        pages += 1;
        token = continue_token(&answer.begin);
        if token.is_none() {
            break;
        }
    }
    let took = begun.elapsed();
    let expected = form.limit.map_or(1, |limit| pods.div_ceil(limit));
    ensure!(pages == expected, "{}: {pages} pages instead of {expected}", form.what);
    ensure!(form.gzip || bytes > pods * POD_BYTES_MIN, "{}: only {bytes} bytes", form.what);
    Ok(Seen { took, cpu: process::cpu(pid)?.saturating_sub(cpu), bytes })
}

/// The token for the next page, from the beginning of a list.
fn continue_token(begin: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(begin);
    let (_, rest) = text.split_once("\"continue\":\"")?;
    rest.split_once('"').map(|(token, _)| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_of_the_next_page_is_found_where_there_is_one() {
        let list = br#"{"kind":"PodList","metadata":{"continue":"abc","resourceVersion":"7"},"items":["#;
        assert_eq!(continue_token(list).as_deref(), Some("abc"));
        assert_eq!(continue_token(br#"{"kind":"PodList","metadata":{}"#), None);
    }
}
