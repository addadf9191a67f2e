//! The encoding against messages written by hand, and everything in the table there and back.

use proptest::prelude::*;
use serde_json::json;

use super::table::{Message, Shape, all, at};
use super::*;

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(field: u32, value: i64, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3, out);
    varint(value.cast_unsigned(), out);
}

fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn wrapped(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let (mut meta, mut out) = (Vec::new(), PREFIX.to_vec());
    bytes(1, api_version.as_bytes(), &mut meta);
    bytes(2, kind.as_bytes(), &mut meta);
    bytes(1, &meta, &mut out);
    bytes(2, raw, &mut out);
    out
}

/// What random bytes say, used up one by one: the choices of a random object.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
}

/// A random value of a shape, as JSON and as it is sent: `(json, field bytes)`.
fn made(shape: &Shape, field: u32, depth: usize, choices: &mut Choices<'_>) -> (Value, Vec<u8>) {
    let mut out = Vec::new();
    let choice = choices.next();
    let value = match shape {
        Shape::Text => {
            bytes(field, format!("t{choice}").as_bytes(), &mut out);
            json!(format!("t{choice}"))
        }
        Shape::Bool => {
            number(field, i64::from(choice % 2), &mut out);
            json!(choice % 2 == 1)
        }
        Shape::Int => {
            number(field, i64::from(choice) - 100, &mut out);
            json!(i64::from(choice) - 100)
        }
        Shape::Double => {
            varint(u64::from(field) << 3 | 1, &mut out);
            out.extend_from_slice(&(f64::from(choice) / 4.0).to_le_bytes());
            json!(f64::from(choice) / 4.0)
        }
        Shape::Bytes => {
            bytes(field, &[choice], &mut out);
            json!(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [choice]))
        }
        Shape::Time | Shape::MicroTime => {
            let mut inner = Vec::new();
            number(1, i64::from(choice), &mut inner);
            bytes(field, &inner, &mut out);
            let fraction = if matches!(shape, Shape::MicroTime) { ".000000" } else { "" };
            json!(format!("1970-01-01T00:{:02}:{:02}{fraction}Z", choice / 60, choice % 60))
        }
        Shape::Quantity => {
            let mut inner = Vec::new();
            bytes(1, format!("{choice}m").as_bytes(), &mut inner);
            bytes(field, &inner, &mut out);
            json!(format!("{choice}m"))
        }
        Shape::IntOrString => {
            let mut inner = Vec::new();
            number(1, 0, &mut inner);
            number(2, i64::from(choice), &mut inner);
            bytes(3, b"", &mut inner);
            bytes(field, &inner, &mut out);
            json!(choice)
        }
        Shape::Raw => {
            let mut inner = Vec::new();
            bytes(1, format!(r#"{{"f:{choice}":[1]}}"#).as_bytes(), &mut inner);
            bytes(field, &inner, &mut out);
            json!({ format!("f:{choice}"): [1] })
        }
        Shape::Message(of) => {
            let (value, inner) = object(at(*of), depth + 1, choices);
            bytes(field, &inner, &mut out);
            value
        }
        Shape::List(of) => {
            let items: Vec<_> = (0..=choice % 3).map(|_| made(of, field, depth + 1, choices)).collect();
            for (_, bytes) in &items {
                out.extend_from_slice(bytes);
            }
            items.into_iter().map(|(value, _)| value).collect()
        }
        Shape::Items(of) => {
            let (value, inner) = made(&Shape::List(of.clone()), 1, depth, choices);
            bytes(field, &inner, &mut out);
            value
        }
        Shape::Map(of) => {
            let (value, inner) = made(of, 2, depth + 1, choices);
            let mut entry = Vec::new();
            bytes(1, b"key", &mut entry);
            entry.extend_from_slice(&inner);
            bytes(field, &entry, &mut out);
            json!({ "key": value })
        }
        Shape::SchemaOrBool(_) => {
            let mut inner = Vec::new();
            number(1, 1, &mut inner);
            bytes(field, &inner, &mut out);
            json!(true)
        }
        Shape::SchemaOrList(of) | Shape::SchemaOrTexts(of) => {
            let (value, schema) = object(at(*of), depth + 1, choices);
            let mut inner = Vec::new();
            bytes(1, &schema, &mut inner);
            bytes(field, &inner, &mut out);
            value
        }
    };
    (value, out)
}

fn object(of: &Message, depth: usize, choices: &mut Choices<'_>) -> (Value, Vec<u8>) {
    let (mut value, mut out) = (json!({}), Vec::new());
    for field in of.fields() {
        if depth > 8 || !choices.next().is_multiple_of(4) {
            continue;
        }
        let (inner, bytes) = made(&field.shape, field.number, depth, choices);
        out.extend_from_slice(&bytes);
        if field.name.is_empty() {
            for (key, inner) in inner.as_object().into_iter().flatten() {
                value[key] = inner.clone();
            }
        } else if !(field.omits_zero && (inner == 0 || inner == false || inner == "" || inner == 0.0)) {
            value[field.name] = inner;
        }
    }
    (value, out)
}

#[test]
fn a_config_map_from_client_go_is_read() {
    let mut metadata = Vec::new();
    bytes(1, b"settings", &mut metadata);
    bytes(2, b"", &mut metadata);
    bytes(3, b"default", &mut metadata);
    number(7, 0, &mut metadata);
    bytes(8, b"", &mut metadata);
    let mut entry = Vec::new();
    bytes(1, b"mode", &mut entry);
    bytes(2, b"fast", &mut entry);
    let mut raw = Vec::new();
    bytes(1, &metadata, &mut raw);
    bytes(2, &entry, &mut raw);
    let expected = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"mode": "fast"},
        "metadata": {"name": "settings", "namespace": "default", "creationTimestamp": null},
    });
    assert_eq!(decode(&wrapped("v1", "ConfigMap", &raw)), Ok(expected));
}

