//! What a job may look like, and what of it may change.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/batch/validation`.

use serde_json::{Value, json};

use super::{NAME_LABELS, UID_LABELS, policies};
use crate::field::Errors;
use crate::json;
use crate::names;
use crate::object::Object;
use crate::selector::Labels;
use crate::validate::{self, immutable, labels, not_negative, pod};

/// Pods of an Indexed job at once, as in Kubernetes.
const INDEXED_PARALLELISM_MAX: i64 = 100_000;
/// Longest `managedBy`.
const MANAGED_BY_MAX: usize = 63;

/// A job of its own.
pub(super) fn job(value: &Value, errors: &mut Errors) {
    generated_selector(value, errors);
    let given = json::get(value, "spec");
    spec(errors, given, "spec");
    let selector = json::get(given, "selector");
    if selector.is_null() {
        errors.required("spec.selector", "");
        return;
    }
    labels::selector(errors, selector, "spec.selector");
    if let Ok(selector) = Labels::from_label_selector(selector) {
        labels::template(errors, given, &selector);
    }
}

/// The selector and the labels are those that the server made, unless the client said to make them itself.
fn generated_selector(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    if json::flag(spec, &["manualSelector"]) || json::get(spec, "selector").is_null() {
        return;
    }
    let own = json::dig(spec, &["template", "metadata", "labels"]);
    for (keys, field) in [(UID_LABELS, "uid"), (NAME_LABELS, "name")] {
        let expected = json::text(value, &["metadata", field]);
        for key in keys {
            let path = "spec.template.metadata.labels";
            match json::get(own, key).as_str() {
                None => errors.required(format!("{path}[{key}]"), &format!("must be '{expected}'")),
                Some(found) if found != expected => {
                    errors.invalid(format!("{path}[{key}]"), own, &format!("must be '{expected}'"));
                }
                Some(_) => {}
            }
        }
    }
    let text = |field| Value::from(json::text(value, &["metadata", field]));
    let uids = UID_LABELS.map(|key| (key.to_owned(), text("uid")));
    let names = NAME_LABELS.map(|key| (key.to_owned(), text("name")));
    let expected: serde_json::Map<String, Value> = uids.into_iter().chain(names).collect();
    let pod = Object::new(json!({"metadata": {"labels": expected}}));
    let selector = Labels::from_label_selector(json::get(spec, "selector"));
    let fits = selector.map_or(true, |selector| selector.matches(&pod.labels()));
    if !fits {
        errors.invalid("spec.selector", json::get(spec, "selector"), "`selector` not auto-generated");
    }
}

/// The spec of a job that a CronJob makes: its selector comes later.
pub(in crate::kinds) fn template(errors: &mut Errors, given: &Value, path: &str) {
    spec(errors, given, path);
    if !json::get(given, "selector").is_null() {
        let detail = "`selector` will be auto-generated";
        errors.invalid(format!("{path}.selector"), json::get(given, "selector"), detail);
    }
    if json::flag(given, &["manualSelector"]) {
        errors.not_supported(format!("{path}.manualSelector"), "true", &["nil", "false"]);
    }
}

