//! ResourceQuotas: how much a namespace may hold. Counting and refusing are the cluster crate's.
//!
//! Source of rules and words: `ValidateResourceQuota` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::ResourceQuota;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules};
use crate::names;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, NOT_NEGATIVE, immutable};

/// Scopes and what each may be combined with.
const SCOPES: [&str; 6] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"];
/// Resources of pods: those that scopes can be applied to.
const OF_PODS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "pods",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
/// Other resources that need no prefix.
const OF_OBJECTS: [&str; 9] = [
    "requests.storage",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// `ResourceQuota`.
pub static RESOURCEQUOTA: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    has_status: true,
    acts: true,
    collection: "core/resourcequotas",
    rules: Rules {
        schema: ResourceQuota::json_schema,
        prepare_create: |value| json::set(value, "status", json!({})),
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "scopes"]),
        columns: &[
            NAME,
            text("Request", "Requests and counts: used of allowed."),
            text("Limit", "Limits: used of allowed."),
            AGE,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    for (name, amount) in json::members(spec, &["hard"]) {
        let field = format!("spec.hard[{name}]");
        validate::text(errors, &field, name, names::qualified_name);
        if !name.contains('/') && !is_standard(name) {
            errors.invalid_str(&field, name, "must be a standard resource type or fully qualified");
            errors.invalid_str(&field, name, "must be a standard resource for quota");
        }
        match Quantity::from_value(amount) {
            Ok(amount) if amount.is_negative() => errors.invalid_str(&field, &amount.to_string(), NOT_NEGATIVE),
            Ok(whole) if is_count(name) && !whole.is_whole() => {
                errors.invalid_str(&field, &whole.to_string(), "must be an integer");
            }
            Ok(_) => {}
            Err(error) => errors.invalid(&field, amount, &error.to_string()),
        }
    }
    scopes(errors, spec);
    for (index, expression) in json::items(spec, &["scopeSelector", "matchExpressions"]).iter().enumerate() {
        expression_valid(errors, expression, &format!("spec.scopeSelector.matchExpressions[{index}]"));
    }
}

fn is_standard(name: &str) -> bool {
    OF_PODS.contains(&name)
        || OF_OBJECTS.contains(&name)
        || name.strip_prefix("requests.").unwrap_or(name).starts_with("hugepages-")
}

fn is_count(name: &str) -> bool {
    name == "pods" || name.starts_with("count/") || (OF_OBJECTS.contains(&name) && name != "requests.storage")
}

fn scopes(errors: &mut Errors, spec: &Value) {
    let shown = json::get(spec, "scopes");
    let given: Vec<&str> = json::items(spec, &["scopes"]).iter().filter_map(Value::as_str).collect();
    for scope in &given {
        if !SCOPES.contains(scope) {
            errors.invalid("spec.scopes", shown, "unsupported scope");
        }
        for (name, _) in json::members(spec, &["hard"]) {
            let fits = if *scope == "BestEffort" { name == "pods" } else { OF_PODS.contains(&name.as_str()) };
            if is_standard(name) && !fits {
                errors.invalid("spec.scopes", shown, "unsupported scope applied to resource");
            }
        }
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| given.contains(scope)) {
            errors.invalid("spec.scopes", shown, "conflicting scopes");
        }
    }
}

fn expression_valid(errors: &mut Errors, expression: &Value, path: &str) {
    let scope = json::text(expression, &["scopeName"]);
    let operator = json::text(expression, &["operator"]);
    let values = json::items(expression, &["values"]);
    if !SCOPES.contains(&scope) {
        errors.invalid_str(format!("{path}.scopeName"), scope, "unsupported scope");
    } else if scope != "PriorityClass" && operator != "Exists" {
        let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
            ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid_str(format!("{path}.operator"), operator, why);
    }
    let field = format!("{path}.values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(field, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.invalid(field, json::get(expression, "values"), why);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid_str(format!("{path}.operator"), other, "not a valid selector operator"),
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in json::members(&object.0, &["status", "hard"]) {
        let used = json::text(&object.0, &["status", "used", name]);
        let used = if used.is_empty() { "0" } else { used };
        let shown = format!("{name}: {used}/{}", hard.as_str().unwrap_or_default());
        if name.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
    }
    vec![object.name().into(), requests.join(", ").into(), limits.join(", ").into(), table::age(object, now).into()]
}
