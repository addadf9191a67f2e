//! What create, update, status, scale and delete do to an object. Pure: the caller reads, writes and retries.
//!
//! Order, as in Kubernetes: defaults, then what the server resets or fills in, then all of validation at once.
//! Not here: preconditions on `resourceVersion` of updates and everything that looks at other objects
//! (does the namespace exist, which cluster IP is free): those are the cluster crate's.

mod bind;
mod delete;
mod evict;
mod metadata;
mod scale;
mod update;

use serde_json::Value;
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind};
use crate::kinds::{PERSISTENTVOLUME, PERSISTENTVOLUMECLAIM};
use crate::object::{Object, time_text};
use crate::status::Status;
use crate::validate;

pub use bind::bind;
pub use delete::{DeleteOptions, Deletion, Disruption, Propagation, delete, removes};
pub use evict::{Eviction, covers, evict};
pub use scale::{scale_of, with_scale};
pub use update::{update, update_part, update_status};

/// What a decision needs from the world outside.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The time now.
    pub now: Timestamp,
    /// The uid of the object, if it is made.
    pub uid: &'a str,
    /// What is appended to `generateName`.
    pub suffix: &'a str,
}

/// The finalizer that keeps objects of a kind while they are in use; none of other kinds.
pub fn protection(kind: &Kind) -> Option<&'static str> {
    let own =
        [(&PERSISTENTVOLUMECLAIM, "kubernetes.io/pvc-protection"), (&PERSISTENTVOLUME, "kubernetes.io/pv-protection")];
    own.into_iter().find(|(own, _)| *own == kind).map(|(_, finalizer)| finalizer)
}

/// A decoded body with what the client left out filled in.
pub fn filled(kind: &Kind, mut value: Value) -> Value {
    kind.fill(&mut value);
    value
}

/// The object that a create stores, in the version it is stored in: named, defaulted, validated, with system metadata.
pub fn create(kind: &Kind, namespace: Option<&str>, body: Value, facts: &Facts<'_>) -> Result<Object, Status> {
    create_completed(kind, namespace, body, facts, |_| Ok(()))
}

/// As [`create`]; `complete` may fill in, after the defaults and before validation, what follows from other objects.
pub fn create_completed(
    kind: &Kind,
    namespace: Option<&str>,
    body: Value,
    facts: &Facts<'_>,
    complete: impl FnOnce(&mut Object) -> Result<(), Status>,
) -> Result<Object, Status> {
    let mut object = Object::new(kind.to_storage(body)?);
    let (asked, kind) = (kind, kind.storage());
    let value = &mut object.0;
    json::set(value, "apiVersion", kind.api_version());
    json::set(value, "kind", kind.kind);
    metadata::place(kind, namespace, value)?;
    metadata::name(value, facts.suffix);
    if !json::text(value, &["metadata", "resourceVersion"]).is_empty() {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let metadata = json::object_at(value, "metadata");
    for server_owned in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields", "generation"] {
        json::remove(metadata, server_owned);
    }
    json::set(metadata, "uid", facts.uid);
    json::set(metadata, "creationTimestamp", time_text(facts.now));
    json::remove(metadata, "resourceVersion");
    if kind.rules.generation != Generation::Never {
        json::set(metadata, "generation", 1);
    }
    kind.fill(value);
    complete(&mut object)?;
    let value = &mut object.0;
    (kind.rules.prepare_create)(value);
    if kind.custom.is_some() && kind.has_status {
        json::remove(value, "status");
    }
    let mut errors = Errors::new();
    validate::meta::object(kind, value, &mut errors);
    kind.check(value, None, &mut errors);
    (kind.rules.validate_create)(value, &mut errors);
    // A version may ask for more than the one that is stored.
    if asked != kind {
        (asked.rules.validate_create)(value, &mut errors);
    }
    if errors.is_empty() { Ok(object) } else { Err(Status::invalid(kind, object.name(), errors)) }
}

#[cfg(test)]
mod tests;
