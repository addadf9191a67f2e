//! Mutating and validating webhook configurations: whom to ask before an object is written. Asking is the API server's.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/admissionregistration/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::admissionpolicies::{match_defaults, rules_valid};
use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Generation, Kind, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, integer};
use crate::validate::{self, expressions, labels, webhook};

/// The group of everything that has a say before a write.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// `MutatingWebhookConfiguration`.
pub static MUTATINGWEBHOOKCONFIGURATION: Kind = Kind {
    group: GROUP,
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    acts: true,
    collection: "admissionregistration.k8s.io/mutatingwebhookconfigurations",
    rules: Rules {
        schema: MutatingWebhookConfiguration::json_schema,
        generation: Generation::Content,
        default: |value| {
            default(value);
            json::items_mut(value, "webhooks").for_each(|hook| json::default(hook, "reinvocationPolicy", "Never"));
        },
        validate,
        columns: &COLUMNS,
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// `ValidatingWebhookConfiguration`.
pub static VALIDATINGWEBHOOKCONFIGURATION: Kind = Kind {
    group: GROUP,
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    acts: true,
    collection: "admissionregistration.k8s.io/validatingwebhookconfigurations",
    rules: Rules {
        schema: ValidatingWebhookConfiguration::json_schema,
        generation: Generation::Content,
        default,
        validate,
        columns: &COLUMNS,
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

const COLUMNS: [Column; 3] = [NAME, integer("Webhooks", "Number of webhooks."), AGE];

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let hooks = object.items("/webhooks").len();
    vec![object.name().into(), Value::from(hooks), table::age(object, now).into()]
}

fn default(value: &mut Value) {
    for hook in json::items_mut(value, "webhooks") {
        json::default(hook, "failurePolicy", "Fail");
        json::default(hook, "timeoutSeconds", 10);
        match_defaults(hook, "rules");
        if let Some(service) = hook.pointer_mut("/clientConfig/service") {
            json::default(service, "port", 443);
        }
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, hook) in json::items(value, &["webhooks"]).iter().enumerate() {
        let path = format!("webhooks[{index}]");
        let name = json::text(hook, &["name"]);
        validate::fully_qualified(errors, &format!("{path}.name"), name);
        if !seen.insert(name) {
            errors.duplicate(format!("{path}.name"), &Value::from(name));
        }
        rules_valid(errors, json::items(hook, &["rules"]), &format!("{path}.rules"));
        validate::one_of_if_set(errors, hook, "failurePolicy", &path, &["Fail", "Ignore"]);
        validate::one_of_if_set(errors, hook, "matchPolicy", &path, &["Equivalent", "Exact"]);
        validate::one_of_if_set(errors, hook, "reinvocationPolicy", &path, &["IfNeeded", "Never"]);
        let none = ["None", "NoneOnDryRun"];
        let side_effects = json::text(hook, &["sideEffects"]);
        if side_effects.is_empty() {
            errors.required(format!("{path}.sideEffects"), "must specify one of None, NoneOnDryRun");
        } else if !none.contains(&side_effects) {
            errors.not_supported(format!("{path}.sideEffects"), side_effects, &none);
        }
        let seconds = json::get(hook, "timeoutSeconds");
        if seconds.as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(format!("{path}.timeoutSeconds"), seconds, why);
        }
        for selector in ["namespaceSelector", "objectSelector"] {
            labels::selector(errors, json::get(hook, selector), &format!("{path}.{selector}"));
        }
        expressions::of_webhook(errors, hook, &path);
        webhook::client(json::get(hook, "clientConfig"), &format!("{path}.clientConfig"), errors);
        review_versions(
            errors,
            json::items(hook, &["admissionReviewVersions"]),
            &format!("{path}.admissionReviewVersions"),
        );
    }
}

fn review_versions(errors: &mut Errors, versions: &[Value], path: &str) {
    const KNOWN: [&str; 2] = ["v1", "v1beta1"];
    if versions.is_empty() {
        errors.required(path, &format!("must specify one of {}", KNOWN.join(", ")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().filter_map(Value::as_str).enumerate() {
        let field = format!("{path}[{index}]");
        if !seen.insert(version) {
            errors.duplicate(&field, &Value::from(version));
        }
        validate::text(errors, &field, version, names::dns1035_label);
    }
    if !versions.iter().any(|version| KNOWN.iter().any(|known| version == known)) {
        let why = format!("must include at least one of {}", KNOWN.join(", "));
        errors.invalid(path, &json!(versions), &why);
    }
}
