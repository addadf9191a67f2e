//! The body of a request against the schema of its kind: wrong types are refused, unknown fields found and dropped,
//! nulls resolved, quantities and times made canonical. Defaults and validation are not here ([`crate::strategy`]).
//!
//! Wording: `encoding/json` of Go, `sigs.k8s.io/json` (strict errors), `k8s.io/apiserver/pkg/endpoints/handlers`.

mod duplicates;
mod order;
mod walk;

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::Kind;
use crate::kinds::CONFIGMAP;
use crate::patch::strategic;
use crate::schema::schema_of;
use crate::status::Status;

use self::walk::Words;

pub use duplicates::{BoundedError, bounded, nth_duplicate};

/// What to do with fields the schema does not know (`fieldValidation`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and warn.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; `None` for a word that is none of the three.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Ignore" => Some(Self::Ignore),
            "" | "Warn" => Some(Self::Warn),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// Problems told to the client at most: a body of unknown fields must not become an answer many times its size.
/// The number is that of `sigs.k8s.io/json`.
pub(crate) const PROBLEMS_MAX: usize = 100;

/// How much of a path a problem shows: keys are as long as the client likes.
const PATH_BYTES_MAX: usize = 1024;

/// Checks `value` against the schema of `kind`. Answers the cleaned value and warnings.
pub fn body(kind: &Kind, value: Value, validation: FieldValidation) -> Result<(Value, Vec<String>), Status> {
    checked(kind, value, Vec::new(), validation)
}

/// As [`body`], from the bytes of a request; also finds duplicate fields.
pub fn bytes(kind: &Kind, bytes: &[u8], validation: FieldValidation) -> Result<(Value, Vec<String>), Status> {
    let (value, duplicates) = duplicates::parse(bytes).map_err(|error| {
        let why = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        unrecognized(kind, bytes, &format!("couldn't get version/kind; json parse error: {why}"))
    })?;
    check_type(kind, &value)?;
    clean(kind, value, Words::Json, validation, unfit(kind), |unknown| {
        if unknown.is_empty() && duplicates.is_empty() { Vec::new() } else { order::in_order(bytes, &unknown) }
    })
}

/// As [`body`], of a body in YAML, where `lines` tells the keys that come twice: `line 9: key "a" already set in map`.
pub fn yaml(
    kind: &Kind,
    value: Value,
    lines: Vec<String>,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    // One problem to who is strict, several to who is warned, as in Kubernetes.
    let lines = match validation {
        FieldValidation::Strict if !lines.is_empty() => {
            vec![format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))]
        }
        _ => lines,
    };
    check_type(kind, &value)?;
    clean(kind, value, Words::Json, validation, unfit(kind), |unknown| [lines, unknown].concat())
}

/// 400 for a body that does not say what it is.
pub(crate) fn unrecognized(kind: &Kind, bytes: &[u8], why: &str) -> Status {
    // What a Secret begins with may be the secret, and refusals end up in logs.
    let shown = if kind.kind == "Secret" { format!("{} bytes", bytes.len()) } else { summary(bytes) };
    Status::bad_request(format!("the object provided is unrecognized (must be of type {}): {why} ({shown})", kind.kind))
}

/// Bytes of a body that are shown when nobody can tell what it is, as in Kubernetes.
const SHOWN_BYTES: usize = 30;

fn hexadecimal(digit: u8) -> char {
    char::from_digit(u32::from(digit), 16).unwrap_or('?')
}

/// The beginning of a body, for people: as text if it may be JSON.
fn summary(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if bytes.len() > SHOWN_BYTES { " ..." } else { "" };
    match start.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => start.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hexadecimal).collect::<String>() + more,
    }
}

/// As [`bytes()`], of a body in Kubernetes' protobuf encoding. Fields that nobody knows are dropped without a word, as
/// in Kubernetes: there is no strict form of it.
pub fn protobuf(kind: &Kind, bytes: &[u8]) -> Result<Value, Status> {
    if kind.is_custom() {
        return Err(Status::unsupported_media_type(&["application/json", "application/yaml"]));
    }
    let value = crate::protobuf::object(kind, bytes)?;
    checked(kind, value, Vec::new(), FieldValidation::Ignore).map(|(value, _)| value)
}

