//! Mistakes in files, told so that an editor can jump to them.

use std::fmt;

use serde_json::Value;

use super::Document;
use crate::client::Refusal;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The file as typed.
    pub(crate) file: String,
    /// Which YAML document of the file, from 1.
    pub(crate) document: usize,
    /// The line in the file, from 1.
    pub(crate) line: Option<usize>,
    /// The field, or nothing if it is the document as a whole.
    pub(crate) field: String,
    /// What is wrong.
    pub(crate) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: document {}", self.file, self.document)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Joins mistakes into one message: one a line if there are several.
pub(crate) fn report(faults: &[String]) -> String {
    match faults {
        [one] => one.clone(),
        many => format!("{} mistakes\n  {}", many.len(), many.join("\n  ")),
    }
}

impl Document {
    /// What the server found wrong with this object, each at its line.
    pub(crate) fn refused(&self, refusal: &Refusal) -> Vec<Fault> {
        let named: Vec<Fault> = refusal.faults.iter().map(|fault| self.fault(&fault.field, &fault.message)).collect();
        if !named.is_empty() {
            return named;
        }
        let told = fields_in(&refusal.message);
        if told.is_empty() {
            return vec![self.fault("", &refusal.message)];
        }
        told.into_iter().flat_map(|(field, message)| self.members(&field, message)).collect()
    }

    /// Where a message names a map or a list for what is wrong with its members, it is those that are named.
    fn members(&self, field: &str, message: String) -> Vec<Fault> {
        let got = message.strip_prefix("is ").and_then(|rest| rest.split(',').next()).unwrap_or_default();
        let found: Vec<String> = match self.at(field) {
            Some(Value::Object(members)) if got != "object" => {
                members.iter().filter(|(_, value)| is(value, got)).map(|(key, _)| format!("{field}[{key}]")).collect()
            }
            Some(Value::Array(items)) if got != "array" => {
                let wrong = items.iter().enumerate().filter(|(_, value)| is(value, got));
                wrong.map(|(index, _)| format!("{field}[{index}]")).collect()
            }
            _ => Vec::new(),
        };
        if found.is_empty() {
            return vec![self.fault(field, message)];
        }
        found.iter().map(|field| self.fault(field, message.as_str())).collect()
    }
}

/// Whether a value is what Go calls `name`.
fn is(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "bool",
        Value::Number(_) => name.starts_with("number"),
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    }
}

/// The fields that a message of a decoder speaks of, with what it says of each:
/// `unknown field "a.b"`, `duplicate field "a.b"`, `json: cannot unmarshal … into Go struct field Kind.a.b of type …`.
fn fields_in(message: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for what in ["unknown field", "duplicate field"] {
        for part in message.split(&format!("{what} \"")).skip(1) {
            if let Some((field, _)) = part.split_once('"') {
                found.push((field.to_owned(), what.to_owned()));
            }
        }
    }
    // Server-side apply: one mistake at the end of the line, or one a line.
    if let Some((_, told)) =
        message.split_once("failed to create typed patch object ").and_then(|(_, rest)| rest.split_once("): "))
    {
        let lines = told.lines().filter_map(|line| line.trim().strip_prefix('.')?.split_once(": "));
        found.extend(lines.map(|(field, what)| {
            // What stands there is in the file: how Go shows it says nothing.
            let what = what.split_once(", got ").map_or(what, |(expected, _)| expected);
            (field.to_owned(), what.to_owned())
        }));
    }
    if let Some((before, after)) = message.split_once("into Go struct field ") {
        let field = after.split(' ').next().unwrap_or_default();
        let wanted = after.split_once(" of type ").map_or("another type", |(_, wanted)| wanted);
        let got = before.rsplit_once("cannot unmarshal ").map_or("this", |(_, got)| got.trim());
        // The first name is the Go type, the rest is the way to the field.
        if let Some((_, field)) = field.split_once('.') {
            found.push((field.to_owned(), format!("is {got}, must be {wanted}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::manifest::{Input, read};

    fn document(text: &str) -> Document {
        read(Input { name: "a.yaml".into(), text: text.into() }).expect("reads").remove(0)
    }

    fn refused(body: &str, text: &str) -> Vec<String> {
        let refusal = Refusal::read(StatusCode::BAD_REQUEST, body.as_bytes());
        document(text).refused(&refusal).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn field_errors_of_the_server_point_at_lines() {
        let body = r#"{"message":"invalid","details":{"causes":[
            {"field":"spec.replicas","message":"Invalid value: -1"},{"field":"spec.selector","message":"Required value"}]}}"#;
        let faults = refused(body, "kind: Deployment\nspec:\n  replicas: -1\n");
        assert_eq!(
            faults,
            [
                "a.yaml: document 1, line 3: spec.replicas: Invalid value: -1",
                "a.yaml: document 1, line 2: spec.selector: Required value"
            ]
        );
    }

    #[test]
    fn unknown_fields_and_wrong_types_point_at_lines() {
        let body = r#"{"message":"strict decoding error: unknown field \"spec.replcas\", unknown field \"foo\""}"#;
        let faults = refused(body, "foo: 1\nspec:\n  replcas: 1\n");
        assert_eq!(
            faults,
            [
                "a.yaml: document 1, line 3: spec.replcas: unknown field",
                "a.yaml: document 1, line 1: foo: unknown field"
            ]
        );
        let body = r#"{"message":"json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"}"#;
        let faults = refused(body, "spec:\n  replicas: three\n");
        assert_eq!(faults, ["a.yaml: document 1, line 2: spec.replicas: is string, must be int32"]);
        let body = r#"{"message":"failed to create typed patch object (a/b; /v1, Kind=ConfigMap): errors:\n  .data.b: expected string, got &value.valueUnstructured{Value:1}\n  .foo: field not declared in schema"}"#;
        let faults = refused(body, "foo: 1\ndata:\n  b: 1\n");
        assert_eq!(
            faults,
            [
                "a.yaml: document 1, line 3: data.b: expected string",
                "a.yaml: document 1, line 1: foo: field not declared in schema"
            ]
        );
        let body = r#"{"message":"json: cannot unmarshal number into Go struct field ConfigMap.data of type string"}"#;
        let faults = refused(body, "data:\n  a: x\n  b: 1\n  c: 2\n");
        assert_eq!(
            faults,
            [
                "a.yaml: document 1, line 3: data[b]: is number, must be string",
                "a.yaml: document 1, line 4: data[c]: is number, must be string"
            ]
        );
    }

    #[test]
    fn other_refusals_name_the_document() {
        let faults = refused(r#"{"message":"namespaces \"x\" not found"}"#, "\nkind: A\n");
        assert_eq!(faults, ["a.yaml: document 1, line 2: namespaces \"x\" not found"]);
    }
}
