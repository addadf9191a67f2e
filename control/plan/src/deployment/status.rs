//! What a deployment says about itself, in Kubernetes' words: `kubectl rollout status` waits on them.

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_api::kinds;
use wk_base::time::Timestamp;

use super::{Fresh, Rollout, Set, revision};
use crate::conditions::{self, Condition};
use crate::order::{Order, Plan, Target};
use crate::read;
use crate::replicaset::FAILURE;

/// `spec.progressDeadlineSeconds` when nobody said (the API's default).
const PROGRESS_DEADLINE_SECONDS: i64 = 600;

/// The largest value means: never give up (`NoProgressDeadline` in Kubernetes).
const NO_DEADLINE: i64 = i32::MAX as i64;

struct Counts {
    existing: i64,
    updated: i64,
    ready: i64,
    available: i64,
    unavailable: i64,
}

impl Counts {
    fn of(rollout: &Rollout<'_>) -> Self {
        let sum = |number: fn(&Set<'_>) -> i64| rollout.all().map(number).sum::<i64>();
        let available = sum(|set| set.available);
        Self {
            existing: sum(|set| set.existing),
            updated: rollout.new.as_ref().map_or(0, |new| new.existing),
            ready: sum(|set| set.object.int("/status/readyReplicas").unwrap_or_default()),
            available,
            unavailable: (sum(|set| set.wanted) - available).max(0),
        }
    }

    fn said(rollout: &Rollout<'_>) -> Self {
        let number = |field: &str| rollout.deployment.int(&format!("/status/{field}")).unwrap_or_default();
        Self {
            existing: number("replicas"),
            updated: number("updatedReplicas"),
            ready: number("readyReplicas"),
            available: number("availableReplicas"),
            unavailable: number("unavailableReplicas"),
        }
    }

    /// Anything of the rollout moved forward since `before`.
    fn progressed_since(&self, before: &Self) -> bool {
        self.updated > before.updated
            || self.existing - self.updated < before.existing - before.updated
            || self.ready > before.ready
            || self.available > before.available
    }
}

/// Every replica is of the present template and available, and no other is left.
pub(super) fn is_complete(rollout: &Rollout<'_>) -> bool {
    let counts = Counts::of(rollout);
    rollout.new.is_some()
        && [counts.updated, counts.existing, counts.available].iter().all(|count| *count == rollout.replicas)
}

/// The status order, when it would say something new.
pub(super) fn plan(rollout: &Rollout<'_>, fresh: Option<&Fresh>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let deployment = rollout.deployment;
    let counts = Counts::of(rollout);
    let mut list = deployment.items("/status/conditions").to_vec();
    for condition in [Some(available(rollout, &counts)), progressing(rollout, &counts, fresh, &mut plan, now)] {
        put(&mut list, condition.as_ref(), &counts, &Counts::said(rollout), now);
    }
    failure(rollout, &mut list, now);
    let status = json!({
        "observedGeneration": deployment.generation(),
        "replicas": counts.existing,
        "updatedReplicas": counts.updated,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "unavailableReplicas": counts.unavailable,
        "conditions": list,
    });
    let noted = rollout.new.as_ref().map(|new| revision::of(new.object)).or(fresh.map(|fresh| fresh.revision));
    let noted = noted.filter(|revision| *revision > 0).map(|revision| revision.to_string());
    let renumbered = noted.filter(|noted| deployment.annotation(revision::ANNOTATION) != Some(noted));
    if renumbered.is_none() && read::says(deployment, &status) {
        return plan;
    }
    let mut change = json!({"status": status});
    if let Some(revision) = renumbered {
        change["metadata"] = json!({"annotations": {revision::ANNOTATION: revision}});
    }
    plan.orders.push(Order::Status { target: Target::version(&kinds::DEPLOYMENT, deployment), change });
    plan
}

/// Why pods cannot be created, as the ReplicaSets say: the new one before the others.
fn failure(rollout: &Rollout<'_>, list: &mut Vec<Value>, now: Timestamp) {
    fn said<'a>(set: &Set<'a>) -> Option<&'a str> {
        conditions::find(set.object, FAILURE).and_then(|found| found["message"].as_str())
    }
    let Some(message) = rollout.new.as_ref().and_then(said).or_else(|| rollout.all().find_map(said)) else {
        list.retain(|condition| condition["type"] != FAILURE);
        return;
    };
    if !list.iter().any(|condition| condition["type"] == FAILURE && condition["message"] == message) {
        let message = message.to_owned();
        let wanted = Condition { kind: FAILURE, status: "True", reason: "FailedCreate", message };
        conditions::set(list, &wanted, Some("lastUpdateTime"), now);
    }
}

