//! The conditions of a pod that its node writes, in Kubernetes' words.

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::rfc3339;
use crate::container::Container;
use crate::pod::{EVICTED, Phase, Pod};

/// Why a condition does not hold: its reason, and a message for a person.
type Why = (&'static str, String);

/// All of them, given the status in force: each keeps the time of its last change.
pub(super) fn conditions(pod: &Pod, before: Option<&Value>, now: Timestamp) -> Vec<Value> {
    let phase = pod.phase();
    let over = match phase {
        Phase::Succeeded => Some(("PodCompleted", String::new())),
        Phase::Failed => Some(("PodFailed", String::new())),
        Phase::Pending | Phase::Running => None,
    };
    let initialized = match pod.uninitialized() {
        all if all.is_empty() || phase == Phase::Succeeded => Ok(()),
        all => Err(("ContainersNotInitialized", format!("containers with incomplete status: [{}]", names(all)))),
    };
    let containers = match (over, pod.unready().next()) {
        (Some(over), _) => Err(over),
        (None, None) => Ok(()),
        (None, Some(_)) => {
            Err(("ContainersNotReady", format!("containers with unready status: [{}]", names(pod.unready()))))
        }
    };
    let ready = match &containers {
        Ok(()) if !pod.unmet_gates.is_empty() => Err(("ReadinessGatesNotReady", pod.unmet_gates.join(", "))),
        other => other.clone(),
    };
    // There is no sandbox to make: a pod with an address can run its containers.
    let sandbox = if pod.ip.is_some() && !pod.is_over() { Ok(()) } else { Err(("", String::new())) };
    [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Ok(())),
    ]
    .into_iter()
    .map(|(kind, holds)| condition(kind, holds, before, now))
    .chain(disrupted(pod, before, now))
    .collect()
}

/// A pod that its node ended for the sake of others.
fn disrupted(pod: &Pod, before: Option<&Value>, now: Timestamp) -> Option<Value> {
    let (_, message) = pod.failed.as_ref().filter(|(reason, _)| reason == EVICTED)?;
    let mut condition = condition("DisruptionTarget", Ok(()), before, now);
    condition["reason"] = json!("TerminationByKubelet");
    condition["message"] = json!(message);
    Some(condition)
}

fn condition(kind: &str, holds: Result<(), Why>, before: Option<&Value>, now: Timestamp) -> Value {
    let status = if holds.is_ok() { "True" } else { "False" };
    let old = before
        .and_then(|status| status.get("conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind));
    let since = old
        .filter(|condition| condition["status"] == status)
        .and_then(|condition| condition.get("lastTransitionTime").cloned())
        .unwrap_or_else(|| json!(rfc3339(now)));
    let mut condition = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since});
    if let Err((reason, message)) = holds {
        if !reason.is_empty() {
            condition["reason"] = json!(reason);
        }
        if !message.is_empty() {
            condition["message"] = json!(message);
        }
    }
    condition
}

fn names<'a>(containers: impl IntoIterator<Item = &'a Container>) -> String {
    containers.into_iter().map(|it| &*it.name).collect::<Vec<_>>().join(" ")
}
