//! Binding a pod to a node: node name and PodScheduled condition in one write, as Kubernetes' `pods/binding` does.
//!
//! Written beside the verbs of `wk-cluster`: an update may not change the node of a pod, and two writes would let a
//! node see a pod that is not scheduled yet.

use serde_json::json;
use wk_api::{Object, Status, encode, kinds};
use wk_cluster::{from_write, key, object};
use wk_plan::Target;
use wk_store::{Change, Expect, Op, Txn, Value, WriteError};

use crate::execute::holds;
use crate::work::Desk;

/// Binds `target` to `node`, unless it has changed since.
pub(crate) async fn bind(desk: &Desk, target: &Target, node: &str) -> Result<(), Status> {
    let key = key(&kinds::POD, target.namespace.as_deref(), &target.name);
    let view = desk.cluster.store().view();
    let Some(stored) = view.get(&key) else { return Err(Status::not_found(&kinds::POD, &target.name)) };
    let pod = object(&stored);
    holds(target, &pod)?;
    if !pod.text("/spec/nodeName").is_empty() || pod.is_deleting() {
        return Err(Status::modified(&kinds::POD, &target.name));
    }
    let mut bound = Object::clone(&pod);
    bound.0["spec"]["nodeName"] = node.into();
    let mut conditions = pod.items("/status/conditions").to_vec();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    let now = desk.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    conditions.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": now}));
    bound.0["status"]["conditions"] = conditions.into();
    let (bytes, stamp) = encode::stored(&bound);
    let value = Value { bytes: bytes.into(), stamp: Some(stamp) };
    let op = Op { key, expect: Expect::Revision(stored.revision()), change: Change::Put(value) };
    match desk.cluster.store().write(Txn::from(op)).await {
        Ok(_) => Ok(()),
        Err(WriteError::Conflict { .. }) => Err(Status::modified(&kinds::POD, &target.name)),
        Err(error) => Err(from_write(&error)),
    }
}
