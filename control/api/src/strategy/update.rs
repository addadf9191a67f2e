//! Updates of an object and of its status.

use serde_json::Value;

use super::{Facts, metadata};
use crate::custom::Custom;
use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind};
use crate::object::Object;
use crate::status::Status;
use crate::validate;

/// The object that an update stores: status and server-owned metadata are those of `old`, the generation moves when
/// the kind says so. Equal to `old` when nothing changed. `old` and the answer are in the version that is stored, `new`
/// is in that of `kind`.
pub fn update(kind: &Kind, old: &Object, new: Value, _facts: &Facts<'_>) -> Result<Object, Status> {
    let mut object = Object::new(kind.to_storage(new)?);
    let (asked, kind) = (kind, kind.storage());
    metadata::same_object(kind, old, &object)?;
    let value = &mut object.0;
    json::set(value, "apiVersion", kind.api_version());
    json::set(value, "kind", kind.kind);
    metadata::keep(old, value);
    if kind.has_status {
        json::copy(value, &old.0, "status");
    }
    kind.fill(value);
    (kind.rules.prepare_update)(value, &old.0);
    if moves(kind, value, &old.0) {
        json::set(json::object_at(value, "metadata"), "generation", old.generation() + 1);
    }
    let mut errors = Errors::new();
    validate::meta::object(kind, value, &mut errors);
    validate::meta::update(value, &old.0, &mut errors);
    kind.check(value, Some(&old.0), &mut errors);
    if asked != kind {
        (asked.rules.validate_update)(value, &old.0, &mut errors);
    }
    if errors.is_empty() { Ok(object) } else { Err(Status::invalid(kind, old.name(), errors)) }
}

/// The object that a write to `/status` stores: `old` with the status, the annotations and, for most kinds, the labels
/// of `new`.
pub fn update_status(kind: &Kind, old: &Object, new: Value, _facts: &Facts<'_>) -> Result<Object, Status> {
    if !kind.has_status {
        return Err(Status::no_such_resource());
    }
    let new = Object::new(kind.to_storage(new)?);
    let kind = kind.storage();
    metadata::same_object(kind, old, &new)?;
    if let Some(custom) = kind.custom {
        let object = Object(Custom::with_status(&old.0, &new.0));
        let mut errors = Errors::new();
        custom.validate_status(&object.0, &old.0, &mut errors);
        return if errors.is_empty() { Ok(object) } else { Err(Status::invalid(kind, old.name(), errors)) };
    }
    let mut object = old.clone();
    json::copy(&mut object.0, &new.0, "status");
    // The class is decided once, at creation; a node agent need not know it.
    if json::text(&object.0, &["status", "qosClass"]).is_empty()
        && let Some(class) = old.at("/status/qosClass")
    {
        json::set(json::object_at(&mut object.0, "status"), "qosClass", class.clone());
    }
    let metadata = json::object_at(&mut object.0, "metadata");
    json::copy(metadata, new.metadata(), "annotations");
    if !kind.rules.status_keeps_labels {
        json::copy(metadata, new.metadata(), "labels");
    }
    kind.fill(&mut object.0);
    let mut errors = Errors::new();
    validate::meta::object(kind, &object.0, &mut errors);
    (kind.rules.validate_status)(&object.0, &old.0, &mut errors);
    if errors.is_empty() { Ok(object) } else { Err(Status::invalid(kind, old.name(), errors)) }
}

/// The object that a write to the subresource `part` stores: `old` with that part of `new`.
pub fn update_part(kind: &Kind, part: &str, old: &Object, new: Value) -> Result<Object, Status> {
    let new = Object::new(kind.to_storage(new)?);
    let kind = kind.storage();
    let part = kind.rules.parts.iter().find(|own| own.name == part).ok_or_else(Status::no_such_resource)?;
    metadata::same_object(kind, old, &new)?;
    let mut object = old.clone();
    (part.take)(&mut object.0, &new.0);
    kind.fill(&mut object.0);
    if moves(kind, &object.0, &old.0) {
        json::set(json::object_at(&mut object.0, "metadata"), "generation", old.generation() + 1);
    }
    let mut errors = Errors::new();
    (kind.rules.validate)(&object.0, &mut errors);
    (part.validate)(&object.0, &old.0, &mut errors);
    if errors.is_empty() { Ok(object) } else { Err(Status::invalid(kind, old.name(), errors)) }
}

fn moves(kind: &Kind, new: &Value, old: &Value) -> bool {
    let differs = |path: &[&str]| !json::same(json::dig(new, path), json::dig(old, path));
    match kind.rules.generation {
        Generation::Never => false,
        Generation::Spec => differs(&["spec"]),
        Generation::SpecAndAnnotations => differs(&["spec"]) || differs(&["metadata", "annotations"]),
        Generation::Anything => differs(&["metadata", "labels"]) || content_differs(new, old),
        Generation::Content => content_differs(new, old),
    }
}

/// Whether anything outside the metadata differs.
fn content_differs(new: &Value, old: &Value) -> bool {
    let outside = |value: &Value| {
        let mut value = value.clone();
        json::remove(&mut value, "metadata");
        value
    };
    !json::same(&outside(new), &outside(old))
}
