//! `status.conditions` of any kind: reading one, and setting one as Kubernetes does.

use serde_json::{Value, json};
use wk_api::Object;
use wk_base::time::Timestamp;

use crate::read;

/// A condition as a planner wants it.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) status: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

pub(crate) fn find<'a>(object: &'a Object, kind: &str) -> Option<&'a Value> {
    object.items("/status/conditions").iter().find(|condition| condition["type"] == kind)
}

pub(crate) fn status<'a>(object: &'a Object, kind: &str) -> &'a str {
    find(object, kind).and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

/// `conditions` with `wanted` in it. `lastTransitionTime` moves only when the status does; `stamp` is the further time
/// that this kind keeps, written whenever anything of the condition changes.
pub(crate) fn set(conditions: &mut Vec<Value>, wanted: &Condition, stamp: Option<&str>, now: Timestamp) {
    let old = conditions.iter().position(|condition| condition["type"] == wanted.kind);
    let since = old.map(|index| &conditions[index]).filter(|condition| condition["status"] == wanted.status);
    let mut condition = json!({
        "type": wanted.kind,
        "status": wanted.status,
        "reason": wanted.reason,
        "message": wanted.message,
        "lastTransitionTime": since.map_or_else(|| read::format_time(now), |old| old["lastTransitionTime"].clone()),
    });
    if let Some(field) = stamp {
        condition[field] = read::format_time(now);
    }
    match old {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}
