//! What the template of a DaemonSet or StatefulSet was: a ControllerRevision for each, which `kubectl rollout history` and
//! `undo` read.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds};

use crate::deployment::template_hashes;
use crate::order::{Order, Plan, Target};
use crate::{owned, read};

/// The label of pods and revisions that says which template they are of.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// Revisions kept when nothing is said, as in Kubernetes.
const KEPT: i64 = 10;

/// How many hashes of a template are looked for among a set's revisions: each but the first is of a set that found all before
/// it taken by others.
const HASHES_MAX: usize = 8;

/// The revision of a set's present template, there or not yet.
pub(crate) struct Present<'a> {
    /// By which pods and revisions say that they are of this template.
    pub(crate) hash: String,
    /// What it is called: by the set that made it, which is another one where it was taken up with the pods of that.
    pub(crate) name: String,
    there: Option<&'a Object>,
}

impl<'a> Present<'a> {
    /// The one of `set` among its revisions, or one whose name is not `taken`: a set of another kind may be called the same.
    pub(crate) fn of(set: &Object, revisions: &[&'a Object], taken: &BTreeSet<&str>) -> Self {
        let of_hash = |hash: String| {
            let same = revisions.iter().copied().filter(|revision| revision.label(HASH_LABEL) == Some(&hash));
            let there = same.max_by_key(|revision| (number(revision), revision.name()))?;
            Some(Self { name: there.name().to_owned(), hash, there: Some(there) })
        };
        template_hashes(set).take(HASHES_MAX).find_map(of_hash).unwrap_or_else(|| {
            let mut names = template_hashes(set).map(|hash| (format!("{}-{hash}", set.name()), hash));
            let free = names.find(|(name, _)| !taken.contains(name.as_str()));
            let (name, hash) = free.expect("there are more hashes than a namespace can hold names");
            Self { hash, name, there: None }
        })
    }
}

impl<'a> Present<'a> {
    /// The same, where a client wrote the template down under another name and the set's own revision is gone. Pods are known
    /// by the set's hash all the same.
    pub(crate) fn or_alike(self, set: &Object, revisions: &[&'a Object]) -> Self {
        let (None, Some(template)) = (self.there, read::at(set, "/spec/template")) else { return self };
        let alike = revisions.iter().copied().filter(|revision| template_of(revision).as_ref() == Some(template));
        match alike.max_by_key(|revision| (number(revision), revision.name())) {
            Some(there) => Self { name: there.name().to_owned(), there: Some(there), ..self },
            None => self,
        }
    }
}

fn number(revision: &Object) -> i64 {
    revision.int("/revision").unwrap_or_default()
}

/// Makes the present revision the latest, and forgets old ones that are not used.
pub(crate) fn plan(
    (kind, set): (&Kind, &Object),
    revisions: &[&Object],
    present: &Present<'_>,
    is_used: impl Fn(&Object) -> bool,
) -> Plan {
    let mut plan = Plan::default();
    let highest = revisions.iter().map(|revision| number(revision)).max().unwrap_or_default();
    // A client may have written the highest number that there is.
    let next = highest.saturating_add(1);
    match present.there {
        None => plan.orders.push(create((kind, set), present, next)),
        // An earlier template is back.
        Some(there) if number(there) < highest => plan.orders.push(Order::Update {
            target: Target::version(&kinds::CONTROLLERREVISION, there),
            change: json!({"revision": next}),
        }),
        Some(_) => {}
    }
    let is_used = |revision: &Object| revision.name() == present.name || is_used(revision);
    let mut old: Vec<&Object> = revisions.iter().copied().filter(|revision| !is_used(revision)).collect();
    old.sort_by_key(|revision| (Reverse(number(revision)), revision.name()));
    let kept = usize::try_from(set.int("/spec/revisionHistoryLimit").unwrap_or(KEPT)).unwrap_or_default();
    let gone = old.into_iter().skip(kept);
    plan.orders.extend(gone.map(|revision| Target::version(&kinds::CONTROLLERREVISION, revision).delete()));
    plan
}

/// The template that a revision holds, if it does: its data are whatever a client wrote.
pub(crate) fn template_of(revision: &Object) -> Option<Value> {
    let mut template = revision.at("/data/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    let is_map = |pointer: &str| template.pointer(pointer).is_none_or(|there| there.is_object() || there.is_null());
    let maps = ["/metadata", "/metadata/labels", "/metadata/annotations"];
    (template.get("spec")?.is_object() && maps.into_iter().all(is_map)).then_some(template)
}

fn create((kind, set): (&Kind, &Object), present: &Present<'_>, revision: i64) -> Order {
    let mut template = read::at(set, "/spec/template").cloned().unwrap_or_else(|| json!({}));
    // What is taken back replaces what is there, as a strategic merge patch.
    template["$patch"] = "replace".into();
    let mut labels: Value = read::at(set, "/spec/template/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    labels[HASH_LABEL] = present.hash.as_str().into();
    let mut metadata = json!({
        "name": present.name,
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
