//! One pod of a StatefulSet, by its number.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wk_api::{Object, kinds};

use super::{COMPONENT, Set, claims};
use crate::order::{Event, EventType, Order, Target};
use crate::{owned, read, revisions};

/// The labels of a pod that say which one it is.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The number of a pod of the set; None for one that is not called as its pods are.
pub(super) fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    let digits = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    let number: i64 = digits.parse().ok()?;
    // Written as it would be written here.
    (number >= 0 && number.to_string() == digits).then_some(number)
}

pub(super) fn name(set: &Object, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

/// Makes a pod, and the claims of its own that are not there.
pub(super) fn create(set: &Set<'_>, ordinal: i64) -> Vec<Order> {
    let name = name(set.object, ordinal);
    let mut orders = claims::create(set, &name);
    orders.push(create_pod(set, &name, ordinal));
    orders
}

fn create_pod(set: &Set<'_>, name: &str, ordinal: i64) -> Order {
    let object = set.object;
    // Below the partition pods are as all were before.
    let (template, revision) = if set.is_rolling() && ordinal < set.partition {
        (set.current_template.clone(), &set.current)
    } else {
        (object.at("/spec/template").cloned().unwrap_or_default(), &set.update)
    };
    // The template of a revision is a client's word: what is no map is not taken for one.
    let map = |pointer: &str| template.pointer(pointer).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut labels = map("/metadata/labels");
    for (label, value) in
        [(NAME_LABEL, name), (INDEX_LABEL, ordinal.to_string().as_str()), (revisions::HASH_LABEL, revision.as_str())]
    {
        labels.insert(label.to_owned(), value.into());
    }
    let mut metadata = json!({
        "name": name, "namespace": object.namespace(), "labels": labels,
        "ownerReferences": [owned::controller_reference(&kinds::STATEFULSET, object)],
    });
    for field in ["annotations", "finalizers"] {
        if let Some(value) = template.pointer(&format!("/metadata/{field}")) {
            metadata[field] = value.clone();
        }
    }
    let mut spec = map("/spec");
    spec.insert("hostname".to_owned(), name.into());
    if !object.text("/spec/serviceName").is_empty() {
        spec.insert("subdomain".to_owned(), object.text("/spec/serviceName").into());
    }
    let own: BTreeMap<&str, Value> = claims::of_pod(object, name)
        .map(|(volume, claim, _)| (volume, json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}})))
        .collect();
    if !own.is_empty() {
        let others = spec.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
        let others = others.into_iter().filter(|volume| !own.contains_key(read::text(volume, "name")));
        spec.insert("volumes".to_owned(), others.chain(own.values().cloned()).collect());
    }
    Order::Create {
        kind: &kinds::POD,
        namespace: Some(object.namespace().to_owned()),
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        announce: Some(announced(object, "Created pod: ")),
    }
}

pub(super) fn announced(set: &Object, message: &str) -> Event {
    Event {
        regarding: Target::incarnation(&kinds::STATEFULSET, set),
        kind: EventType::Normal,
        reason: "SuccessfulCreate",
        message: message.to_owned(),
        component: COMPONENT,
    }
}
