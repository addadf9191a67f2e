//! What a CustomResourceDefinition must be like, by itself. Which of its names others have is not known here.
//!
//! Wording: `k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::path::Path;
use super::structural;
use crate::field::Errors;
use crate::json;
use crate::names;
use crate::validate::{immutable, one_of};

/// Fields for selectors of one version at most, as in Kubernetes.
const SELECTABLE_MAX: usize = 8;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Sets a condition; when it was so before, the time of its last transition stays.
pub fn set_condition(value: &mut Value, kind: &str, status: bool, reason: &str, message: &str, now: &str) {
    let status = if status { "True" } else { "False" };
    let mut conditions = json::items(value, &["status", "conditions"]).to_vec();
    let old = conditions.iter().position(|condition| json::text(condition, &["type"]) == kind);
    let since = old
        .map(|at| &conditions[at])
        .filter(|condition| json::text(condition, &["status"]) == status)
        .map_or(now, |condition| json::text(condition, &["lastTransitionTime"]));
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    match old {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    json::set(json::object_at(value, "status"), "conditions", conditions);
}

/// Whether a condition holds.
pub fn is_condition_true(value: &Value, kind: &str) -> bool {
    let conditions = json::items(value, &["status", "conditions"]);
    conditions
        .iter()
        .any(|condition| json::text(condition, &["type"]) == kind && json::text(condition, &["status"]) == "True")
}

/// Checks a definition.
pub(crate) fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    let names = json::get(spec, "names");
    let group = json::text(spec, &["group"]);
    let name = json::text(value, &["metadata", "name"]);
    if name != format!("{}.{group}", json::text(names, &["plural"])) {
        errors.invalid_str("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
    }
    if group.is_empty() {
        errors.required("spec.group", "");
    } else if let problems = names::dns_subdomain(group)
        && !problems.is_empty()
    {
        errors.invalid_str("spec.group", group, &problems.join(","));
    } else if !group.contains('.') {
        errors.invalid_str("spec.group", group, "should be a domain with at least one dot");
    }
    one_of(errors, spec, "scope", "spec", &["Cluster", "Namespaced"]);
    if json::flag(spec, &["preserveUnknownFields"]) {
        errors.invalid(
            "spec.preserveUnknownFields",
            &true.into(),
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    versions(spec, errors);
    self::names(names, "spec.names", true, errors);
    conversion(json::get(spec, "conversion"), errors);
    stored_versions(value, errors);
    approval(value, group, errors);
}

/// Checks what an update may not change.
pub(crate) fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    if is_condition_true(old, "Established") {
        immutable(errors, new, old, &["spec", "scope"]);
        immutable(errors, new, old, &["spec", "names", "kind"]);
    }
    immutable(errors, new, old, &["spec", "group"]);
    immutable(errors, new, old, &["spec", "names", "plural"]);
}

fn names(names: &Value, path: &str, required: bool, errors: &mut Errors) {
    for (key, mixed) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        let name = json::text(names, &[key]);
        let field = format!("{path}.{key}");
        if name.is_empty() {
            if required {
                errors.required(field, "");
            }
            continue;
        }
        let problems = names::dns1035_label(&if mixed { name.to_lowercase() } else { name.to_owned() });
        if !problems.is_empty() {
            let start = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.invalid_str(field, name, &format!("{start}{}", problems.join(",")));
        }
    }
    for key in ["shortNames", "categories"] {
        for (index, word) in json::items(names, &[key]).iter().enumerate() {
            let word = word.as_str().unwrap_or_default();
            let problems = names::dns1035_label(word);
            if !problems.is_empty() {
                errors.invalid_str(format!("{path}.{key}[{index}]"), word, &problems.join(","));
            }
        }
    }
    let (kind, list) = (json::text(names, &["kind"]), json::text(names, &["listKind"]));
    if !kind.is_empty() && kind == list {
        errors.invalid_str(format!("{path}.listKind"), list, "kind and listKind may not be the same");
    }
}

fn versions(spec: &Value, errors: &mut Errors) {
    let versions = json::items(spec, &["versions"]);
    for (index, version) in versions.iter().enumerate() {
        self::version(version, &format!("spec.versions[{index}]"), errors);
    }
    let shown = Value::from(versions.iter().map(|version| json::text(version, &["name"])).collect::<Vec<_>>());
    let unique: BTreeSet<&str> = versions.iter().map(|version| json::text(version, &["name"])).collect();
    if unique.len() != versions.len() {
        errors.invalid("spec.versions", &shown, "must contain unique version names");
    }
    if versions.iter().filter(|version| json::flag(version, &["storage"])).count() != 1 {
        errors.invalid("spec.versions", &shown, "must have exactly one version marked as storage version");
    }
}

fn version(version: &Value, path: &str, errors: &mut Errors) {
    let schema = json::dig(version, &["schema", "openAPIV3Schema"]);
    if !schema.is_object() {
        errors.required(format!("{path}.schema.openAPIV3Schema"), "");
    }
    let name = json::text(version, &["name"]);
    let problems = names::dns1035_label(name);
    if !problems.is_empty() {
        errors.invalid_str(format!("{path}.name"), name, &problems.join(","));
    }
    if let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) {
        let mut invalid = |why: &str| errors.invalid_str(format!("{path}.deprecationWarning"), warning, why);
        if !json::flag(version, &["deprecated"]) {
            invalid("can only be set for deprecated versions");
        } else if warning.is_empty() {
            invalid("must not be an empty string");
        } else if warning.len() > 256 {
            invalid("must be <= 256 characters long");
        } else if let Some(at) = warning.find(char::is_control) {
            let why = "must only contain printable UTF-8 characters; non-printable character found at index";
            invalid(&format!("{why} {at}"));
        }
    }
    if schema.is_object() {
        let with_status = json::dig(version, &["subresources", "status"]).is_object();
        structural::validate(schema, &format!("{path}.schema.openAPIV3Schema"), with_status, errors);
    }
    scale(json::dig(version, &["subresources", "scale"]), &format!("{path}.subresources.scale"), errors);
    for (index, column) in json::items(version, &["additionalPrinterColumns"]).iter().enumerate() {
        self::column(column, &format!("{path}.additionalPrinterColumns[{index}]"), errors);
    }
    selectable(version, schema, &format!("{path}.selectableFields"), errors);
}

