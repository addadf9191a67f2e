//! DaemonSet: a pod on each node that it is for, and the way from one template to the next.
//!
//! Pods are given their node here, so the scheduler is not asked. On a node that is silent nothing is made: nobody would
//! take it up. Revisions of the template are in `revisions`. Not here: `maxSurge`, which counts as `maxUnavailable`.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_api::taints::{
    DISK_PRESSURE, MEMORY_PRESSURE, NO_EXECUTE, NO_SCHEDULE, NOT_READY, PID_PRESSURE, UNREACHABLE, UNSCHEDULABLE,
};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::claims::holds_on;
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::revisions::Present;
use crate::scheduler::tolerates;
use crate::{owned, pod, read, revisions};

const COMPONENT: &str = "daemonset-controller";
/// Pods created or deleted by one plan for one set (`BurstReplicas` of Kubernetes' controller).
const BURST_MAX: usize = 250;
/// A pod that ended is followed by another no sooner than this after it was made: one that ends at once on every node is
/// no flood of writes.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Taints that daemons stay beside, as in Kubernetes: key and effect.
const TOLERATED: [(&str, &str); 6] = [
    (NOT_READY, NO_EXECUTE),
    (UNREACHABLE, NO_EXECUTE),
    (DISK_PRESSURE, NO_SCHEDULE),
    (MEMORY_PRESSURE, NO_SCHEDULE),
    (PID_PRESSURE, NO_SCHEDULE),
    (UNSCHEDULABLE, NO_SCHEDULE),
];

/// What the decision is made from.
pub struct Input<'a> {
    /// The set.
    pub daemonset: &'a Object,
    /// Pods that it controls.
    pub pods: &'a [&'a Object],
    /// Pods of its namespace that nobody controls.
    pub orphans: &'a [&'a Object],
    /// ControllerRevisions that it controls.
    pub revisions: &'a [&'a Object],
    /// Those of its namespace that nobody controls: what was left of a set of this name is taken up with its pods.
    pub orphan_revisions: &'a [&'a Object],
    /// The names of the ControllerRevisions of its namespace that may be called as its own.
    pub taken: &'a BTreeSet<&'a str>,
    /// All nodes.
    pub nodes: &'a [&'a Object],
}

/// What a node is to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is to have a pod.
    Wanted,
    /// It gets none, and one that is there stays.
    Kept,
    /// It is to have none.
    Unwanted,
}

/// What is on a node.
#[derive(Default)]
struct Here<'a> {
    active: Vec<&'a Object>,
    ended: Vec<&'a Object>,
    going: bool,
}

/// Creates what is missing, deletes what is too many or of an old template, says how many there are.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let set = input.daemonset;
    let mut plan = Plan::default();
    if set.is_deleting() {
        return plan;
    }
    let mut claims = owned::claims(&kinds::DAEMONSET, set, &kinds::POD, input.pods, input.orphans);
    let (own, left) = (input.revisions, input.orphan_revisions);
    claims.extend(owned::claims(&kinds::DAEMONSET, set, &kinds::CONTROLLERREVISION, own, left));
    if !claims.is_empty() {
        plan.orders = claims;
        return plan;
    }
    let present = Present::of(set, input.revisions, input.taken).or_alike(set, input.revisions);
    let is_used = |revision: &Object| {
        let hash = revision.label(revisions::HASH_LABEL);
        hash.is_some()
            && input.pods.iter().any(|pod| !pod::is_finished(pod) && pod.label(revisions::HASH_LABEL) == hash)
    };
    plan.extend(revisions::plan((&kinds::DAEMONSET, set), input.revisions, &present, is_used));
    let hash = present.hash;
    let tolerations = tolerations(set);
    let mut here: BTreeMap<&str, Here<'_>> = BTreeMap::new();
    for pod in input.pods {
        let there = here.entry(pod::node(pod)).or_default();
        if pod.is_deleting() {
            there.going = true;
        } else if pod::is_finished(pod) {
            there.ended.push(pod);
        } else {
            there.active.push(pod);
        }
    }
    let mut count = Count::default();
    let mut orders: Vec<Order> = Vec::new();
    for node in input.nodes {
        let there = here.remove(node.name()).unwrap_or_default();
        let place = place(set, node, &tolerations);
        orders.extend(on_node(set, node, place, &there, &hash, now, &mut plan));
        count.add(place, there.active.first().copied(), set, &hash, now, &mut plan);
    }
    // What is left is on no node that there is; pods of nodes that are gone are removed by others.
    plan.orders.extend(orders.into_iter().take(BURST_MAX));
    plan.orders.extend(replaced(set, input, &hash, &count, now));
    plan.extend(count.status(set));
    plan
}

