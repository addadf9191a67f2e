//! One pod of a StatefulSet, by its number, and the claims that are its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wk_api::{Object, kinds};

use super::{COMPONENT, Set};
use crate::order::{Event, EventType, Order, Target};
use crate::{owned, read, revisions};

/// The labels of a pod that say which one it is.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The number of a pod of the set; None for one that is not called as its pods are.
pub(super) fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    number(pod.name().strip_prefix(set.name())?)
}

/// `-7`, written as it would be written here.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-')?;
    let number: i64 = digits.parse().ok()?;
    (number >= 0 && number.to_string() == digits).then_some(number)
}

fn name(set: &Object, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

fn templates(set: &Object) -> impl Iterator<Item = (&str, &Value)> {
    let all = set.items("/spec/volumeClaimTemplates").iter();
    all.filter_map(|template| Some((template.get("metadata")?.get("name")?.as_str()?, template)))
}

/// Makes a pod, and the claims of its own that are not there.
pub(super) fn create(set: &Set<'_>, ordinal: i64, claims: &[&Object]) -> Vec<Order> {
    let mut orders = create_claims(set, ordinal, claims);
    orders.push(create_pod(set, &name(set.object, ordinal), ordinal));
    orders
}

/// Makes the claims of a pod that are not there: its own creation may have gone well when that of a claim did not.
pub(super) fn create_claims(set: &Set<'_>, ordinal: i64, claims: &[&Object]) -> Vec<Order> {
    let pod = name(set.object, ordinal);
    let missing = templates(set.object).filter_map(|(volume, template)| {
        let claim = format!("{volume}-{pod}");
        let is_there = claims.iter().any(|there| there.name() == claim);
        (!is_there).then(|| create_claim(set.object, &claim, template))
    });
    missing.collect()
}

fn create_claim(set: &Object, name: &str, template: &Value) -> Order {
    let given = |field: &str| template["metadata"].get(field).cloned().unwrap_or_else(|| json!({}));
    let mut labels = given("labels");
    for (key, value) in read::map(set, "/spec/selector/matchLabels").into_iter().flatten() {
        labels[key] = value.clone();
    }
    let mut metadata =
        json!({"name": name, "namespace": set.namespace(), "labels": labels, "annotations": given("annotations")});
    if set.text("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted") == "Delete" {
        metadata["ownerReferences"] = json!([owned::controller_reference(&kinds::STATEFULSET, set)]);
    }
    Order::Create {
        kind: &kinds::PERSISTENTVOLUMECLAIM,
        namespace: Some(set.namespace().to_owned()),
        object: json!({"metadata": metadata, "spec": template.get("spec")}),
        announce: Some(announced(set, "Created claim: ")),
    }
}

fn create_pod(set: &Set<'_>, name: &str, ordinal: i64) -> Order {
    let object = set.object;
    // Below the partition pods are as all were before.
    let (template, revision) = if set.is_rolling() && ordinal < set.partition {
        (set.current_template.clone(), &set.current)
    } else {
        (object.at("/spec/template").cloned().unwrap_or_default(), &set.update)
    };
    let given = |field: &str| template["metadata"].get(field).cloned();
    let mut metadata = json!({
        "name": name, "namespace": object.namespace(),
        "labels": given("labels").unwrap_or_else(|| json!({})),
        "ownerReferences": [owned::controller_reference(&kinds::STATEFULSET, object)],
    });
    for (label, value) in
        [(NAME_LABEL, name), (INDEX_LABEL, ordinal.to_string().as_str()), (revisions::HASH_LABEL, revision.as_str())]
    {
        metadata["labels"][label] = value.into();
    }
    for field in ["annotations", "finalizers"] {
        if let Some(value) = given(field) {
            metadata[field] = value;
        }
    }
    let mut spec = template.get("spec").cloned().unwrap_or_else(|| json!({}));
    spec["hostname"] = name.into();
    if !object.text("/spec/serviceName").is_empty() {
        spec["subdomain"] = object.text("/spec/serviceName").into();
    }
    let own: BTreeMap<&str, Value> = templates(object)
        .map(|(volume, _)| {
            (volume, json!({"name": volume, "persistentVolumeClaim": {"claimName": format!("{volume}-{name}")}}))
        })
        .collect();
    if !own.is_empty() {
        let others = spec["volumes"].as_array().cloned().unwrap_or_default();
        let others = others.into_iter().filter(|volume| !own.contains_key(read::text(volume, "name")));
        spec["volumes"] = others.chain(own.values().cloned()).collect::<Vec<_>>().into();
    }
    Order::Create {
        kind: &kinds::POD,
        namespace: Some(object.namespace().to_owned()),
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        announce: Some(announced(object, "Created pod: ")),
    }
}

fn announced(set: &Object, message: &str) -> Event {
    Event {
        regarding: Target::incarnation(&kinds::STATEFULSET, set),
        kind: EventType::Normal,
        reason: "SuccessfulCreate",
        message: message.to_owned(),
        component: COMPONENT,
    }
}

/// Where claims go with the pods that are too many: those whose pod is gone and not wanted.
pub(super) fn claims_without_pods(set: &Set<'_>, pods: &BTreeMap<i64, &Object>, claims: &[&Object]) -> Vec<Order> {
    if set.object.text("/spec/persistentVolumeClaimRetentionPolicy/whenScaled") != "Delete" {
        return Vec::new();
    }
    let is_left = |claim: &&&Object| {
        let mut volumes = templates(set.object);
        let number = volumes.find_map(|(volume, _)| {
            number(claim.name().strip_prefix(volume)?.strip_prefix('-')?.strip_prefix(set.object.name())?)
        });
        number.is_some_and(|number| !(set.start..set.end).contains(&number) && !pods.contains_key(&number))
    };
    let selector = read::map(set.object, "/spec/selector/matchLabels");
    let is_ours =
        |claim: &&&Object| selector.is_some_and(|all| read::has_all(read::map(claim, "/metadata/labels"), all));
    let left = claims.iter().filter(|claim| !claim.is_deleting()).filter(is_left).filter(is_ours);
    left.map(|claim| Target::version(&kinds::PERSISTENTVOLUMECLAIM, claim).delete()).collect()
}
