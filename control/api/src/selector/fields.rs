//! Field selectors: `metadata.name=web,status.phase!=Running`. Which fields a kind knows is in its row.
//!
//! Grammar and texts: `k8s.io/apimachinery/pkg/fields`.

use crate::custom::Selectable;
use crate::kind::{FieldLabel, Kind};
use crate::object::Object;
use crate::status::Status;

/// Terms in one selector at most: clients send one to five.
const TERMS_MAX: usize = 64;

const NAME: FieldLabel = FieldLabel { label: "metadata.name", read: |object| object.name().to_owned() };
const NAMESPACE: FieldLabel = FieldLabel { label: "metadata.namespace", read: |object| object.namespace().to_owned() };

/// A field selector. The empty one selects everything.
#[derive(Clone, Default)]
pub struct Fields(Vec<Term>);

#[derive(Clone)]
struct Term {
    label: &'static str,
    read: Read,
    equal: bool,
    value: String,
}

/// How the value of a field is read.
#[derive(Clone, Copy)]
enum Read {
    Rule(fn(&Object) -> String),
    Custom(&'static Selectable),
}

impl Read {
    fn of(self, object: &Object) -> String {
        match self {
            Self::Rule(read) => read(object),
            Self::Custom(field) => field.of(object),
        }
    }
}

impl Fields {
    /// Reads a selector; an unknown field is a 400 that names it.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for term in split(text) {
            if term.is_empty() {
                continue;
            }
            if terms.len() == TERMS_MAX {
                return Err(Status::bad_request(format!("invalid selector: more than {TERMS_MAX} terms")));
            }
            let (label, equal, value) = term_of(&term)
                .ok_or_else(|| Status::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'")))?;
            let value = unescape(value).ok_or_else(|| {
                Status::bad_request(format!("invalid field selector: invalid escape sequence: {value}"))
            })?;
            let (label, read) = find(kind, label).ok_or_else(|| unknown(kind, label))?;
            terms.push(Term { label, read, equal, value });
        }
        Ok(Self(terms))
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `object` is selected.
    pub fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|term| (term.read.of(object) == term.value) == term.equal)
    }

    /// Whether it looks at fields that a definition declares for one version: another may have them elsewhere.
    pub fn are_of_a_version(&self) -> bool {
        self.0.iter().any(|term| matches!(term.read, Read::Custom(_)))
    }

    /// What every version of an object says alike.
    pub fn of_every_version(&self) -> Self {
        Self(self.0.iter().filter(|term| !matches!(term.read, Read::Custom(_))).cloned().collect())
    }

    /// The fields that must have one value: label and value.
    pub fn equalities(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().filter(|term| term.equal).map(|term| (term.label, term.value.as_str()))
    }

    /// The name, if the selector asks for exactly one: such lists and watches look up a single key.
    pub fn name(&self) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.label == NAME.label).map(|term| term.value.as_str())
    }
}

fn find(kind: &Kind, label: &str) -> Option<(&'static str, Read)> {
    if let Some(field) = kind.rules.fields.iter().find(|field| field.label == label) {
        return Some((field.label, Read::Rule(field.read)));
    }
    if let Some(field) = kind.custom.and_then(|custom| custom.fields.iter().find(|field| field.label == label)) {
        return Some((field.label, Read::Custom(field)));
    }
    let every = [NAME, NAMESPACE].into_iter().find(|field| field.label == label)?;
    Some((every.label, Read::Rule(every.read)))
}

fn unknown(kind: &Kind, label: &str) -> Status {
    Status::bad_request(if kind.rules.fields.is_empty() {
        format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {label}")
    })
}

/// Splits at commas that are not escaped.
fn split(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        if letter == ',' && !escaped {
            terms.push(String::new());
            continue;
        }
        escaped = letter == '\\' && !escaped;
        if let Some(term) = terms.last_mut() {
            term.push(letter);
        }
    }
    terms
}

/// The first operator that is not escaped divides a term.
fn term_of(term: &str) -> Option<(&str, bool, &str)> {
    let mut escaped = false;
    for (at, letter) in term.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match letter {
            '\\' => escaped = true,
            '!' if term[at..].starts_with("!=") => return Some((&term[..at], false, &term[at + 2..])),
            '=' if term[at..].starts_with("==") => return Some((&term[..at], true, &term[at + 2..])),
            '=' => return Some((&term[..at], true, &term[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                _ => return None,
            },
            ',' | '=' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::kinds::{CONFIGMAP, EVENT, NODE, POD};

    #[test]
    fn pods_are_selected_by_node_and_phase() {
        let pod = Object::new(
            json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
        );
        for (text, matches) in [
            ("", true),
            ("spec.nodeName=n1", true),
            ("spec.nodeName==n1,status.phase!=Succeeded,status.phase!=Failed", true),
            ("spec.nodeName!=n1", false),
            ("status.phase=Pending", false),
            ("metadata.name=web", true),
        ] {
            assert_eq!(Fields::parse(&POD, text).unwrap().matches(&pod), matches, "{text}");
        }
        assert_eq!(Fields::parse(&POD, "metadata.name=web").unwrap().name(), Some("web"));
        let event = Object::new(json!({"metadata": {}, "involvedObject": {"kind": "Pod", "name": "web"}}));
        let selector = "involvedObject.name=web,involvedObject.namespace=,involvedObject.kind=Pod";
        assert!(Fields::parse(&EVENT, selector).unwrap().matches(&event));
        let node = Object::new(json!({"metadata": {}}));
        assert!(Fields::parse(&NODE, "spec.unschedulable=false").unwrap().matches(&node));
    }

    #[test]
    fn unknown_fields_are_named() {
        let message = |kind, text| Fields::parse(kind, text).err().map(|status| status.message).unwrap_or_default();
        assert_eq!(
            message(&CONFIGMAP, "data.x=1"),
            "\"data.x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        assert_eq!(message(&POD, "spec.foo=1"), "field label not supported: spec.foo");
        assert_eq!(message(&POD, "what"), "invalid selector: 'what'; can't understand 'what'");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "[a-z.,=!\\\\ ä]{0,40}|metadata.name[=!]{1,2}\\PC{0,20}") {
            if let Ok(fields) = Fields::parse(&POD, &text) {
                fields.matches(&Object::new(json!({})));
            }
        }
    }
}
