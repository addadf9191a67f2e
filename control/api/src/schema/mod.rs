//! What objects look like: one table for decoding, strategic merge patches, server-side apply, the OpenAPI documents
//! and custom resources.
//!
//! Built-in kinds: types and descriptions from `k8s-openapi`, and what those lack (list types and their keys, merge
//! strategies, defaults) from the table of facts beside this file. Custom kinds: from `openAPIV3Schema`
//! ([`Schema::from_crd`]). Not here: validation beyond types. Start at [`schema_of`] and [`Schema::root`].

mod builtin;
mod custom;
mod facts;
#[cfg(test)]
mod tests;
mod tidy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::kind::Kind;

pub use facts::Facts;
pub(crate) use facts::table as facts;

/// The schema of a kind: a struct, and the structs it is made of. Clones share them.
#[derive(Debug, Clone)]
pub struct Schema {
    structs: Arc<[Struct]>,
    root: StructId,
}

/// Which of a schema's structs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StructId(usize);

/// A struct and its fields.
#[derive(Debug, Clone, Default)]
pub struct Struct {
    /// The name of its OpenAPI definition, `io.k8s.api.apps.v1.DeploymentSpec`; empty for one of a custom kind.
    pub name: String,
    /// `DeploymentSpec`; empty for one of a custom kind.
    pub go_name: String,
    /// `v1.DeploymentSpec`; empty for one of a custom kind.
    pub go_type: String,
    /// For people.
    pub description: String,
    /// By name.
    pub fields: BTreeMap<String, Field>,
    /// The fields that must be there.
    pub required: BTreeSet<String>,
    /// What is declared about the struct itself (`x-kubernetes-map-type`).
    pub facts: Facts,
    /// Whether members beside the fields are kept (`x-kubernetes-preserve-unknown-fields`).
    pub preserves: bool,
}

/// A field of a struct.
#[derive(Debug, Clone)]
pub struct Field {
    /// What its value must look like.
    pub shape: Shape,
    /// For people.
    pub description: String,
    /// What is declared about it, as published.
    pub facts: Facts,
    /// Whether null is a value of its own (custom kinds only).
    pub nullable: bool,
    /// Whether its zero value is not written (`omitempty`, and no pointer; built-in kinds only).
    pub omits_empty: bool,
}

/// Whether the members of a map have owners of their own, or only the whole has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// Each member has.
    Granular,
    /// The whole has.
    Atomic,
}

/// What the items of a list are to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    /// Only the whole list has an owner.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by these fields.
    Map(Vec<String>),
}

/// What a value must look like.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One of the schema's structs.
    Struct(StructId, MapType),
    /// Any keys, values of one shape.
    Map(Box<Self>, MapType),
    /// Items of one shape.
    List(Box<Self>, ListType),
    /// With the name of its Go type.
    Text(&'static str),
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Any number.
    Float,
    /// True or false.
    Bool,
    /// Base64.
    Bytes,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// `1500m`.
    Quantity,
    /// `80` or `"80%"`.
    IntOrString,
    /// Anything goes, and it is one value.
    Any,
    /// Anything goes; maps have members of their own, lists are one value (unknown fields of custom kinds).
    Deduced,
}

/// The [`Shape::Text`] of a custom kind that has a format.
pub(crate) const FORMATTED: &str = "strfmt.Format";

/// A place in a schema.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    schema: &'a Schema,
    shape: &'a Shape,
}

static BUILTIN: LazyLock<builtin::Builtin> = LazyLock::new(builtin::Builtin::build);

/// The schema of a kind, built-in or custom. A kind that is not in the table has one without fields.
pub fn schema_of(kind: &Kind) -> &'static Schema {
    kind.rules.custom_schema.unwrap_or_else(|| BUILTIN.root(kind))
}

/// The fields of `ObjectMeta`.
pub(crate) fn metadata_fields() -> &'static BTreeMap<String, Field> {
    &BUILTIN.metadata().root().fields
}

/// The schema of `autoscaling/v1` Scale: what `/scale` shows of every kind that has it.
pub fn scale_schema() -> &'static Schema {
    BUILTIN.scale()
}

impl Schema {
    /// The schema of a custom kind from its definition's `openAPIV3Schema`, with the metadata that all objects have.
    pub fn from_crd(schema: &Value) -> Self {
        custom::read(schema, BUILTIN.metadata())
    }

