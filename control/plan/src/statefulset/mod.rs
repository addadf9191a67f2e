//! StatefulSet: pods with numbers, each with a name and claims that stay its own, made and replaced in order.
//!
//! A plan is one step, as upstream's: what comes after a pod that is not there yet, or not available, waits for it, unless the
//! set wants its pods side by side (`Parallel`). Rules: `k8s.io/kubernetes/pkg/controller/statefulset`. What a pod looks like
//! is in [`member`], and its claims are in [`claims`]. Not here: volumes of the claims, and names in the network.

mod claims;
mod member;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Event, EventType, Order, Plan, Target};
use crate::revisions::Present;
use crate::{owned, pod, read, revisions};

pub use claims::sets_of_claim;

const COMPONENT: &str = "statefulset-controller";
/// Pods that one plan makes or takes away where their order does not matter.
const BURST_MAX: usize = 250;

/// What the decision is made from.
pub struct Input<'a> {
    /// The set.
    pub statefulset: &'a Object,
    /// Pods that it controls.
    pub pods: &'a [&'a Object],
    /// Pods of its namespace that nobody controls.
    pub orphans: &'a [&'a Object],
    /// ControllerRevisions that it controls.
    pub revisions: &'a [&'a Object],
    /// Those of its namespace that nobody controls.
    pub orphan_revisions: &'a [&'a Object],
    /// The names of the ControllerRevisions of its namespace that may be called as its own.
    pub taken: &'a BTreeSet<&'a str>,
    /// The claims of its namespace, those at least that may be of this set ([`sets_of_claim`]).
    pub claims: &'a [&'a Object],
}

/// The set, and what its pods are made from.
struct Set<'a> {
    object: &'a Object,
    /// The numbers of its pods.
    start: i64,
    end: i64,
    in_order: bool,
    /// Pods below this number keep the template that all had before.
    partition: i64,
    /// The names of the revisions, and the template of the one before.
    current: String,
    update: String,
    current_template: Value,
    min_ready: i64,
    /// Claims by their names.
    claims: BTreeMap<&'a str, &'a Object>,
}

impl<'a> Set<'a> {
    fn of(input: &Input<'a>, present: &Present<'_>) -> Self {
        let object = input.statefulset;
        let start = object.int("/spec/ordinals/start").unwrap_or_default();
        let update = present.name.clone();
        let said = object.text("/status/currentRevision");
        let known = input.revisions.iter().find(|revision| revision.name() == said);
        let before = known.and_then(|revision| Some((said.to_owned(), revisions::template_of(revision)?)));
        let template = || object.at("/spec/template").cloned().unwrap_or_default();
        let (current, current_template) = before.unwrap_or_else(|| (update.clone(), template()));
        let partition = object.int("/spec/updateStrategy/rollingUpdate/partition").unwrap_or_default();
        Self {
            object,
            start,
            end: start.saturating_add(object.int("/spec/replicas").unwrap_or(1)),
            in_order: object.text("/spec/podManagementPolicy") != "Parallel",
            partition: start.saturating_add(partition),
            current,
            update,
            current_template,
            min_ready: object.int("/spec/minReadySeconds").unwrap_or_default(),
            claims: input.claims.iter().map(|claim| (claim.name(), *claim)).collect(),
        }
    }

    /// Whether there is to be a pod of this number.
    fn wants(&self, ordinal: i64) -> bool {
        (self.start..self.end).contains(&ordinal)
    }

    fn is_rolling(&self) -> bool {
        self.object.text("/spec/updateStrategy/type") == "RollingUpdate"
    }

    /// Whether `pod` is there for long enough; when it will be, if that is known.
    fn is_available(&self, pod: &Object, now: Timestamp, plan: &mut Plan) -> bool {
        match pod::available_at(pod, self.min_ready) {
            Some(at) if at <= now => true,
            Some(at) => {
                plan.due_by(at);
                false
            }
            None => false,
        }
    }
}

/// Takes one step towards the pods that are wanted, and says how many there are.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let object = input.statefulset;
    let mut plan = Plan::default();
    if object.is_deleting() {
        return plan;
    }
    let orphans: Vec<&Object> =
        input.orphans.iter().copied().filter(|pod| member::ordinal(object, pod).is_some()).collect();
    plan.orders = owned::claims(&kinds::STATEFULSET, object, &kinds::POD, input.pods, &orphans);
    let (own, left) = (input.revisions, input.orphan_revisions);
    plan.orders.extend(owned::claims(&kinds::STATEFULSET, object, &kinds::CONTROLLERREVISION, own, left));
    if !plan.orders.is_empty() {
        return plan;
    }
    let present = Present::of(object, input.revisions, input.taken);
    let set = Set::of(input, &present);
    let is_used = |revision: &Object| {
        let name = revision.name();
        name == set.current || input.pods.iter().any(|pod| pod.label(revisions::HASH_LABEL) == Some(name))
    };
    plan.extend(revisions::plan((&kinds::STATEFULSET, object), input.revisions, &present, is_used));
    let pods: BTreeMap<i64, &Object> =
        input.pods.iter().filter_map(|pod| Some((member::ordinal(object, pod)?, *pod))).collect();
    let owners = pods.iter().flat_map(|(ordinal, pod)| claims::change_owners(&set, *ordinal, pod));
    plan.orders.extend(owners.take(BURST_MAX));
    plan.extend(step(&set, &pods, now));
    plan.extend(status(&set, &pods, now));
    plan
}