/// Sets `condition` unless it says the same already; one that reports progress is written anew at each progress, since
/// its `lastUpdateTime` is what the deadline counts from.
fn put(list: &mut Vec<Value>, condition: Option<&Condition>, counts: &Counts, said: &Counts, now: Timestamp) {
    let Some(condition) = condition else { return };
    let current = list.iter().find(|current| current["type"] == condition.kind);
    let same =
        current.is_some_and(|current| current["status"] == condition.status && current["reason"] == condition.reason);
    let moving = condition.reason == "ReplicaSetUpdated" && counts.progressed_since(said);
    if !same || moving {
        conditions::set(list, condition, Some("lastUpdateTime"), now);
    }
}

fn available(rollout: &Rollout<'_>, counts: &Counts) -> Condition {
    let (status, reason, has) = if counts.available >= rollout.replicas - rollout.unavailable() {
        ("True", "MinimumReplicasAvailable", "has")
    } else {
        ("False", "MinimumReplicasUnavailable", "does not have")
    };
    Condition { kind: "Available", status, reason, message: format!("Deployment {has} minimum availability.") }
}

fn progressing(
    rollout: &Rollout<'_>,
    counts: &Counts,
    fresh: Option<&Fresh>,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<Condition> {
    let deadline = rollout.deployment.int("/spec/progressDeadlineSeconds").unwrap_or(PROGRESS_DEADLINE_SECONDS);
    if deadline == NO_DEADLINE {
        return None;
    }
    let current = conditions::find(rollout.deployment, "Progressing");
    let reason = current.and_then(|current| current["reason"].as_str()).unwrap_or_default();
    let condition = |status, reason, message| Some(Condition { kind: "Progressing", status, reason, message });
    if rollout.paused {
        return condition("Unknown", "DeploymentPaused", "Deployment is paused".to_owned());
    }
    if reason == "DeploymentPaused" {
        return condition("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned());
    }
    if let Some(Fresh { name, .. }) = fresh {
        return condition("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""));
    }
    let name = rollout.new.as_ref().map(Set::name)?;
    if is_complete(rollout) {
        return condition(
            "True",
            "NewReplicaSetAvailable",
            format!("ReplicaSet \"{name}\" has successfully progressed."),
        );
    }
    // Once complete it stays so until the next template, whatever becomes of single pods.
    if reason == "NewReplicaSetAvailable" && counts.existing == counts.updated {
        return None;
    }
    if current.is_none() {
        return condition("True", "FoundNewReplicaSet", format!("Found new replica set \"{name}\""));
    }
    if reason == "NewReplicaSetAvailable" || counts.progressed_since(&Counts::said(rollout)) {
        return condition("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."));
    }
    let since = read::parse_time(current?.get("lastUpdateTime")).unwrap_or(now);
    let end = since.checked_add(SignedDuration::from_secs(deadline)).unwrap_or(Timestamp::MAX);
    if reason == "ProgressDeadlineExceeded" || end <= now {
        let message = format!("ReplicaSet \"{name}\" has timed out progressing.");
        return condition("False", "ProgressDeadlineExceeded", message);
    }
    plan.due_by(end);
    None
}
