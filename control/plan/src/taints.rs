//! Pods that a node's `NoExecute` taints send away: at once, or when the time is over that they tolerate the taint for.
//!
//! The taints are those that somebody put on a node, and those of a node that is not ready or that nobody hears
//! ([`crate::nodes`]). From such a node nobody hears either that a pod is gone, so those go that another takes the place of.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::Value;
use wk_api::strategy::Disruption;
use wk_api::taints::{NO_EXECUTE, NOT_READY, UNREACHABLE};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Event, EventType, Order, Plan, Target};
use crate::scheduler::tolerates;
use crate::{nodes, owned, pod, read};

/// As in Kubernetes.
const COMPONENT: &str = "taint-eviction-controller";

/// What a pod says of itself that a taint sends away.
const BY_TAINT: Disruption =
    Disruption { reason: "DeletionByTaintManager", message: "Taint manager: deleting due to NoExecute taint" };

/// A taint of a node: the node's name, and the taint's key and value.
pub type Taint = (String, String, String);

/// Since when this leader has known each taint that evicts. Kubernetes counts from there too, not from when it was put.
pub type Since = BTreeMap<Taint, Timestamp>;

/// What the decision is made from.
pub struct Input<'a> {
    /// All nodes.
    pub nodes: &'a [&'a Object],
    /// All pods; may be left out while no node has such a taint.
    pub pods: &'a [&'a Object],
    /// Since when each taint is known; of those not in it, since now.
    pub since: &'a Since,
    /// Since when this leader hears: it took over then, or woke from a pause.
    pub hearing_since: Timestamp,
}

/// The taints of all nodes that evict, each known since `before` said, or since now.
pub fn known(nodes: &[&Object], before: &Since, now: Timestamp) -> Since {
    let taints = nodes.iter().flat_map(|node| evicting(node).map(|taint| name_of(node, taint)));
    taints
        .map(|taint| (before.get(&taint).copied().unwrap_or(now), taint))
        .map(|(since, taint)| (taint, since))
        .collect()
}

fn evicting(node: &Object) -> impl Iterator<Item = &Value> {
    node.items("/spec/taints").iter().filter(|taint| read::text(taint, "effect") == NO_EXECUTE)
}

fn name_of(node: &Object, taint: &Value) -> Taint {
    (node.name().to_owned(), read::text(taint, "key").to_owned(), read::text(taint, "value").to_owned())
}

/// Deletes the pods whose time on their node is over.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let tainted: BTreeMap<&str, (&Object, Vec<&Value>)> = input
        .nodes
        .iter()
        .map(|node| (node.name(), (*node, evicting(node).filter(|taint| holds(taint, node)).collect::<Vec<_>>())))
        .filter(|(_, (_, taints))| !taints.is_empty())
        .collect();
    for pod in input.pods.iter().filter(|pod| pod::is_active(pod)) {
        let Some((node, taints)) = tainted.get(pod::node(pod)) else { continue };
        let ends = taints.iter().filter(|taint| !is_of_readiness(taint) || is_replaced(pod)).map(|taint| {
            let known = input.since.get(&name_of(node, taint)).copied().unwrap_or(now);
            end(taint, pod.items("/spec/tolerations"), counted(taint, known, input.hearing_since))
        });
        match ends.min() {
            Some(end) if end <= now => leave(pod, &mut plan),
            Some(end) if end < Timestamp::MAX => plan.due_by(end),
            _ => {}
        }
    }
    plan
}

/// From when on the time counts. Somebody else may have found the node silent: what that says of today is known when this
/// leader has listened for as long.
fn counted(taint: &Value, known: Timestamp, hearing_since: Timestamp) -> Timestamp {
    if read::text(taint, "key") == UNREACHABLE {
        known.max(hearing_since.saturating_add(nodes::SILENT_AFTER).unwrap_or(Timestamp::MAX))
    } else {
        known
    }
}

fn is_of_readiness(taint: &Value) -> bool {
    matches!(read::text(taint, "key"), NOT_READY | UNREACHABLE)
}

