//! What create, update and status do to objects of custom kinds, beside what they do to all.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresource`.

use serde_json::Value;

use super::{Custom, check, clean, rules, scale};
use crate::field::Errors;
use crate::json;

impl Custom {
    /// Drops what the schema does not know, and what is null for no reason; fills in defaults. Answers the paths of what
    /// was dropped.
    pub(crate) fn clean(&self, value: &mut Value) -> Vec<String> {
        let unknown = clean::prune(value, &self.schema);
        clean::drop_nulls(value, &self.schema);
        clean::default(value, &self.schema);
        unknown
    }

    /// Fills in defaults.
    pub(crate) fn default(&self, value: &mut Value) {
        clean::default(value, &self.schema);
    }

    /// Checks everything but the metadata. `old` is what an update replaces.
    pub(crate) fn validate(&self, value: &Value, old: Option<&Value>, errors: &mut Errors) {
        let before = errors.len();
        check::check(value, old, &self.schema, "", errors);
        self.replicas(value, true, errors);
        check::embedded(value, &self.schema, "", errors);
        let mut ignored = Errors::new();
        if let Some(old) = old {
            check::lists(old, &self.schema, "", &mut ignored);
        }
        if ignored.is_empty() {
            check::lists(value, &self.schema, "", errors);
        }
        rules::check_sound(value, old, &self.schema, before, errors);
    }

    /// Checks a write of the status.
    pub(crate) fn validate_status(&self, value: &Value, old: &Value, errors: &mut Errors) {
        let before = errors.len();
        if let (Some(status), Some(schema)) = (value.get("status"), self.schema.properties.get("status")) {
            check::check(status, old.get("status"), schema, "status", errors);
        }
        self.replicas(value, false, errors);
        rules::check_sound(value, Some(old), &self.schema, before, errors);
    }

    fn replicas(&self, value: &Value, spec: bool, errors: &mut Errors) {
        let Some(paths) = &self.scale else { return };
        let both = [(spec, &paths.spec), (true, &paths.status)];
        for (_, path) in both.into_iter().filter(|(wanted, _)| *wanted) {
            let (field, number) = (format!(".{}", path.join(".")), scale::at(value, path));
            match number.as_i64() {
                None if number.is_null() => {}
                None => errors.invalid(field, &0.into(), &format!("accessor error: {number} is not an integer")),
                Some(count) if count < 0 => errors.invalid(field, number, "should be a non-negative integer"),
                Some(count) if count > i64::from(i32::MAX) => {
                    errors.invalid(field, number, &format!("should be less than or equal to {}", i32::MAX));
                }
                Some(_) => {}
            }
        }
        if let Some(path) = &paths.selector {
            let selector = scale::at(value, path);
            if !(selector.is_null() || selector.is_string()) {
                let why = format!("accessor error: {selector} is not a string");
                errors.invalid_str(format!(".{}", path.join(".")), "", &why);
            }
        }
    }

    /// The object that a write of the status stores: `old` with the status of `new`.
    pub(crate) fn with_status(old: &Value, new: &Value) -> Value {
        let mut object = old.clone();
        json::copy(&mut object, new, "status");
        if let Some(managed) = json::dig(new, &["metadata", "managedFields"]).as_array() {
            json::set(json::object_at(&mut object, "metadata"), "managedFields", managed.clone());
        }
        object
    }
}
