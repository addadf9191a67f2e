//! ValidatingAdmissionPolicies and their bindings: rules in CEL that a write must pass. Judging is the API server's.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/admissionregistration/validation`.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use super::webhooks::GROUP;
use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules, Scope};
use crate::names;
use crate::table::{self, AGE, NAME, integer, text};
use crate::validate::{self, expressions, labels, one_of_if_set};

/// `ValidatingAdmissionPolicy`.
pub static VALIDATINGADMISSIONPOLICY: Kind = Kind {
    group: GROUP,
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    has_status: true,
    acts: true,
    collection: "admissionregistration.k8s.io/validatingadmissionpolicies",
    rules: Rules {
        schema: ValidatingAdmissionPolicy::json_schema,
        generation: Generation::Spec,
        default: |value| {
            let spec = json::object_at(value, "spec");
            json::default(spec, "failurePolicy", "Fail");
            if let Some(constraints) = spec.get_mut("matchConstraints") {
                match_defaults(constraints, "resourceRules");
                match_defaults(constraints, "excludeResourceRules");
            }
        },
        // Each write that is judged reads the policies anew, so one is in force as soon as it is written.
        prepare_create: |value| {
            json::set(value, "status", json!({"observedGeneration": 1}));
        },
        prepare_update: |new, old| {
            let moves = !json::same(json::get(new, "spec"), json::get(old, "spec"));
            let generation = json::int(old, &["metadata", "generation"]).unwrap_or_default() + i64::from(moves);
            json::set(json::object_at(new, "status"), "observedGeneration", generation);
        },
        validate: policy,
        columns: &[
            NAME,
            integer("Validations", "Number of its rules."),
            text("ParamKind", "The kind of its parameters."),
            AGE,
        ],
        cells: |object, now| {
            let part = |key: &str| object.text(&format!("/spec/paramKind/{key}"));
            let kind = match (part("apiVersion"), part("kind")) {
                (_, "") => "<unset>".to_owned(),
                (version, kind) => format!("{version}/{kind}"),
            };
            let validations = object.items("/spec/validations").len();
            vec![object.name().into(), Value::from(validations), kind.into(), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// `ValidatingAdmissionPolicyBinding`.
pub static VALIDATINGADMISSIONPOLICYBINDING: Kind = Kind {
    group: GROUP,
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    acts: true,
    collection: "admissionregistration.k8s.io/validatingadmissionpolicybindings",
    rules: Rules {
        schema: ValidatingAdmissionPolicyBinding::json_schema,
        generation: Generation::Spec,
        default: |value| {
            if let Some(resources) = value.pointer_mut("/spec/matchResources") {
                match_defaults(resources, "resourceRules");
                match_defaults(resources, "excludeResourceRules");
            }
        },
        validate: binding,
        columns: &[
            NAME,
            text("PolicyName", "The policy it puts into force."),
            text("ParamRef", "Where its parameters are."),
            AGE,
        ],
        cells: |object, now| {
            let part = |key: &str| object.text(&format!("/spec/paramRef/{key}"));
            let param = match (part("namespace"), part("name")) {
                _ if object.at("/spec/paramRef").is_none() => "<unset>".to_owned(),
                (_, "") => "<selector>".to_owned(),
                ("", name) => format!("*/{name}"),
                (namespace, name) => format!("{namespace}/{name}"),
            };
            vec![
                object.name().into(),
                object.text("/spec/policyName").into(),
                param.into(),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// What matching defaults to: every object of every namespace, through any version, in any scope.
pub(super) fn match_defaults(matching: &mut Value, rules: &str) {
    json::default(matching, "matchPolicy", "Equivalent");
    json::default(matching, "namespaceSelector", json!({}));
    json::default(matching, "objectSelector", json!({}));
    json::items_mut(matching, rules).for_each(|rule| json::default(rule, "scope", "*"));
}

/// What operations on what resources a webhook or policy is about.
pub(super) fn rules_valid(errors: &mut Errors, rules: &[Value], path: &str) {
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        for key in ["operations", "apiGroups", "apiVersions", "resources"] {
            let field = format!("{path}.{key}");
            let given: Vec<&str> = json::items(rule, &[key]).iter().filter_map(Value::as_str).collect();
            if given.is_empty() {
                errors.required(&field, "");
            }
            if given.len() > 1 && given.contains(&"*") && key != "resources" {
                let why = "if '*' is present, must not specify other ";
                let what = match key {
                    "operations" => "operations",
                    "apiGroups" => "API groups",
                    _ => "API versions",
                };
                errors.invalid(&field, json::get(rule, key), &format!("{why}{what}"));
            }
            for (at, text) in given.iter().enumerate() {
                if key == "operations" && !["*", "CONNECT", "CREATE", "DELETE", "UPDATE"].contains(text) {
                    let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
                    errors.not_supported(format!("{field}[{at}]"), text, &known);
                }
                if text.is_empty() && matches!(key, "apiVersions" | "resources") {
                    errors.required(format!("{field}[{at}]"), "");
                }
            }
        }
        one_of_if_set(errors, rule, "scope", &path, &["*", "Cluster", "Namespaced"]);
    }
}

fn matching(errors: &mut Errors, matching: &Value, path: &str) {
    one_of_if_set(errors, matching, "matchPolicy", path, &["Equivalent", "Exact"]);
    for selector in ["namespaceSelector", "objectSelector"] {
        labels::selector(errors, json::get(matching, selector), &format!("{path}.{selector}"));
    }
    for rules in ["resourceRules", "excludeResourceRules"] {
        rules_valid(errors, json::items(matching, &[rules]), &format!("{path}.{rules}"));
    }
}

fn policy(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    one_of_if_set(errors, spec, "failurePolicy", "spec", &["Fail", "Ignore"]);
    let kind = json::get(spec, "paramKind");
    if !kind.is_null() {
        param_kind(errors, kind);
    }
    let constraints = json::get(spec, "matchConstraints");
    if constraints.is_null() {
        errors.required("spec.matchConstraints", "");
    } else {
        matching(errors, constraints, "spec.matchConstraints");
        if json::items(constraints, &["resourceRules"]).is_empty() {
            errors.required("spec.matchConstraints.resourceRules", "");
        }
    }
    let validations = json::items(spec, &["validations"]);
    if validations.is_empty() && json::items(spec, &["auditAnnotations"]).is_empty() {
        let why = "validations or auditAnnotations must be set for this validating admission policy";
        errors.required("spec.validations", why);
        errors.required("spec.auditAnnotations", why);
    }
    for (index, validation) in validations.iter().enumerate() {
        let path = format!("spec.validations[{index}]");
        let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
        one_of_if_set(errors, validation, "reason", &path, &reasons);
    }
    expressions::of_policy(errors, value);
}

fn param_kind(errors: &mut Errors, kind: &Value) {
    let path = "spec.paramKind";
    if validate::required(errors, kind, "apiVersion", path) {
        let (field, text) = (format!("{path}.apiVersion"), json::text(kind, &["apiVersion"]));
        let (group, version) = text.split_once('/').unwrap_or(("", text));
        if version.contains('/') {
            errors.invalid_str(&field, text, &format!("unexpected GroupVersion string: {text}"));
        } else {
            if !group.is_empty() {
                validate::text(errors, &field, group, names::dns_subdomain);
            }
            validate::text(errors, &field, version, names::dns1035_label);
        }
    }
    if validate::required(errors, kind, "kind", path) {
        let text = json::text(kind, &["kind"]);
        for why in names::dns1035_label(&text.to_lowercase()) {
            let why = format!("may have mixed case, but should otherwise match: {why}");
            errors.invalid_str(format!("{path}.kind"), text, &why);
        }
    }
}

fn binding(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    if validate::required(errors, spec, "policyName", "spec") {
        validate::text(errors, "spec.policyName", json::text(spec, &["policyName"]), names::dns_subdomain);
    }
    let param = json::get(spec, "paramRef");
    if !param.is_null() {
        let (name, selector) = (json::text(param, &["name"]), json::get(param, "selector"));
        if name.is_empty() && selector.is_null() {
            errors.required("spec.paramRef", "one of name or selector must be specified");
        } else if !name.is_empty() && !selector.is_null() {
            errors.forbidden("spec.paramRef.name", "name and selector are mutually exclusive");
        }
        validate::one_of(errors, param, "parameterNotFoundAction", "spec.paramRef", &["Allow", "Deny"]);
    }
    matching(errors, json::get(spec, "matchResources"), "spec.matchResources");
    let actions: Vec<&str> = json::items(spec, &["validationActions"]).iter().filter_map(Value::as_str).collect();
    if actions.is_empty() {
        errors.required("spec.validationActions", "at least one validation action is required");
    }
    for (index, action) in actions.iter().enumerate() {
        if !["Audit", "Deny", "Warn"].contains(action) {
            errors.not_supported(format!("spec.validationActions[{index}]"), action, &["Audit", "Deny", "Warn"]);
        }
        if actions[..index].contains(action) {
            errors.duplicate(format!("spec.validationActions[{index}]"), &Value::from(*action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
            response and headers serves no purpose)";
        errors.invalid("spec.validationActions", json::get(spec, "validationActions"), why);
    }
}
