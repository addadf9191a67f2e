//! A terminating namespace: its content goes, then its finalizer, and with that itself.

use serde_json::json;
use wk_api::{Kind, Object, kinds};

use crate::order::{Order, Plan, Target};

/// The finalizer of `spec.finalizers` that stands for the content.
const FINALIZER: &str = "kubernetes";

/// What the decision is made from.
pub struct Input<'a> {
    /// The namespace.
    pub namespace: &'a Object,
    /// Everything in it, of every kind. At least as new as the namespace: nothing is created in it after its mark.
    pub content: &'a [(&'static Kind, &'a Object)],
}

/// Empties and finalizes the namespace, if it is terminating.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let namespace = input.namespace;
    if !namespace.is_deleting() {
        return plan;
    }
    if input.content.is_empty() {
        let finalizers = namespace.items("/spec/finalizers");
        if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            plan.say(format!("{}: empty", namespace.name()));
            let left: Vec<_> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
            let target = Target::version(&kinds::NAMESPACE, namespace);
            plan.orders.push(Order::Update { target, change: json!({"spec": {"finalizers": left}}) });
        }
        return plan;
    }
    let going = input.content.iter().filter(|(_, object)| object.is_deleting()).count();
    let (all, name) = (input.content.len(), namespace.name());
    plan.say(format!("{name}: {} objects to delete, {going} on their way out", all - going));
    for (kind, object) in input.content.iter().filter(|(_, object)| !object.is_deleting()) {
        plan.orders.push(Order::Delete {
            target: Target::incarnation(kind, object),
            grace_period_seconds: None,
            propagation: None,
        });
    }
    plan
}
