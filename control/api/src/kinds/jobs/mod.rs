//! Jobs: their row, defaults and generated selector. What they may look like is in `valid`, failure and success
//! policies in `policies`.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/batch/v1/defaults.go`, `pkg/registry/batch/job/strategy.go`.

mod policies;
pub(super) mod valid;

use k8s_openapi::api::batch::v1::Job;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::workload::{self, CONTAINERS, IMAGES, SELECTOR, count};
use crate::json;
use crate::kind::{FieldLabel, Generation, Kind, Rules};
use crate::object::{Object, timestamp};
use crate::table::{self, AGE, NAME, duration, text};

/// `Job`.
pub static JOB: Kind = Kind {
    group: "batch",
    version: "v1",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    has_status: true,
    acts: true,
    collection: "batch/jobs",
    rules: Rules {
        schema: Job::json_schema,
        generation: Generation::Spec,
        default,
        prepare_create,
        validate: valid::job,
        validate_update: valid::update,
        validate_status: |new, _, errors| {
            workload::status(errors, json::get(new, "status"), "active", &[], &["succeeded", "failed", "terminating"]);
        },
        orphans: true,
        fields: &[FieldLabel {
            label: "status.successful",
            read: |object| count(object, "/status/succeeded").to_string(),
        }],
        columns: &[
            NAME,
            text("Status", "How far it has come."),
            text("Completions", "Pods that succeeded of those wanted."),
            text("Duration", "From its start to its end, or until now."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// The labels of a job's pods, under their old and their present names.
pub(super) const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
pub(super) const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    let is_set = |spec: &Value, key| !json::get(spec, key).is_null();
    if !is_set(spec, "completions") && !is_set(spec, "parallelism") {
        json::set(spec, "completions", 1);
    }
    json::default(spec, "parallelism", 1);
    let limit = if is_set(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    json::default(spec, "backoffLimit", limit);
    json::default(spec, "completionMode", "NonIndexed");
    json::default(spec, "suspend", false);
    json::default(spec, "manualSelector", false);
    let replacement = if is_set(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    json::default(spec, "podReplacementPolicy", replacement);
    if let Some(policy) = spec.get_mut("podFailurePolicy") {
        for rule in json::items_mut(policy, "rules") {
            for pattern in json::items_mut(rule, "onPodConditions") {
                json::default(pattern, "status", "True");
            }
        }
    }
    workload::default_template(spec);
    labels_of_template(value);
}

/// A job without labels has those of its template.
fn labels_of_template(value: &mut Value) {
    let labels = json::dig(value, &["spec", "template", "metadata", "labels"]).clone();
    if !json::is_empty(&labels) && json::is_empty(json::dig(value, &["metadata", "labels"])) {
        json::set(json::object_at(value, "metadata"), "labels", labels);
    }
}

fn prepare_create(value: &mut Value) {
    json::set(value, "status", json!({}));
    if json::flag(value, &["spec", "manualSelector"]) {
        return;
    }
    let text = |key| json::text(value, &["metadata", key]).to_owned();
    let (uid, name) = (text("uid"), text("name"));
    // Labels that were the template's go on to be the template's.
    let template = ["spec", "template", "metadata", "labels"];
    let follows = json::same(json::dig(value, &["metadata", "labels"]), json::dig(value, &template));
    let spec = json::object_at(value, "spec");
    let metadata = json::object_at(json::object_at(spec, "template"), "metadata");
    let labels = json::object_at(metadata, "labels");
    for (keys, text) in [(NAME_LABELS, name), (UID_LABELS, uid.clone())] {
        // What the client set is judged by validation.
        if labels.get(keys[0]).is_none() {
            for key in keys {
                json::set(labels, key, text.clone());
            }
        }
    }
    let labels = labels.clone();
    json::set(json::object_at(json::object_at(spec, "selector"), "matchLabels"), UID_LABELS[1], uid);
    if follows {
        json::set(json::object_at(value, "metadata"), "labels", labels);
    }
}

fn status(job: &Object) -> &'static str {
    let holds = |kind: &str| {
        job.items("/status/conditions")
            .iter()
            .any(|entry| json::text(entry, &["type"]) == kind && json::text(entry, &["status"]) == "True")
    };
    if holds("Complete") || holds("Failed") {
        return if holds("Complete") { "Complete" } else { "Failed" };
    }
    if job.is_deleting() {
        return "Terminating";
    }
    ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|kind| holds(kind)).unwrap_or("Running")
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let succeeded = count(object, "/status/succeeded");
    let completions = match (object.int("/spec/completions"), object.int("/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let at = |pointer| object.at(pointer).and_then(timestamp);
    let spent = match (at("/status/startTime"), at("/status/completionTime")) {
        (None, _) => String::new(),
        (start, end) => duration::since(start, end.unwrap_or(now)),
    };
    let [names, images] = workload::container_cells(object, "/spec/template/spec");
    vec![
        object.name().into(),
        status(object).into(),
        completions.into(),
        spent.into(),
        table::age(object, now).into(),
        names,
        images,
        table::selector(object.at("/spec/selector").unwrap_or(&Value::Null)).into(),
    ]
}
