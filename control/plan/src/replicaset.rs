//! ReplicaSet, and ReplicationController, which is the same with an older selector: as many pods as it asks for.
//!
//! Not here: which template, how many, and when to change them (see [`crate::deployment`]).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::{owned, pod, read};

/// Pods created or deleted by one plan for one set (`BurstReplicas` in Kubernetes): the next look goes on from what
/// became of them, so that a broken template does not flood the store.
const BURST_MAX: usize = 500;

/// Pods of one set that ended and are kept for whoever asks why. So many that the wait which they are counted for can
/// reach [`WAIT_MAX`].
const ENDED_KEPT: usize = 10;

/// The exponent of the wait in seconds stops here: past it [`WAIT_MAX`] holds anyway.
const WAIT_EXPONENT_MAX: usize = 9;

/// The longest wait for a replacement of pods that end as soon as they start (that of a crashing container in
/// Kubernetes): what a person who mends the cause outside of the template is ready to wait.
const WAIT_MAX: SignedDuration = SignedDuration::from_secs(300);

/// Pods that were created this long before the last one that ended say nothing about it. Enough for [`ENDED_KEPT`] pods
/// at the longest wait.
const SERIES: SignedDuration = SignedDuration::from_secs(3600);

const COMPONENT: &str = "replicaset-controller";
/// The same for ReplicationControllers.
const OLDER_COMPONENT: &str = "replication-controller";

/// The condition that says why there are too few pods.
pub(crate) const FAILURE: &str = "ReplicaFailure";

/// What the decision is made from.
pub struct Input<'a> {
    /// What the set is: a ReplicaSet, or a ReplicationController.
    pub kind: &'static Kind,
    /// The set.
    pub replicaset: &'a Object,
    /// Pods that it controls.
    pub pods: &'a [&'a Object],
    /// Pods of its namespace that nobody controls.
    pub orphans: &'a [&'a Object],
    /// Why its latest pod was refused, when nothing was created since.
    pub refused: Option<&'a str>,
}

/// Creates what is missing, deletes what is too many, says how many there are.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let set = input.replicaset;
    let mut plan = Plan::default();
    if !set.is_deleting() {
        let claims = owned::claims(input.kind, set, &kinds::POD, input.pods, input.orphans);
        if !claims.is_empty() {
            // The count comes after them: what is taken up need not be created.
            plan.orders = claims;
            return plan;
        }
    }
    let active: Vec<&Object> = input.pods.iter().copied().filter(|pod| pod::is_active(pod)).collect();
    if !set.is_deleting() {
        let ended = ended(input.pods);
        plan.extend(scale((input.kind, set), &active, wait_until(&ended), now));
        plan.orders.extend(ended.iter().skip(ENDED_KEPT).take(BURST_MAX).map(|pod| Order::Delete {
            target: Target::version(&kinds::POD, pod),
            // Nothing of it runs, so its node need not be asked.
            grace_period_seconds: Some(0),
            propagation: None,
        }));
    }
    plan.extend(status((input.kind, set), &active, input.refused, now));
    plan
}

/// The pods that ended, newest first.
fn ended<'a>(pods: &[&'a Object]) -> Vec<&'a Object> {
    let mut ended: Vec<&Object> =
        pods.iter().copied().filter(|pod| pod::is_finished(pod) && !pod.is_deleting()).collect();
    ended.sort_by_key(|pod| (Reverse(read::created(pod)), pod.name()));
    ended
}

/// Until when no pod is created. A pod that ends does not count, and creating the next one succeeds: without a wait, a
/// template that every node refuses would be written as fast as the disk can. The wait doubles with each pod of the
/// series and runs from the creation of the newest, so a pod that had run for long is replaced at once.
fn wait_until(ended: &[&Object]) -> Option<(Timestamp, usize)> {
    let newest = read::created(ended.first()?);
    let in_series = |pod: &&&Object| newest.duration_since(read::created(pod)) <= SERIES;
    let count = ended.iter().filter(in_series).count();
    let wait = SignedDuration::from_secs(1 << count.min(WAIT_EXPONENT_MAX)).min(WAIT_MAX);
    Some((newest.saturating_add(wait).unwrap_or(Timestamp::MAX), count))
}

