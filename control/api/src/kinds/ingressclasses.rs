//! IngressClasses: which controller serves an ingress.

use k8s_openapi::api::networking::v1::IngressClass;
use schemars::JsonSchema as _;
use serde_json::Value;
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, NONE, text};
use crate::validate::{self, immutable};

/// Longest `controller`: Kubernetes' limit.
const CONTROLLER_BYTES_MAX: usize = 250;

/// `IngressClass`.
pub static INGRESSCLASS: Kind = Kind {
    group: "networking.k8s.io",
    kind: "IngressClass",
    plural: "ingressclasses",
    singular: "ingressclass",
    scope: Scope::Cluster,
    acts: true,
    collection: "networking.k8s.io/ingressclasses",
    rules: Rules {
        schema: IngressClass::json_schema,
        generation: Generation::Spec,
        default: |value| {
            if let Some(parameters) = value.pointer_mut("/spec/parameters") {
                json::default(parameters, "scope", "Cluster");
            }
        },
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "controller"]),
        columns: &[
            NAME,
            text("Controller", "What serves ingresses of this class."),
            text("Parameters", "Where its settings are."),
            AGE,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let controller = json::text(value, &["spec", "controller"]);
    if controller.len() > CONTROLLER_BYTES_MAX {
        errors.too_long("spec.controller", CONTROLLER_BYTES_MAX);
    }
    if controller.is_empty() {
        errors.required("spec.controller", "");
    } else {
        validate::text(errors, "spec.controller", controller, names::domain_path);
    }
    let parameters = json::dig(value, &["spec", "parameters"]);
    if parameters.is_null() {
        return;
    }
    let path = "spec.parameters";
    let group = json::text(parameters, &["apiGroup"]);
    if !group.is_empty() {
        validate::text(errors, "spec.parameters.apiGroup", group, names::dns_subdomain);
    }
    for key in ["kind", "name"] {
        if validate::required(errors, parameters, key, path) {
            let given = json::text(parameters, &[key]);
            validate::text(errors, &format!("{path}.{key}"), given, names::path_segment);
        }
    }
    validate::one_of(errors, parameters, "scope", path, &["Cluster", "Namespace"]);
    let namespace = json::get(parameters, "namespace");
    match json::text(parameters, &["scope"]) {
        "Cluster" if !namespace.is_null() => {
            errors.forbidden("spec.parameters.namespace", "`parameters.scope` is set to 'Cluster'");
        }
        "Namespace" if namespace.is_null() => {
            errors.required("spec.parameters.namespace", "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => {
            let namespace = namespace.as_str().unwrap_or_default();
            validate::text(errors, "spec.parameters.namespace", namespace, names::dns_label);
        }
        _ => {}
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let part = |key: &str| object.text(&format!("/spec/parameters/{key}"));
    let parameters = match (part("apiGroup"), part("kind"), part("name")) {
        (_, "", _) => NONE.to_owned(),
        ("", kind, name) => format!("{kind}/{name}"),
        (group, kind, name) => format!("{kind}.{group}/{name}"),
    };
    vec![
        object.name().into(),
        object.text("/spec/controller").into(),
        parameters.into(),
        table::age(object, now).into(),
    ]
}
