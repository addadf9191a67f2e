//! Binding a pod to a node, as `pods/binding` does.
//!
//! Source: `k8s.io/kubernetes/pkg/registry/core/pod/storage` (`BindingREST`), `ValidatePodBinding`.

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::metadata;
use crate::field::Errors;
use crate::json;
use crate::kinds::{BINDING, POD};
use crate::object::{Object, time_text};
use crate::status::Status;

/// The pod on the node that `binding` names, with its annotations, and with the condition PodScheduled.
pub fn bind(pod: &Object, binding: &Value, now: Timestamp) -> Result<Object, Status> {
    let mut errors = Errors::new();
    let kind = json::text(binding, &["target", "kind"]);
    if !["", "Node"].contains(&kind) {
        errors.not_supported("target.kind", kind, &["Node", "<empty>"]);
    }
    let node = json::text(binding, &["target", "name"]);
    if node.is_empty() {
        errors.required("target.name", "");
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&BINDING, pod.name(), errors));
    }
    let binding = Object::new(binding.clone());
    metadata::same_object(&POD, pod, &binding)?;
    let version = binding.resource_version();
    if !version.is_empty() && version != pod.resource_version() {
        return Err(Status::modified(&POD, pod.name()));
    }
    let why = if pod.is_deleting() {
        Some(format!("pod {} is being deleted, cannot be assigned to a host", pod.name()))
    } else if !pod.text("/spec/nodeName").is_empty() {
        Some(format!("pod {} is already assigned to node {:?}", pod.name(), pod.text("/spec/nodeName")))
    } else if !pod.items("/spec/schedulingGates").is_empty() {
        Some(format!("pod {} has non-empty .spec.schedulingGates", pod.name()))
    } else {
        None
    };
    if let Some(why) = why {
        let mut status = Status::conflict(&POD, pod.name(), &why);
        status.message = format!("Operation cannot be fulfilled on pods/binding {:?}: {why}", pod.name());
        return Err(status);
    }
    let mut bound = pod.clone();
    json::set(json::object_at(&mut bound.0, "spec"), "nodeName", node);
    for (key, value) in json::members(binding.metadata(), &["annotations"]) {
        json::set(json::object_at(json::object_at(&mut bound.0, "metadata"), "annotations"), key, value.clone());
    }
    set_condition(&mut bound, json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": time_text(now)}));
    Ok(bound)
}

/// Sets the condition of that type in the pod's status.
pub(super) fn set_condition(pod: &mut Object, condition: Value) {
    let mut conditions = pod.items("/status/conditions").to_vec();
    conditions.retain(|own| json::get(own, "type") != json::get(&condition, "type"));
    conditions.push(condition);
    json::set(json::object_at(&mut pod.0, "status"), "conditions", conditions);
}
