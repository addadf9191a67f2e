//! FlowSchemas: which requests belong to which priority level. The API server's own turns (`wk-apiserver`'s `flight`) know
//! no levels: these are kept and shown for clients that write them.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/flowcontrol/validation`.

use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules, Scope};
use crate::table::{self, AGE, NAME, integer, text};
use crate::validate::{one_of, required};

/// The last a schema may come in the order of matching.
const PRECEDENCE_MAX: i64 = 10_000;

/// `FlowSchema`.
pub static FLOWSCHEMA: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    scope: Scope::Cluster,
    has_status: true,
    collection: "flowcontrol.apiserver.k8s.io/flowschemas",
    rules: Rules {
        schema: FlowSchema::json_schema,
        generation: Generation::Spec,
        default: |value| json::default_nonzero(json::object_at(value, "spec"), "matchingPrecedence", 1000),
        validate,
        columns: &[
            NAME,
            text("PriorityLevel", "The level of its requests."),
            integer("MatchingPrecedence", "Its place in the order of matching."),
            text("DistinguisherMethod", "How its requests are told apart."),
            AGE,
            text("MissingPL", "Whether there is no such level."),
        ],
        cells: |object, now| {
            let method = object.text("/spec/distinguisherMethod/type");
            let missing = object.items("/status/conditions").iter().find(|condition| condition["type"] == "Dangling");
            vec![
                object.name().into(),
                object.text("/spec/priorityLevelConfiguration/name").into(),
                object.int("/spec/matchingPrecedence").unwrap_or_default().into(),
                if method.is_empty() { "<none>" } else { method }.into(),
                table::age(object, now).into(),
                missing.and_then(|condition| condition["status"].as_str()).unwrap_or("?").into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    let precedence = json::int(spec, &["matchingPrecedence"]).unwrap_or_default();
    if precedence <= 0 {
        errors.invalid("spec.matchingPrecedence", &precedence.into(), "must be a positive value");
    } else if precedence > PRECEDENCE_MAX {
        let detail = format!("must not be greater than {PRECEDENCE_MAX}");
        errors.invalid("spec.matchingPrecedence", &precedence.into(), &detail);
    }
    let level = json::get(spec, "priorityLevelConfiguration");
    if json::text(level, &["name"]).is_empty() {
        errors.required("spec.priorityLevelConfiguration.name", "must reference a priority level");
    }
    let method = json::get(spec, "distinguisherMethod");
    if !method.is_null() {
        one_of(errors, method, "type", "spec.distinguisherMethod", &["ByNamespace", "ByUser"]);
    }
    for (index, rule) in json::items(spec, &["rules"]).iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        let subjects = json::items(rule, &["subjects"]);
        if subjects.is_empty() {
            errors.required(format!("{path}.subjects"), "subjects must contain at least one value");
        }
        for (index, subject) in subjects.iter().enumerate() {
            validate_subject(subject, &format!("{path}.subjects[{index}]"), errors);
        }
        let (resources, others) = (json::items(rule, &["resourceRules"]), json::items(rule, &["nonResourceRules"]));
        if resources.is_empty() && others.is_empty() {
            errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
            continue;
        }
        for (index, rule) in resources.iter().enumerate() {
            let path = format!("{path}.resourceRules[{index}]");
            for (key, what) in [("verbs", "verb"), ("apiGroups", "api group"), ("resources", "resource")] {
                at_least_one(rule, key, what, &path, errors);
            }
            if json::items(rule, &["namespaces"]).is_empty() && !json::flag(rule, &["clusterScope"]) {
                let detail = "resource rules that are not cluster scoped must supply at least one namespace";
                errors.required(format!("{path}.namespaces"), detail);
            }
        }
        for (index, rule) in others.iter().enumerate() {
            let path = format!("{path}.nonResourceRules[{index}]");
            at_least_one(rule, "verbs", "verb", &path, errors);
            at_least_one(rule, "nonResourceURLs", "nonResourceURL", &path, errors);
        }
    }
}

fn at_least_one(rule: &Value, key: &str, what: &str, path: &str, errors: &mut Errors) {
    if json::items(rule, &[key]).is_empty() {
        errors.required(format!("{path}.{key}"), &format!("at least one {what} must be supplied"));
    }
}

fn validate_subject(subject: &Value, path: &str, errors: &mut Errors) {
    let key = match json::text(subject, &["kind"]) {
        "ServiceAccount" => "serviceAccount",
        "User" => "user",
        "Group" => "group",
        other => return errors.not_supported(format!("{path}.kind"), other, &["Group", "ServiceAccount", "User"]),
    };
    let named = json::get(subject, key);
    if named.is_null() {
        let detail = format!("{key} is required when subject kind is '{}'", json::text(subject, &["kind"]));
        return errors.required(format!("{path}.{key}"), &detail);
    }
    required(errors, named, "name", &format!("{path}.{key}"));
    if key == "serviceAccount" {
        required(errors, named, "namespace", &format!("{path}.{key}"));
    }
}
