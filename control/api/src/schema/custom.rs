//! The schema of a custom kind, from the structural schema of its definition.

use serde_json::Value;

use super::facts::Facts;
use super::{FORMATTED, Field, ListType, MapType, Schema, Shape, Struct, StructId};
use crate::json;

/// Reads `openAPIV3Schema`; the structs of `metadata` come along.
pub(super) fn read(schema: &Value, metadata: &Schema) -> Schema {
    let mut reader = Reader { structs: metadata.structs.to_vec(), metadata: metadata.root };
    let root = reader.object(schema, true);
    Schema { structs: reader.structs.into(), root }
}

struct Reader {
    structs: Vec<Struct>,
    metadata: StructId,
}

impl Reader {
    /// A struct with the given properties; `whole` when it is an object with a kind and metadata.
    fn object(&mut self, schema: &Value, whole: bool) -> StructId {
        let mut of = Struct {
            description: json::text(schema, &["description"]).to_owned(),
            preserves: json::flag(schema, &["x-kubernetes-preserve-unknown-fields"]),
            required: json::items(schema, &["required"]).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            facts: Facts { map_type: map_type(schema), ..Facts::default() },
            ..Struct::default()
        };
        for (name, schema) in json::members(schema, &["properties"]) {
            let field = self.field(schema);
            of.fields.insert(name.clone(), field);
        }
        if whole {
            let field = |shape| Field {
                shape,
                description: String::new(),
                facts: Facts::default(),
                nullable: false,
                omits_empty: false,
            };
            of.fields.insert("apiVersion".to_owned(), field(Shape::Text("string")));
            of.fields.insert("kind".to_owned(), field(Shape::Text("string")));
            of.fields.insert("metadata".to_owned(), field(Shape::Struct(self.metadata, MapType::Granular)));
        }
        self.structs.push(of);
        StructId(self.structs.len() - 1)
    }

    fn field(&mut self, schema: &Value) -> Field {
        let facts = Facts {
            map_type: map_type(schema),
            list_type: schema.get("x-kubernetes-list-type").map(|_| list_type(schema)),
            default: schema.get("default").cloned(),
            ..Facts::default()
        };
        Field {
            shape: self.shape(schema),
            description: json::text(schema, &["description"]).to_owned(),
            facts,
            omits_empty: false,
            nullable: json::flag(schema, &["nullable"]),
        }
    }

    fn shape(&mut self, schema: &Value) -> Shape {
        let atomic = map_type(schema).unwrap_or(MapType::Granular);
        let embedded = json::flag(schema, &["x-kubernetes-embedded-resource"]);
        let values = json::get(schema, "additionalProperties");
        match json::text(schema, &["type"]) {
            _ if json::flag(schema, &["x-kubernetes-int-or-string"]) => Shape::IntOrString,
            "object" if values.is_object() => Shape::Map(Box::new(self.shape(values)), atomic),
            "object" if values == &Value::Bool(true) => Shape::Map(Box::new(Shape::Deduced), atomic),
            "object" => Shape::Struct(self.object(schema, embedded), atomic),
            "array" => Shape::List(Box::new(self.shape(json::get(schema, "items"))), list_type(schema)),
            "string" if json::text(schema, &["format"]).is_empty() => Shape::Text("string"),
            "string" => Shape::Text(FORMATTED),
            "integer" => Shape::Int64,
            "number" => Shape::Float,
            "boolean" => Shape::Bool,
            _ => Shape::Deduced,
        }
    }
}

fn map_type(schema: &Value) -> Option<MapType> {
    match json::text(schema, &["x-kubernetes-map-type"]) {
        "atomic" => Some(MapType::Atomic),
        "granular" => Some(MapType::Granular),
        _ => None,
    }
}

fn list_type(schema: &Value) -> ListType {
    match json::text(schema, &["x-kubernetes-list-type"]) {
        "set" => ListType::Set,
        "map" => ListType::Map(
            json::items(schema, &["x-kubernetes-list-map-keys"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        ),
        _ => ListType::Atomic,
    }
}
