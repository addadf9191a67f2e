//! LimitRanges: what pods of a namespace get when they ask for nothing, and how much they may ask for.
//! Their effect on pods is the cluster crate's.
//!
//! Source of rules and words: `ValidateLimitRange` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::LimitRange;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Kind, Rules};
use crate::names;
use crate::object::time_text;
use crate::quantity::Quantity;
use crate::table::{NAME, text};
use crate::validate::{self, resources};

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// `LimitRange`.
pub static LIMITRANGE: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    acts: true,
    collection: "core/limitranges",
    rules: Rules {
        schema: LimitRange::json_schema,
        default,
        validate,
        columns: &[NAME, Column { format: "date-time", ..text("Created At", "When it was created.") }],
        cells: |object, _| {
            vec![object.name().into(), object.creation_timestamp().map(time_text).unwrap_or_default().into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// For containers: no default means the maximum, no default request means the default or else the minimum.
fn default(value: &mut Value) {
    for item in json::items_mut(json::object_at(value, "spec"), "limits") {
        if json::text(item, &["type"]) != "Container" {
            continue;
        }
        for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let from = json::get(item, from).clone();
            let to = json::object_at(item, to);
            for (name, amount) in json::members(&from, &[]) {
                json::default(to, name, amount.clone());
            }
        }
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let mut types = BTreeSet::new();
    for (index, item) in json::items(value, &["spec", "limits"]).iter().enumerate() {
        let path = format!("spec.limits[{index}]");
        let kind = json::text(item, &["type"]);
        validate::text(errors, &format!("{path}.type"), kind, names::qualified_name);
        if !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind) && !kind.contains('/') {
            errors.invalid_str(format!("{path}.type"), kind, "must be a standard limit type or fully qualified");
        }
        if !types.insert(kind) {
            errors.duplicate(format!("{path}.type"), &Value::from(kind));
        }
        for list in LISTS {
            if kind == "Pod" && list.starts_with("default") && !json::is_empty(json::get(item, list)) {
                errors.forbidden(format!("{path}.{list}"), "may not be specified when `type` is 'Pod'");
            }
            for (name, amount) in json::members(item, &[list]) {
                resources::amount(errors, name, amount, &format!("{path}.{list}[{name}]"));
            }
        }
        let bounded = |list| !json::dig(item, &[list, "storage"]).is_null();
        if kind == "PersistentVolumeClaim" && !bounded("min") && !bounded("max") {
            let why = "either minimum or maximum storage value is required, but neither was provided";
            errors.required(format!("{path}.limits"), why);
        }
        order(errors, item, &path);
    }
}

/// The smaller must not be larger.
fn order(errors: &mut Errors, item: &Value, path: &str) {
    let names: BTreeSet<&String> =
        LISTS.iter().flat_map(|list| json::members(item, &[list])).map(|(name, _)| name).collect();
    for name in names {
        let of = |list: &str| Quantity::from_value(json::dig(item, &[list, name])).ok();
        for (small, small_word, large, large_word, at) in [
            ("min", "min value", "max", "max value", "min"),
            ("min", "min value", "defaultRequest", "default request value", "defaultRequest"),
            ("defaultRequest", "default request value", "max", "max value", "defaultRequest"),
            ("defaultRequest", "default request value", "default", "default limit value", "defaultRequest"),
            ("min", "min value", "default", "default value", "default"),
            ("default", "default value", "max", "max value", "default"),
        ] {
            if let (Some(low), Some(high)) = (of(small), of(large))
                && low > high
            {
                let why = format!("{small_word} {low} is greater than {large_word} {high}");
                let shown = if at == "default" && small == "min" { low } else { of(at).unwrap_or(low) };
                errors.invalid_str(format!("{path}.{at}[{name}]"), &shown.to_string(), &why);
            }
        }
        let Some(ratio) = of("maxLimitRequestRatio") else { continue };
        let field = format!("{path}.maxLimitRequestRatio[{name}]");
        if ratio < Quantity::from_millis(1000) {
            errors.invalid_str(&field, &ratio.to_string(), &format!("ratio {ratio} is less than 1"));
        }
        if let (Some(low), Some(high)) = (of("min"), of("max")) {
            #[expect(clippy::cast_precision_loss, reason = "shown and compared as Kubernetes does")]
            let (ratio_value, bound) = (ratio.value() as f64, high.millis() as f64 / low.millis() as f64);
            if ratio_value > bound {
                let why = format!("ratio {ratio} is greater than max/min = {bound:.6}");
                errors.invalid_str(&field, &ratio.to_string(), &why);
            }
        }
    }
}
