//! Several versions of one kind: objects are stored in one of them and shown in each.
//!
//! A row that names another as its [`Kind::storage`] shares that row's collection. Most kinds have one version, and
//! what is stored is what is shown. Not here: conversion by webhook, which is I/O.

use std::borrow::Cow;

use serde_json::Value;

use crate::decode::{self, FieldValidation};
use crate::json;
use crate::kind::{Kind, Serving};
use crate::object::Object;
use crate::status::Status;

impl Kind {
    /// The version that objects of this kind are stored in: this one, for most.
    pub fn storage(&self) -> &Kind {
        self.storage.unwrap_or(self)
    }

    /// Whether objects are stored, and in this version. Whoever goes through all kinds to see each object once takes these.
    pub fn is_storage(&self) -> bool {
        self.storage.is_none() && self.serving == Serving::Stored
    }

    /// Whether the bytes in the store are what clients are shown. Not those of a kind that is sealed at rest.
    pub fn serves_stored_bytes(&self) -> bool {
        self.shows_what_is_stored() && !self.sealed
    }

    /// Whether the stored bytes are what this version shows.
    pub fn shows_what_is_stored(&self) -> bool {
        self.storage.is_none() && self.rules.from_stored.is_none()
    }

    /// A stored object as this version shows it.
    pub fn shown<'a>(&self, stored: &'a Object) -> Cow<'a, Object> {
        if self.shows_what_is_stored() {
            return Cow::Borrowed(stored);
        }
        let mut value = stored.0.clone();
        if let Some(convert) = self.rules.from_stored {
            convert(self, &mut value);
        }
        json::set(&mut value, "apiVersion", self.api_version());
        json::set(&mut value, "kind", self.kind);
        Cow::Owned(Object::new(value))
    }

    /// A value of this version, decoded, as it is stored; with the defaults of this version first. Not where a webhook
    /// converts.
    pub fn to_storage(&self, mut value: Value) -> Result<Value, Status> {
        if self.storage.is_none() {
            return Ok(value);
        }
        (self.rules.default)(&mut value);
        if let Some(convert) = self.rules.to_stored {
            convert(self, &mut value);
        }
        let storage = self.storage();
        json::set(&mut value, "apiVersion", storage.api_version());
        json::set(&mut value, "kind", storage.kind);
        // What a conversion read out of annotations has been checked by nobody.
        if storage.is_custom() {
            return Ok(value);
        }
        decode::body(storage, value, FieldValidation::Ignore).map(|(value, _)| value)
    }
}
