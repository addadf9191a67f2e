//! Schemas as decoding needs them: what a value must look like and what Go calls its type. Read from the JSON schemas
//! that `k8s-openapi` makes with its feature `schemars`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json;

/// Every struct the kinds are made of.
pub(super) struct Schemas {
    /// The kinds, by collection.
    pub(super) roots: BTreeMap<&'static str, Struct>,
    /// All others, by their OpenAPI name.
    pub(super) structs: BTreeMap<String, Struct>,
}

/// A struct and its fields.
pub(super) struct Struct {
    /// `DeploymentSpec`.
    pub(super) name: String,
    /// `v1.DeploymentSpec`.
    pub(super) go_type: String,
    pub(super) fields: BTreeMap<String, Shape>,
}

/// What a value must look like.
pub(super) enum Shape {
    Struct(String),
    Map(Box<Self>),
    List(Box<Self>),
    /// With the name of its Go type.
    Text(&'static str),
    Int32,
    Int64,
    Float,
    Bool,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Anything goes.
    Any,
}

/// Strings whose Go type has a name of its own: `(struct, field, type)`, from `k8s.io/api/core/v1/types.go`.
/// Those not listed are plain strings in messages.
const NAMED_STRINGS: &[(&str, &str, &str)] = &[
    ("Container", "imagePullPolicy", "v1.PullPolicy"),
    ("Container", "restartPolicy", "v1.ContainerRestartPolicy"),
    ("Container", "terminationMessagePolicy", "v1.TerminationMessagePolicy"),
    ("ContainerPort", "protocol", "v1.Protocol"),
    ("DeploymentStrategy", "type", "v1.DeploymentStrategyType"),
    ("EndpointSlice", "addressType", "v1.AddressType"),
    ("HTTPIngressPath", "pathType", "v1.PathType"),
    ("HTTPGetAction", "scheme", "v1.URIScheme"),
    ("LabelSelectorRequirement", "operator", "v1.LabelSelectorOperator"),
    ("NamespaceStatus", "phase", "v1.NamespacePhase"),
    ("PodSpec", "dnsPolicy", "v1.DNSPolicy"),
    ("PodSpec", "restartPolicy", "v1.RestartPolicy"),
    ("PodStatus", "phase", "v1.PodPhase"),
    ("Secret", "type", "v1.SecretType"),
    ("ServicePort", "protocol", "v1.Protocol"),
    ("ServiceSpec", "sessionAffinity", "v1.ServiceAffinity"),
    ("ServiceSpec", "type", "v1.ServiceType"),
    ("Taint", "effect", "v1.TaintEffect"),
    ("Toleration", "effect", "v1.TaintEffect"),
    ("Toleration", "operator", "v1.TolerationOperator"),
];

impl Struct {
    /// Reads the schema of a struct.
    pub(super) fn read(name: &str, package: &str, schema: &Value) -> Self {
        let fields = json::members(schema, &["properties"])
            .map(|(field, schema)| (field.clone(), Shape::read(name, field, schema)))
            .collect();
        Self { name: name.to_owned(), go_type: format!("{package}.{name}"), fields }
    }
}

impl Shape {
    fn read(owner: &str, field: &str, schema: &Value) -> Self {
        if let Some(reference) = json::get(schema, "$ref").as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            return match name.rsplit('.').next().unwrap_or_default() {
                "Quantity" => Self::Quantity,
                "Time" => Self::Time,
                "MicroTime" => Self::MicroTime,
                "IntOrString" => Self::IntOrString,
                "FieldsV1" | "RawExtension" | "JSON" => Self::Any,
                _ => Self::Struct(name.to_owned()),
            };
        }
        let format = json::text(schema, &["format"]);
        match json::text(schema, &["type"]) {
            "object" if schema.get("additionalProperties").is_some() => {
                Self::Map(Box::new(Self::read(owner, field, json::get(schema, "additionalProperties"))))
            }
            "array" => Self::List(Box::new(Self::read(owner, field, json::get(schema, "items")))),
            "integer" if format == "int32" => Self::Int32,
            "integer" => Self::Int64,
            "number" => Self::Float,
            "boolean" => Self::Bool,
            "string" => match format {
                "byte" => Self::Bytes,
                "date-time" => Self::Time,
                _ => Self::Text(named_string(owner, field)),
            },
            _ => Self::Any,
        }
    }

    /// What Go calls the type.
    pub(super) fn go_type(&self, schemas: &Schemas) -> String {
        match self {
            Self::Struct(name) => schemas.structs.get(name).map_or_else(|| name.clone(), |found| found.go_type.clone()),
            Self::Map(of) => format!("map[string]{}", of.go_type(schemas)),
            Self::List(of) => format!("[]{}", of.go_type(schemas)),
            Self::Text(name) => (*name).to_owned(),
            Self::Int32 | Self::IntOrString => "int32".to_owned(),
            Self::Int64 => "int64".to_owned(),
            Self::Float => "float64".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::Bytes => "[]uint8".to_owned(),
            Self::Time | Self::MicroTime => "string".to_owned(),
            Self::Quantity => "resource.Quantity".to_owned(),
            Self::Any => "interface {}".to_owned(),
        }
    }
}

fn named_string(owner: &str, field: &str) -> &'static str {
    NAMED_STRINGS.iter().find(|row| row.0 == owner && row.1 == field).map_or("string", |row| row.2)
}
