//! The claims that a pod of a StatefulSet has of its own: made with it, and owned as the set's retention policy says.
//!
//! Who owns a claim decides when it goes, and the collector sees to that: the set (`whenDeleted: Delete`), a pod that is one
//! too many (`whenScaled: Delete`), or nobody. Policies change, so owners are compared at every look. A claim whose pod is
//! not there keeps those it has: nobody scaled that pod away. Rules: `k8s.io/kubernetes/pkg/controller/statefulset`.

use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds};

use super::{Set, member};
use crate::order::{Order, Target};
use crate::{owned, read};

/// A set's name is part of its pods' host names, which are no longer than this.
const SET_NAME_MAX: usize = 63;

/// The names of the sets that a claim of this name may be of: `data-my-db-3` is of `my-db`, or of `db` with a template
/// `data-my`.
pub fn sets_of_claim(claim: &str) -> impl Iterator<Item = &str> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let pod = claim.rsplit_once('-').filter(|(_, number)| is_number(number)).map_or("", |(pod, _)| pod);
    let sets = pod.match_indices('-').map(|(dash, _)| &pod[dash + 1..]);
    sets.filter(|set| !set.is_empty() && set.len() <= SET_NAME_MAX)
}

/// The claims of the pod of this name: its volume, the claim's name, and what it is made from.
pub(super) fn of_pod<'a>(set: &'a Object, pod: &str) -> impl Iterator<Item = (&'a str, String, &'a Value)> {
    let templates = set.items("/spec/volumeClaimTemplates").iter();
    templates.filter_map(move |template| {
        let volume = template.get("metadata")?.get("name")?.as_str()?;
        Some((volume, format!("{volume}-{pod}"), template))
    })
}

/// Makes the claims of a pod that are not there.
pub(super) fn create(set: &Set<'_>, pod: &str) -> Vec<Order> {
    let missing = of_pod(set.object, pod).filter(|(_, name, _)| !set.claims.contains_key(name.as_str()));
    missing.map(|(_, name, template)| create_one(set.object, &name, template)).collect()
}

fn create_one(set: &Object, name: &str, template: &Value) -> Order {
    let given = |field: &str| template["metadata"].get(field).and_then(Value::as_object).cloned().unwrap_or_default();
    let mut labels = given("labels");
    labels.extend(read::map(set, "/spec/selector/matchLabels").cloned().unwrap_or_default());
    let mut metadata =
        json!({"name": name, "namespace": set.namespace(), "labels": labels, "annotations": given("annotations")});
    if goes_with_its_set(set) {
        metadata["ownerReferences"] = json!([owned::controller_reference(&kinds::STATEFULSET, set)]);
    }
    Order::Create {
        kind: &kinds::PERSISTENTVOLUMECLAIM,
        namespace: Some(set.namespace().to_owned()),
        object: json!({"metadata": metadata, "spec": template.get("spec")}),
        announce: Some(member::announced(set, "Created claim: ")),
    }
}

/// A claim of a pod that is not there which is on its way out, or will be once the collector has seen whose it was. A pod made
/// now would start with it and lose it.
pub(super) fn going<'a>(set: &Set<'a>, pod: &str) -> Option<&'a Object> {
    let mut there = of_pod(set.object, pod).filter_map(|(_, name, _)| set.claims.get(name.as_str()).copied());
    there.find(|claim| claim.is_deleting() || is_of_earlier(set, claim, (pod, "")))
}

/// Whether a claim names an owner that was called as this set, or as the pod with this name and uid, and was there before.
fn is_of_earlier(set: &Set<'_>, claim: &Object, (pod, uid): (&str, &str)) -> bool {
    let is = |owner: &Value, kind: &Kind, name: &str, uid: &str| {
        let text = |field| read::text(owner, field);
        text("kind") == kind.kind
            && text("name") == name
            && text("uid") != uid
            && text("apiVersion") == kind.api_version()
    };
    claim.items("/metadata/ownerReferences").iter().any(|owner| {
        is(owner, &kinds::STATEFULSET, set.object.name(), set.object.uid()) || is(owner, &kinds::POD, pod, uid)
    })
}

/// Gives the claims of a pod that is there the owner that the set's policy says, where they have another.
pub(super) fn change_owners(set: &Set<'_>, ordinal: i64, pod: &Object) -> Vec<Order> {
    let owner = if goes_when_scaled(set.object) && !set.wants(ordinal) {
        Some(owned::controller_reference(&kinds::POD, pod))
    } else if goes_with_its_set(set.object) {
        Some(owned::controller_reference(&kinds::STATEFULSET, set.object))
    } else {
        None
    };
    let there = of_pod(set.object, pod.name()).filter_map(|(_, name, _)| set.claims.get(name.as_str()).copied());
    // What is of an earlier one is the collector's.
    let kept = there.filter(|claim| !claim.is_deleting() && !is_of_earlier(set, claim, (pod.name(), pod.uid())));
    let changes = kept.filter_map(|claim| {
        let is_ours = |other: &&Value| [set.object.uid(), pod.uid()].contains(&read::text(other, "uid"));
        let (ours, others): (Vec<&Value>, Vec<&Value>) =
            claim.items("/metadata/ownerReferences").iter().partition(is_ours);
        // There is one controller at most, and what another one has is left to it.
        let owner = owner.as_ref().filter(|_| others.iter().all(|other| other["controller"] != true));
        let is_so = match (&ours[..], owner) {
            ([], None) => true,
            ([one], Some(owner)) => one["uid"] == owner["uid"] && one["controller"] == true,
            _ => false,
        };
        let references: Vec<&Value> = others.into_iter().chain(owner).collect();
        (!is_so).then(|| Order::Update {
            target: Target::version(&kinds::PERSISTENTVOLUMECLAIM, claim),
            change: json!({"metadata": {"ownerReferences": references}}),
        })
    });
    changes.collect()
}

fn goes_with_its_set(set: &Object) -> bool {
    set.text("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted") == "Delete"
}

fn goes_when_scaled(set: &Object) -> bool {
    set.text("/spec/persistentVolumeClaimRetentionPolicy/whenScaled") == "Delete"
}
