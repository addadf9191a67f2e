//! Names, namespaces and the metadata that only the server writes.

use serde_json::Value;

use crate::json;
use crate::kind::Kind;
use crate::object::Object;
use crate::status::Status;

/// Longest prefix that `generateName` contributes: five characters of the 63 are for the suffix.
const GENERATED_PREFIX_MAX: usize = 58;

/// Puts the object into the namespace of the request, which its own must not contradict.
pub(super) fn place(kind: &Kind, namespace: Option<&str>, value: &mut Value) -> Result<(), Status> {
    let namespace = namespace.unwrap_or_default();
    let own = json::text(value, &["metadata", "namespace"]);
    if !kind.is_namespaced() {
        if !own.is_empty() {
            return Err(Status::bad_request("namespace may not be set on an object of a cluster-scoped kind"));
        }
        json::remove(json::object_at(value, "metadata"), "namespace");
        return Ok(());
    }
    if namespace.is_empty() {
        return Err(Status::bad_request("an empty namespace may not be set during creation"));
    }
    if !own.is_empty() && own != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    json::set(json::object_at(value, "metadata"), "namespace", namespace);
    Ok(())
}

/// Makes a name from `generateName` when there is none.
pub(super) fn name(value: &mut Value, suffix: &str) {
    let prefix = json::text(value, &["metadata", "generateName"]);
    if prefix.is_empty() || !json::text(value, &["metadata", "name"]).is_empty() {
        return;
    }
    let end = (0..=GENERATED_PREFIX_MAX.min(prefix.len())).rev().find(|end| prefix.is_char_boundary(*end));
    let name = format!("{}{suffix}", &prefix[..end.unwrap_or_default()]);
    json::set(json::object_at(value, "metadata"), "name", name);
}

/// The body of an update must be about the object that the request is about.
pub(super) fn same_object(kind: &Kind, old: &Object, new: &Object) -> Result<(), Status> {
    let (name, namespace) = (new.name(), new.namespace());
    if !name.is_empty() && name != old.name() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            old.name()
        )));
    }
    if !namespace.is_empty() && namespace != old.namespace() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let uid = new.uid();
    if !uid.is_empty() && uid != old.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", old.uid());
        return Err(Status::conflict(kind, old.name(), &why));
    }
    Ok(())
}

/// Keeps what only the server writes as it is in the old object.
pub(super) fn keep(old: &Object, new: &mut Value) {
    let metadata = json::object_at(new, "metadata");
    for server_owned in
        ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion", "generateName"]
    {
        json::copy(metadata, old.metadata(), server_owned);
    }
    for client_may_not in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        json::copy(metadata, old.metadata(), client_may_not);
    }
    for never_kept in ["selfLink", "managedFields"] {
        json::remove(metadata, never_kept);
    }
}