fn scale(
    (kind, set): (&'static Kind, &Object),
    active: &[&Object],
    wait: Option<(Timestamp, usize)>,
    now: Timestamp,
) -> Plan {
    let wanted = usize::try_from(set.int("/spec/replicas").unwrap_or(1)).unwrap_or_default();
    let mut plan = Plan::default();
    if active.len() < wanted {
        let missing = wanted - active.len();
        let exist = format!("{}: {} of {wanted} pods exist, {missing} to create", set.name(), active.len());
        if let Some((until, count)) = wait.filter(|(until, _)| *until > now) {
            plan.say(format!("{exist}, but {count} ended as soon as they started: the next is created at {until}"));
            plan.due_by(until);
        } else {
            plan.say(exist);
            plan.orders.extend((0..missing.min(BURST_MAX)).map(|_| create(kind, set)));
        }
    }
    if active.len() > wanted {
        let surplus = active.len() - wanted;
        plan.say(format!("{}: {} pods exist, {surplus} more than wanted", set.name(), active.len()));
        for victim in victims(active, surplus.min(BURST_MAX)) {
            plan.orders.push(Target::version(&kinds::POD, victim).delete());
            plan.orders.push(Order::Event(Event {
                regarding: Target::incarnation(kind, set),
                kind: EventType::Normal,
                reason: "SuccessfulDelete",
                message: format!("Deleted pod: {}", victim.name()),
                component: component(kind),
            }));
        }
    }
    plan
}

fn component(kind: &Kind) -> &'static str {
    if *kind == kinds::REPLICATIONCONTROLLER { OLDER_COMPONENT } else { COMPONENT }
}

fn create(kind: &'static Kind, set: &Object) -> Order {
    let template = |pointer: &str| read::at(set, pointer).cloned();
    let mut metadata = json!({
        "generateName": format!("{}-", set.name()),
        "namespace": set.namespace(),
        "ownerReferences": [owned::controller_reference(kind, set)],
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
            regarding: Target::incarnation(kind, set),
            kind: EventType::Normal,
            reason: "SuccessfulCreate",
            message: "Created pod: ".to_owned(),
            component: component(kind),
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

fn status((kind, set): (&'static Kind, &Object), active: &[&Object], refused: Option<&str>, now: Timestamp) -> Plan {
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
    let lacking = i64::try_from(active.len()).is_ok_and(|count| count < set.int("/spec/replicas").unwrap_or(1));
    let refused = refused.filter(|_| lacking && !set.is_deleting());
    let mut status = json!({
        "replicas": active.len(),
        "fullyLabeledReplicas": active.iter().filter(labelled).count(),
        "readyReplicas": active.iter().filter(|pod| pod::is_ready(pod)).count(),
        "availableReplicas": available,
        "observedGeneration": set.generation(),
    });
    if let Some(list) = failure(set, refused, now) {
        status["conditions"] = list.into();
    }
    if !read::says(set, &status) {
        let target = Target::version(kind, set);
        plan.orders.push(Order::Status { target, change: json!({"status": status}) });
    }
    plan
}

/// The conditions, when `ReplicaFailure` comes to them or goes.
fn failure(set: &Object, refused: Option<&str>, now: Timestamp) -> Option<Vec<Value>> {
    let mut list = set.items("/status/conditions").to_vec();
    match (refused, conditions::find(set, FAILURE)) {
        (Some(why), None) => {
            let message = why.to_owned();
            let wanted = Condition { kind: FAILURE, status: "True", reason: "FailedCreate", message };
            conditions::set(&mut list, &wanted, None, now);
        }
        (None, Some(_)) => list.retain(|condition| condition["type"] != FAILURE),
        _ => return None,
    }
    Some(list)
}