fn spec(errors: &mut Errors, spec: &Value, path: &str) {
    const NUMBERS: [&str; 6] = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ];
    for key in NUMBERS {
        not_negative(errors, spec, key, path);
    }
    modes(errors, spec, path);
    let managed_by = json::text(spec, &["managedBy"]);
    if !managed_by.is_empty() {
        let field = format!("{path}.managedBy");
        if managed_by.contains('/') {
            validate::text(errors, &field, managed_by, names::qualified_name);
        } else {
            let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            errors.invalid_str(&field, managed_by, detail);
        }
        if managed_by.len() > MANAGED_BY_MAX {
            errors.too_long(field, MANAGED_BY_MAX);
        }
    }
    policies::failure(errors, spec, path);
    policies::success(errors, spec, path);
    let replacement = json::text(spec, &["podReplacementPolicy"]);
    let has_failure_policy = !json::get(spec, "podFailurePolicy").is_null();
    let supported: &[&str] = if has_failure_policy { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if !json::get(spec, "podReplacementPolicy").is_null() && !supported.contains(&replacement) {
        errors.not_supported(format!("{path}.podReplacementPolicy"), replacement, supported);
    }
    pod::template(errors, json::get(spec, "template"), &format!("{path}.template"));
    let field = format!("{path}.template.spec.restartPolicy");
    match json::text(spec, &["template", "spec", "restartPolicy"]) {
        "" | "Always" => errors.required(field, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if has_failure_policy => {
            errors.invalid_str(field, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(field, other, &["OnFailure", "Never"]),
    }
}

fn modes(errors: &mut Errors, spec: &Value, path: &str) {
    let mode = json::text(spec, &["completionMode"]);
    let is_set = |key| !json::get(spec, key).is_null();
    let indexed = mode == "Indexed";
    if is_set("backoffLimitPerIndex") && !indexed {
        let value = json::get(spec, "backoffLimitPerIndex");
        errors.invalid(format!("{path}.backoffLimitPerIndex"), value, "requires indexed completion mode");
    }
    if is_set("maxFailedIndexes") {
        not_negative(errors, spec, "maxFailedIndexes", path);
        if !is_set("backoffLimitPerIndex") {
            errors.required(format!("{path}.backoffLimitPerIndex"), "when maxFailedIndexes is specified");
        }
    }
    if is_set("completionMode") && !indexed && mode != "NonIndexed" {
        errors.not_supported(format!("{path}.completionMode"), mode, &["Indexed", "NonIndexed"]);
    }
    if !indexed {
        return;
    }
    if !is_set("completions") {
        errors.required(format!("{path}.completions"), "when completion mode is Indexed");
    }
    if json::int(spec, &["parallelism"]).is_some_and(|parallelism| parallelism > INDEXED_PARALLELISM_MAX) {
        let detail = format!("must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed");
        errors.invalid(format!("{path}.parallelism"), json::get(spec, "parallelism"), &detail);
    }
}

/// What may not change. Completions of an Indexed job may, together with its parallelism; where its pods may run may,
/// as long as it is suspended and has not started.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    completions(new, old, errors);
    immutable(errors, new, old, &["spec", "selector"]);
    let (template, before) = (json::dig(new, &["spec", "template"]), json::dig(old, &["spec", "template"]));
    let mut rest = template.clone();
    let waits = json::flag(old, &["spec", "suspend"]) && json::dig(old, &["status", "startTime"]).is_null();
    if waits {
        for key in ["labels", "annotations"] {
            json::copy(json::object_at(&mut rest, "metadata"), json::get(before, "metadata"), key);
        }
        for key in ["nodeSelector", "tolerations", "schedulingGates", "affinity"] {
            json::copy(json::object_at(&mut rest, "spec"), json::get(before, "spec"), key);
        }
    }
    if !json::same(&rest, before) {
        errors.invalid("spec.template", template, validate::IMMUTABLE);
    }
    for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "successPolicy"] {
        immutable(errors, new, old, &["spec", key]);
    }
    if !json::flag(old, &["spec", "suspend"]) {
        immutable(errors, new, old, &["spec", "managedBy"]);
    }
}

fn completions(new: &Value, old: &Value, errors: &mut Errors) {
    let path = ["spec", "completions"];
    let (value, before) = (json::dig(new, &path), json::dig(old, &path));
    if json::text(new, &["spec", "completionMode"]) != "Indexed" {
        immutable(errors, new, old, &path);
    } else if value != before {
        let parallelism = |value: &Value| json::int(value, &["spec", "parallelism"]);
        if value.is_null() || parallelism(new) != value.as_i64() || parallelism(old) == parallelism(new) {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.invalid("spec.completions", value, detail);
        }
    }
}