/// What is to be done on one node.
fn on_node(
    set: &Object,
    node: &Object,
    place: Place,
    there: &Here<'_>,
    hash: &str,
    now: Timestamp,
    plan: &mut Plan,
) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    for ended in &there.ended {
        let again = read::created(ended).saturating_add(AGAIN).unwrap_or(Timestamp::MAX);
        if again > now {
            plan.due_by(again);
            continue;
        }
        let message = format!("Found failed daemon pod {} on node {}, will try to kill it", named(ended), node.name());
        orders.push(delete(ended, Some(0)));
        orders.push(event(set, EventType::Warning, "FailedDaemonPod", message));
    }
    match place {
        Place::Wanted => {
            // The one that stays is the one that serves, then the oldest.
            let mut active = there.active.clone();
            active.sort_by_key(|pod| (Reverse(pod::is_ready(pod)), read::created(pod), pod.name()));
            orders.extend(active.iter().skip(1).flat_map(|pod| removed(set, pod)));
            let is_free = active.is_empty() && there.ended.is_empty() && !there.going;
            if is_free {
                plan.say(format!("{}: {} has no pod of it", set.name(), node.name()));
                orders.push(create(set, node.name(), hash));
            }
        }
        Place::Kept => {}
        Place::Unwanted => orders.extend(there.active.iter().flat_map(|pod| removed(set, pod))),
    }
    orders
}

/// What a node is to the set.
fn place(set: &Object, node: &Object, tolerations: &[Value]) -> Place {
    let spec = "/spec/template/spec";
    let named = set.text(&format!("{spec}/nodeName"));
    let labels = read::map(set, &format!("{spec}/nodeSelector"));
    let labelled = labels.is_none_or(|wanted| read::has_all(read::map(node, "/metadata/labels"), wanted));
    let required = "affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let terms = set.items(&format!("{spec}/{required}"));
    if !(named.is_empty() || named == node.name()) || !labelled || !(terms.is_empty() || holds_on(terms, node)) {
        return Place::Unwanted;
    }
    let repels = |effect: &str| {
        node.items("/spec/taints").iter().filter(|taint| read::text(taint, "effect") == effect).any(|taint| {
            let (key, value) = (read::text(taint, "key"), read::text(taint, "value"));
            !tolerations.iter().any(|toleration| tolerates(toleration, key, value, effect))
        })
    };
    if repels(NO_EXECUTE) {
        Place::Unwanted
    } else if repels(NO_SCHEDULE) {
        Place::Kept
    } else {
        Place::Wanted
    }
}

fn tolerations(set: &Object) -> Vec<Value> {
    let own = set.items("/spec/template/spec/tolerations").iter().cloned();
    let more = TOLERATED.map(|(key, effect)| json!({"key": key, "operator": "Exists", "effect": effect}));
    own.chain(more).collect()
}

/// Pods of an earlier template that make room now: those that serve nobody, and as many others as may be missing.
fn replaced(set: &Object, input: &Input<'_>, hash: &str, count: &Count, now: Timestamp) -> Vec<Order> {
    if set.text("/spec/updateStrategy/type") != "RollingUpdate" {
        return Vec::new();
    }
    let rolling = |field: &str| {
        let value = set.at(&format!("/spec/updateStrategy/rollingUpdate/{field}"));
        read::share(value, count.desired, read::Round::Up).unwrap_or_default()
    };
    let most = rolling("maxUnavailable").max(rolling("maxSurge")).max(1);
    let seconds = min_ready(set);
    let is_old =
        |pod: &&&Object| !pod.is_deleting() && !pod::is_finished(pod) && pod.label(revisions::HASH_LABEL) != Some(hash);
    let mut old: Vec<&Object> = input.pods.iter().filter(is_old).copied().collect();
    let serves = |pod: &Object| pod::available_at(pod, seconds).is_some_and(|at| at <= now);
    old.sort_by_key(|pod| (serves(pod), pod.name()));
    let mut room = usize::try_from(most - count.unavailable()).unwrap_or_default();
    let mut orders = Vec::new();
    for pod in old {
        if serves(pod) {
            if room == 0 {
                break;
            }
            room -= 1;
        }
        orders.extend(removed(set, pod));
    }
    orders.truncate(2 * BURST_MAX);
    orders
}

