//! GET of `pods/<name>/debug`, which is ours: what the pod's node tells of its containers beyond the status: imports and
//! what answers them, limits and usage, the last failure with its backtrace, the last requests.

use http::StatusCode;
use serde_json::{Value, json};
use wk_api::Status;
use wk_base::body;
use wk_cluster::Freshness;

use crate::respond::{Content, Reply};
use crate::server::ApiServer;
use crate::verbs::Call;

/// The longest answer of a node: a few KiB a container.
const ANSWER_BYTES_MAX: usize = 4 << 20;

pub(super) async fn run(server: &ApiServer, call: &Call) -> Result<Reply, Status> {
    let pod = server.cluster.get(call.kind(), call.namespace(), call.name(), Freshness::Linearizable).await?;
    let node = pod.text("/spec/nodeName");
    let mut value = if node.is_empty() { Value::Null } else { ask(server, node, pod.uid()).await? };
    if value.is_null() {
        // Nothing of it has run: its status and its events say why.
        value = json!({"apiVersion": "wk.dev/v1", "kind": "PodDebug", "uid": pod.uid(), "containers": []});
    }
    value["metadata"] = json!({"name": pod.name(), "namespace": pod.namespace()});
    value["node"] = json!(node);
    value["status"] = pod.at("/status").cloned().unwrap_or_default();
    Ok(Reply::new(StatusCode::OK, Content::Value(value)))
}

async fn ask(server: &ApiServer, node: &str, pod: &str) -> Result<Value, Status> {
    let answer = server.pods.node(node, &format!("/debug/{pod}")).await?;
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(Value::Null);
    }
    let bytes = body::collect(answer.into_body(), ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| Status::unavailable(format!("node {node}: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| Status::internal(format!("node {node} answered no JSON: {error}")))
}
