//! A terminating namespace: its content goes, then its finalizer, and with that itself. What is left, and what holds it,
//! stands in its conditions, in Kubernetes' words.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
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
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
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
        plan.orders.push(Target::incarnation(kind, object).delete());
    }
    let mut told = namespace.items("/status/conditions").to_vec();
    for condition in state(input.content) {
        conditions::set(&mut told, &condition, None, now);
    }
    if told != namespace.items("/status/conditions") {
        let target = Target::version(&kinds::NAMESPACE, namespace);
        plan.orders.push(Order::Status { target, change: json!({"status": {"conditions": told}}) });
    }
    plan
}

/// What is left, as conditions. The first three are about failures that cannot happen here.
fn state(content: &[(&'static Kind, &Object)]) -> [Condition; 5] {
    let mut left: BTreeMap<String, usize> = BTreeMap::new();
    let mut holding: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, object) in content {
        *left.entry(format!("{}.{}", kind.plural, kind.group)).or_default() += 1;
        for finalizer in object.items("/metadata/finalizers").iter().filter_map(Value::as_str) {
            *holding.entry(finalizer).or_default() += 1;
        }
    }
    let left: Vec<String> =
        left.into_iter().map(|(resource, count)| format!("{resource} has {count} resource instances")).collect();
    let held: Vec<String> =
        holding.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")).collect();
    let condition = |kind, status, reason, message: String| Condition { kind, status, reason, message };
    [
        condition(
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        condition(
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", left.join(", ")),
        ),
        match held.as_slice() {
            [] => condition(
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            ),
            held => condition(
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                format!("Some content in the namespace has finalizers remaining: {}", held.join(", ")),
            ),
        },
    ]
}