/// Whether a taint holds: one of a node that is well again, or is not well in another way, is about to go.
fn holds(taint: &Value, node: &Object) -> bool {
    !is_of_readiness(taint) || wk_api::taints::of_readiness(node) == Some(read::text(taint, "key"))
}

/// Whether a pod that is marked makes room for another one. One of a StatefulSet does not: there are never two of its name, so
/// the set waits until it is gone, and that only its node can say, or whoever removes the node. One that nobody controls
/// stays: the node may come back, and the pod with it.
fn is_replaced(pod: &Object) -> bool {
    let is_of_set = |owner: &Value| {
        read::text(owner, "kind") == kinds::STATEFULSET.kind
            && read::text(owner, "apiVersion") == kinds::STATEFULSET.api_version()
    };
    owned::controller(pod).is_some_and(|owner| !is_of_set(owner))
}

/// Until when a pod may stay beside `taint`: for ever is the end of time.
fn end(taint: &Value, tolerations: &[Value], since: Timestamp) -> Timestamp {
    let (key, value) = (read::text(taint, "key"), read::text(taint, "value"));
    // The first that fits, as in Kubernetes.
    let Some(found) = tolerations.iter().find(|toleration| tolerates(toleration, key, value, NO_EXECUTE)) else {
        return since;
    };
    match found.get("tolerationSeconds").and_then(Value::as_i64) {
        None => Timestamp::MAX,
        Some(seconds) => since.saturating_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX),
    }
}

