//! The schemas of the Gateway API as a table: a struct a block, a field a line. Read from the project's API reference
//! (gateway-api.sigs.k8s.io/reference/spec), standard channel, v1.2.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

const PREFIX: &str = "io.k8s.networking.gateway.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// `name type`, where a type is a word for a scalar, a struct of this table, `meta:Struct`, `[]T` or `map T`.
const STRUCTS: &str = "
GatewayClass
  spec GatewayClassSpec
  status GatewayClassStatus
GatewayClassSpec
  controllerName string
  description string
  parametersRef ParametersReference
GatewayClassStatus
  conditions []meta:Condition
  supportedFeatures []SupportedFeature
SupportedFeature
  name string
ParametersReference
  group string
  kind string
  name string
  namespace string
Gateway
  spec GatewaySpec
  status GatewayStatus
GatewaySpec
  addresses []GatewayAddress
  gatewayClassName string
  infrastructure GatewayInfrastructure
  listeners []Listener
GatewayAddress
  type string
  value string
GatewayInfrastructure
  annotations map string
  labels map string
  parametersRef ParametersReference
Listener
  allowedRoutes AllowedRoutes
  hostname string
  name string
  port int32
  protocol string
  tls GatewayTLSConfig
AllowedRoutes
  kinds []RouteGroupKind
  namespaces RouteNamespaces
RouteGroupKind
  group string
  kind string
RouteNamespaces
  from string
  selector meta:LabelSelector
GatewayTLSConfig
  certificateRefs []ObjectReference
  frontendValidation FrontendTLSValidation
  mode string
  options map string
FrontendTLSValidation
  caCertificateRefs []ObjectReference
ObjectReference
  group string
  kind string
  name string
  namespace string
GatewayStatus
  addresses []GatewayAddress
  conditions []meta:Condition
  listeners []ListenerStatus
ListenerStatus
  attachedRoutes int32
  conditions []meta:Condition
  name string
  supportedKinds []RouteGroupKind
HTTPRoute
  spec HTTPRouteSpec
  status RouteStatus
HTTPRouteSpec
  hostnames []string
  parentRefs []ParentReference
  rules []HTTPRouteRule
ParentReference
  group string
  kind string
  name string
  namespace string
  port int32
  sectionName string
HTTPRouteRule
  backendRefs []HTTPBackendRef
  filters []HTTPRouteFilter
  matches []HTTPRouteMatch
  name string
  retry any
  sessionPersistence any
  timeouts HTTPRouteTimeouts
HTTPRouteTimeouts
  backendRequest string
  request string
HTTPRouteMatch
  headers []Match
  method string
  path PathMatch
  queryParams []Match
PathMatch
  type string
  value string
Match
  name string
  type string
  value string
HTTPBackendRef
  filters []HTTPRouteFilter
  group string
  kind string
  name string
  namespace string
  port int32
  weight int32
HTTPRouteFilter
  extensionRef ObjectReference
  requestHeaderModifier HeaderFilter
  requestMirror RequestMirrorFilter
  requestRedirect RequestRedirectFilter
  responseHeaderModifier HeaderFilter
  type string
  urlRewrite URLRewriteFilter
HeaderFilter
  add []Header
  remove []string
  set []Header
Header
  name string
  value string
RequestMirrorFilter
  backendRef BackendReference
  fraction Fraction
  percent int32
Fraction
  denominator int32
  numerator int32
BackendReference
  group string
  kind string
  name string
  namespace string
  port int32
RequestRedirectFilter
  hostname string
  path PathModifier
  port int32
  scheme string
  statusCode int32
PathModifier
  replaceFullPath string
  replacePrefixMatch string
  type string
URLRewriteFilter
  hostname string
  path PathModifier
RouteStatus
  parents []RouteParentStatus
RouteParentStatus
  conditions []meta:Condition
  controllerName string
  parentRef ParentReference
GRPCRoute
  spec GRPCRouteSpec
  status RouteStatus
GRPCRouteSpec
  hostnames []string
  parentRefs []ParentReference
  rules []GRPCRouteRule
GRPCRouteRule
  backendRefs []GRPCBackendRef
  filters []GRPCRouteFilter
  matches []GRPCRouteMatch
  name string
  sessionPersistence any
GRPCRouteMatch
  headers []Match
  method GRPCMethodMatch
GRPCMethodMatch
  method string
  service string
  type string
GRPCBackendRef
  filters []GRPCRouteFilter
  group string
  kind string
  name string
  namespace string
  port int32
  weight int32
GRPCRouteFilter
  extensionRef ObjectReference
  requestHeaderModifier HeaderFilter
  requestMirror RequestMirrorFilter
  responseHeaderModifier HeaderFilter
  type string
ReferenceGrant
  spec ReferenceGrantSpec
ReferenceGrantSpec
  from []ReferenceGrantFrom
  to []ReferenceGrantTo
ReferenceGrantFrom
  group string
  kind string
  namespace string
ReferenceGrantTo
  group string
  kind string
  name string
";

/// The schema of the kind `name`; what it is made of is added to the definitions of `generator`.
pub(super) fn of(generator: &mut SchemaGenerator, name: &str) -> Schema {
    // These three are referred to from the table and have to be there.
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>();
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>();
    generator.subschema_for::<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>();
    let mut root = Value::Null;
    for block in blocks() {
        let mut schema = block.schema();
        if block.name == name {
            schema["properties"]["apiVersion"] = json!({"type": "string"});
            schema["properties"]["kind"] = json!({"type": "string"});
            schema["properties"]["metadata"] = reference(META, "ObjectMeta");
            root = schema;
        } else if block.fields.iter().all(|(field, _)| *field != "spec") {
            generator.definitions_mut().insert(format!("{PREFIX}{}", block.name), schema);
        }
    }
    Schema::try_from(root).unwrap_or_default()
}

struct Block {
    name: &'static str,
    fields: Vec<(&'static str, &'static str)>,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in STRUCTS.lines().filter(|line| !line.is_empty()) {
        match (line.strip_prefix("  ").and_then(|field| field.split_once(' ')), blocks.last_mut()) {
            (Some(field), Some(block)) => block.fields.push(field),
            _ => blocks.push(Block { name: line, fields: Vec::new() }),
        }
    }
    blocks
}

impl Block {
    fn schema(&self) -> Value {
        let fields: Map<String, Value> =
            self.fields.iter().map(|(name, kind)| ((*name).to_owned(), shape(kind))).collect();
        json!({"type": "object", "properties": fields})
    }
}

fn reference(prefix: &str, name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{prefix}{name}")})
}

fn shape(kind: &str) -> Value {
    if let Some(of) = kind.strip_prefix("[]") {
        return json!({"type": "array", "items": shape(of)});
    }
    if let Some(of) = kind.strip_prefix("map ") {
        return json!({"type": "object", "additionalProperties": shape(of)});
    }
    match kind {
        "string" => json!({"type": "string"}),
        "int32" => json!({"type": "integer", "format": "int32"}),
        // Without members it is anything; without a type kubectl could not explain it.
        "any" => json!({"type": "object"}),
        _ => match kind.strip_prefix("meta:") {
            Some(name) => reference(META, name),
            None => reference(PREFIX, kind),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_table_is_in_it() {
        let blocks = blocks();
        for (field, kind) in blocks.iter().flat_map(|block| &block.fields) {
            let word = kind.trim_start_matches("[]").trim_start_matches("map ");
            let known = ["string", "int32", "any"].contains(&word)
                || word.starts_with("meta:")
                || blocks.iter().any(|block| block.name == word);
            assert!(known, "{field} {kind}");
        }
    }
}