/// What is next: pods that are missing, then those that are too many, then those of an earlier template.
fn step(set: &Set<'_>, pods: &BTreeMap<i64, &Object>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut changed = 0;
    for ordinal in set.start..set.end {
        if changed >= BURST_MAX {
            return plan;
        }
        let Some(pod) = pods.get(&ordinal) else {
            let missing = missing(set, ordinal);
            // Who waits for a claim to go keeps nobody else from being made.
            changed += usize::from(!missing.orders.is_empty());
            plan.extend(missing);
            if set.in_order {
                return plan;
            }
            continue;
        };
        if pod::is_finished(pod) && !pod.is_deleting() {
            // Another one of its name is made when it is gone.
            plan.orders.extend(removed(set, pod));
            changed += 1;
        }
        // Its own creation may have gone well when that of a claim did not. One that runs has, or had, what it needs.
        if pod::is_active(pod) && matches!(pod::phase(pod), "" | "Pending") {
            plan.orders.extend(claims::create(set, pod.name()));
        }
        let is_there = pod::is_active(pod) && set.is_available(pod, now, &mut plan);
        if !is_there && set.in_order {
            plan.say(format!("{}: waits for {}", set.object.name(), pod.name()));
            return plan;
        }
    }
    for (ordinal, pod) in pods.iter().rev().filter(|(ordinal, _)| !set.wants(**ordinal)) {
        if !pod.is_deleting() {
            // Its claims go with it if they are its own by then.
            if claims::change_owners(set, *ordinal, pod).is_empty() {
                plan.orders.extend(removed(set, pod));
                changed += 1;
            }
        }
        if set.in_order || changed >= BURST_MAX {
            return plan;
        }
    }
    if set.is_rolling() {
        plan.extend(replaced(set, pods, now));
    }
    plan
}

/// Makes a pod that is not there, unless a claim of the last one of its name has to go first.
fn missing(set: &Set<'_>, ordinal: i64) -> Plan {
    let (mut plan, name) = (Plan::default(), member::name(set.object, ordinal));
    if let Some(claim) = claims::going(set, &name) {
        plan.say(format!("{}: {name} waits until the claim {} is gone", set.object.name(), claim.name()));
        return plan;
    }
    plan.say(format!("{}: pod {ordinal} is missing", set.object.name()));
    plan.orders = member::create(set, ordinal);
    plan
}

/// The pod of an earlier template that is next to be replaced: from the last to the first, one at a time.
fn replaced(set: &Set<'_>, pods: &BTreeMap<i64, &Object>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    for (_, pod) in pods.range(set.partition.min(set.end)..set.end).rev() {
        if pod.is_deleting() {
            return plan;
        }
        if pod.label(revisions::HASH_LABEL) != Some(&set.update) {
            plan.say(format!("{}: {} is of an earlier template", set.object.name(), pod.name()));
            plan.orders.extend(removed(set, pod));
            return plan;
        }
        if !set.is_available(pod, now, &mut plan) {
            return plan;
        }
    }
    plan
}

fn removed(set: &Set<'_>, pod: &Object) -> [Order; 2] {
    let message = format!("delete Pod {} in StatefulSet {} successful", pod.name(), set.object.name());
    let event = Event {
        regarding: Target::incarnation(&kinds::STATEFULSET, set.object),
        kind: EventType::Normal,
        reason: "SuccessfulDelete",
        message,
        component: COMPONENT,
    };
    [Target::version(&kinds::POD, pod).delete(), Order::Event(event)]
}

fn status(set: &Set<'_>, pods: &BTreeMap<i64, &Object>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let there: Vec<&Object> = pods.values().copied().filter(|pod| !pod::is_finished(pod)).collect();
    let ready = there.iter().filter(|pod| pod::is_ready(pod)).count();
    let available = there.iter().filter(|pod| set.is_available(pod, now, &mut plan)).count();
    // A pod on its way out belongs to no template any more.
    let of = |revision: &str| {
        there.iter().filter(|pod| !pod.is_deleting() && pod.label(revisions::HASH_LABEL) == Some(revision)).count()
    };
    let (updated, wanted) = (of(&set.update), usize::try_from(set.end - set.start).unwrap_or_default());
    let is_complete = set.is_rolling() && updated == there.len() && ready == there.len() && there.len() == wanted;
    let current = if is_complete { &set.update } else { &set.current };
    let status = json!({
        "replicas": there.len(), "readyReplicas": ready, "availableReplicas": available,
        "currentReplicas": of(current), "updatedReplicas": updated,
        "currentRevision": current, "updateRevision": set.update, "observedGeneration": set.object.generation(),
    });
    if !read::says(set.object, &status) {
        let target = Target::version(&kinds::STATEFULSET, set.object);
        plan.orders.push(Order::Status { target, change: json!({"status": status}) });
    }
    plan
}
