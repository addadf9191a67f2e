//! What is wrong with one field, in Kubernetes' words. Not the HTTP answer: that is [`crate::Status::invalid`].
//!
//! Wording: `k8s.io/apimachinery/pkg/util/validation/field`.

use std::fmt;

use serde_json::Value;

/// The class of a field error; its name is the `reason` of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldReason {
    /// The value breaks a rule.
    Invalid,
    /// The field must be there.
    Required,
    /// The value is not one of those allowed.
    NotSupported,
    /// The field may not be there, or may not change.
    Forbidden,
    /// The value occurs twice.
    Duplicate,
    /// The value is longer than allowed.
    TooLong,
    /// The list has more items than allowed.
    TooMany,
    /// What the value refers to does not exist.
    NotFound,
}

impl FieldReason {
    /// As written in `details.causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "FieldValueInvalid",
            Self::Required => "FieldValueRequired",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }
}

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field: `spec.containers[0].name`.
    pub field: String,
    /// Its class.
    pub reason: FieldReason,
    /// Kubernetes' text, without the path: `Required value`.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything found wrong with an object so far.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Errors(Vec<FieldError>);

impl Errors {
    /// No error yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The errors in the order they were found.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Any error.
    pub fn push(&mut self, field: impl Into<String>, reason: FieldReason, message: String) {
        self.0.push(FieldError { field: field.into(), reason, message });
    }

    /// `Required value[: detail]`.
    pub fn required(&mut self, field: impl Into<String>, detail: &str) {
        self.push(field, FieldReason::Required, with_detail("Required value".to_owned(), detail));
    }

    /// `Invalid value: <value>[: detail]`.
    pub fn invalid(&mut self, field: impl Into<String>, value: &Value, detail: &str) {
        self.push(field, FieldReason::Invalid, with_detail(format!("Invalid value: {}", shown(value)), detail));
    }

    /// `Invalid value: "<text>"[: detail]`.
    pub fn invalid_str(&mut self, field: impl Into<String>, text: &str, detail: &str) {
        self.push(field, FieldReason::Invalid, with_detail(format!("Invalid value: {text:?}"), detail));
    }

    /// `Unsupported value: "<text>": supported values: "a", "b"`.
    pub fn not_supported(&mut self, field: impl Into<String>, text: &str, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message = format!("Unsupported value: {text:?}: supported values: {}", list.join(", "));
        self.push(field, FieldReason::NotSupported, message);
    }

    /// `Forbidden: detail`.
    pub fn forbidden(&mut self, field: impl Into<String>, detail: &str) {
        self.push(field, FieldReason::Forbidden, with_detail("Forbidden".to_owned(), detail));
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.push(field, FieldReason::Duplicate, format!("Duplicate value: {}", shown(value)));
    }

    /// `Too long: may not be more than <max> bytes`.
    pub fn too_long(&mut self, field: impl Into<String>, max: usize) {
        self.push(field, FieldReason::TooLong, format!("Too long: may not be more than {max} bytes"));
    }

    /// `Too many: <count>: must have at most <max> items`.
    pub fn too_many(&mut self, field: impl Into<String>, count: usize, max: usize) {
        self.push(field, FieldReason::TooMany, format!("Too many: {count}: must have at most {max} items"));
    }

    /// `Not found: "<text>"`.
    pub fn not_found(&mut self, field: impl Into<String>, text: &str) {
        self.push(field, FieldReason::NotFound, format!("Not found: {text:?}"));
    }
}

impl From<Errors> for Vec<FieldError> {
    fn from(errors: Errors) -> Self {
        errors.0
    }
}

fn with_detail(body: String, detail: &str) -> String {
    if detail.is_empty() { body } else { format!("{body}: {detail}") }
}

/// A value as it stands in a message: strings quoted, everything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}
