//! Isolation by process: pods of a namespace run in a worker of their own, which may crash without anybody else noticing
//! and comes back with its pods.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;
use wk_kit::{Cluster, Connection, Load, Node, SOON, Transport, until};

/// What a worker may take to be back with its pods. A debug build on a busy machine is allowed ten times what a release
/// build takes.
const BACK_MAX: Duration = Duration::from_secs(1);

/// One node whose namespaces have workers, with hello-http as `name` in each of `namespaces`.
async fn isolated(namespaces: &[&str]) -> Cluster {
    let mut cluster = Cluster::empty();
    let mut node = cluster.next();
    node.start(&["--isolation", "namespace"]);
    node.up().await;
    cluster.nodes.push(node);
    for namespace in namespaces {
        cluster.wk(&["create", "namespace", namespace]).await.ok();
        cluster.deploy_hello(namespace, 1, &["-n", namespace]).await.ok();
    }
    cluster
}

/// The process of a class' worker, as the node's log tells.
fn worker(node: &Node, class: &str) -> anyhow::Result<String> {
    let log = node.stderr();
    let line = log.lines().rev().find(|line| line.contains("worker runs") && line.contains(class));
    let line = line.with_context(|| format!("no worker of {class} runs"))?;
    let pid = line.split_once("pid=").context("a pid")?.1.split_whitespace().next().context("a number")?;
    Ok(pid.to_owned())
}

async fn status(node: &Node, host: &str) -> anyhow::Result<u16> {
    Ok(Connection::open(node.http(), Transport::Http1).await?.get(host, "/").await?.status.as_u16())
}

fn signal(pid: &str, signal: &str) {
    let killed = std::process::Command::new("kill").args([signal, pid]).status().expect("kill can be run");
    assert!(killed.success(), "kill {signal} {pid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_of_a_worker_is_seen_by_its_own_namespace_alone_and_its_pods_come_back() {
    let cluster = isolated(&["shop", "bank"]).await;
    let node = &cluster.nodes[0];
    let (shop, bank) = (worker(node, "namespace shop").unwrap(), worker(node, "namespace bank").unwrap());
    assert_ne!(shop, bank);

    let load = Load::start(&[node.http()], "bank.localhost");
    load.answered(20).await;
    signal(&shop, "-KILL");
    let crashed = Instant::now();
    until("the pods of the worker are back", SOON, async || {
        ensure!(status(node, "shop.localhost").await? == 200);
        ensure!(worker(node, "namespace shop")? != shop, "the old one still answers");
        Ok(())
    })
    .await;
    let took = crashed.elapsed();
    assert!(took < BACK_MAX, "they were back after {took:?}");
    load.answered(20).await;
    load.stop().await.none_failed();
    assert_eq!(worker(node, "namespace bank").unwrap(), bank, "the other namespace has the worker it had");

    until("the crash is on record", SOON, async || {
        let pods = cluster.wk(&["get", "pods", "-n", "shop", "-o", "json"]).await.json();
        let container = &pods["items"][0]["status"]["containerStatuses"][0];
        ensure!(container["restartCount"] == 1 && container["ready"] == true, "{container}");
        let reason = &container["lastState"]["terminated"]["reason"];
        ensure!(reason == "WorkerCrashed", "{container}");
        let events = cluster.wk(&["get", "events", "-n", "shop", "-o", "json"]).await.json().to_string();
        ensure!(events.contains("WorkerCrashed"), "{events}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_keeps_namespaces_apart_by_itself_and_their_volumes_and_tokens_are_there() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("shop", 2, &[]).await.ok();
    for node in &cluster.nodes {
        until("a worker runs", SOON, async || worker(node, "namespace default").map(drop)).await;
        ensure_answers(node, "shop.localhost").await;
    }
    let pods = cluster.wk(&["get", "pods", "-o", "json"]).await.json();
    let name = pods["items"][0]["metadata"]["name"].as_str().expect("a name").to_owned();
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
    let read = cluster.wk(&["exec", &name, "--", "cat", token]).await;
    assert_eq!(read.ok(), "default");
}

async fn ensure_answers(node: &Node, host: &str) {
    until("it answers", SOON, async || {
        ensure!(status(node, host).await? == 200);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_can_do_nothing_but_run_guests_and_end_with_a_node_that_is_killed() {
    let mut cluster = isolated(&["shop"]).await;
    let pid = worker(&cluster.nodes[0], "namespace shop").unwrap();
    let process = Path::new("/proc").join(&pid);
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(field(set), 16), Ok(0), "{set}");
    }
    let listening = std::fs::read_to_string(process.join("net/unix")).unwrap_or_default();
    let open: Vec<String> = std::fs::read_dir(process.join("fd"))
        .unwrap()
        .filter_map(|entry| Some(std::fs::read_link(entry.ok()?.path()).ok()?.display().to_string()))
        .collect();
    let data_dir = cluster.nodes[0].data_dir().display().to_string();
    assert!(!open.iter().any(|path| path.starts_with(&data_dir)), "files of the node are open in it: {open:?}");
    assert!(!listening.contains(&data_dir), "a socket has a path");

    cluster.nodes[0].kill();
    until("the worker has ended with the node", SOON, async || {
        ensure!(!process.exists() || std::fs::read_to_string(process.join("stat"))?.contains(") Z"), "it is there");
        Ok(())
    })
    .await;
}