fn leave(pod: &Object, plan: &mut Plan) {
    plan.say(format!("{}/{}: leaves tainted node {}", pod.namespace(), pod.name(), pod::node(pod)));
    plan.orders.push(Order::Evict {
        target: Target::version(&kinds::POD, pod),
        grace_period_seconds: None,
        why: BY_TAINT,
    });
    plan.orders.push(Order::Event(Event {
        regarding: Target::incarnation(&kinds::POD, pod),
        kind: EventType::Normal,
        reason: "TaintManagerEviction",
        message: format!("Marking for deletion Pod {}/{}", pod.namespace(), pod.name()),
        component: COMPONENT,
    }));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(taints: Value) -> Object {
        let mut node = json!({"metadata": {"name": "n1"}});
        node["spec"]["taints"] = taints;
        Object::new(node)
    }

    fn pod(tolerations: Value) -> Object {
        let metadata = json!({"name": "p", "namespace": "default", "uid": "u"});
        let mut pod = json!({"metadata": metadata, "spec": {"nodeName": "n1"}});
        pod["spec"]["tolerations"] = tolerations;
        Object::new(pod)
    }

    fn planned(node: &Object, pod: &Object, since: &str, now: &str) -> (usize, Option<Timestamp>) {
        let known = known(&[node], &Since::new(), since.parse().expect("a time"));
        let input =
            Input { nodes: &[node], pods: &[pod], since: &known, hearing_since: HEARING.parse().expect("a time") };
        let plan = plan(&input, now.parse().expect("a time"));
        (plan.orders.len(), plan.due)
    }

    const HEARING: &str = "2024-12-31T23:59:50Z";

    const START: &str = "2025-01-01T00:00:00Z";
    const LATER: &str = "2025-01-01T00:01:00Z";

    #[test]
    fn who_does_not_tolerate_a_taint_leaves_at_once_and_who_does_for_a_time_leaves_then() {
        let taint = json!({"key": "x", "value": "y", "effect": "NoExecute"});
        let tainted = node(json!([taint]));
        assert_eq!(planned(&tainted, &pod(json!([])), START, START), (2, None));
        let other = json!([{"key": "x", "value": "z"}, {"key": "x", "operator": "Exists", "effect": "NoSchedule"}]);
        assert_eq!(planned(&tainted, &pod(other), START, START), (2, None));
        let ever = json!([{"key": "x", "operator": "Exists"}]);
        assert_eq!(planned(&tainted, &pod(ever), START, LATER), (0, None));
        let minute = json!([{"key": "x", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]);
        assert_eq!(planned(&tainted, &pod(minute.clone()), START, START), (0, Some(LATER.parse().expect("a time"))));
        assert_eq!(planned(&tainted, &pod(minute), START, LATER), (2, None));
        let mild = node(json!([{"key": "x", "effect": "NoSchedule"}]));
        assert_eq!(planned(&mild, &pod(json!([])), START, LATER), (0, None));
    }

    #[test]
    fn pod_that_leaves_says_that_it_was_the_taint() {
        let tainted = node(json!([{"key": "x", "effect": "NoExecute"}]));
        let (pod, now) = (pod(json!([])), START.parse().expect("a time"));
        let since = known(&[&tainted], &Since::new(), now);
        let plan = plan(&Input { nodes: &[&tainted], pods: &[&pod], since: &since, hearing_since: now }, now);
        assert!(matches!(&plan.orders[0], Order::Evict { why, .. } if why.reason == "DeletionByTaintManager"));
    }

    #[test]
    fn a_taint_is_known_since_it_was_first_seen() {
        let tainted = node(json!([{"key": "x", "effect": "NoExecute"}]));
        let first = known(&[&tainted], &Since::new(), START.parse().expect("a time"));
        assert_eq!(known(&[&tainted], &first, LATER.parse().expect("a time")), first);
        assert!(known(&[&node(json!([]))], &first, LATER.parse().expect("a time")).is_empty());
    }

    #[test]
    fn of_a_silent_node_those_go_that_are_replaced_and_do_not_tolerate_it_for_ever() {
        let mut silent = node(json!([{"key": UNREACHABLE, "effect": NO_EXECUTE}]));
        silent.0["status"] = json!({"conditions": [{"type": "Ready", "status": "Unknown"}]});
        let tolerates = |seconds: Value| json!([{"key": UNREACHABLE, "operator": "Exists", "effect": NO_EXECUTE, "tolerationSeconds": seconds}]);
        let owned = |kind: &str, group: &str, tolerations: Value| {
            let mut pod = pod(tolerations);
            let owner =
                json!({"apiVersion": format!("{group}/v1"), "kind": kind, "name": "o", "uid": "o", "controller": true});
            pod.0["metadata"]["ownerReferences"] = json!([owner]);
            pod
        };
        let second = tolerates(json!(1));
        let replaced = owned("ReplicaSet", "apps", second.clone());
        assert_eq!(planned(&silent, &replaced, START, LATER), (2, None));
        assert_eq!(planned(&silent, &owned("ReplicaSet", "apps", json!([])), START, START), (2, None));
        assert_eq!(planned(&silent, &owned("StatefulSet", "a.example.org", second.clone()), START, LATER), (2, None));
        let due = START.parse::<Timestamp>().expect("a time").saturating_add(SignedDuration::from_secs(1));
        assert_eq!(planned(&silent, &replaced, START, START), (0, due.ok()));
        let mut ended = replaced.clone();
        ended.0["status"] = json!({"phase": "Succeeded"});
        let mut going = replaced.clone();
        going.0["metadata"]["deletionTimestamp"] = START.into();
        let mut well = silent.clone();
        well.0["status"]["conditions"][0]["status"] = "True".into();
        assert_eq!(planned(&well, &replaced, START, LATER), (0, None), "its taint is about to go");
        for stays in [
            ended,
            going,
            pod(second.clone()),
            owned("StatefulSet", "apps", second),
            owned("DaemonSet", "apps", tolerates(Value::Null)),
        ] {
            assert_eq!(planned(&silent, &stays, START, LATER), (0, None), "{stays:?}");
        }
    }

    #[test]
    fn a_leader_that_has_not_listened_for_long_sends_nobody_away_from_a_silent_node() {
        let mut silent = node(json!([{"key": UNREACHABLE, "effect": NO_EXECUTE}]));
        silent.0["status"] = json!({"conditions": [{"type": "Ready", "status": "Unknown"}]});
        let mut pod = pod(json!([]));
        pod.0["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true}]);
        let now: Timestamp = START.parse().expect("a time");
        let since = known(&[&silent], &Since::new(), now);
        let listening = Input { nodes: &[&silent], pods: &[&pod], since: &since, hearing_since: now };
        let plan = plan(&listening, now);
        assert_eq!((plan.orders.len(), plan.due), (0, now.saturating_add(nodes::SILENT_AFTER).ok()));
    }
}
