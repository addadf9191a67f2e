//! Labels and selectors within objects.

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::names;
use crate::object::Object;
use crate::selector::Labels;

/// Keys and values of a map of labels.
pub(crate) fn map(errors: &mut Errors, map: &Value, path: &str) {
    for (key, value) in json::members(map, &[]) {
        super::text(errors, path, key, names::qualified_name);
        super::text(errors, path, value.as_str().unwrap_or_default(), names::label_value);
    }
}

/// A `LabelSelector`.
pub(crate) fn selector(errors: &mut Errors, selector: &Value, path: &str) {
    map(errors, json::get(selector, "matchLabels"), &format!("{path}.matchLabels"));
    for (index, expression) in json::items(selector, &["matchExpressions"]).iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = json::items(expression, &["values"]);
        match json::text(expression, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(format!("{path}.values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid_str(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        super::text(errors, &format!("{path}.key"), json::text(expression, &["key"]), names::qualified_name);
        for (at, value) in values.iter().enumerate() {
            super::text(
                errors,
                &format!("{path}.values[{at}]"),
                value.as_str().unwrap_or_default(),
                names::label_value,
            );
        }
    }
}

/// The selector of a workload: there, not empty, sound, and selecting the pods of its own template.
pub(crate) fn workload(errors: &mut Errors, spec: &Value, kind: &str) {
    let given = json::get(spec, "selector");
    if given.is_null() {
        errors.required("spec.selector", "");
    } else {
        selector(errors, given, "spec.selector");
        let empty = |key| json::is_empty(json::get(given, key));
        if empty("matchLabels") && empty("matchExpressions") {
            errors.invalid("spec.selector", given, &format!("empty selector is invalid for {kind}"));
        }
    }
    if given.is_null() {
        // Who selects nothing does not select the template either.
        not_selected(errors, spec);
    } else if let Ok(labels) = Labels::from_label_selector(given)
        && !labels.is_empty()
    {
        template(errors, spec, &labels);
    }
}

/// The labels of the template must be among those that are selected.
pub(crate) fn template(errors: &mut Errors, spec: &Value, selector: &Labels) {
    let template = Object::new(json::get(spec, "template").clone());
    if !selector.matches(&template.labels()) {
        not_selected(errors, spec);
    }
}

fn not_selected(errors: &mut Errors, spec: &Value) {
    let shown = match json::dig(spec, &["template", "metadata", "labels"]) {
        Value::Null => Value::Object(serde_json::Map::new()),
        labels => labels.clone(),
    };
    errors.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
}
