//! ReplicaSet: as many pods as it asks for.
//!
//! Not here: which template, how many, and when to change them (see [`crate::deployment`]).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Value, json};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Event, EventType, Order, Plan, Target};
use crate::{owned, pod, read};

/// Pods created or deleted by one plan for one set (`BurstReplicas` in Kubernetes): the next look goes on from what
/// became of them, so that a broken template does not flood the store.
const BURST_MAX: usize = 500;

const COMPONENT: &str = "replicaset-controller";

/// What the decision is made from.
pub struct Input<'a> {
    /// The set.
    pub replicaset: &'a Object,
    /// Pods that it controls.
    pub pods: &'a [&'a Object],
    /// Pods of its namespace that nobody controls.
    pub orphans: &'a [&'a Object],
}

/// Creates what is missing, deletes what is too many, says how many there are.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let set = input.replicaset;
    let mut plan = Plan::default();
    if !set.is_deleting() {
        let claims = owned::claims(&kinds::REPLICASET, set, &kinds::POD, input.pods, input.orphans);
        if !claims.is_empty() {
            // The count comes after them: what is taken up need not be created.
            plan.orders = claims;
            return plan;
        }
    }
    let active: Vec<&Object> = input.pods.iter().copied().filter(|pod| pod::is_active(pod)).collect();
    if !set.is_deleting() {
        plan.extend(scale(set, &active));
    }
    plan.extend(status(set, &active, now));
    plan
}

fn scale(set: &Object, active: &[&Object]) -> Plan {
    let wanted = usize::try_from(set.int("/spec/replicas").unwrap_or(1)).unwrap_or_default();
    let mut plan = Plan::default();
    if active.len() < wanted {
        let missing = wanted - active.len();
        plan.say(format!("{}: {} of {wanted} pods exist, {missing} to create", set.name(), active.len()));
        plan.orders.extend((0..missing.min(BURST_MAX)).map(|_| create(set)));
    }
    if active.len() > wanted {
        let surplus = active.len() - wanted;
        plan.say(format!("{}: {} pods exist, {surplus} more than wanted", set.name(), active.len()));
        for victim in victims(active, surplus.min(BURST_MAX)) {
            plan.orders.push(Order::Delete {
                target: Target::version(&kinds::POD, victim),
                grace_period_seconds: None,
                propagation: None,
            });
            plan.orders.push(Order::Event(Event {
                regarding: Target::incarnation(&kinds::REPLICASET, set),
                kind: EventType::Normal,
                reason: "SuccessfulDelete",
                message: format!("Deleted pod: {}", victim.name()),
                component: COMPONENT,
            }));
        }
    }
    plan
}

fn create(set: &Object) -> Order {
    let template = |pointer: &str| read::at(set, pointer).cloned();
    let mut metadata = json!({
        "generateName": format!("{}-", set.name()),
        "namespace": set.namespace(),
        "ownerReferences": [owned::controller_reference(&kinds::REPLICASET, set)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template(&format!("/spec/template/metadata/{field}")) {
            metadata[field] = value;
        }
    }
    Order::Create {
        kind: &kinds::POD,
        namespace: Some(set.namespace().to_owned()),
        object: json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": template("/spec/template/spec").unwrap_or_else(|| json!({})),
        }),
        announce: Some(Event {
            regarding: Target::incarnation(&kinds::REPLICASET, set),
            kind: EventType::Normal,
            reason: "SuccessfulCreate",
            message: "Created pod: ".to_owned(),
            component: COMPONENT,
        }),
    }
}

/// The `count` pods whose loss hurts least, in Kubernetes' order (`ActivePodsWithRanks`): without a node, pending, not
/// ready, cheap by annotation, on a crowded node, ready for a short time, restarted often, young. Unlike there the crowd
/// of a node is counted anew after each choice, so that what is left stays spread.
fn victims<'a>(active: &[&'a Object], count: usize) -> Vec<&'a Object> {
    let mut left: Vec<&Object> = active.to_vec();
    let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in active {
        *crowd.entry(pod::node(pod)).or_default() += 1;
    }
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let next = left.iter().enumerate().min_by_key(|(_, pod)| {
            let crowding = crowd.get(pod::node(pod)).copied().unwrap_or_default();
            (
                !pod::node(pod).is_empty(),
                phase_rank(pod),
                pod::is_ready(pod),
                deletion_cost(pod),
                Reverse(crowding),
                Reverse(pod::ready_since(pod)),
                Reverse(pod::restarts(pod)),
                Reverse(read::created(pod)),
                Reverse(pod.name()),
            )
        });
        let Some((index, _)) = next else { break };
        let pod = left.swap_remove(index);
        if let Some(count) = crowd.get_mut(pod::node(pod)) {
            *count -= 1;
        }
        chosen.push(pod);
    }
    chosen
}

fn phase_rank(pod: &Object) -> u8 {
    match pod::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Object) -> i32 {
    let cost = pod.annotation("controller.kubernetes.io/pod-deletion-cost");
    cost.and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

fn status(set: &Object, active: &[&Object], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let labels = read::map(set, "/spec/template/metadata/labels");
    let labelled = |pod: &&&Object| labels.is_none_or(|all| read::has_all(read::map(pod, "/metadata/labels"), all));
    let min_ready_seconds = set.int("/spec/minReadySeconds").unwrap_or_default();
    let mut available = 0;
    for at in active.iter().filter_map(|pod| pod::available_at(pod, min_ready_seconds)) {
        if at <= now {
            available += 1;
        } else {
            plan.due_by(at);
        }
    }
    let status = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": active.iter().filter(labelled).count(),
        "readyReplicas": active.iter().filter(|pod| pod::is_ready(pod)).count(),
        "availableReplicas": available,
        "observedGeneration": set.generation(),
    });
    if !says(set, &status) {
        let target = Target::version(&kinds::REPLICASET, set);
        plan.orders.push(Order::Status { target, change: json!({"status": status}) });
    }
    plan
}

/// Whether the status of `object` has each field of `status` already.
pub(crate) fn says(object: &Object, status: &Value) -> bool {
    let wanted = status.as_object().into_iter().flatten();
    wanted.into_iter().all(|(field, value)| object.0["status"].get(field) == Some(value))
}
