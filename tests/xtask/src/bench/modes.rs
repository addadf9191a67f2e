//! What each of `wk.dev/instances` is worth: an app that says hello and one that computes, behind one ingress, beside
//! `wasmtime serve` at its best in the same mode.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::contest::{self, Server};
use super::ingress::{CONNECTIONS, PEER_PORT, REPLICAS, TUNED, Tools};
use super::table::Table;
use super::{Bench, app};
use crate::nodes::{self, Node};
use crate::root;

const MODES: [&str; 3] = ["per-request", "pooled", "single"];
/// As often as `pooled` uses an instance untold.
const REUSED: [&str; 2] = ["--max-instance-reuse-count", "1000"];
/// Which of the peers each mode stands beside: the one with an instance for each request, or the one that reuses them.
const BESIDE: [usize; 3] = [0, 1, 1];

/// What is asked for.
struct Work {
    name: &'static str,
    component: PathBuf,
    path: &'static str,
}

pub(super) async fn measure(bench: &Bench<'_>, tools: &Tools) -> Result<String> {
    let works = [
        Work { name: "hello", component: app(), path: "" },
        Work { name: "compute", component: root().join("tests/guests/http.wasm"), path: "compute" },
    ];
    let mut table = Table::new(
        &format!(
            "`wrk -t2 -cC -d{}s` against apps of {REPLICAS} replicas behind one node's ingress, and `{} serve` with `{}` (reusing: \
             and `{}`), {} rounds in turns. `compute` adds up and mixes for about a millisecond:",
            bench.arguments.seconds,
            tools.version,
            TUNED.join(" "),
            REUSED.join(" "),
            bench.rounds()
        ),
        &["guest", "connections", "server", "requests/s", "to its peer", "CPU a request", "to its peer", "p50", "p99"],
    );
    let nodes = bench.nodes("modes", 1).await?;
    for (index, work) in (0..).zip(&works) {
        let mut servers = Vec::new();
        for mode in MODES {
            let name = format!("{}-{mode}", work.name);
            deploy(&nodes[0], work, &name, mode).await?;
            servers.push(Server::wk(&nodes[0], &format!("wk, {mode}"), &name, work.path));
        }
        let reusing: Vec<&str> = TUNED.into_iter().chain(REUSED).collect();
        for (port, (label, flags)) in (0..).zip([("tuned", &TUNED[..]), ("tuned, reusing", &reusing)]) {
            let at = SocketAddrV4::new(nodes[0].plan.address, PEER_PORT + 2 * index + port);
            let label = format!("`wasmtime serve`, {label}");
            servers.push(Server::peer(tools, &label, flags, &work.component, work.path, at).await?);
        }
        for connections in CONNECTIONS {
            contest::hold(bench, &tools.wrk, &mut servers, connections).await?;
            rows(&mut table, work.name, connections, &servers);
        }
    }
    nodes::stop_all(nodes).await?;
    Ok(table.finish())
}

async fn deploy(node: &Node, work: &Work, name: &str, mode: &str) -> Result<()> {
    super::deploy(node, &work.component, name, REPLICAS).await?;
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"wk.dev/instances": mode}}}}});
    let deployment = format!("deployment/{name}");
    node.wk(&["patch", &deployment, "--type", "merge", "-p", &patch.to_string()]).await?;
    node.wk(&["rollout", "status", &deployment]).await?;
    Ok(())
}

fn rows(table: &mut Table, work: &str, connections: u16, servers: &[Server]) {
    for (index, server) in servers.iter().enumerate() {
        let quotient = BESIDE.get(index).map(|peer| [server, &servers[MODES.len() + peer]]);
        let of = [work.to_owned(), connections.to_string(), server.label.clone()];
        table.row(&[&of[..], &server.cells(quotient)].concat());
    }
}
