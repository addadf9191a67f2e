//! What the kinds that make pods from a template have in common: the template's defaults and the cells that show it.

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::defaults;
use crate::field::Errors;
use crate::json;
use crate::kind::Column;
use crate::object::Object;
use crate::table::{self, AGE, NAME, integer, text, wide};
use crate::validate::pod;

pub(super) const CONTAINERS: Column = wide(text("Containers", "Names of the containers in the template."));
pub(super) const IMAGES: Column = wide(text("Images", "Images of the containers in the template."));
pub(super) const SELECTOR: Column = wide(text("Selector", "Which pods belong to it."));

/// Columns of what keeps a number of pods.
pub(super) static REPLICAS: [Column; 8] = [
    NAME,
    integer("Desired", "Pods wanted."),
    integer("Current", "Pods there are."),
    integer("Ready", "Pods that are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The cells of [`REPLICAS`].
pub(super) fn replica_cells(object: &Object, now: Timestamp, selector: String) -> Vec<Value> {
    let numbers = ["/spec/replicas", "/status/replicas", "/status/readyReplicas"].map(|at| count(object, at).into());
    let mut cells = vec![Value::from(object.name())];
    cells.extend(numbers);
    cells.push(table::age(object, now).into());
    cells.extend(container_cells(object, "/spec/template/spec"));
    cells.push(selector.into());
    cells
}

/// Defaults of the pod template at `value.template`.
pub(super) fn default_template(value: &mut Value) {
    defaults::pod::spec(json::object_at(json::object_at(value, "template"), "spec"));
}

/// A template that has to be there, of pods that always restart. `owner` is the kind in the refusal of a deadline.
pub(super) fn always_restarted(errors: &mut Errors, spec: &Value, owner: &str) {
    let template = json::get(spec, "template");
    if json::is_empty(template) {
        errors.required("spec.template", "");
        return;
    }
    pod::template(errors, template, "spec.template");
    restarts_always(errors, json::get(template, "spec"), owner);
}

/// What controllers that replace pods ask of a pod's spec.
pub(super) fn restarts_always(errors: &mut Errors, spec: &Value, owner: &str) {
    let restart = json::text(spec, &["restartPolicy"]);
    if !restart.is_empty() && restart != "Always" {
        errors.not_supported("spec.template.spec.restartPolicy", restart, &["Always"]);
    }
    if !json::get(spec, "activeDeadlineSeconds").is_null() {
        let detail = format!("activeDeadlineSeconds in {owner} is not Supported");
        errors.forbidden("spec.template.spec.activeDeadlineSeconds", &detail);
    }
}

/// The cells of [`CONTAINERS`] and [`IMAGES`], of the pod's spec at `pointer`.
pub(super) fn container_cells(object: &Object, pointer: &str) -> [Value; 2] {
    let (names, images) = table::containers(object.at(pointer).unwrap_or(&Value::Null));
    [names.into(), images.into()]
}

/// The number at `pointer`; 0 when there is none.
pub(super) fn count(object: &Object, pointer: &str) -> i64 {
    object.int(pointer).unwrap_or_default()
}

/// None of the numbers in the status is negative, and none of `parts` is more than `whole`.
pub(super) fn status(errors: &mut Errors, status: &Value, whole: &str, parts: &[&str], others: &[&str]) {
    for key in parts.iter().chain(others).chain([&whole]) {
        crate::validate::not_negative(errors, status, key, "status");
    }
    let all = json::int(status, &[whole]).unwrap_or_default();
    for key in parts {
        let part = json::int(status, &[key]).unwrap_or_default();
        if part > all {
            errors.invalid(format!("status.{key}"), &json!(part), &format!("cannot be greater than status.{whole}"));
        }
    }
}