#[test]
fn options_of_any_group_are_read() {
    let mut raw = Vec::new();
    number(1, -1, &mut raw);
    bytes(4, b"Background", &mut raw);
    for group in ["v1", "apps/v1", "meta.k8s.io/v1"] {
        let value = decode(&wrapped(group, "DeleteOptions", &raw)).unwrap();
        assert_eq!((&value["gracePeriodSeconds"], &value["propagationPolicy"]), (&json!(-1), &json!("Background")));
    }
    let custom = decode(&wrapped("apps.example.com/v1", "Deployment", &[]));
    assert_eq!(
        custom.unwrap_err().to_string(),
        r#"no kind "Deployment" is registered for version "apps.example.com/v1""#
    );
}

#[test]
fn every_stored_kind_of_kubernetes_has_a_message() {
    for kind in crate::kinds() {
        let own = !kind.group.starts_with("gateway.") && !kind.group.starts_with("metrics.");
        let beta = kind.version.contains("alpha") || kind.version.contains("beta");
        let found = table::message(&kind.api_version(), kind.kind).is_some();
        assert_eq!(found, own && !beta, "{kind}");
    }
}

#[test]
fn what_is_no_message_is_refused_in_words() {
    assert_eq!(decode(b""), Err(DecodeError::Empty));
    assert_eq!(decode(b"{}"), Err(DecodeError::Prefix));
    assert_eq!(decode(b"k8s\0\x0a\x09"), Err(DecodeError::Truncated));
    let wrong = decode(&wrapped("v1", "Pod", &[0x08, 1])).unwrap_err();
    assert_eq!(wrong.to_string(), "proto: wrong wireType = 0 for field metadata");
    let mut deep = Vec::new();
    for _ in 0..=DEPTH_MAX {
        let mut outer = Vec::new();
        bytes(28, &deep, &mut outer);
        deep = outer;
    }
    let (mut schema, mut version, mut spec, mut definition) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    bytes(1, &deep, &mut schema);
    bytes(4, &schema, &mut version);
    bytes(7, &version, &mut spec);
    bytes(2, &spec, &mut definition);
    let wrapped = wrapped("apiextensions.k8s.io/v1", "CustomResourceDefinition", &definition);
    assert_eq!(decode(&wrapped), Err(DecodeError::Depth));
    let status = super::object(&crate::kinds::POD, b"hello").unwrap_err();
    assert!(status.message.starts_with("the object provided is unrecognized (must be of type Pod): provided data"));
    assert!(status.message.ends_with("(68656c6c6f)"), "{}", status.message);
}

#[test]
fn numbers_in_a_row_are_a_list_too() {
    let supplemental = Shape::List(Box::new(Shape::Int));
    let (name, of) = all().find(|(name, _)| *name == "core.v1.PodSecurityContext").unwrap();
    let field = of.fields().iter().find(|field| field.name == "supplementalGroups").unwrap();
    assert_eq!((name.len() > 4, format!("{:?}", field.shape)), (true, format!("{supplemental:?}")));
    let mut packed = Vec::new();
    bytes(field.number, &[1, 2, 0x80, 1], &mut packed);
    number(field.number, 7, &mut packed);
    let value = message::read(of, &packed).unwrap();
    assert_eq!(value["supplementalGroups"], json!([1, 2, 128, 7]));
}

proptest! {
    #[test]
    fn every_message_is_read_as_it_was_written(choices in prop::collection::vec(any::<u8>(), 0..400), pick in any::<prop::sample::Index>()) {
        let mut messages: Vec<_> = all().collect();
        messages.sort_by_key(|(name, _)| *name);
        let (name, of) = messages[pick.index(messages.len())];
        let (expected, raw) = object(of, 0, &mut Choices(&choices));
        let read = message::read(of, &raw).map(Value::Object);
        prop_assert_eq!(read, Ok(expected), "{}", name);
    }

    #[test]
    fn no_bytes_are_too_strange(raw in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
        for (_, of) in all() {
            let _ = message::read(of, &raw);
        }
        let whole = wrapped("v1", "Pod", &raw);
        let _ = decode(&whole[..cut.index(whole.len())]);
    }
}
