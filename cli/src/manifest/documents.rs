//! Reading the documents of a file.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::fault::Fault;
use super::locate::{self, Step};
use crate::exit::{Code, ExitError};

/// Largest file read: hundreds of large objects; far above what one command should change.
const FILE_MAX: u64 = 64 << 20;

/// A file's name and text.
#[derive(Debug)]
pub(crate) struct Input {
    /// As typed; `<stdin>` for standard input.
    pub(crate) name: String,
    /// The YAML or JSON.
    pub(crate) text: String,
}

impl Input {
    /// Reads a file, or standard input for `-`.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let stdin = path == Path::new("-");
        let name = if stdin { "<stdin>".to_owned() } else { path.display().to_string() };
        let mut text = String::new();
        let taken = if stdin {
            std::io::stdin().lock().take(FILE_MAX).read_to_string(&mut text)
        } else {
            std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
        };
        let length = taken.map_err(|error| {
            let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::Usage };
            ExitError::new(code, format!("read {name}")).because(error)
        })?;
        if length as u64 == FILE_MAX {
            return Err(crate::exit::usage(format!("{name} is larger than {} MiB", FILE_MAX >> 20)).into());
        }
        Ok(Self { name, text })
    }
}

/// One object of a file, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    input: Arc<Input>,
    /// Which YAML document of the file, from 0.
    number: usize,
    /// The way to the object within the document: empty, or into the items of a List.
    within: Vec<Step>,
    /// The object.
    pub(crate) value: Value,
}

impl Document {
    /// A mistake in a field of this object.
    pub(crate) fn fault(&self, field: &str, message: impl Into<String>) -> Fault {
        let steps: Vec<Step> = self.within.iter().cloned().chain(locate::parse(field)).collect();
        Fault {
            file: self.input.name.clone(),
            document: self.number + 1,
            line: locate::line(&self.input.text, self.number, &steps),
            field: field.to_owned(),
            message: message.into(),
        }
    }

    /// The value of a field.
    pub(crate) fn at(&self, field: &str) -> Option<&Value> {
        locate::parse(field).iter().try_fold(&self.value, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    /// Takes a field out of the object; false when it is not there.
    pub(crate) fn take_out(&mut self, field: &str) -> bool {
        let steps = locate::parse(field);
        let Some((last, way)) = steps.split_last() else { return false };
        let around = way.iter().try_fold(&mut self.value, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(index),
        });
        match (around, last) {
            (Some(Value::Object(members)), Step::Key(key)) => members.remove(key).is_some(),
            (Some(Value::Array(items)), Step::Index(index)) if *index < items.len() => {
                items.remove(*index);
                true
            }
            _ => false,
        }
    }

    /// A field of the object that must be text and not empty.
    pub(crate) fn required(&self, pointer: &str) -> Result<&str, Fault> {
        let field = pointer.trim_start_matches('/').replace('/', ".");
        match self.value.pointer(pointer) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(Value::String(_) | Value::Null) | None => Err(self.fault(&field, "is required")),
            Some(other) => Err(self.fault(&field, format!("must be text, is {other}"))),
        }
    }
}

/// Reads every object of a file. All that is wrong is reported at once, as far as it can be told.
pub(crate) fn read(input: Input) -> Result<Vec<Document>, Vec<Fault>> {
    let input = Arc::new(input);
    let mut documents = Vec::new();
    let mut faults = Vec::new();
    for (number, document) in serde_yaml::Deserializer::from_str(&input.text).enumerate() {
        match Json.deserialize(document) {
            Ok(Value::Null) => {}
            Ok(value) => {
                let whole = Document { input: input.clone(), number, within: Vec::new(), value };
                flatten(whole, &mut documents, &mut faults);
            }
            Err(error) => {
                faults.push(unreadable(&input.name, number, &error));
                // Where a document is broken, nobody knows where the next one starts.
                break;
            }
        }
    }
    if faults.is_empty() { Ok(documents) } else { Err(faults) }
}

fn unreadable(file: &str, number: usize, error: &serde_yaml::Error) -> Fault {
    let mut message = error.to_string();
    // The position is told in front; the library repeats it at the end of its message.
    if let Some(at) = message.find(" at line ").filter(|_| error.location().is_some()) {
        message.truncate(at);
    }
    let line = error.location().map(|location| location.line());
    Fault { file: file.to_owned(), document: number + 1, line, field: String::new(), message }
}

