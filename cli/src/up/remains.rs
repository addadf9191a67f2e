//! What of a cluster's objects still means something when its nodes are gone, or all but one: after a restore, and after
//! a recovery.

use serde_json::json;
use wk_api::{Object, encode, kinds};
use wk_store::recovery::Fate;
use wk_store::{Stored, Value};

use super::members;

/// What becomes of `stored` when of the nodes only those are left of which `is_left` says so.
///
/// Records and Node objects of the others go: a node that is never heard again would keep its pods for ever when it is
/// one of many. Pods on them that a controller made go too, and are made anew. Pods that nobody would make anew are as
/// if they had just been created.
pub(crate) fn fate(stored: &Stored, is_left: impl Fn(&str) -> bool) -> Fate {
    let (collection, name) = (stored.key().collection(), stored.key().name());
    if collection == members::COLLECTION || collection == kinds::NODE.collection() {
        return if is_left(name) { Fate::Keep } else { Fate::Drop };
    }
    if collection == wk_cluster::SECRETS_KEYS {
        return match name.split_once('/') {
            Some((_, member)) if !is_left(member) => Fate::Drop,
            Some(_) | None => Fate::Keep,
        };
    }
    if collection != kinds::POD.collection() {
        return Fate::Keep;
    }
    let Ok(pod) = serde_json::from_slice(&stored.bytes()).map(Object) else { return Fate::Keep };
    let node = pod.text("/spec/nodeName");
    if node.is_empty() || is_left(node) {
        return Fate::Keep;
    }
    let is_finished = matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
    if pod.controller_of().is_some() || pod.is_deleting() || is_finished {
        return Fate::Drop;
    }
    Fate::Replace(as_new(pod))
}

/// The pod before it was bound to a node.
fn as_new(mut pod: Object) -> Value {
    if let Some(spec) = pod.0.get_mut("spec").and_then(serde_json::Value::as_object_mut) {
        spec.remove("nodeName");
    }
    let class = pod.at("/status/qosClass").cloned();
    pod.0["status"] = match class {
        Some(class) => json!({"phase": "Pending", "qosClass": class}),
        None => json!({"phase": "Pending"}),
    };
    let (bytes, stamp) = encode::stored(&pod);
    Value { bytes: bytes.into(), stamp: Some(stamp) }
}
