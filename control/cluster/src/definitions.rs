//! CustomResourceDefinitions among each other, and the kinds they define.
//!
//! Which names a definition gets is decided in the transaction that writes it, so that it is established when the write is
//! answered. Two definitions of one group cannot be given the same name: each such write also writes the group's entry in
//! a collection of its own, and so meets every other.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/controller/status` (`NamingConditionController`).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use wk_api::custom::{self, Custom, convert, definition};
use wk_api::kind::Serving;
use wk_api::{Kind, Object, Reason, Status, kinds, typecheck};
use wk_base::time::Timestamp;
use wk_store::{Change, Expect, Key, Op, Stored, View};

use crate::write::put;
use crate::{Cluster, key, object, object_as};

/// One entry for each group that has definitions.
const NAMES: &str = "apiextensions.k8s.io/names";

impl Cluster {
    /// The kind served at `/apis/<group>/<version>/…/<plural>`, as this peer knows: built in, or defined by a
    /// CustomResourceDefinition.
    pub fn kind(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        kind_in(&self.store().view(), group, version, plural)
    }

    /// Every kind that is served, as this peer knows: the built-in ones first.
    pub fn kinds(&self) -> Vec<&'static Kind> {
        kinds_in(&self.store().view())
    }
}

/// As [`Cluster::kind`], of one view.
pub fn kind_in(view: &View, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    Kind::find(group, version, plural)
        .or_else(|| version_in(view, group, version, plural).filter(|kind| kind.custom.is_some_and(Custom::is_served)))
}

/// As [`Cluster::kinds`], of one view.
pub fn kinds_in(view: &View) -> Vec<&'static Kind> {
    let custom = definitions(view).flat_map(|definition| custom::kinds(&definition).to_vec());
    let custom = custom.filter(|kind| kind.custom.is_some_and(Custom::is_served) && !is_built_in(kind));
    kinds().iter().copied().chain(custom).collect()
}

/// One kind for each collection that may hold objects: for custom kinds the version that is stored, served or not.
pub fn stored_kinds_in(view: &View) -> Vec<&'static Kind> {
    let mut seen = BTreeSet::new();
    let custom = definitions(view).flat_map(|definition| custom::kinds(&definition).to_vec());
    let custom = custom.filter(|kind| kind.custom.is_some_and(Custom::is_storage) && !is_built_in(kind));
    let built_in = kinds().iter().copied().filter(|kind| kind.is_storage() && kind.serving == Serving::Stored);
    built_in.chain(custom).filter(|kind| seen.insert(kind.collection())).collect()
}

/// The objects that `definition` defines, or the kind they are stored as.
pub fn stored_kind(definition: &Object) -> Option<&'static Kind> {
    let kinds = custom::kinds(definition);
    kinds.iter().copied().find(|kind| kind.custom.is_some_and(Custom::is_storage) && !is_built_in(kind))
}

impl Cluster {
    /// What an object of `kind` was, as a write of it begins from: custom kinds are judged in the version of the request.
    pub(crate) fn before(&self, kind: &Kind, stored: &Stored) -> Result<Arc<Object>, Status> {
        if kind.custom.is_none() {
            return Ok(object(stored));
        }
        if let Some(old) = &self.converted {
            let same = old.resource_version() == stored.revision().to_string();
            return if same { Ok(Arc::clone(old)) } else { Err(Status::modified(kind, old.name())) };
        }
        let raw = object(stored);
        if convert::webhook(kind, raw.api_version()).is_some() {
            let why = "a webhook converts it, and only the API server asks webhooks";
            return Err(Status::internal(format!("{kind} {:?} is not written as it is stored: {why}", raw.name())));
        }
        Ok(object_as(kind, stored))
    }
}

/// A definition may name a group and plural that are built in: those stay what they are.
fn is_built_in(kind: &Kind) -> bool {
    kinds().iter().any(|own| own.group == kind.group && own.plural == kind.plural)
}

fn definitions(view: &View) -> impl Iterator<Item = Arc<Object>> + use<> {
    let all: Vec<_> = view.list(kinds::CRD.collection(), "").map(|stored| object(&stored)).collect();
    all.into_iter()
}

fn version_in(view: &View, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    if group.is_empty() {
        return None;
    }
    let definition = object(&*view.get(&key(&kinds::CRD, None, &format!("{plural}.{group}")))?);
    let kinds = custom::kinds(&definition);
    kinds.iter().copied().find(|kind| kind.version == version && !is_built_in(kind))
}

/// The same kind as this view has it: a definition may have changed since a request was read.
pub(crate) fn current<'a>(view: &View, kind: &'a Kind) -> Result<&'a Kind, Status> {
    if kind.custom.is_none() {
        return Ok(kind);
    }
    version_in(view, kind.group, kind.version, kind.plural).ok_or_else(Status::no_such_resource)
}

/// Checks that objects of a custom kind may be created; the write holds only if the definition has not changed since.
pub(crate) fn admit_create(view: &View, kind: &Kind) -> Result<Option<Op>, Status> {
    if kind.custom.is_none() {
        return Ok(None);
    }
    let key = key(&kinds::CRD, None, &kind.resource());
    let stored = view.get(&key).ok_or_else(Status::no_such_resource)?;
    if object(&stored).is_deleting() {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Status::new(405, Reason::MethodNotAllowed, why));
    }
    Ok(Some(Op { key, expect: Expect::Revision(stored.revision()), change: Change::Check }))
}