/// Takes a `List` apart into its items.
fn flatten(document: Document, documents: &mut Vec<Document>, faults: &mut Vec<Fault>) {
    if !document.value.is_object() {
        faults.push(document.fault("", "is not an object: expected fields such as apiVersion, kind and metadata"));
        return;
    }
    let kind = document.value.get("kind").and_then(Value::as_str).unwrap_or_default();
    let items = document.value.get("items").and_then(Value::as_array).filter(|_| kind.ends_with("List"));
    let Some(items) = items else {
        documents.push(document);
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let mut within = document.within.clone();
        within.extend([Step::Key("items".to_owned()), Step::Index(index)]);
        let inner = Document { input: document.input.clone(), number: document.number, within, value: item.clone() };
        if item.is_object() {
            documents.push(inner);
        } else {
            faults.push(inner.fault("", "is not an object"));
        }
    }
}

/// Reads YAML as JSON: keys are text, none comes twice, `<<` is merged, tags mean nothing here.
struct Json;

impl<'de> DeserializeSeed<'de> for Json {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Json {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping, a sequence or a plain value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Json)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key_seed(NewKey { taken: &object })? {
            let value = map.next_value_seed(Json)?;
            object.insert(key, value);
        }
        if let Some(merged) = object.remove("<<") {
            merge(&mut object, merged).map_err(A::Error::custom)?;
        }
        Ok(Value::Object(object))
    }
}

/// Adds what a merge key brings and the object does not have itself.
fn merge(object: &mut Map<String, Value>, merged: Value) -> Result<(), &'static str> {
    match merged {
        Value::Object(more) => more.into_iter().for_each(|(key, value)| {
            object.entry(key).or_insert(value);
        }),
        Value::Array(items) => items.into_iter().try_for_each(|item| merge(object, item))?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            return Err("<< takes a mapping or a sequence of mappings");
        }
    }
    Ok(())
}

/// Reads a key that must not have come before. It must fail within the visit of the key: only there does the library
/// know the key's position.
struct NewKey<'a> {
    taken: &'a Map<String, Value>,
}

impl NewKey<'_> {
    fn check<E: Error>(&self, key: String) -> Result<String, E> {
        if self.taken.contains_key(&key) { Err(E::custom(format!("the key {key:?} comes twice"))) } else { Ok(key) }
    }
}

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is text")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        self.check(key.to_owned())
    }

    fn visit_bool<E: Error>(self, key: bool) -> Result<String, E> {
        self.check(key.to_string())
    }

    fn visit_i64<E: Error>(self, key: i64) -> Result<String, E> {
        self.check(key.to_string())
    }

    fn visit_u64<E: Error>(self, key: u64) -> Result<String, E> {
        self.check(key.to_string())
    }

    fn visit_f64<E: Error>(self, key: f64) -> Result<String, E> {
        self.check(key.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Document>, Vec<String>> {
        read(Input { name: "app.yaml".into(), text: text.into() })
            .map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn several_documents_and_lists_are_read_in_order() {
        let text = "---\nkind: A\n---\n# nothing\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n  x: 1\n";
        let documents = parse(text).expect("reads");
        let kinds: Vec<&Value> = documents.iter().map(|document| &document.value["kind"]).collect();
        assert_eq!(kinds, ["A", "B", "C"]);
        assert_eq!(documents[2].fault("x", "is wrong").to_string(), "app.yaml: document 3, line 10: x: is wrong");
    }

    #[test]
    fn syntax_error_names_file_document_and_line() {
        let faults = parse("kind: A\n---\nkind: B\n  bad: [1\n").expect_err("syntax");
        assert_eq!(faults.len(), 1);
        assert!(faults[0].starts_with("app.yaml: document 2, line 4: "), "{faults:?}");
        assert!(!faults[0].contains(" at line "), "{faults:?}");
    }

    #[test]
    fn key_that_comes_twice_is_found_on_its_line() {
        let faults = parse("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n").expect_err("twice");
        assert_eq!(faults, ["app.yaml: document 1, line 5: b: the key \"c\" comes twice"]);
    }

    #[test]
    fn document_must_be_an_object() {
        let faults = parse("kind: A\n---\n- 1\n").expect_err("sequence");
        assert!(faults[0].starts_with("app.yaml: document 2, line 3: is not an object"), "{faults:?}");
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let documents = parse("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n").expect("reads");
        assert_eq!(documents[0].value["use"], json!({"x": 1, "y": 3}));
    }

    #[test]
    fn required_field_must_be_text() {
        let document = parse("kind: A\nmetadata:\n  name: 5\n").expect("reads").remove(0);
        let fault = document.required("/metadata/name").expect_err("number").to_string();
        assert_eq!(fault, "app.yaml: document 1, line 3: metadata.name: must be text, is 5");
        let fault = document.required("/apiVersion").expect_err("missing").to_string();
        assert_eq!(fault, "app.yaml: document 1, line 1: apiVersion: is required");
    }

    #[test]
    fn json_is_yaml_too() {
        assert_eq!(parse("{\"kind\": \"A\",\n\t\"n\": 1}").expect("reads")[0].value["n"], 1);
    }
}
