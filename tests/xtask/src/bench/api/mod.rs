//! The Kubernetes API of three nodes under load: TLS, JSON, defaults, validation, admission, the store, its disk.
//!
//! One client process sends it all, on the same machine. Its rates beside those of `bench store` say what all of that costs
//! over the store alone.

mod client;
mod lists;
mod requests;
mod watchers;

use anyhow::Result;
use serde_json::{Value, json};

use self::client::Client;
use super::{Bench, process, progress};
use crate::nodes::{self, Node};

/// Workers that each send one request after another.
const WORKERS: usize = 64;
/// As in `bench store`.
const CONNECTIONS: usize = 4;
/// Where the pods are that are listed, read and changed.
const NAMESPACE: &str = "bench";
const PODS: &str = "/api/v1/namespaces/bench/pods";
const CONFIG_MAPS: &str = "/api/v1/namespaces/bench/configmaps";

/// The nodes and the connections to them.
struct Cluster {
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// Pods in [`NAMESPACE`].
    pods: usize,
}

pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let nodes = bench.nodes("api", 3).await?;
    let clients = client::connect(&nodes, CONNECTIONS).await?;
    let cluster = Cluster { nodes, clients, pods: usize::from(bench.arguments.listed) };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster.clients[0].post("/api/v1/namespaces", &namespace).await?;
    // Each table when it is there: what comes later may fail.
    println!("{}", lists::measure(bench, &cluster).await?);
    println!("{}", requests::measure(bench, &cluster).await?);
    let watchers = watchers::measure(&cluster).await?;
    let Cluster { nodes, clients, .. } = cluster;
    drop(clients);
    nodes::stop_all(nodes).await?;
    Ok(watchers)
}

impl Cluster {
    fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.pid).collect()
    }

    /// MiB that the nodes have in memory, each.
    fn memory(&self) -> Result<Vec<u64>> {
        self.nodes.iter().map(|node| Ok(process::memory(node.pid)?.resident / 1024)).collect()
    }
}

/// The name of the pod with this number.
fn pod_name(number: usize) -> String {
    format!("web-6d4cf56db6-{number:05}")
}

/// A pod like those of a Deployment, which no scheduler here takes: nothing runs, all of it is the API's work.
fn pod(number: usize) -> Value {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name(number),
            "labels": {"app.kubernetes.io/name": "web", "pod-template-hash": "6d4cf56db6", "shard": (number % 100).to_string()},
            "annotations": {"example.com/owner": "team-a"},
        },
        "spec": {
            "schedulerName": "bench",
            "containers": [{
                "name": "web", "image": "registry.example/web:1.2.3",
                "env": [{"name": "MODE", "value": "fast"}, {"name": "LEVEL", "value": "info"}],
                "ports": [{"containerPort": 8080, "name": "http"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                "readinessProbe": probe,
            }],
        },
    })
}

/// The middle and the ends of some figures, as cells of a table.
fn cells(what: &str, figures: &[f64], digits: usize) -> [String; 3] {
    let (low, high) = super::table::range(figures);
    let middle = super::table::median(figures);
    [what.to_owned(), format!("{middle:.digits$}"), format!("{low:.digits$} to {high:.digits$}")]
}