fn scale(scale: &Value, path: &str, errors: &mut Errors) {
    if !scale.is_object() {
        return;
    }
    for (key, under, required) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", ".", false),
    ] {
        let (text, field) = (json::text(scale, &[key]), format!("{path}.{key}"));
        let selector = key == "labelSelectorPath";
        if text.is_empty() {
            if required {
                errors.required(field, "");
            }
        } else if Path::parse(text).ok().is_none_or(|path| path.names().is_none()) {
            errors.invalid_str(field, text, "is an invalid JSON path");
        } else if selector && !(text.starts_with(".spec.") || text.starts_with(".status.")) {
            errors.invalid_str(field, text, "should be a json path under either .spec or .status");
        } else if !text.starts_with(under) {
            let under = under.trim_end_matches('.');
            errors.invalid_str(field, text, &format!("should be a json path under {under}"));
        }
    }
}

fn column(column: &Value, path: &str, errors: &mut Errors) {
    if json::text(column, &["name"]).is_empty() {
        errors.required(format!("{path}.name"), "");
    }
    let kind = json::text(column, &["type"]);
    let known = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        errors.required(format!("{path}.type"), &known);
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.invalid_str(format!("{path}.type"), kind, &known);
    }
    let format = json::text(column, &["format"]);
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let known = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.invalid_str(format!("{path}.format"), format, &known);
    }
    let text = json::text(column, &["jsonPath"]);
    if text.is_empty() {
        errors.required(format!("{path}.JSONPath"), "");
    } else if let Err(why) = Path::parse(text) {
        errors.invalid_str(format!("{path}.JSONPath"), text, &format!("is an invalid JSON path: {why}"));
    }
}

fn selectable(version: &Value, schema: &Value, path: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, field) in json::items(version, &["selectableFields"]).iter().enumerate() {
        let text = json::text(field, &["jsonPath"]);
        let at = format!("{path}[{index}].jsonPath");
        if text.is_empty() {
            errors.required(at, "");
            continue;
        }
        let parsed = Path::parse(text).ok();
        let Some(names) = parsed.as_ref().and_then(Path::names) else {
            errors.invalid_str(at, text, "is an invalid path: only names of fields are allowed");
            continue;
        };
        let found = names.iter().try_fold(schema, |schema, name| schema.get("properties")?.get(*name));
        if names.first() == Some(&"metadata") {
            errors.invalid_str(at, text, "must not point to fields in metadata");
        } else if found.is_none() {
            errors.invalid_str(at, text, "is an invalid path: does not refer to a valid field");
        } else if !found.is_some_and(|found| matches!(json::text(found, &["type"]), "string" | "boolean" | "integer")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.invalid_str(at, text, why);
        } else if !seen.insert(text) {
            errors.duplicate(at, &text.into());
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.too_many(path, seen.len(), SELECTABLE_MAX);
    }
}

fn conversion(conversion: &Value, errors: &mut Errors) {
    let path = "spec.conversion";
    one_of(errors, conversion, "strategy", path, &["None", "Webhook"]);
    let webhook = json::get(conversion, "webhook");
    if json::text(conversion, &["strategy"]) != "Webhook" {
        if webhook.is_object() {
            errors.forbidden(
                format!("{path}.webhookClientConfig"),
                "should not be set when strategy is not set to Webhook",
            );
        }
        return;
    }
    let config = json::get(webhook, "clientConfig");
    let field = format!("{path}.webhookClientConfig");
    if config.is_object() {
        crate::validate::webhook::client(config, &field, errors);
    } else {
        errors.required(&field, "required when strategy is set to Webhook");
    }
    let versions = json::items(webhook, &["conversionReviewVersions"]);
    let field = format!("{path}.conversionReviewVersions");
    if versions.is_empty() {
        errors.required(field, "");
    } else if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        errors.invalid(field, &versions.to_vec().into(), "must include at least one of v1, v1beta1");
    }
}

fn stored_versions(value: &Value, errors: &mut Errors) {
    let stored = json::items(value, &["status", "storedVersions"]);
    let field = "status.storedVersions";
    let versions = json::items(value, &["spec", "versions"]);
    for (index, version) in stored.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if !versions.iter().any(|version| json::text(version, &["name"]) == name) {
            let why = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid_str(format!("{field}[{index}]"), name, &why);
        }
    }
}

/// Groups of Kubernetes' own are for what its community has looked at.
fn approval(value: &Value, group: &str, errors: &mut Errors) {
    const KEY: &str = "api-approved.kubernetes.io";
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')));
    let field = format!("metadata.annotations[{KEY}]");
    let approved = json::text(value, &["metadata", "annotations", KEY]);
    if !protected || approved.starts_with("unapproved") || approved.starts_with("https://") {
    } else if approved.is_empty() {
        errors.required(field, "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111");
    } else {
        let why = format!(
            "protected groups must have approval annotation \"{KEY}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        errors.invalid_str(field, approved, &why);
    }
}
