//! A CustomResourceDefinition that is being deleted: its objects go, what they owned is looked after, and then itself.
//!
//! Source of conditions: `k8s.io/apiextensions-apiserver/pkg/controller/finalizer`. Kubernetes does not wait for what the
//! objects owned; here the collector would not know their kind any more.

use serde_json::json;
use wk_api::{Kind, Object, kinds};

use crate::order::{Order, Plan, Target};

/// What the decision is made from.
pub struct Input<'a> {
    /// The definition.
    pub definition: &'a Object,
    /// Its objects, and the kind they are stored as. At least as new as the definition.
    pub content: &'a [(&'static Kind, &'a Object)],
    /// Objects of any kind that name one of its objects as an owner and are not deleted.
    pub owned: usize,
}

/// Empties and finalizes the definition, if it is being deleted.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let definition = input.definition;
    let finalizers = definition.finalizers();
    if !definition.is_deleting() || !finalizers.contains(&kinds::CRD_FINALIZER) {
        return plan;
    }
    let target = Target::version(&kinds::CRD, definition);
    if input.content.is_empty() && input.owned == 0 {
        plan.say(format!("{}: empty", definition.name()));
        let left: Vec<_> = finalizers.iter().filter(|finalizer| **finalizer != kinds::CRD_FINALIZER).collect();
        plan.orders.push(Order::Update { target, change: json!({ "metadata": { "finalizers": left } }) });
        return plan;
    }
    let (name, count, owned) = (definition.name(), input.content.len(), input.owned);
    plan.say(format!("{name}: {count} objects to go, {owned} that they own"));
    let mut conditions = definition.items("/status/conditions").to_vec();
    let terminating = conditions.iter_mut().find(|condition| condition["type"] == "Terminating");
    if let Some(condition) = terminating.filter(|condition| condition["reason"] != "InstanceDeletionInProgress") {
        condition["reason"] = "InstanceDeletionInProgress".into();
        condition["message"] = "CustomResource deletion is in progress".into();
        plan.orders.push(Order::Status { target, change: json!({ "status": { "conditions": conditions } }) });
    }
    for (kind, object) in input.content.iter().filter(|(_, object)| !object.is_deleting()) {
        plan.orders.push(Target::incarnation(kind, object).delete());
    }
    plan
}
