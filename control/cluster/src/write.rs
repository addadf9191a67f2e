//! Create, update and modify.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use wk_api::custom::convert;
use wk_api::managed::{self, Target};
use wk_api::strategy::{self, Facts};
use wk_api::{FieldError, FieldReason, Kind, Object, Status};
use wk_base::id;
use wk_store::{Change, Expect, Key, Op, Stored, View};

use crate::guard::Write;
use crate::manager::{put_scale_owners, scale_of};
use crate::read::shown;
use crate::settle::{Decision, Outcome};
use crate::vault;
use crate::{Cluster, admission, definitions, key, namespaces, object, services};

/// Characters after `generateName`, as Kubernetes adds.
const SUFFIX_LENGTH: usize = 5;

/// Names drawn for `generateName` before it is given up, as in Kubernetes since 1.30.
const NAMES_MAX: u32 = 8;

/// Which face of an object a write goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// The object itself; its status stays as it was.
    None,
    /// `/status`: only the status changes.
    Status,
    /// One that writes a part of the object, by its name: `ephemeralcontainers`.
    Part(&'static str),
    /// `/scale`: an `autoscaling/v1` Scale that stands for the number of replicas.
    Scale,
}

/// What somebody wants an object to be.
pub(crate) struct Wanted {
    pub value: Value,
    /// Who owns which field from now on, if that is known; recorded from the difference otherwise.
    pub owners: Option<Value>,
}

impl From<Value> for Wanted {
    fn from(value: Value) -> Self {
        Self { value, owners: None }
    }
}

impl Cluster {
    /// Creates an object from a decoded body and answers it as stored.
    ///
    /// With `metadata.generateName` and no name, a name is drawn until one is free, a bounded number of times. A
    /// Service gets its cluster IP in the same write.
    pub async fn create(&self, kind: &Kind, namespace: Option<&str>, body: Value) -> Result<Arc<Object>, Status> {
        let names = if text(&body, "name").is_empty() { NAMES_MAX } else { 1 };
        let _turn = self.turn(namespace).await;
        let decide = |view: &View| {
            let kind = definitions::current(view, kind)?;
            let conditions = conditions_of_create(view, kind, namespace, text(&body, "name"))?;
            let mut taken = None;
            for _ in 0..names {
                let (uid, suffix) = (id::uid(), id::suffix(SUFFIX_LENGTH));
                let facts = Facts { now: self.clock().now(), uid: &uid, suffix: &suffix };
                let object = self.made(view, kind, namespace, Wanted::from(body.clone()), &facts)?;
                let key = key(kind, namespace, object.name());
                if view.get(&key).is_none() {
                    let mut decision = self.decide_create(view, kind, key, object, &facts)?;
                    decision.ops.extend(conditions);
                    return Ok(decision);
                }
                taken = Some(Status::already_exists(kind, object.name()));
            }
            Err(taken.unwrap_or_else(|| Status::already_exists(kind, "")))
        };
        let lost = || Status::conflict(kind, text(&body, "name"), "other writers were faster each time; try again");
        self.settle(decide, lost).await.map(|(object, _)| shown(kind, object))
    }

    /// Replaces an object, except for its status.
    ///
    /// A `metadata.resourceVersion` in the body is a precondition; without one the last writer wins.
    pub async fn update(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        self.modify(kind, namespace, name, Subresource::None, |_| Ok(body.clone())).await
    }

    /// Replaces the status of an object. Preconditions as in [`Cluster::update`].
    pub async fn update_status(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        self.modify(kind, namespace, name, Subresource::Status, |_| Ok(body.clone())).await
    }

