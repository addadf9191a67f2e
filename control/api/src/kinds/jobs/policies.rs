//! `podFailurePolicy` and `successPolicy` of a job.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/batch/validation` (KEP-3329, KEP-3998).

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::names;
use crate::validate;

/// Rules of a policy, and patterns of a rule.
const RULES_MAX: usize = 20;
/// Exit codes of a rule.
const CODES_MAX: usize = 255;
/// Bytes of `succeededIndexes`.
const INDEXES_MAX: usize = 64 * 1024;

pub(super) fn failure(errors: &mut Errors, spec: &Value, path: &str) {
    let rules = json::items(spec, &["podFailurePolicy", "rules"]);
    let path = format!("{path}.podFailurePolicy.rules");
    if rules.len() > RULES_MAX {
        errors.too_many(&path, rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        failure_rule(errors, spec, rule, &format!("{path}[{index}]"));
    }
}

fn failure_rule(errors: &mut Errors, spec: &Value, rule: &Value, path: &str) {
    let action = json::text(rule, &["action"]);
    let field = format!("{path}.action");
    match action {
        "" => errors.required(field, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
        "FailIndex" if json::get(spec, "backoffLimitPerIndex").is_null() => {
            errors.invalid_str(field, action, "requires the backoffLimitPerIndex to be set");
        }
        "Count" | "FailIndex" | "FailJob" | "Ignore" => {}
        _ => errors.not_supported(field, action, &["Count", "FailIndex", "FailJob", "Ignore"]),
    }
    let codes = json::get(rule, "onExitCodes");
    if !codes.is_null() {
        exit_codes(errors, spec, codes, &format!("{path}.onExitCodes"));
    }
    let patterns = json::items(rule, &["onPodConditions"]);
    if patterns.len() > RULES_MAX {
        errors.too_many(format!("{path}.onPodConditions"), patterns.len(), RULES_MAX);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = format!("{path}.onPodConditions[{index}]");
        validate::text(errors, &format!("{path}.type"), json::text(pattern, &["type"]), names::qualified_name);
        let status = json::text(pattern, &["status"]);
        match status {
            "" => errors.required(format!("{path}.status"), "valid values: [\"False\" \"True\" \"Unknown\"]"),
            "False" | "True" | "Unknown" => {}
            _ => errors.not_supported(format!("{path}.status"), status, &["False", "True", "Unknown"]),
        }
    }
    match (codes.is_null(), patterns.is_empty()) {
        (false, false) => {
            errors.invalid_hidden(path, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (true, true) => errors.invalid_hidden(path, "specifying one of OnExitCodes and OnPodConditions is required"),
        _ => {}
    }
}

fn exit_codes(errors: &mut Errors, spec: &Value, codes: &Value, path: &str) {
    let operator = json::text(codes, &["operator"]);
    match operator {
        "" => errors.required(format!("{path}.operator"), "valid values: [\"In\" \"NotIn\"]"),
        "In" | "NotIn" => {}
        _ => errors.not_supported(format!("{path}.operator"), operator, &["In", "NotIn"]),
    }
    let container = json::get(codes, "containerName");
    let of_pod = ["containers", "initContainers"].map(|key| json::items(spec, &["template", "spec", key]));
    let is_known = |name: &Value| of_pod.iter().copied().flatten().any(|own| json::get(own, "name") == name);
    if !container.is_null() && !is_known(container) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(format!("{path}.containerName"), container, detail);
    }
    let values = json::items(codes, &["values"]);
    let field = format!("{path}.values");
    if values.is_empty() {
        errors.invalid(&field, &Value::Array(Vec::new()), "at least one value is required");
    } else if values.len() > CODES_MAX {
        errors.too_many(&field, values.len(), CODES_MAX);
    }
    let numbers: Vec<i64> = values.iter().map(|value| value.as_i64().unwrap_or_default()).collect();
    for (index, number) in numbers.iter().enumerate() {
        if numbers[..index].contains(number) {
            errors.duplicate(format!("{field}[{index}]"), &values[index]);
        }
        if operator == "In" && *number == 0 {
            errors.invalid(format!("{field}[{index}]"), &values[index], "must not be 0 for the In operator");
        }
    }
    if !numbers.is_sorted() {
        errors.invalid(field, json::get(codes, "values"), "must be ordered");
    }
}

pub(super) fn success(errors: &mut Errors, spec: &Value, path: &str) {
    let policy = json::get(spec, "successPolicy");
    if policy.is_null() {
        return;
    }
    let path = format!("{path}.successPolicy");
    if json::text(spec, &["completionMode"]) != "Indexed" {
        errors.invalid(&path, policy, "requires indexed completion mode");
        return;
    }
    let path = format!("{path}.rules");
    let rules = json::items(policy, &["rules"]);
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(&path, rules.len(), RULES_MAX);
    }
    let completions = json::int(spec, &["completions"]).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (count, indexes) = (json::get(rule, "succeededCount"), json::get(rule, "succeededIndexes"));
        if count.is_null() && indexes.is_null() {
            errors.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut chosen = completions;
        if let Some(text) = indexes.as_str() {
            let field = format!("{path}.succeededIndexes");
            if text.len() > INDEXES_MAX {
                errors.too_long(&field, INDEXES_MAX);
            } else {
                match indexes_in(text, completions) {
                    Ok(number) => chosen = number,
                    Err(why) => errors.invalid_str(field, text, &why),
                }
            }
        }
        if let Some(number) = count.as_i64() {
            validate::not_negative(errors, rule, "succeededCount", &path);
            if number > chosen {
                let what = if indexes.is_null() {
                    "specified completions"
                } else {
                    "indexes in the specified succeededIndexes field"
                };
                let detail = format!("must be less than or equal to {chosen} (the number of {what})");
                errors.invalid(format!("{path}.succeededCount"), count, &detail);
            }
        }
    }
}

/// How many indexes `1,3-5` names; each must be below `completions` and above the one before.
fn indexes_in(text: &str, completions: i64) -> Result<i64, String> {
    let number = |text: &str| {
        text.parse::<i64>().ok().filter(|number| *number >= 0).ok_or_else(|| {
            format!("error parsing succeededIndexes: cannot convert string to integer for index: {text:?}")
        })
    };
    let (mut total, mut last) = (0, -1);
    for interval in text.split(',') {
        let (from, to) = interval.split_once('-').map_or((interval, None), |(from, to)| (from, Some(to)));
        let first = number(from)?;
        let end = to.map_or(Ok(first), number)?;
        if first <= last || (to.is_some() && end <= first) {
            return Err(format!(
                "error parsing succeededIndexes: non-increasing order, previous: {last}, current: {first}"
            ));
        }
        if end >= completions {
            return Err(format!("error parsing succeededIndexes: too large index: {end}"));
        }
        total += end - first + 1;
        last = end;
    }
    Ok(total)
}
