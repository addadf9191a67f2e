//! What is wrong with one field, in Kubernetes' words. Not the HTTP answer: that is [`crate::Status::invalid`].
//!
//! Wording: `k8s.io/apimachinery/pkg/util/validation/field`.

use std::{fmt, io};

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
    /// The value has another type than the schema asks for.
    TypeInvalid,
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
            Self::TypeInvalid => "FieldValueTypeInvalid",
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

/// Errors told at most, as many as problems of a body: the rest of a body full of mistakes is found when these are gone.
const ERRORS_MAX: usize = 100;

/// How much of a value, and how much of a path, an error shows: it names the value, it is no copy of it.
const SHOWN_BYTES_MAX: usize = 1024;

/// Longest text of an error: a shown value with every byte escaped is the longest that a rule of ours makes.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Everything found wrong with an object so far, up to [`ERRORS_MAX`].
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

    /// How many were found.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that were found after the first `count`.
    pub(crate) fn from(&self, count: usize) -> &[FieldError] {
        self.0.get(count..).unwrap_or_default()
    }

    /// The errors in the order they were found.
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// Ok when nothing was found.
    pub fn into_result(self) -> Result<(), Vec<FieldError>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    /// Whether further errors are not told: their text need not be made.
    fn is_full(&self) -> bool {
        self.0.len() >= ERRORS_MAX
    }

    /// Any error.
    pub fn push(&mut self, field: impl Into<String>, reason: FieldReason, message: String) {
        if self.is_full() {
            return;
        }
        let (mut field, mut message) = (field.into(), message);
        cut(&mut field, SHOWN_BYTES_MAX);
        cut(&mut message, MESSAGE_BYTES_MAX);
        self.0.push(FieldError { field, reason, message });
    }

    /// `Required value[: detail]`.
    pub fn required(&mut self, field: impl Into<String>, detail: &str) {
        self.push(field, FieldReason::Required, with_detail("Required value".to_owned(), detail));
    }

    /// `Invalid value: <value>[: detail]`.
    pub fn invalid(&mut self, field: impl Into<String>, value: &Value, detail: &str) {
        if !self.is_full() {
            self.push(field, FieldReason::Invalid, with_detail(format!("Invalid value: {}", shown(value)), detail));
        }
    }

    /// `Invalid value: "<text>"[: detail]`.
    pub fn invalid_str(&mut self, field: impl Into<String>, text: &str, detail: &str) {
        if !self.is_full() {
            self.push(field, FieldReason::Invalid, with_detail(format!("Invalid value: {}", quoted(text)), detail));
        }
    }

    /// `Invalid value: detail`, where the value is too long or too odd to show.
    pub fn invalid_hidden(&mut self, field: impl Into<String>, detail: &str) {
        self.push(field, FieldReason::Invalid, with_detail("Invalid value".to_owned(), detail));
    }

    /// `Unsupported value: "<text>": supported values: "a", "b"`.
    pub fn not_supported(&mut self, field: impl Into<String>, text: &str, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message = format!("Unsupported value: {}: supported values: {}", quoted(text), list.join(", "));
        self.push(field, FieldReason::NotSupported, message);
    }

    /// `Forbidden: detail`.
    pub fn forbidden(&mut self, field: impl Into<String>, detail: &str) {
        self.push(field, FieldReason::Forbidden, with_detail("Forbidden".to_owned(), detail));
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        if !self.is_full() {
            self.push(field, FieldReason::Duplicate, format!("Duplicate value: {}", shown(value)));
        }
    }

    /// `Duplicate value: <value>: detail`.
    pub fn duplicate_because(&mut self, field: impl Into<String>, value: &Value, detail: &str) {
        if !self.is_full() {
            self.push(field, FieldReason::Duplicate, with_detail(format!("Duplicate value: {}", shown(value)), detail));
        }
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
        self.push(field, FieldReason::NotFound, format!("Not found: {}", quoted(text)));
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

/// A value as it stands in a message: strings quoted, everything else as JSON, long ones cut.
fn shown(value: &Value) -> String {
    let Value::String(text) = value else {
        let mut short = Short(Vec::new());
        // It fails when the value is longer, which then shows.
        let whole = serde_json::to_writer(&mut short, value).is_ok();
        let text = String::from_utf8_lossy(&short.0);
        return if whole { text.into_owned() } else { format!("{}{CUT}", text.trim_end_matches('\u{fffd}')) };
    };
    quoted(text)
}

/// A text in quotes, cut if it is long.
fn quoted(text: &str) -> String {
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    if end == text.len() { format!("{text:?}") } else { format!("{:?}{CUT}", &text[..end]) }
}

fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push_str(CUT);
    }
}

/// What follows a text that was cut.
const CUT: &str = "...";

/// The first [`SHOWN_BYTES_MAX`] bytes of what is written; fails at the first one past them.
struct Short(Vec<u8>);

impl io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = SHOWN_BYTES_MAX - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_full_of_mistakes_is_answered_with_a_bounded_text() {
        let mut errors = Errors::new();
        for _ in 0..1_000 {
            errors.invalid("f", &json!(vec!["ü"; 10_000]), "");
            errors.invalid_str("f".repeat(10_000), &"\u{7f}".repeat(10_000), &"d".repeat(100_000));
        }
        let errors = errors.into_vec();
        assert_eq!(errors.len(), ERRORS_MAX);
        let longest = errors.iter().map(|error| error.field.len() + error.message.len()).max().unwrap_or(0);
        assert!(longest < SHOWN_BYTES_MAX + MESSAGE_BYTES_MAX + 16, "{longest}");
        assert!(errors[0].message.starts_with("Invalid value: [\"ü\",") && errors[0].message.ends_with(CUT));
        assert_eq!((shown(&json!({ "a": 1 })).as_str(), shown(&json!("x")).as_str()), (r#"{"a":1}"#, r#""x""#));
    }
}
