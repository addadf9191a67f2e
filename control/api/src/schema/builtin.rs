//! The schemas of the built-in kinds, from the JSON schemas that `k8s-openapi` makes with its feature `schemars`, and
//! the table of facts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::SchemaGenerator;
use serde_json::Value;

use super::facts::{self, Facts};
use super::{Field, MapType, Schema, Shape, Struct, StructId};
use crate::json;
use crate::kind::Kind;
use crate::openapi::definition_name;
use crate::protobuf;

/// The built-in kinds' schemas, and one for kinds that have none.
pub(super) struct Builtin {
    roots: BTreeMap<(&'static str, &'static str, &'static str), Schema>,
    metadata: Schema,
    scale: Schema,
    empty: Schema,
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

const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

impl Builtin {
    /// Reads every kind of the table: some hundred small structs, shared by all.
    pub(super) fn build() -> Self {
        let mut generator = SchemaGenerator::default();
        let mut sources: Vec<(String, Value)> = Vec::new();
        let mut roots = BTreeMap::new();
        for kind in crate::kinds::kinds() {
            let schema = (kind.rules.schema)(&mut generator);
            roots.insert((kind.group, kind.version, kind.kind), StructId(sources.len()));
            sources.push((definition_name(kind.group, kind.version, kind.kind), schema.to_value()));
        }
        generator.subschema_for::<ObjectMeta>();
        generator.subschema_for::<Scale>();
        sources.extend(generator.definitions().iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut ids = HashMap::new();
        for (index, (name, _)) in sources.iter().enumerate() {
            ids.insert(name.as_str(), StructId(index));
        }
        let facts = facts::table();
        let reader = Reader { ids: &ids, facts: &facts };
        let structs: Arc<[Struct]> = sources.iter().map(|(name, value)| reader.read(name, value)).collect();
        let schema = |root| Schema { structs: Arc::clone(&structs), root };
        Self {
            roots: roots.into_iter().map(|(kind, root)| (kind, schema(root))).collect(),
            metadata: schema(ids[METADATA]),
            scale: schema(ids[SCALE]),
            empty: Schema::none(),
        }
    }

    pub(super) fn root(&self, kind: &Kind) -> &Schema {
        self.roots.get(&(kind.group, kind.version, kind.kind)).unwrap_or(&self.empty)
    }

    /// The schema of `autoscaling/v1` Scale, which is no kind of its own.
    pub(super) fn scale(&self) -> &Schema {
        &self.scale
    }

    /// The schema of `ObjectMeta`.
    pub(super) fn metadata(&self) -> &Schema {
        &self.metadata
    }
}

/// Reads structs of JSON schemas that refer to each other.
struct Reader<'a> {
    ids: &'a HashMap<&'a str, StructId>,
    facts: &'a HashMap<(&'static str, &'static str), Facts>,
}

impl Reader<'_> {
    fn read(&self, name: &str, schema: &Value) -> Struct {
        let mut words = name.rsplit('.');
        let go_name = words.next().unwrap_or_default();
        let go_type = format!("{}.{go_name}", words.next().unwrap_or_default());
        let fields = json::members(schema, &["properties"])
            .map(|(field, schema)| (field.clone(), self.field(name, go_name, field, schema)))
            .collect();
        let required = json::items(schema, &["required"]).iter().filter_map(Value::as_str).map(str::to_owned);
        Struct {
            name: name.to_owned(),
            go_name: go_name.to_owned(),
            go_type,
            description: json::text(schema, &["description"]).to_owned(),
            fields,
            required: required.collect(),
            facts: self.facts(name, ""),
            preserves: false,
        }
    }

    fn facts(&self, owner: &str, field: &str) -> Facts {
        self.facts.get(&(owner, field)).cloned().unwrap_or_default()
    }

    fn field(&self, owner: &str, go_owner: &str, name: &str, schema: &Value) -> Field {
        let facts = self.facts(owner, name);
        let shape = self.shape(go_owner, name, schema, &facts);
        let description = json::text(schema, &["description"]).to_owned();
        let omits_empty = protobuf::omits_empty(owner, name);
        Field { shape, description, facts, nullable: false, omits_empty }
    }

    fn shape(&self, owner: &str, field: &str, schema: &Value, facts: &Facts) -> Shape {
        if let Some(reference) = json::get(schema, "$ref").as_str() {
            return self.reference(reference.rsplit('/').next().unwrap_or_default(), facts);
        }
        let format = json::text(schema, &["format"]);
        let inner = |key| Box::new(self.shape(owner, field, json::get(schema, key), &Facts::default()));
        match json::text(schema, &["type"]) {
            "object" if schema.get("additionalProperties").is_some() => {
                Shape::Map(inner("additionalProperties"), facts.map_type.unwrap_or(MapType::Granular))
            }
            "array" => Shape::List(inner("items"), facts.list()),
            "integer" if format == "int32" => Shape::Int32,
            "integer" => Shape::Int64,
            "number" => Shape::Float,
            "boolean" => Shape::Bool,
            "string" => match format {
                "byte" => Shape::Bytes,
                "date-time" => Shape::Time,
                _ => Shape::Text(named_string(owner, field)),
            },
            _ => Shape::Any,
        }
    }

    fn reference(&self, name: &str, facts: &Facts) -> Shape {
        match name.rsplit('.').next().unwrap_or_default() {
            "Quantity" => Shape::Quantity,
            "Time" => Shape::Time,
            "MicroTime" => Shape::MicroTime,
            "IntOrString" => Shape::IntOrString,
            "FieldsV1" | "RawExtension" => Shape::Deduced,
            "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => Shape::Any,
            _ => match self.ids.get(name) {
                Some(id) => {
                    let declared = facts.map_type.or(self.facts(name, "").map_type);
                    Shape::Struct(*id, declared.unwrap_or(MapType::Granular))
                }
                None => Shape::Any,
            },
        }
    }
}

fn named_string(owner: &str, field: &str) -> &'static str {
    NAMED_STRINGS.iter().find(|row| row.0 == owner && row.1 == field).map_or("string", |row| row.2)
}
