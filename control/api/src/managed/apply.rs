//! Server-side apply: what somebody wants, merged into what is, less what they no longer want and nobody else owns.
//!
//! Source: `sigs.k8s.io/structured-merge-diff/merge` (`Updater.Apply`) and the managers around it in
//! `k8s.io/apimachinery/pkg/util/managedfields`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use wk_base::time::Timestamp;

use super::conflict::Conflicts;
use super::entries::{self, Id, Managers, Operation, Owned};
use super::set::Set;
use super::{Target, UNOWNED, manager_name, record, typed};
use crate::json;
use crate::kind::Kind;
use crate::object::{LAST_APPLIED, Object, time_text};
use crate::schema::{Node, schema_of};
use crate::status::{Reason, Status};

/// The manager whose client-side applies are carried over.
const KUBECTL: &str = "kubectl";

/// Who owns what was there before anybody applied.
const BEFORE: &str = "before-first-apply";

/// What somebody applies.
#[derive(Debug, Clone, Copy)]
pub struct Apply<'a> {
    /// What they want: an object with the fields they have an opinion on.
    pub config: &'a Value,
    /// Who they are.
    pub manager: &'a str,
    /// Whether they take the fields of others.
    pub force: bool,
    /// The time now.
    pub now: Timestamp,
    /// The object before and after in other versions of its kind, where those are not the same fields under the same names:
    /// what is owned in one of them is judged there.
    pub elsewhere: &'a [Elsewhere],
}

/// An object before and after an apply, in another version of its kind.
#[derive(Debug)]
pub struct Elsewhere {
    /// The version.
    pub kind: &'static Kind,
    /// What there was.
    pub before: Value,
    /// What comes of it.
    pub after: Value,
}

/// The versions of which fields of an object are owned.
pub fn versions(live: &Object) -> BTreeSet<String> {
    let managers = entries::read(json::get(live.metadata(), "managedFields")).unwrap_or_default();
    managers.into_values().map(|owned| owned.version).collect()
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The merged object, without owners; nulls may be in it.
    pub value: Value,
    /// The owners from now on.
    pub managed_fields: Value,
}

/// Merges what is applied into `live` (None: there is no object yet).
pub fn apply(target: &Target, live: Option<&Object>, what: Apply<'_>) -> Result<Applied, Status> {
    check_type(target, what.config)?;
    let shape = target.schema.root_shape();
    let node = target.schema.node(&shape);
    let mistakes = typed::mistakes(node, what.config);
    if !mistakes.is_empty() {
        return Err(untyped(target, what.config, &mistakes));
    }
    let mut base = live.map_or_else(|| empty(target), |live| live.0.clone());
    json::remove(json::object_at(&mut base, "metadata"), "managedFields");
    let recorded = live.map_or(&Value::Null, |live| json::get(live.metadata(), "managedFields"));
    let mut managers = entries::read(recorded).unwrap_or_default();
    managers.retain(|_, owned| target.knows(&owned.version));
    if managers.is_empty() && live.is_some() {
        let found = typed::compare(node, &empty(target), &base).without(&target.reset);
        managers = record(target, managers, &found, BEFORE, what.now);
    }
    let run = Run { target, node, base: &base, managers: &managers };
    let (mut value, mut managers) = match run.apply(what, what.force) {
        Ok(done) => done,
        Err(conflicts) => {
            if what.manager != KUBECTL {
                return Err(conflicts.refuse());
            }
            // What client-side apply wrote belongs to whoever goes on with server-side apply.
            let left = conflicts.outside(&run.last_applied());
            if !left.0.is_empty() {
                return Err(left.refuse());
            }
            run.apply(what, true).map_err(|conflicts| conflicts.refuse())?
        }
    };
    let id = Id::new(manager_name(what.manager), Operation::Apply, "", target.subresource);
    if let Some(own) = managers.get_mut(&id)
        && (own.time.is_none() || value != base)
    {
        own.time = Some(time_text(what.now));
    }
    if what.manager == KUBECTL {
        keep_last_applied(&mut value, what.config);
    }
    Ok(Applied { value, managed_fields: entries::write(&managers) })
}

fn check_type(target: &Target, config: &Value) -> Result<(), Status> {
    let (version, kind) = (json::text(config, &["apiVersion"]), json::text(config, &["kind"]));
    if version != target.api_version() || kind != target.kind {
        return Err(Status::bad_request(format!("invalid object type: {}", shown_type(version, kind))));
    }
    match json::dig(config, &["metadata", "managedFields"]) {
        Value::Null => Ok(()),
        _ => Err(Status::bad_request("metadata.managedFields must be nil")),
    }
}