/// As [`body`], for what a patch made of an object: `problems` were found in the patch, which is `merged` if it was a
/// strategic one. Unfit values are 422.
pub fn patched(
    kind: &Kind,
    value: Value,
    merged: Option<&Value>,
    problems: Vec<String>,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    if !value.is_object() {
        return Err(Status::bad_request("the patch leaves no object"));
    }
    check_type(kind, &value)?;
    // Who may patch a Secret may not read it by that.
    let shown = match merged {
        _ if kind.sealed => "<hidden>".to_owned(),
        Some(patch) => strategic::go_text(patch),
        None => value.to_string(),
    };
    let words = if merged.is_some() { Words::Converter } else { Words::Json };
    let unfit = |why: &str| {
        let mut errors = Errors::new();
        errors.invalid_str("patch", &shown, why);
        Status::invalid_named("", "", "", &errors.into_vec())
    };
    clean(kind, value, words, validation, unfit, |unknown| [unknown, problems].concat())
}

/// Parses JSON text; answers the value and one text for each duplicate field.
pub fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    duplicates::parse(bytes)
}

fn checked(
    kind: &Kind,
    value: Value,
    others: Vec<String>,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    check_type(kind, &value)?;
    clean(kind, value, Words::Json, validation, unfit(kind), |unknown| [unknown, others].concat())
}

/// 400 for a body that says what it is and is not.
fn unfit(kind: &Kind) -> impl Fn(&str) -> Status {
    move |why| {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            kind.kind, kind.version, kind.kind
        ))
    }
}

fn clean(
    kind: &Kind,
    value: Value,
    words: Words,
    validation: FieldValidation,
    refused: impl Fn(&str) -> Status,
    problems: impl FnOnce(Vec<String>) -> Vec<String>,
) -> Result<(Value, Vec<String>), Status> {
    let (mut value, unknown) = pruned(kind, value, words).map_err(|why| refused(&why))?;
    let mut problems = if validation == FieldValidation::Ignore { Vec::new() } else { problems(unknown) };
    problems.truncate(PROBLEMS_MAX);
    json::set(&mut value, "apiVersion", kind.api_version());
    json::set(&mut value, "kind", kind.kind);
    let metadata = json::object_at(&mut value, "metadata");
    // Go leaves these out when they are empty.
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        if json::is_empty(json::get(metadata, field)) {
            json::remove(metadata, field);
        }
    }
    match validation {
        FieldValidation::Ignore => Ok((value, Vec::new())),
        FieldValidation::Warn => Ok((value, problems)),
        FieldValidation::Strict if problems.is_empty() => Ok((value, problems)),
        FieldValidation::Strict => Err(refused(&format!("strict decoding error: {}", problems.join(", ")))),
    }
}

/// The value without what its schema does not know, and what that was; or the first type error.
fn pruned(kind: &Kind, value: Value, words: Words) -> Result<(Value, Vec<String>), String> {
    let Some(custom) = kind.custom else { return walk::Walk::new(schema_of(kind), words).root(value) };
    // The metadata is that of any object, the rest is as the definition says.
    let Value::Object(mut members) = value else { return Err("the object is no JSON object".to_owned()) };
    let metadata = members.remove("metadata").filter(|metadata| !metadata.is_null());
    let (metadata, mut problems) = match metadata {
        Some(metadata) => pruned(&CONFIGMAP, serde_json::json!({ "metadata": metadata }), words)?,
        None => (Value::Null, Vec::new()),
    };
    let mut value = Value::Object(members);
    problems.extend(custom.clean(&mut value).iter().map(|path| unknown_field(path)));
    json::copy(&mut value, &metadata, "metadata");
    Ok((value, problems))
}

/// What the body says it is must be what the path says; saying nothing is fine.
fn check_type(kind: &Kind, value: &Value) -> Result<(), Status> {
    let expected = kind.api_version();
    let api_version = json::text(value, &["apiVersion"]);
    let name = json::text(value, &["kind"]);
    if !api_version.is_empty() && api_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        )));
    }
    if !name.is_empty() && name != kind.kind {
        let why = match Kind::by_kind(&expected, name) {
            Some(_) => {
                format!("converting ({}.{name}) to ({}.{}): unknown conversion", kind.version, kind.version, kind.kind)
            }
            None => format!("no kind {name:?} is registered for version {expected:?}"),
        };
        return Err(Status::bad_request(format!(
            "{name} in version {:?} cannot be handled as a {}: {why}",
            kind.version, kind.kind
        )));
    }
    Ok(())
}

fn unknown_field(path: &str) -> String {
    format!("unknown field {:?}", shown_path(path))
}

fn duplicate_field(path: &str) -> String {
    format!("duplicate field {:?}", shown_path(path))
}

/// A path as problems show it.
fn shown_path(path: &str) -> &str {
    &path[..path.floor_char_boundary(PATH_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
