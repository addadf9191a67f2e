//! What a namespace may use: quotas, and the limits of each container, pod and claim.

use std::collections::BTreeSet;

use serde_json::Value;

use super::page::{Page, list, text};
use crate::render::jsonpath::shown;

/// Columns of a LimitRange: the heading and the field.
const BOUNDS: [(&str, &str); 5] = [
    ("Min", "min"),
    ("Max", "max"),
    ("Default Request", "defaultRequest"),
    ("Default Limit", "default"),
    ("Max Limit/Request Ratio", "maxLimitRequestRatio"),
];

/// A quota: what is used of what there is.
pub(super) fn quota(page: &mut Page, object: &Value) {
    let mut scopes: Vec<String> = list(object, "/spec/scopes").map(shown).collect();
    for scope in list(object, "/spec/scopeSelector/matchExpressions") {
        let values: Vec<&str> = list(scope, "/values").filter_map(Value::as_str).collect();
        scopes.push(
            format!("{} {} {}", text(scope, "/scopeName"), text(scope, "/operator"), values.join(","))
                .trim_end()
                .to_owned(),
        );
    }
    page.some("Scopes", &scopes.join(", "));
    // Until somebody has counted, only the wish is known.
    let told = object.pointer("/status/hard").and_then(Value::as_object).filter(|hard| !hard.is_empty());
    let hard = told.or_else(|| object.pointer("/spec/hard").and_then(Value::as_object));
    let used =
        |key: &str| object.pointer("/status/used").and_then(|used| used.get(key)).map_or_else(|| "0".to_owned(), shown);
    let rows = hard.into_iter().flatten().map(|(key, hard)| vec![key.clone(), used(key), shown(hard)]).collect();
    page.main_table(&["Resource", "Used", "Hard"], rows);
}

/// A LimitRange: a line for each type and resource.
pub(super) fn range(page: &mut Page, object: &Value) {
    let mut rows = Vec::new();
    for limit in list(object, "/spec/limits") {
        let maps = BOUNDS.map(|(_, field)| limit.get(field).and_then(Value::as_object));
        let resources: BTreeSet<&String> = maps.iter().flatten().flat_map(|map| map.keys()).collect();
        for resource in resources {
            let amounts = maps.map(|map| map.and_then(|map| map.get(resource)).map_or_else(|| "-".to_owned(), shown));
            rows.push([text(limit, "/type").to_owned(), resource.clone()].into_iter().chain(amounts).collect());
        }
    }
    let heading: Vec<&str> = ["Type", "Resource"].into_iter().chain(BOUNDS.map(|bound| bound.0)).collect();
    page.main_table(&heading, rows);
}