    /// Reads an object, changes it and writes it back; again when somebody else wrote in between.
    ///
    /// `change` sees what a GET of the subresource shows (a Scale for `/scale`) and returns its new value. What it
    /// returns may name a `metadata.resourceVersion`, or a `uid`, that must hold; what it was shown has the current
    /// ones, so returning that changed is always allowed. Answers the whole object, whichever the subresource.
    pub async fn modify(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        subresource: Subresource,
        mut change: impl FnMut(&Object) -> Result<Value, Status>,
    ) -> Result<Arc<Object>, Status> {
        let decide = |view: &View| {
            let kind = definitions::current(view, kind)?;
            let stored = view.get(&key(kind, namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
            self.decide_update(view, kind, &stored, subresource, |object| change(object).map(Wanted::from))
        };
        self.settle(decide, || Status::modified(kind, name)).await.map(|(object, _)| shown(kind, object))
    }

    /// The object that a create makes, with its owners.
    pub(crate) fn made(
        &self,
        view: &View,
        kind: &Kind,
        namespace: Option<&str>,
        wanted: Wanted,
        facts: &Facts<'_>,
    ) -> Result<Object, Status> {
        let given = managed::take_given(&wanted.value);
        let tracks = wanted.owners.is_none() && self.manager.tracks_creation();
        let complete = |object: &mut Object| {
            // Before admission, as in Kubernetes: what that fills in is nobody's, and no apply takes it away.
            if tracks {
                let target = Target::made(kind.storage());
                managed::track(&target, None, object, given.as_ref(), self.manager.name(), facts.now);
            }
            admission::complete(view, kind.storage(), object)
        };
        let mut object = strategy::create_completed(kind, namespace, wanted.value, facts, complete)?;
        if let Some(owners) = wanted.owners {
            managed::put(&mut object, owners);
        }
        Ok(object)
    }

    pub(crate) fn decide_update(
        &self,
        view: &View,
        kind: &Kind,
        stored: &Arc<Stored>,
        subresource: Subresource,
        mut change: impl FnMut(&Object) -> Result<Wanted, Status>,
    ) -> Result<Decision, Status> {
        let old = self.before(kind, stored)?;
        vault::check_open(kind, &old)?;
        let facts = Facts { now: self.clock().now(), uid: old.uid(), suffix: "" };
        let (mut ops, mut warnings) = (Vec::new(), Vec::new());
        let shown =
            if subresource == Subresource::Scale { Cow::Owned(scale_of(kind, &old)?) } else { kind.shown(&old) };
        let Wanted { value: mut wanted, owners } = change(&shown)?;
        check_version(kind, &old, &wanted)?;
        let given = managed::take_given(&wanted);
        let own = |target: Target, old: &Object, new: &mut Object| match &owners {
            Some(owners) => managed::put(new, owners.clone()),
            None => managed::track(&target, Some(old), new, given.as_ref(), self.manager.name(), facts.now),
        };
        let mut new = match subresource {
            Subresource::None => {
                services::keep_allocated(kind, &old, &mut wanted);
                let mut new = strategy::update(kind, &old, wanted, &facts)?;
                definitions::check_types(view, kind, &mut new);
                own(Target::object(kind.storage()), &old, &mut new);
                ops = services::allocate(view, kind, Some(&old), &mut new, &facts)?;
                ops.extend(definitions::accept(view, kind, &mut new, facts.now));
                new
            }
            Subresource::Status => {
                let mut new = strategy::update_status(kind, &old, wanted, &facts)?;
                own(Target::status(kind.storage()), &old, &mut new);
                ops.extend(definitions::accept(view, kind, &mut new, facts.now));
                new
            }
            Subresource::Part(part) => {
                let mut new = strategy::update_part(kind, part, &old, wanted)?;
                own(Target::subresource(kind.storage(), part), &old, &mut new);
                new
            }
            Subresource::Scale => {
                let replicas = strategy::with_scale(kind, &old, &wanted)?;
                let mut new = strategy::update(kind.storage(), &old, replicas, &facts)?;
                let mut scale = Object::new(strategy::scale_of(kind, &new)?);
                own(Target::scale(), &shown, &mut scale);
                put_scale_owners(kind, &old, &mut new, &scale);
                new
            }
        };
        // Applying what is there already is no change, however late.
        if owners.is_some() && managed::is_same_but_for_times(&old, &new) {
            new = Object::clone(&old);
        }
        self.guard(&Write { view, kind, subresource, old: Some(&old), new: Some(&new) })?;
        admission::follow(kind.storage(), &mut new, facts.now);
        let key = stored.key().clone();
        let expect = Expect::Revision(stored.revision());
        if strategy::removes(kind, &new) {
            ops = services::release(view, kind, &old);
            ops.extend(definitions::release(view, kind, &old, facts.now));
            ops.push(Op { key, expect, change: Change::Delete });
            return Ok(Decision { ops, answer: Arc::new(new), outcome: Outcome::Removed, warnings: Vec::new() });
        }
        check_depth(&new)?;
        let form = convert::stored(kind, &new);
        if form.0 == object(stored).0 || kind.custom.is_none() && new.0 == old.0 {
            return Ok(Decision { ops: Vec::new(), answer: old, outcome: Outcome::Kept, warnings: Vec::new() });
        }
        if subresource != Subresource::Status {
            let write = Write { view, kind: kind.storage(), subresource, old: Some(&old), new: Some(&new) };
            self.note(|| admission::notes(&write));
            let admitted = admission::check(&write, &facts)?;
            ops.extend(admitted.ops);
            warnings = admitted.warnings;
        }
        let (change, relies_on) = self.put(view, &form)?;
        ops.extend(relies_on);
        ops.push(Op { key, expect, change });
        Ok(Decision { ops, answer: Arc::new(new), outcome: Outcome::Kept, warnings })
    }

    pub(crate) fn decide_create(
        &self,
        view: &View,
        kind: &Kind,
        key: Key,
        mut object: Object,
        facts: &Facts<'_>,
    ) -> Result<Decision, Status> {
        let subresource = Subresource::None;
        let write = Write { view, kind: kind.storage(), subresource, old: None, new: Some(&object) };
        self.note(|| admission::notes(&write));
        let admission::Admitted { mut ops, warnings } = admission::check(&write, facts)?;
        ops.extend(services::allocate(view, kind, None, &mut object, facts)?);
        self.guard(&Write { view, kind, subresource: Subresource::None, old: None, new: Some(&object) })?;
        admission::follow(kind.storage(), &mut object, facts.now);
        check_depth(&object)?;
        ops.extend(definitions::accept(view, kind, &mut object, facts.now));
        definitions::check_types(view, kind, &mut object);
        let (change, relies_on) = self.put(view, &convert::stored(kind, &object))?;
        ops.extend(relies_on);
        ops.push(Op { key, expect: Expect::Absent, change });
        Ok(Decision { ops, answer: Arc::new(object), outcome: Outcome::Kept, warnings })
    }
}

/// The encoded form of `object` as a change, in plain form.
pub(crate) fn put(object: &Object) -> Change {
    let (bytes, stamp) = wk_api::encode::stored(object);
    Change::Put(wk_store::Value { bytes: bytes.into(), stamp: Some(stamp) })
}

/// A `resourceVersion` in what is to be written has to be that of what is there; none asks for nothing.
fn check_version(kind: &Kind, old: &Object, new: &Value) -> Result<(), Status> {
    match text(new, "resourceVersion") {
        "" | "0" if kind.updates_by_version() => Err(unversioned(kind, old.name())),
        "" | "0" => Ok(()),
        version if version == old.resource_version() => Ok(()),
        _ => Err(Status::modified(kind, old.name())),
    }
}

/// Kinds for which "the last writer wins" is not offered.
fn unversioned(kind: &Kind, name: &str) -> Status {
    let field = "metadata.resourceVersion".to_owned();
    let message = "Invalid value: 0x0: must be specified for an update".to_owned();
    Status::invalid(kind, name, vec![FieldError { field, reason: FieldReason::Invalid, message }])
}

/// Levels of nesting that an object may have. What is stored is read with a limit of 128, and a conversion may add some.
const DEPTH_MAX: usize = 100;

/// What could be stored and never read again is not stored, whichever way it came.
fn check_depth(object: &Object) -> Result<(), Status> {
    fn fits(value: &Value, left: usize) -> bool {
        match value {
            Value::Object(members) => left > 0 && members.values().all(|value| fits(value, left - 1)),
            Value::Array(items) => left > 0 && items.iter().all(|value| fits(value, left - 1)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    if fits(&object.0, DEPTH_MAX) {
        return Ok(());
    }
    Err(Status::bad_request(format!("the object is nested deeper than {DEPTH_MAX} levels")))
}

/// A string of the metadata; empty when missing.
fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// Checks that an object may be created; the write holds only while these conditions do.
pub(crate) fn conditions_of_create(
    view: &View,
    kind: &Kind,
    namespace: Option<&str>,
    name: &str,
) -> Result<Vec<Op>, Status> {
    let definition = definitions::admit_create(view, kind)?;
    let namespace = match namespace {
        Some(namespace) => Some(namespaces::admit_create(view, kind, namespace, name)?),
        None => None,
    };
    Ok(definition.into_iter().chain(namespace).collect())
}
