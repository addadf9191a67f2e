//! What the template of a DaemonSet or StatefulSet was: a ControllerRevision for each, which `kubectl rollout history` and
//! `undo` read.

use std::cmp::Reverse;

use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds};

use crate::deployment::template_hash;
use crate::order::{Order, Plan, Target};
use crate::{owned, read};

/// The label of pods and revisions that says which template they are of.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// Revisions kept when nothing is said, as in Kubernetes.
const KEPT: i64 = 10;

/// The name of the present template.
pub(crate) fn hash(set: &Object) -> String {
    template_hash(set)
}

/// The name of the revision with this hash.
pub(crate) fn name(set: &Object, hash: &str) -> String {
    format!("{}-{hash}", set.name())
}

/// Makes the present revision the latest, and forgets old ones that are not used: `is_used` is asked with the hash.
pub(crate) fn plan(
    (kind, set): (&Kind, &Object),
    revisions: &[&Object],
    hash: &str,
    is_used: impl Fn(&str) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    let number = |revision: &Object| revision.int("/revision").unwrap_or_default();
    let highest = revisions.iter().map(|revision| number(revision)).max().unwrap_or_default();
    let own = revisions.iter().find(|revision| revision.label(HASH_LABEL) == Some(hash));
    match own {
        None => plan.orders.push(create((kind, set), hash, highest + 1)),
        // An earlier template is back.
        Some(own) if number(own) < highest => plan.orders.push(Order::Update {
            target: Target::version(&kinds::CONTROLLERREVISION, own),
            change: json!({"revision": highest + 1}),
        }),
        Some(_) => {}
    }
    let is_used = |revision: &Object| revision.label(HASH_LABEL).is_some_and(|of| of == hash || is_used(of));
    let mut old: Vec<&Object> = revisions.iter().copied().filter(|revision| !is_used(revision)).collect();
    old.sort_by_key(|revision| (Reverse(number(revision)), revision.name()));
    let kept = usize::try_from(set.int("/spec/revisionHistoryLimit").unwrap_or(KEPT)).unwrap_or_default();
    let gone = old.into_iter().skip(kept);
    plan.orders.extend(gone.map(|revision| Target::version(&kinds::CONTROLLERREVISION, revision).delete()));
    plan
}

/// The template that a revision holds.
pub(crate) fn template_of(revision: &Object) -> Option<Value> {
    let mut template = revision.at("/data/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    Some(template)
}

fn create((kind, set): (&Kind, &Object), hash: &str, revision: i64) -> Order {
    let mut template = read::at(set, "/spec/template").cloned().unwrap_or_else(|| json!({}));
    // What is taken back replaces what is there, as a strategic merge patch.
    template["$patch"] = "replace".into();
    let mut labels: Value = read::at(set, "/spec/template/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels[HASH_LABEL] = hash.into();
    let mut metadata = json!({
        "name": name(set, hash),
        "namespace": set.namespace(),
        "labels": labels,
        "ownerReferences": [owned::controller_reference(kind, set)],
    });
    if let Some(annotations) = read::at(set, "/metadata/annotations") {
        metadata["annotations"] = annotations.clone();
    }
    Order::Create {
        kind: &kinds::CONTROLLERREVISION,
        namespace: Some(set.namespace().to_owned()),
        object: json!({"metadata": metadata, "data": {"spec": {"template": template}}, "revision": revision}),
        announce: None,
    }
}