fn min_ready(set: &Object) -> i64 {
    set.int("/spec/minReadySeconds").unwrap_or_default()
}

/// How many nodes are in which state.
#[derive(Default)]
struct Count {
    desired: i64,
    current: i64,
    misscheduled: i64,
    ready: i64,
    available: i64,
    updated: i64,
}

impl Count {
    fn add(&mut self, place: Place, own: Option<&Object>, set: &Object, hash: &str, now: Timestamp, plan: &mut Plan) {
        if place != Place::Wanted {
            self.misscheduled += i64::from(own.is_some());
            return;
        }
        self.desired += 1;
        let Some(own) = own else { return };
        self.current += 1;
        self.ready += i64::from(pod::is_ready(own));
        self.updated += i64::from(own.label(revisions::HASH_LABEL) == Some(hash));
        match pod::available_at(own, min_ready(set)) {
            Some(at) if at <= now => self.available += 1,
            Some(at) => plan.due_by(at),
            None => {}
        }
    }

    fn unavailable(&self) -> i64 {
        self.desired - self.available
    }

    fn status(&self, set: &Object) -> Plan {
        let mut plan = Plan::default();
        let status = json!({
            "desiredNumberScheduled": self.desired,
            "currentNumberScheduled": self.current,
            "numberMisscheduled": self.misscheduled,
            "numberReady": self.ready,
            "updatedNumberScheduled": self.updated,
            "numberAvailable": self.available,
            "numberUnavailable": self.unavailable(),
            "observedGeneration": set.generation(),
        });
        if !read::says(set, &status) {
            let target = Target::version(&kinds::DAEMONSET, set);
            plan.orders.push(Order::Status { target, change: json!({"status": status}) });
        }
        plan
    }
}

fn named(pod: &Object) -> String {
    format!("{}/{}", pod.namespace(), pod.name())
}

fn delete(pod: &Object, grace_period_seconds: Option<i64>) -> Order {
    Order::Delete { target: Target::version(&kinds::POD, pod), grace_period_seconds, propagation: None }
}

fn removed(set: &Object, pod: &Object) -> [Order; 2] {
    let message = format!("Deleted pod: {}", pod.name());
    [delete(pod, None), event(set, EventType::Normal, "SuccessfulDelete", message)]
}

fn event(set: &Object, kind: EventType, reason: &'static str, message: String) -> Order {
    let regarding = Target::incarnation(&kinds::DAEMONSET, set);
    Order::Event(Event { regarding, kind, reason, message, component: COMPONENT })
}

fn create(set: &Object, node: &str, hash: &str) -> Order {
    let template = |pointer: &str| read::at(set, &format!("/spec/template{pointer}")).cloned();
    let mut metadata = json!({
        "generateName": format!("{}-", set.name()),
        "namespace": set.namespace(),
        "ownerReferences": [owned::controller_reference(&kinds::DAEMONSET, set)],
        "labels": template("/metadata/labels").unwrap_or_else(|| json!({})),
    });
    metadata["labels"][revisions::HASH_LABEL] = hash.into();
    if let Some(generation) = set.annotation("deprecated.daemonset.template.generation") {
        metadata["labels"]["pod-template-generation"] = generation.into();
    }
    for field in ["annotations", "finalizers"] {
        if let Some(value) = template(&format!("/metadata/{field}")) {
            metadata[field] = value;
        }
    }
    let mut spec = template("/spec").unwrap_or_else(|| json!({}));
    spec["nodeName"] = node.into();
    spec["tolerations"] = tolerations(set).into();
    Order::Create {
        kind: &kinds::POD,
        namespace: Some(set.namespace().to_owned()),
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        announce: Some(Event {
            regarding: Target::incarnation(&kinds::DAEMONSET, set),
            kind: EventType::Normal,
            reason: "SuccessfulCreate",
            message: "Created pod: ".to_owned(),
            component: COMPONENT,
        }),
    }
}
