//! From the version in which an object is stored to the one that is asked for, and back.
//!
//! Not here: conversion by a webhook, which takes a request. What comes back from one goes through [`Kind::shown`] as well.

use serde_json::Value;

use super::Conversion;
use crate::json;
use crate::kind::Kind;
use crate::object::Object;

/// What [`Kind::shown`] does to an object of a custom kind: what the schema of today does not know is gone, and what it
/// fills in is there.
pub(super) fn from_stored(kind: &Kind, value: &mut Value) {
    if let Some(custom) = kind.custom {
        custom.clean(value);
    }
}

/// The `apiVersion` in which an object of `kind` is stored; None for one that is stored as it is.
pub fn stored_version(kind: &Kind) -> Option<String> {
    let custom = kind.custom.filter(|custom| !custom.storage)?;
    Some(format!("{}/{}", kind.group, custom.storage_version))
}

/// An object of `kind` as it is stored, where that takes no webhook.
pub fn stored(kind: &Kind, object: &Object) -> Object {
    let mut object = object.clone();
    if let Some(version) = stored_version(kind) {
        json::set(&mut object.0, "apiVersion", version);
    }
    object
}

/// Whether a webhook converts objects of `kind` that are of other versions.
pub fn asks_webhook(kind: &Kind) -> bool {
    kind.custom.is_some_and(|custom| matches!(custom.conversion(), Conversion::Webhook(_)))
}

/// The webhook that makes an object of `from` one of the version of `kind`; None where none is asked.
pub fn webhook<'a>(kind: &'a Kind, from: &str) -> Option<&'a Value> {
    match kind.custom?.conversion() {
        Conversion::Webhook(webhook) if from != kind.api_version() => Some(webhook),
        Conversion::Webhook(_) | Conversion::None => None,
    }
}
