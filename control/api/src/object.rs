//! One API object as JSON, with readers for the metadata everybody asks for. Not a typed struct: see [`Object::read`].

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use wk_base::time::Timestamp;

use crate::json;
use crate::kind::Kind;
use crate::status::Status;

/// The annotation in which `kubectl apply` keeps what it applied last: the whole object.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An API object: always a JSON object whose `metadata` is an object ([`Object::new`] sees to it).
#[derive(Debug, Clone, PartialEq)]
pub struct Object(pub Value);

impl Object {
    /// Wraps `value`; adds an empty `metadata` when there is none.
    pub fn new(mut value: Value) -> Self {
        json::object_at(&mut value, "metadata");
        Self(value)
    }

    /// A typed struct as an object of `kind`.
    pub fn from_typed<T: Serialize>(typed: &T, kind: &Kind) -> Self {
        let mut value = serde_json::to_value(typed).unwrap_or(Value::Null);
        json::set(&mut value, "apiVersion", kind.api_version());
        json::set(&mut value, "kind", kind.kind);
        Self::new(value)
    }

    /// The object as a typed struct, for those who compute with it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Status> {
        T::deserialize(&self.0)
            .or_else(|error| self.dated().map_or(Err(error), T::deserialize))
            .map_err(|error| Status::internal(format!("object {:?} does not fit its type: {error}", self.name())))
    }

    /// The same with a time in each condition, if some lack one: the types want one, and clients may leave it out.
    fn dated(&self) -> Option<Value> {
        let lacks = |condition: &Value| condition.is_object() && json::get(condition, "lastTransitionTime").is_null();
        if !self.items("/status/conditions").iter().any(lacks) {
            return None;
        }
        let mut dated = self.0.clone();
        for condition in json::items_mut(json::object_at(&mut dated, "status"), "conditions") {
            json::default(condition, "lastTransitionTime", "1970-01-01T00:00:00Z");
        }
        Some(dated)
    }

    /// The value at a JSON pointer such as `/spec/replicas`.
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        // `Value::pointer` makes two copies of each name to look for escapes, and this is asked of every pod in every look.
        let Some(path) = pointer.strip_prefix('/').filter(|path| !path.contains('~')) else {
            return self.0.pointer(pointer);
        };
        path.split('/').try_fold(&self.0, |value, name| match value {
            Value::Object(fields) => fields.get(name),
            Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }

    /// The string at a JSON pointer; empty when there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The integer at a JSON pointer.
    pub fn int(&self, pointer: &str) -> Option<i64> {
        self.at(pointer).and_then(Value::as_i64)
    }

    /// The items of the list at a JSON pointer; none when it is missing.
    pub fn items(&self, pointer: &str) -> &[Value] {
        self.at(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        json::text(&self.0, &["apiVersion"])
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        json::text(&self.0, &["kind"])
    }

    /// The whole `metadata`.
    pub fn metadata(&self) -> &Value {
        json::get(&self.0, "metadata")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        json::text(&self.0, &["metadata", "name"])
    }

    /// `metadata.namespace`; empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        json::text(&self.0, &["metadata", "namespace"])
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        json::text(&self.0, &["metadata", "uid"])
    }

    /// `metadata.resourceVersion`.
    pub fn resource_version(&self) -> &str {
        json::text(&self.0, &["metadata", "resourceVersion"])
    }

    /// `metadata.generation`; 0 when the kind has none.
    pub fn generation(&self) -> i64 {
        json::int(&self.0, &["metadata", "generation"]).unwrap_or_default()
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> BTreeMap<&str, &str> {
        strings(json::dig(&self.0, &["metadata", "labels"]))
    }

    /// One label.
    pub fn label(&self, key: &str) -> Option<&str> {
        json::dig(&self.0, &["metadata", "labels", key]).as_str()
    }

    /// `metadata.annotations`.
    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        strings(json::dig(&self.0, &["metadata", "annotations"]))
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        json::dig(&self.0, &["metadata", "annotations", key]).as_str()
    }

    /// `metadata.ownerReferences`; entries that do not fit the type are left out.
    pub fn owner_references(&self) -> Vec<OwnerReference> {
        json::items(&self.0, &["metadata", "ownerReferences"])
            .iter()
            .filter_map(|item| serde_json::from_value(item.clone()).ok())
            .collect()
    }

    /// The owner that controls this object.
    pub fn controller_of(&self) -> Option<OwnerReference> {
        self.owner_references().into_iter().find(|owner| owner.controller == Some(true))
    }

    /// `metadata.creationTimestamp`.
    pub fn creation_timestamp(&self) -> Option<Timestamp> {
        timestamp(json::dig(&self.0, &["metadata", "creationTimestamp"]))
    }

    /// `metadata.deletionTimestamp`: set means that the object is on its way out.
    pub fn deletion_timestamp(&self) -> Option<Timestamp> {
        timestamp(json::dig(&self.0, &["metadata", "deletionTimestamp"]))
    }

    /// Whether `metadata.deletionTimestamp` is set.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp().is_some()
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> Vec<&str> {
        json::items(&self.0, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect()
    }

    /// `metadata` for writing.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        json::as_object(json::object_at(&mut self.0, "metadata"))
    }
}

impl From<Value> for Object {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}

fn strings(value: &Value) -> BTreeMap<&str, &str> {
    json::members(value, &[]).filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// Reads a time of an object.
pub(crate) fn timestamp(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// A time as objects carry it where seconds are too coarse.
pub(crate) fn micro_time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A time as objects carry it: whole seconds, UTC.
pub(crate) fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
