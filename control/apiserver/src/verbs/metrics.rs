//! GET of `metrics.k8s.io`: every node that is concerned is asked at once, and what it says is put in the metrics' shape.
//!
//! A node that does not answer in time has no metrics, and neither have its pods: as with Kubernetes' metrics server,
//! they are missing rather than old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use wk_api::kinds::metrics::{Amounts, node_metrics, pod_metrics};
use wk_api::{Object, Status, kinds};
use wk_base::time::Timestamp;

use crate::negotiate::Format;
use crate::respond::Reply;
use crate::seams::NodeUsage;
use crate::selection::Selection;
use crate::server::ApiServer;
use crate::verbs::{Call, list};

/// Nodes that are asked at the same time: answers are read as they come, so this bounds what is held and not the time.
const ASKED_AT_ONCE: usize = 64;

/// What a node gets to answer in: a person waits.
const PATIENCE: Duration = Duration::from_secs(3);

/// `PodMetrics` of one pod or of those that are selected.
pub(super) async fn pods(server: &ApiServer, call: &Call, format: Format) -> Result<Reply, Status> {
    let mut pods = server.cluster.local(&kinds::POD, call.namespace()).items;
    pods.retain(|pod| call.target.name.as_ref().is_none_or(|name| pod.name() == name));
    let names = pods.iter().map(|pod| pod.text("/spec/nodeName")).filter(|it| !it.is_empty());
    let nodes = names.map(str::to_owned).collect();
    let usages = usages(server, nodes).await;
    let now = server.cluster.clock().now();
    let metrics = |pod: &Arc<Object>| Some(Arc::new(of_pod(pod, usages.get(pod.text("/spec/nodeName"))?, now)?));
    answer(server, call, format, pods.iter().filter_map(metrics).collect())
}

/// `NodeMetrics` of one node or of those that are selected.
pub(super) async fn nodes(server: &ApiServer, call: &Call, format: Format) -> Result<Reply, Status> {
    let mut nodes = server.cluster.local(&kinds::NODE, None).items;
    nodes.retain(|node| call.target.name.as_ref().is_none_or(|name| node.name() == name));
    let usages = usages(server, nodes.iter().map(|node| node.name().to_owned()).collect()).await;
    let now = server.cluster.clock().now();
    let metrics = |node: &Arc<Object>| {
        let NodeUsage { machine, window, .. } = usages.get(node.name())?;
        Some(Arc::new(node_metrics(node, *machine, *window, now)))
    };
    answer(server, call, format, nodes.iter().filter_map(metrics).collect())
}

fn of_pod(pod: &Object, usage: &NodeUsage, now: Timestamp) -> Option<Object> {
    let (window, containers) = usage.pods.get(pod.uid())?;
    let containers: Vec<(&str, Amounts)> = containers.iter().map(|(name, amounts)| (name.as_str(), *amounts)).collect();
    Some(pod_metrics(pod, &containers, *window, now))
}

/// What these nodes say; those that do not answer are left out.
async fn usages(server: &ApiServer, nodes: BTreeSet<String>) -> BTreeMap<String, NodeUsage> {
    let asked = nodes.into_iter().map(|node| async move {
        let answer = tokio::time::timeout(PATIENCE, server.pods.usage(&node)).await;
        let usage = answer.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")));
        let told = usage.inspect_err(|error| tracing::debug!(node, %error, "no metrics"));
        Some((node, told.ok()?))
    });
    futures::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready).collect().await
}

fn answer(server: &ApiServer, call: &Call, format: Format, mut found: Vec<Arc<Object>>) -> Result<Reply, Status> {
    let now = server.cluster.clock().now();
    if call.target.name.is_some() {
        let object = found.first().ok_or_else(|| Status::not_found(call.kind(), call.name()))?;
        return Ok(Reply::ok(call.show(format, now)?.one(call.kind(), object)));
    }
    let selection = Selection::parse(&call.target, &call.query)?;
    found.retain(|object| selection.matches(object));
    Ok(Reply::ok(list::of_objects(call, format, now, &found, json!({}))?))
}
