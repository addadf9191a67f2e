//! PodDisruptionBudget: how many of its pods may be evicted now.
//!
//! Not here: the eviction itself, which takes from `disruptionsAllowed` in the transaction that deletes the pod
//! (`wk_api::strategy::evict`). Source: `k8s.io/kubernetes/pkg/controller/disruption`.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_api::{Object, kinds, strategy};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::read::says;
use crate::{pod, read};

/// A pod that was evicted and is not going after this time was not deleted after all.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

const COMPONENT: &str = "controllermanager";

/// How many pods a controller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale<'a> {
    /// The uid of whoever says so: the Deployment of a ReplicaSet.
    pub of: &'a str,
    /// How many.
    pub replicas: i64,
}

/// What these Deployments, `ReplicaSet`s and the like want, by uid.
pub fn scales<'a>(controllers: &[&'a Object]) -> BTreeMap<&'a str, Scale<'a>> {
    let own = |object: &'a Object| Scale { of: object.uid(), replicas: object.int("/spec/replicas").unwrap_or(1) };
    let direct: BTreeMap<&str, Scale<'a>> = controllers.iter().map(|object| (object.uid(), own(object))).collect();
    // A ReplicaSet has as many as its Deployment lets it have for now.
    let above = |object: &&'a Object| {
        let scale = object.controller_of().and_then(|owner| direct.get(owner.uid.as_str()).copied());
        (object.uid(), scale.unwrap_or_else(|| own(object)))
    };
    controllers.iter().map(above).collect()
}

/// What the decision is made from.
pub struct Input<'a> {
    /// The budget.
    pub budget: &'a Object,
    /// The pods of its namespace that it covers.
    pub pods: &'a [&'a Object],
    /// What controls pods, by its uid.
    pub scales: &'a BTreeMap<&'a str, Scale<'a>>,
}

/// Says how many pods there are, how many must stay, and how many may go.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let Input { budget, pods, .. } = input;
    let mut plan = Plan::default();
    if budget.is_deleting() {
        return plan;
    }
    let disrupted = still_going(input, now, &mut plan);
    let healthy = |pod: &&&Object| !pod.is_deleting() && !disrupted.contains_key(pod.name()) && pod::is_ready(pod);
    let healthy = i64::try_from(pods.iter().filter(healthy).count()).unwrap_or(i64::MAX);
    let mut conditions = budget.items("/status/conditions").to_vec();
    let mut status = json!({});
    match expected(input) {
        Ok((expected, desired)) => {
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            plan.say(format!(
                "{}: {healthy} of {expected} pods healthy, {desired} needed: {allowed} may go",
                budget.name()
            ));
            status = json!({
                "expectedPods": expected, "currentHealthy": healthy, "desiredHealthy": desired,
                "disruptionsAllowed": allowed, "observedGeneration": budget.generation(),
            });
            let (status, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
            set(
                &mut conditions,
                budget,
                &Condition { kind: "DisruptionAllowed", status, reason, message: String::new() },
                now,
            );
        }
        // What cannot be counted is not evicted.
        Err(why) => {
            plan.say(format!("{}: {why}: no eviction", budget.name()));
            status["disruptionsAllowed"] = json!(0);
            let failed = Condition { kind: "DisruptionAllowed", status: "False", reason: "SyncFailed", message: why };
            set(&mut conditions, budget, &failed, now);
        }
    }
    status["conditions"] = conditions.into();
    let before = read::map(budget, "/status/disruptedPods").cloned().unwrap_or_default();
    if says(budget, &status) && before.keys().all(|name| disrupted.contains_key(name.as_str())) {
        return plan;
    }
    if !before.is_empty() {
        // A merge patch removes what it says is null.
        let still = |name: &String| disrupted.get(name.as_str()).map_or(Value::Null, |at| json!(*at));
        status["disruptedPods"] = before.keys().map(|name| (name.clone(), still(name))).collect();
    }
    plan.orders.push(Order::Status {
        target: Target::version(&kinds::PODDISRUPTIONBUDGET, budget),
        change: json!({"status": status}),
    });
    if pods.is_empty() {
        plan.orders.push(Order::Event(Event {
            regarding: Target::incarnation(&kinds::PODDISRUPTIONBUDGET, budget),
            kind: EventType::Normal,
            reason: "NoPods",
            message: "No matching pods found".to_owned(),
            component: COMPONENT,
        }));
    }
    plan
}

fn set(conditions: &mut Vec<Value>, budget: &Object, condition: &Condition, now: Timestamp) {
    conditions::set(conditions, condition, None, now);
    if let Some(own) = conditions.iter_mut().find(|own| own["type"] == condition.kind) {
        own["observedGeneration"] = budget.generation().into();
    }
}

/// Pods whose eviction was granted and that are still there, unmarked, with the time of the grant.
fn still_going<'a>(input: &Input<'a>, now: Timestamp, plan: &mut Plan) -> BTreeMap<&'a str, &'a str> {
    let mut going = BTreeMap::new();
    for pod in input.pods.iter().filter(|pod| !pod.is_deleting()) {
        let Some(at) = read::map(input.budget, "/status/disruptedPods").and_then(|pods| pods.get(pod.name())) else {
            continue;
        };
        let until = read::parse_time(Some(at)).and_then(|at| at.checked_add(DELETION_TIMEOUT).ok());
        if let (Some(until), Some(at)) = (until.filter(|until| *until > now), at.as_str()) {
            plan.due_by(until);
            going.insert(pod.name(), at);
        }
    }
    going
}

/// How many pods there should be, and how many of them healthy; or why that cannot be told.
fn expected(input: &Input<'_>) -> Result<(i64, i64), String> {
    let given = |key: &str| read::at(input.budget, &format!("/spec/{key}"));
    let share = |value, whole| read::share(Some(value), whole, read::Round::Up).unwrap_or_default();
    match (given("maxUnavailable"), given("minAvailable")) {
        (Some(most), _) => {
            let all = wanted(input)?;
            Ok((all, (all - share(most, all)).max(0)))
        }
        (None, Some(least @ Value::String(_))) => {
            let all = wanted(input)?;
            Ok((all, share(least, all)))
        }
        (None, Some(least)) => {
            Ok((i64::try_from(input.pods.len()).unwrap_or(i64::MAX), least.as_i64().unwrap_or_default()))
        }
        (None, None) => Ok((0, 0)),
    }
}

/// What the controllers of the pods want, each counted once. Pods without a controller do not count.
fn wanted(input: &Input<'_>) -> Result<i64, String> {
    let mut wanted = BTreeMap::new();
    for pod in input.pods {
        let Some(controller) = pod.controller_of() else { continue };
        let Some(scale) = input.scales.get(controller.uid.as_str()) else {
            return Err(format!("found no controllers for pod {:?}", pod.name()));
        };
        wanted.insert(scale.of, scale.replicas);
    }
    Ok(wanted.values().sum())
}

/// Whether `budget` is about `pod` of its namespace.
pub fn covers(budget: &Object, pod: &Object) -> bool {
    budget.namespace() == pod.namespace() && strategy::covers(budget, pod)
}
