//! What planners ask of a pod.

use serde_json::Value;
use wk_api::Object;
use wk_base::time::Timestamp;

use crate::{conditions, read};

pub(crate) fn node(pod: &Object) -> &str {
    pod.text("/spec/nodeName")
}

pub(crate) fn phase(pod: &Object) -> &str {
    pod.text("/status/phase")
}

/// It ran and will not run again.
pub(crate) fn is_finished(pod: &Object) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It counts as a replica: neither finished nor on its way out.
pub(crate) fn is_active(pod: &Object) -> bool {
    !is_finished(pod) && !pod.is_deleting()
}

pub(crate) fn is_ready(pod: &Object) -> bool {
    conditions::status(pod, "Ready") == "True"
}

/// Since when it is ready; `None` when it is not.
pub(crate) fn ready_since(pod: &Object) -> Option<Timestamp> {
    let condition = conditions::find(pod, "Ready").filter(|condition| condition["status"] == "True")?;
    Some(read::parse_time(condition.get("lastTransitionTime")).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// When a ready pod counts as available; `None` while it is not ready.
///
/// Conditions carry whole seconds: a pod ready at 1.9 s says 1. A wait is counted from the end of that second, or one
/// of a second could be over at once.
pub(crate) fn available_at(pod: &Object, min_ready_seconds: i64) -> Option<Timestamp> {
    let since = ready_since(pod)?;
    if min_ready_seconds <= 0 {
        return Some(since);
    }
    let wait = jiff::SignedDuration::from_secs(min_ready_seconds.saturating_add(1));
    Some(since.checked_add(wait).unwrap_or(Timestamp::MAX))
}

pub(crate) fn restarts(pod: &Object) -> i64 {
    let statuses = pod.items("/status/containerStatuses");
    statuses.iter().filter_map(|status| status.get("restartCount")?.as_i64()).sum()
}

/// A port of any container by its name.
pub(crate) fn port(pod: &Object, name: &str, protocol: &str) -> Option<i64> {
    pod.items("/spec/containers")
        .iter()
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten()
        .find(|port| port["name"] == name && port.get("protocol").and_then(Value::as_str).unwrap_or("TCP") == protocol)
        .and_then(|port| port["containerPort"].as_i64())
}
