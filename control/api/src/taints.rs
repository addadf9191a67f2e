//! Taints that follow from what a Node is: as Kubernetes' controller for the life of nodes puts them.
//!
//! Those that keep pods away (`NoSchedule`) are a function of the object and are written with it, so there is no moment at
//! which a node says that it is not ready and is given a pod. Not here: when pods are sent away (`wk_plan::nodes`).

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::json;
use crate::object::{Object, time_text};

/// The node says that it is not ready, or has not said anything yet.
pub const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Nobody hears the node.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Somebody cordoned the node.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The node is short of memory.
pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// The node is short of room on its disk.
pub const DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";

/// The node is short of process ids.
pub const PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";

const NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";

/// Keeps new pods away.
pub const NO_SCHEDULE: &str = "NoSchedule";

/// Sends pods away.
pub const NO_EXECUTE: &str = "NoExecute";

/// Of these keys a node has a taint that keeps pods away when it is so, and at no other time.
const KEEP_AWAY: [&str; 7] =
    [NOT_READY, UNREACHABLE, UNSCHEDULABLE, MEMORY_PRESSURE, DISK_PRESSURE, PID_PRESSURE, NETWORK_UNAVAILABLE];

/// Conditions that are a reason when they are true.
const REASONS: [(&str, &str); 4] = [
    ("MemoryPressure", MEMORY_PRESSURE),
    ("DiskPressure", DISK_PRESSURE),
    ("PIDPressure", PID_PRESSURE),
    ("NetworkUnavailable", NETWORK_UNAVAILABLE),
];

/// The key that says why a node is not ready; none if it is.
pub fn of_readiness(node: &Object) -> Option<&'static str> {
    match condition(node, "Ready") {
        "True" => None,
        "Unknown" => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    }
}

/// Brings the taints that keep pods away up to date.
pub fn follow(node: &mut Object, now: Timestamp) {
    let Some(taints) = following(node, now) else { return };
    let spec = json::object_at(&mut node.0, "spec");
    if taints.is_empty() {
        json::remove(spec, "taints");
    } else {
        json::set(spec, "taints", taints);
    }
}

/// The node's taints with those that keep pods away as they follow from it; none if they are so.
pub fn following(node: &Object, now: Timestamp) -> Option<Vec<Value>> {
    let cordoned = node.at("/spec/unschedulable") == Some(&Value::Bool(true));
    let short = REASONS.iter().filter(|(kind, _)| condition(node, kind) == "True").map(|(_, key)| *key);
    let wanted: Vec<&str> =
        of_readiness(node).into_iter().chain(short).chain(cordoned.then_some(UNSCHEDULABLE)).collect();
    with(node.items("/spec/taints"), NO_SCHEDULE, &KEEP_AWAY, &wanted, now)
}

/// `taints` where those of `own` keys with this effect are the `wanted` ones, and no others; none if they are so. All others
/// are somebody's own.
pub fn with(taints: &[Value], effect: &str, own: &[&str], wanted: &[&str], now: Timestamp) -> Option<Vec<Value>> {
    let key = |taint: &Value| own.iter().copied().find(|key| is(taint, key, effect));
    let stays = |taint: &&Value| key(taint).is_none_or(|key| wanted.contains(&key));
    let lacks = |key: &&&str| !taints.iter().any(|taint| is(taint, key, effect));
    let mut new: Vec<Value> = taints.iter().filter(stays).cloned().collect();
    let added = wanted.iter().filter(lacks);
    new.extend(added.map(|key| json!({"key": key, "effect": effect, "timeAdded": time_text(now)})));
    (new != taints).then_some(new)
}

fn is(taint: &Value, key: &str, effect: &str) -> bool {
    json::text(taint, &["key"]) == key && json::text(taint, &["effect"]) == effect
}

/// Its status; empty when the node does not say.
fn condition<'a>(node: &'a Object, kind: &str) -> &'a str {
    let found = node.items("/status/conditions").iter().find(|condition| json::text(condition, &["type"]) == kind);
    found.map_or("", |condition| json::text(condition, &["status"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2025-01-01T00:00:00Z";

    fn node(ready: &str, more: &[&str], spec: &Value) -> Object {
        let mut conditions = vec![json!({"type": "Ready", "status": ready})];
        conditions.extend(more.iter().map(|kind| json!({"type": kind, "status": "True"})));
        Object::new(json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}}))
    }

    fn shown(node: &Object) -> Option<Vec<String>> {
        let taints = following(node, NOW.parse().expect("a time"))?;
        let text = |taint: &Value, key: &str| json::text(taint, &[key]).to_owned();
        Some(taints.iter().map(|taint| format!("{}:{}", text(taint, "key"), text(taint, "effect"))).collect())
    }

    #[test]
    fn what_a_node_is_keeps_pods_away() {
        assert_eq!(shown(&node("True", &[], &json!({}))), None);
        let prefixed = |key: &str| Some(vec![format!("node.kubernetes.io/{key}:NoSchedule")]);
        assert_eq!(shown(&node("False", &[], &json!({}))), prefixed("not-ready"));
        assert_eq!(shown(&node("Unknown", &[], &json!({}))), prefixed("unreachable"));
        assert_eq!(shown(&Object::new(json!({"metadata": {"name": "n"}}))), prefixed("not-ready"));
        assert_eq!(shown(&node("True", &[], &json!({"unschedulable": true}))), prefixed("unschedulable"));
        for (kind, key) in [
            ("MemoryPressure", "memory-pressure"),
            ("DiskPressure", "disk-pressure"),
            ("PIDPressure", "pid-pressure"),
            ("NetworkUnavailable", "network-unavailable"),
        ] {
            assert_eq!(shown(&node("True", &[kind], &json!({}))), prefixed(key));
        }
    }

    #[test]
    fn taints_of_others_stay_and_those_that_hold_no_more_go() {
        let own = json!({"key": "gpu", "value": "yes", "effect": "NoSchedule"});
        let evicting = json!({"key": NOT_READY, "effect": "NoExecute"});
        let since = json!({"key": UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": "2024-01-01T00:00:00Z"});
        let late = json!({"key": UNREACHABLE, "effect": "NoSchedule"});
        let node = |taints: Value| node("True", &[], &json!({"unschedulable": true, "taints": taints}));
        let taints = following(&node(json!([own, evicting, since, late])), NOW.parse().expect("a time"));
        assert_eq!(taints, Some(vec![own.clone(), evicting.clone(), since.clone()]));
        assert_eq!(shown(&node(json!([own, evicting, since]))), None);
    }
}