    /// A schema that knows no fields.
    pub fn none() -> Self {
        Self { structs: Arc::new([Struct::default()]), root: StructId(0) }
    }

    /// The object itself.
    pub fn root(&self) -> &Struct {
        self.get(self.root)
    }

    /// The id of the object itself.
    pub fn root_id(&self) -> StructId {
        self.root
    }

    /// One of its structs.
    pub fn get(&self, id: StructId) -> &Struct {
        &self.structs[id.0]
    }

    /// All the structs that it shares with others of its table, by id.
    pub fn structs(&self) -> impl Iterator<Item = (StructId, &Struct)> {
        self.structs.iter().enumerate().map(|(index, found)| (StructId(index), found))
    }

    /// The place where the object itself is.
    pub fn node<'a>(&'a self, shape: &'a Shape) -> Node<'a> {
        Node { schema: self, shape }
    }

    /// The shape of the object itself.
    pub fn root_shape(&self) -> Shape {
        Shape::Struct(self.root, MapType::Granular)
    }
}

impl<'a> Node<'a> {
    /// What a value must look like here.
    pub fn shape(self) -> &'a Shape {
        self.shape
    }

    /// The struct that is here.
    pub fn of(self) -> Option<&'a Struct> {
        match self.shape {
            Shape::Struct(id, _) => Some(self.schema.get(*id)),
            _ => None,
        }
    }

    /// A field of the struct that is here, as it is declared.
    pub fn field(self, name: &str) -> Option<(&'a Field, Self)> {
        let field = self.of()?.fields.get(name)?;
        Some((field, Self { schema: self.schema, shape: &field.shape }))
    }

    /// Where a member of the struct or map here is; None when there can be no such member.
    pub fn member(self, name: &str) -> Option<Self> {
        let shape = match self.shape {
            Shape::Map(values, _) => values,
            Shape::Deduced => &Shape::Deduced,
            Shape::Any => &Shape::Any,
            Shape::Struct(id, _) => {
                let of = self.schema.get(*id);
                match of.fields.get(name) {
                    Some(field) => &field.shape,
                    None if of.preserves => &Shape::Deduced,
                    None => return None,
                }
            }
            _ => return None,
        };
        Some(Self { schema: self.schema, shape })
    }

    /// Where the items of the list here are.
    pub fn items(self) -> Option<Self> {
        let shape = match self.shape {
            Shape::List(items, _) => items,
            Shape::Deduced => &Shape::Deduced,
            Shape::Any => &Shape::Any,
            _ => return None,
        };
        Some(Self { schema: self.schema, shape })
    }

    /// The value that stands for a missing `key` of a list's item.
    pub fn key_default(self, key: &str) -> Option<Value> {
        self.field(key)?.0.facts.default.clone()
    }
}

impl Shape {
    /// Go's zero value.
    pub fn zero(&self) -> Value {
        match self {
            Self::Struct(..) | Self::Map(..) => Value::Object(serde_json::Map::new()),
            Self::List(..) => Value::Array(Vec::new()),
            Self::Text(_) | Self::Bytes => Value::from(""),
            Self::Int32 | Self::Int64 | Self::Float | Self::IntOrString => Value::from(0),
            Self::Bool => Value::from(false),
            Self::Quantity => Value::from("0"),
            Self::Time | Self::MicroTime | Self::Any | Self::Deduced => Value::Null,
        }
    }

    /// What Go calls the type.
    pub fn go_type(&self, schema: &Schema) -> String {
        match self {
            Self::Struct(id, _) => schema.get(*id).go_type.clone(),
            Self::Map(of, _) => format!("map[string]{}", of.go_type(schema)),
            Self::List(of, _) => format!("[]{}", of.go_type(schema)),
            Self::Text(name) => (*name).to_owned(),
            Self::Int32 | Self::IntOrString => "int32".to_owned(),
            Self::Int64 => "int64".to_owned(),
            Self::Float => "float64".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Bytes => "[]uint8".to_owned(),
            Self::Time | Self::MicroTime => "string".to_owned(),
            Self::Quantity => "resource.Quantity".to_owned(),
            Self::Any | Self::Deduced => "interface {}".to_owned(),
        }
    }
}
