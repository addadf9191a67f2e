//! The version 2 document in the protobuf form of gnostic, the only one that kubectl asks for.
//!
//! Field numbers: google/gnostic, `openapiv2/OpenAPIv2.proto`. What Kubernetes' documents do not use is not written.

use serde_json::Value;

use super::v2::document;
use crate::json;
use crate::kind::Kind;

/// The document of these kinds.
pub fn encoded(kinds: &[&'static Kind]) -> Vec<u8> {
    let document = document(kinds);
    let mut out = Writer::default();
    out.text(1, json::get(&document, "swagger"));
    out.message(2, |out| {
        out.text(1, json::dig(&document, &["info", "title"]));
        out.text(2, json::dig(&document, &["info", "version"]));
    });
    out.message(8, |out| {
        for (path, value) in json::members(&document, &["paths"]) {
            out.named(2, path, |out| path_item(out, value));
        }
    });
    out.message(9, |out| {
        for (name, value) in json::members(&document, &["definitions"]) {
            out.named(1, name, |out| schema(out, value));
        }
    });
    out.0
}

/// The bytes of a message.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u32, values: &Value) {
        for value in json::items(values, &[]) {
            self.text(field, value);
        }
    }

    fn flag(&mut self, field: u32, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(u64::from(field) << 3);
            self.varint(1);
        }
    }

    fn int(&mut self, field: u32, value: &Value) {
        if let Some(number) = value.as_i64() {
            self.varint(u64::from(field) << 3);
            self.varint(number.cast_unsigned());
        }
    }

    fn double(&mut self, field: u32, value: &Value) {
        if let Some(number) = value.as_f64() {
            self.varint(u64::from(field) << 3 | 1);
            self.0.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// A member of a map: its name and its value.
    fn named(&mut self, field: u32, name: &str, write: impl FnOnce(&mut Self)) {
        self.message(field, |out| {
            out.bytes(1, name.as_bytes());
            out.message(2, write);
        });
    }

    /// Any value, as YAML: of which JSON is a part.
    fn any(&mut self, field: u32, value: &Value) {
        self.message(field, |out| out.bytes(2, value.to_string().as_bytes()));
    }

    /// What is beyond OpenAPI.
    fn extensions(&mut self, field: u32, of: &Value) {
        for (name, value) in json::members(of, &[]).filter(|(name, _)| name.starts_with("x-")) {
            self.named(field, name, |out| out.bytes(2, value.to_string().as_bytes()));
        }
    }
}

fn path_item(out: &mut Writer, value: &Value) {
    for (key, value) in json::members(value, &[]) {
        let field = match key.as_str() {
            "get" => 2,
            "put" => 3,
            "post" => 4,
            "delete" => 5,
            "patch" => 8,
            _ => continue,
        };
        out.message(field, |out| operation(out, value));
    }
    for value in json::items(value, &["parameters"]) {
        parameter(out, 9, value);
    }
}

fn operation(out: &mut Writer, value: &Value) {
    out.texts(1, json::get(value, "tags"));
    out.text(3, json::get(value, "description"));
    out.text(5, json::get(value, "operationId"));
    out.texts(6, json::get(value, "produces"));
    out.texts(7, json::get(value, "consumes"));
    for value in json::items(value, &["parameters"]) {
        parameter(out, 8, value);
    }
    out.message(9, |out| {
        for (code, value) in json::members(value, &["responses"]) {
            // Of a response and a reference it is the response, and of a schema and a file the schema.
            out.named(1, code, |out| {
                out.message(1, |out| {
                    out.text(1, json::get(value, "description"));
                    if let Some(value) = value.get("schema") {
                        out.message(2, |out| out.message(1, |out| schema(out, value)));
                    }
                });
            });
        }
    });
    out.texts(10, json::get(value, "schemes"));
    out.extensions(13, value);
}

fn parameter(out: &mut Writer, field: u32, value: &Value) {
    let place = json::text(value, &["in"]);
    out.message(field, |out| {
        out.message(1, |out| match place {
            "body" => out.message(1, |out| {
                out.text(2, json::get(value, "name"));
                out.text(3, json::get(value, "in"));
                out.flag(4, json::get(value, "required"));
                out.message(5, |out| schema(out, json::get(value, "schema")));
            }),
            _ => out.message(2, |out| {
                let (kind, own, unique) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
                out.message(kind, |out| {
                    out.flag(1, json::get(value, "required"));
                    out.text(2, json::get(value, "in"));
                    out.text(3, json::get(value, "description"));
                    out.text(4, json::get(value, "name"));
                    out.text(own, json::get(value, "type"));
                    out.flag(unique, json::get(value, "uniqueItems"));
                });
            }),
        });
    });
}

fn schema(out: &mut Writer, of: &Value) {
    for (key, value) in json::members(of, &[]) {
        match key.as_str() {
            "$ref" => out.text(1, value),
            "format" => out.text(2, value),
            "title" => out.text(3, value),
            "description" => out.text(4, value),
            "default" => out.any(5, value),
            "multipleOf" => out.double(6, value),
            "maximum" => out.double(7, value),
            "exclusiveMaximum" => out.flag(8, value),
            "minimum" => out.double(9, value),
            "exclusiveMinimum" => out.flag(10, value),
            "maxLength" => out.int(11, value),
            "minLength" => out.int(12, value),
            "pattern" => out.text(13, value),
            "maxItems" => out.int(14, value),
            "minItems" => out.int(15, value),
            "uniqueItems" => out.flag(16, value),
            "maxProperties" => out.int(17, value),
            "minProperties" => out.int(18, value),
            "required" => out.texts(19, value),
            "enum" => json::items(value, &[]).iter().for_each(|value| out.any(20, value)),
            "additionalProperties" if value.is_boolean() => out.message(21, |out| out.flag(2, value)),
            "additionalProperties" => out.message(21, |out| out.message(1, |out| schema(out, value))),
            "type" => out.message(22, |out| out.text(1, value)),
            "items" => out.message(23, |out| out.message(1, |out| schema(out, value))),
            "properties" => out.message(25, |out| {
                for (name, value) in json::members(value, &[]) {
                    out.named(1, name, |out| schema(out, value));
                }
            }),
            _ => {}
        }
    }
    out.extensions(31, of);
}