/// Gives the definition the names it asks for and nobody else of its group has, and says so in its status. Answers what
/// is written beside it: others of the group may get names that it gave up.
pub(crate) fn accept(view: &View, kind: &Kind, definition: &mut Object, now: Timestamp) -> Vec<Op> {
    if *kind != kinds::CRD {
        return Vec::new();
    }
    let group = definition.text("/spec/group").to_owned();
    let mut others = of_group(view, &group, definition.name());
    accept_one(definition, others.iter().map(|(_, other)| other.as_ref()), now);
    let mut ops = vec![meet(view, &group, true)];
    reconsider(&mut others, Some(definition), now, &mut ops);
    ops
}

/// What is written beside the removal of a definition: others of its group may get its names.
pub(crate) fn release(view: &View, kind: &Kind, definition: &Object, now: Timestamp) -> Vec<Op> {
    if *kind != kinds::CRD {
        return Vec::new();
    }
    let group = definition.text("/spec/group");
    let mut others = of_group(view, group, definition.name());
    let mut ops = vec![meet(view, group, !others.is_empty())];
    reconsider(&mut others, None, now, &mut ops);
    ops
}

/// Has the rules of an admission policy checked against the kinds as they are now.
pub(crate) fn check_types(view: &View, kind: &Kind, policy: &mut Object) {
    if *kind == kinds::VALIDATINGADMISSIONPOLICY {
        let find = |group: &str, version: &str, plural: &str| kind_in(view, group, version, plural);
        policy.0["status"]["typeChecking"] = typecheck::told(&policy.0["spec"], find);
    }
}

type Other = (Arc<Stored>, Arc<Object>);

fn of_group(view: &View, group: &str, without: &str) -> Vec<Other> {
    let all = view.list(kinds::CRD.collection(), "").map(|stored| (Arc::clone(&stored), object(&stored)));
    all.filter(|(_, other)| other.text("/spec/group") == group && other.name() != without).collect()
}

/// Writes the entry of the group, so that of two writes that do only one happens.
fn meet(view: &View, group: &str, stays: bool) -> Op {
    let key = Key::new(NAMES, group);
    let found = view.get(&key);
    let expect = found.as_ref().map_or(Expect::Absent, |stored| Expect::Revision(stored.revision()));
    let change = match (stays, found) {
        (true, _) => put(&Object::new(json!({ "metadata": { "name": group } }))),
        (false, Some(_)) => Change::Delete,
        (false, None) => Change::Check,
    };
    Op { key, expect, change }
}

/// Gives those that wait for names another try.
fn reconsider(others: &mut [Other], changed: Option<&Object>, now: Timestamp, ops: &mut Vec<Op>) {
    for at in 0..others.len() {
        if definition::is_condition_true(&others[at].1.0, "NamesAccepted") {
            continue;
        }
        let mut new = others[at].1.as_ref().clone();
        let beside = others.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, (_, other))| other.as_ref());
        accept_one(&mut new, beside.chain(changed), now);
        if new != *others[at].1 {
            let stored = &others[at].0;
            let expect = Expect::Revision(stored.revision());
            ops.push(Op { key: stored.key().clone(), expect, change: put(&new) });
            others[at].1 = Arc::new(new);
        }
    }
}

fn accept_one<'a>(definition: &mut Object, others: impl Iterator<Item = &'a Object>, now: Timestamp) {
    let (mut resources, mut words) = (BTreeSet::new(), BTreeSet::new());
    for other in others {
        let names = &other.0["status"]["acceptedNames"];
        resources.extend(["plural", "singular"].iter().filter_map(|key| names[*key].as_str()).map(str::to_owned));
        resources
            .extend(names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        words.extend(["kind", "listKind"].iter().filter_map(|key| names[*key].as_str()).map(str::to_owned));
    }
    let asked = definition.0["spec"]["names"].clone();
    let mut accepted = definition.0["status"]["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({ "plural": "", "kind": "" });
    }
    let mut refusal = None;
    for (key, reason, taken) in [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &words),
        ("listKind", "ListKindConflict", &words),
    ] {
        let new = |name: &&str| !texts(&accepted[key]).contains(name) && taken.contains(*name);
        let conflicts: Vec<String> =
            texts(&asked[key]).into_iter().filter(new).map(|name| format!("{name:?} is already in use")).collect();
        if conflicts.is_empty() {
            copy(&mut accepted, &asked, key);
        } else {
            let all = if conflicts.len() > 1 { format!("[{}]", conflicts.join(", ")) } else { conflicts.concat() };
            refusal = Some((reason, all));
        }
    }
    copy(&mut accepted, &asked, "categories");
    let status = &mut definition.0["status"];
    if !status.is_object() {
        *status = json!({});
    }
    status["acceptedNames"] = accepted;
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let value = &mut definition.0;
    let (reason, message) = match &refusal {
        None => ("NoConflicts", "no conflicts found"),
        Some((reason, message)) => (*reason, message.as_str()),
    };
    definition::set_condition(value, "NamesAccepted", refusal.is_none(), reason, message, &now);
    if refusal.is_none() {
        let message = "the initial names have been accepted";
        definition::set_condition(value, "Established", true, "InitialNamesAccepted", message, &now);
    } else if !definition::is_condition_true(value, "Established") {
        definition::set_condition(value, "Established", false, "NotAccepted", "not all names are accepted", &now);
    }
}

/// The one text, or the texts of a list.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        other => other.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    }
}

fn copy(to: &mut Value, from: &Value, key: &str) {
    let Some(members) = to.as_object_mut() else { return };
    match from.get(key) {
        Some(value) => drop(members.insert(key.to_owned(), value.clone())),
        None => drop(members.remove(key)),
    }
}