/// `apps/v1, Kind=Deployment`; `/v1, Kind=Pod` in the core group.
fn shown_type(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn untyped(target: &Target, config: &Value, mistakes: &[String]) -> Status {
    let why = match mistakes {
        [only] => only.clone(),
        several => format!("errors:\n  {}", several.join("\n  ")),
    };
    let (namespace, name) = (json::text(config, &["metadata", "namespace"]), json::text(config, &["metadata", "name"]));
    let kind = shown_type(&target.api_version(), target.kind);
    let message = format!("failed to create typed patch object ({namespace}/{name}; {kind}): {why}");
    Status::new(500, Reason::Unknown, message)
}

/// The object before it is made.
fn empty(target: &Target) -> Value {
    let mut value = Value::Object(Map::new());
    json::set(&mut value, "apiVersion", target.api_version());
    json::set(&mut value, "kind", target.kind);
    value
}

impl Elsewhere {
    /// What changed in this version, as far as a write through the face of `target` changes it.
    fn compare(&self, target: &Target) -> typed::Comparison {
        let bare = |value: &Value| {
            let mut value = value.clone();
            json::remove(json::object_at(&mut value, "metadata"), "managedFields");
            value
        };
        let schema = schema_of(self.kind);
        let shape = schema.root_shape();
        typed::compare(schema.node(&shape), &bare(&self.before), &bare(&self.after)).without(&target.reset)
    }
}

/// One attempt to apply.
struct Run<'a> {
    target: &'a Target,
    node: Node<'a>,
    /// The live object without its owners.
    base: &'a Value,
    managers: &'a Managers,
}

impl Run<'_> {
    fn apply(&self, what: Apply<'_>, force: bool) -> Result<(Value, Managers), Conflicts> {
        let merged = typed::merge(self.node, self.base.clone(), what.config);
        let mut managers = self.managers.clone();
        let id = Id::new(manager_name(what.manager), Operation::Apply, "", self.target.subresource);
        let last = managers.remove(&id);
        let mut fields = typed::field_set(self.node, what.config);
        fields.subtract_trees(&self.target.reset);
        let time = last.as_ref().and_then(|last| last.time.clone());
        managers.insert(id.clone(), Owned { version: self.target.api_version(), fields, time });
        let value = match last {
            Some(last) if !last.fields.is_empty() => self.prune(&merged, &managers, &last.fields),
            _ => merged,
        };
        self.settle(&value, &mut managers, &id, Apply { force, ..what })?;
        if let Some(own) = managers.get_mut(&id) {
            own.fields.subtract(&UNOWNED);
        }
        managers.retain(|_, owned| !owned.fields.is_empty());
        Ok((value, managers))
    }

    /// `merged` without what was applied last time and is not now, unless somebody else owns it.
    fn prune(&self, merged: &Value, managers: &Managers, last: &Set) -> Value {
        let without =
            |gone: &Set| typed::remove(self.node, merged.clone(), gone).unwrap_or_else(|| Value::Object(Map::new()));
        let named = |set: &Set| set.with_named(Some(self.node));
        let fields = |value: &Value| named(&typed::field_set(self.node, value));
        let last = named(last);
        let everything = fields(merged);
        let owned = managers.values().fold(Set::default(), |all, owned| all.union(owned.fields.clone()));
        let kept = fields(&without(&last)).union(named(&owned));
        let kept = fields(&without(&everything.difference(&kept)));
        without(&everything.difference(&kept).intersection(&last))
    }

    /// Takes what changes from its owners; a refusal if they have not been asked.
    fn settle(&self, value: &Value, managers: &mut Managers, own: &Id, what: Apply<'_>) -> Result<(), Conflicts> {
        let here = typed::compare(self.node, self.base, value).without(&self.target.reset);
        let there: Vec<_> =
            what.elsewhere.iter().map(|other| (other.kind.api_version(), other.compare(self.target))).collect();
        let mut conflicts = Vec::new();
        for (id, owned) in managers.iter_mut().filter(|(id, _)| *id != own) {
            let found = there.iter().find(|(version, _)| *version == owned.version).map_or(&here, |(_, found)| found);
            let changed = found.changed();
            let conflict = owned.fields.intersection(&changed);
            owned.fields.subtract(&changed);
            owned.fields.subtract(&found.removed);
            if !conflict.is_empty() {
                conflicts.push((id.clone(), conflict));
            }
        }
        if what.force || conflicts.is_empty() { Ok(()) } else { Err(Conflicts(conflicts)) }
    }

    /// The fields that `kubectl apply` set on the client's side and that are still as it set them.
    fn last_applied(&self) -> Set {
        let text = json::text(self.base, &["metadata", "annotations", LAST_APPLIED]);
        let Ok(last) = serde_json::from_str::<Value>(text) else { return Set::default() };
        if json::text(&last, &["apiVersion"]) != self.target.api_version()
            || !typed::mistakes(self.node, &last).is_empty()
        {
            return Set::default();
        }
        let found = typed::compare(self.node, &last, self.base);
        let fields = typed::field_set(self.node, &last);
        fields.difference(&found.changed()).difference(&found.removed)
    }
}

/// Keeps the annotation of client-side apply in step, where there is one.
fn keep_last_applied(value: &mut Value, config: &Value) {
    if json::text(value, &["metadata", "annotations", LAST_APPLIED]).is_empty() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations") {
        json::remove(annotations, LAST_APPLIED);
    }
    let annotations = json::object_at(json::object_at(value, "metadata"), "annotations");
    json::set(annotations, LAST_APPLIED, format!("{config}\n"));
}
