//! Who owns what: objects by the uid of their controller, and taking up or letting go of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wk_api::selector::Labels;
use wk_api::{Kind, Object, kinds};

use crate::order::{Order, Target};

/// Objects of one kind by the uid of their controlling owner; those without one by namespace.
#[derive(Debug, Default)]
pub struct Children<'a> {
    owned: BTreeMap<&'a str, Vec<&'a Object>>,
    orphans: BTreeMap<&'a str, Vec<&'a Object>>,
}

impl<'a> Children<'a> {
    /// Sorts `objects`.
    pub fn of(objects: impl IntoIterator<Item = &'a Object>) -> Self {
        let mut children = Self::default();
        for object in objects {
            match controller_uid(object) {
                Some(owner) => children.owned.entry(owner).or_default().push(object),
                None => children.orphans.entry(object.namespace()).or_default().push(object),
            }
        }
        children
    }

    /// Those that `owner` controls.
    pub fn owned_by(&self, owner: &Object) -> &[&'a Object] {
        self.owned.get(owner.uid()).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those in `owner`'s namespace that nobody controls.
    pub fn orphans_beside(&self, owner: &Object) -> &[&'a Object] {
        self.orphans.get(owner.namespace()).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The reference to the owner that controls an object.
pub(crate) fn controller(object: &Object) -> Option<&Value> {
    object.items("/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true)
}

pub(crate) fn controller_uid(object: &Object) -> Option<&str> {
    controller(object)?.get("uid")?.as_str()
}

/// The reference by which `owner` controls what it makes.
pub(crate) fn controller_reference(kind: &Kind, owner: &Object) -> Value {
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "name": owner.name(),
        "uid": owner.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Takes up orphans that `selector` wants and lets go of children that it no longer does, so that each object has one
/// controller and each controller has the objects it selects. A second controller's claim fails on the version.
pub(crate) fn claims(
    owner_kind: &Kind,
    owner: &Object,
    child_kind: &'static Kind,
    owned: &[&Object],
    orphans: &[&Object],
) -> Vec<Order> {
    let selector = owner.at("/spec/selector").and_then(|selector| {
        // The selectors of the oldest kind are plain maps.
        let is_map = *owner_kind == kinds::REPLICATIONCONTROLLER;
        if is_map { Some(Labels::from_map(selector)) } else { Labels::from_label_selector(selector).ok() }
    });
    // An empty selector takes nothing: no controller wants everything there is.
    let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { return Vec::new() };
    let wanted = |child: &Object| selector.matches(&child.labels());
    let references = |child: &Object, references: Vec<Value>| Order::Update {
        target: Target::version(child_kind, child),
        change: json!({"metadata": {"ownerReferences": references}}),
    };
    let released = owned.iter().filter(|child| !wanted(child) && !child.is_deleting()).map(|child| {
        let others = child.items("/metadata/ownerReferences").iter();
        references(child, others.filter(|other| other["uid"] != owner.uid()).cloned().collect())
    });
    let adopted = orphans.iter().filter(|child| wanted(child) && !child.is_deleting()).map(|child| {
        let others = child.items("/metadata/ownerReferences").iter().cloned();
        references(child, others.chain([controller_reference(owner_kind, owner)]).collect())
    });
    released.chain(adopted).collect()
}
