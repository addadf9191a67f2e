//! CronJob: a Job at each time of a schedule.
//!
//! A Job is made first; that its time has come is written when the Job is there, read off it, so that a write that is
//! refused loses no run. Not here: reading schedules (`wk_api::kinds::cronjobs`), and the Jobs' own pods.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use wk_api::kinds::cronjobs::Schedule;
use wk_api::strategy::Propagation;
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Event, EventType, Order, Plan, Target};
use crate::{conditions, owned, read};

const COMPONENT: &str = "cronjob-controller";
/// The time that a Job is for: an annotation of it.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed times that are looked through. More of them, and only those of late are: Kubernetes warns past this too.
const MISSED_MAX: usize = 100;

/// What the decision is made from.
pub struct Input<'a> {
    /// The CronJob.
    pub cronjob: &'a Object,
    /// Jobs that it controls.
    pub jobs: &'a [&'a Object],
    /// The zone that it names, or UTC; None for a name that nobody knows.
    pub zone: Option<&'a TimeZone>,
}

/// Makes the Job whose time has come, removes old ones, and says what is there.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let (cronjob, mut plan) = (input.cronjob, Plan::default());
    if cronjob.is_deleting() {
        return plan;
    }
    plan.extend(status(cronjob, input.jobs));
    plan.orders.extend(old(cronjob, input.jobs));
    if cronjob.0["spec"]["suspend"] == true {
        return plan;
    }
    let Some(zone) = input.zone else {
        let name = cronjob.text("/spec/timeZone");
        let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
        plan.orders.push(event(cronjob, EventType::Warning, "UnknownTimeZone", message));
        return plan;
    };
    // It was read when it was written.
    let Ok(schedule) = Schedule::parse(cronjob.text("/spec/schedule")) else { return plan };
    let Some(next) = schedule.next(now, zone) else {
        plan.orders.push(never(cronjob));
        return plan;
    };
    plan.due_by(next);
    let last = last_scheduled(cronjob, input.jobs).unwrap_or_else(|| read::created(cronjob));
    let deadline = cronjob.int("/spec/startingDeadlineSeconds").map(SignedDuration::from_secs);
    let earliest = deadline.and_then(|deadline| now.checked_sub(deadline).ok()).map_or(last, |start| start.max(last));
    let Some((due, missed)) = latest(&schedule, earliest, now, zone) else { return plan };
    let running: Vec<&Object> = input.jobs.iter().copied().filter(|job| !is_finished(job)).collect();
    match cronjob.text("/spec/concurrencyPolicy") {
        "Forbid" if !running.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.say(format!("{}: {message}", cronjob.name()));
            // Its time passes; the next look is when a Job ends, or at the next time.
            return plan;
        }
        "Replace" if !running.is_empty() => {
            // The new one is made when they are gone.
            plan.orders.extend(running.iter().filter(|job| !job.is_deleting()).flat_map(|job| remove(cronjob, job)));
            return plan;
        }
        _ => {}
    }
    plan.say(format!("{}: due since {due}", cronjob.name()));
    plan.orders.push(create(cronjob, due));
    // With the Job that makes up for them, so that it is told once.
    if missed > MISSED_MAX {
        let message = format!(
            "too many missed start times: {missed}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        );
        plan.orders.push(event(cronjob, EventType::Warning, "TooManyMissedTimes", message));
    }
    plan
}

/// The last time after `from` that was due by `now`, and how many there were; the count stops past [`MISSED_MAX`].
fn latest(schedule: &Schedule, from: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<(Timestamp, usize)> {
    let mut count = 0;
    let mut found = None;
    let mut after = from;
    while let Some(due) = schedule.next(after, zone).filter(|due| *due <= now) {
        (found, after) = (Some(due), due);
        count += 1;
        if count > MISSED_MAX {
            // Far behind: the distance between two times says where to look on.
            let Some(next) = schedule.next(due, zone) else { break };
            let step = next.duration_since(due);
            let near = now.checked_sub(step).ok().filter(|near| *near > due);
            return near
                .and_then(|near| schedule.next(near, zone))
                .filter(|late| *late <= now)
                .or(found)
                .map(|due| (due, count));
        }
    }
    found.map(|due| (due, count))
}

fn is_finished(job: &Object) -> bool {
    ["Complete", "Failed"].iter().any(|kind| conditions::status(job, kind) == "True")
}

/// The time that a Job is for.
fn scheduled(job: &Object) -> Option<Timestamp> {
    job.annotation(SCHEDULED)?.parse().ok()
}

/// The last time that a Job was made for, as far as the status or a Job says.
fn last_scheduled(cronjob: &Object, jobs: &[&Object]) -> Option<Timestamp> {
    let said = read::parse_time(cronjob.at("/status/lastScheduleTime"));
    jobs.iter().filter_map(|job| scheduled(job)).chain(said).max()
}

fn status(cronjob: &Object, jobs: &[&Object]) -> Plan {
    let mut plan = Plan::default();
    let running = jobs.iter().filter(|job| !is_finished(job));
    let active: Vec<Value> = running
        .map(|job| {
            json!({
                "apiVersion": kinds::JOB.api_version(), "kind": kinds::JOB.kind, "name": job.name(),
                "namespace": job.namespace(), "uid": job.uid(), "resourceVersion": job.resource_version(),
            })
        })
        .collect();
    let ended = jobs.iter().filter(|job| conditions::status(job, "Complete") == "True");
    let ended = ended.filter_map(|job| read::parse_time(job.at("/status/completionTime")));
    let success = ended.chain(read::parse_time(cronjob.at("/status/lastSuccessfulTime"))).max();
    // Which they are, not at which version: else each step of a Job would be a write.
    let uids = |list: &[Value]| list.iter().map(|item| item["uid"].clone()).collect::<Vec<_>>();
    let mut status = json!({});
    if uids(cronjob.items("/status/active")) != uids(&active) {
        status["active"] = active.into();
    }
    for (field, time) in [("lastScheduleTime", last_scheduled(cronjob, jobs)), ("lastSuccessfulTime", success)] {
        if let Some(time) = time {
            status[field] = read::format_time(time);
        }
    }
    if !read::says(cronjob, &status) {
        let target = Target::version(&kinds::CRONJOB, cronjob);
        plan.orders.push(Order::Status { target, change: json!({"status": status}) });
    }
    plan
}

/// Finished Jobs beyond those that are kept.
fn old(cronjob: &Object, jobs: &[&Object]) -> Vec<Order> {
    let mut orders = Vec::new();
    for (field, kind) in [("successfulJobsHistoryLimit", "Complete"), ("failedJobsHistoryLimit", "Failed")] {
        let Some(kept) = cronjob.int(&format!("/spec/{field}")) else { continue };
        let mut ended: Vec<&Object> =
            jobs.iter().copied().filter(|job| conditions::status(job, kind) == "True" && !job.is_deleting()).collect();
        ended.sort_by_key(|job| (std::cmp::Reverse(read::created(job)), job.name()));
        let kept = usize::try_from(kept).unwrap_or_default();
        orders.extend(ended.iter().skip(kept).flat_map(|job| remove(cronjob, job)));
    }
    orders
}

fn remove(cronjob: &Object, job: &Object) -> [Order; 2] {
    let delete = Order::Delete {
        target: Target::version(&kinds::JOB, job),
        grace_period_seconds: None,
        propagation: Some(Propagation::Background),
    };
    [delete, event(cronjob, EventType::Normal, "SuccessfulDelete", format!("Deleted job {}", job.name()))]
}

fn create(cronjob: &Object, due: Timestamp) -> Order {
    let part = |pointer: &str| read::at(cronjob, &format!("/spec/jobTemplate{pointer}")).cloned();
    let mut metadata = json!({
        // One time, one name: two leaders make one Job.
        "name": format!("{}-{}", cronjob.name(), due.as_second() / 60),
        "namespace": cronjob.namespace(),
        "ownerReferences": [owned::controller_reference(&kinds::CRONJOB, cronjob)],
        "annotations": part("/metadata/annotations").unwrap_or_else(|| json!({})),
    });
    metadata["annotations"][SCHEDULED] = read::format_time(due);
    if let Some(labels) = part("/metadata/labels") {
        metadata["labels"] = labels;
    }
    Order::Create {
        kind: &kinds::JOB,
        namespace: Some(cronjob.namespace().to_owned()),
        object: json!({"metadata": metadata, "spec": part("/spec").unwrap_or_else(|| json!({}))}),
        announce: Some(Event {
            regarding: Target::incarnation(&kinds::CRONJOB, cronjob),
            kind: EventType::Normal,
            reason: "SuccessfulCreate",
            message: "Created job ".to_owned(),
            component: COMPONENT,
        }),
    }
}

/// Tells that the schedule can be read and is never due: the 31st of February. In the words of Kubernetes, for whom a time that
/// never comes is always the same.
fn never(cronjob: &Object) -> Order {
    let schedule = cronjob.text("/spec/schedule");
    let why = "time difference between two schedules is less than 1 second";
    event(cronjob, EventType::Warning, "InvalidSchedule", format!("invalid schedule: {schedule} : {why}"))
}

fn event(cronjob: &Object, kind: EventType, reason: &'static str, message: String) -> Order {
    let regarding = Target::incarnation(&kinds::CRONJOB, cronjob);
    Order::Event(Event { regarding, kind, reason, message, component: COMPONENT })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cronjob(spec: &Value) -> Object {
        let mut object = Object::new(json!({
            "metadata": {"name": "backup", "namespace": "default", "uid": "c", "creationTimestamp": "2025-01-01T00:00:30Z"},
            "spec": {"schedule": "*/10 * * * *", "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
                "concurrencyPolicy": "Allow", "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}},
        }));
        for (key, value) in spec.as_object().into_iter().flatten() {
            object.0["spec"][key] = value.clone();
        }
        object
    }

    fn job(minute: i64, ended: Option<&str>) -> Object {
        let at = read::format_time(Timestamp::from_second(minute * 60).expect("a time"));
        let mut job = Object::new(json!({"metadata": {
            "name": format!("backup-{minute}"), "namespace": "default", "uid": format!("u{minute}"), "creationTimestamp": at,
            "annotations": {SCHEDULED: at},
        }}));
        if let Some(kind) = ended {
            job.0["status"] = json!({"completionTime": at, "conditions": [{"type": kind, "status": "True"}]});
        }
        job
    }

    fn planned(cronjob: &Object, jobs: &[&Object], now: &str) -> Plan {
        let zone = TimeZone::UTC;
        plan(&Input { cronjob, jobs, zone: Some(&zone) }, now.parse().expect("a time"))
    }

    fn made(plan: &Plan) -> Vec<String> {
        let names = plan.orders.iter().filter_map(|order| match order {
            Order::Create { object, .. } => Some(object["metadata"]["name"].as_str().unwrap_or_default().to_owned()),
            _ => None,
        });
        names.collect()
    }

    fn removed(plan: &Plan) -> Vec<&str> {
        let names = plan.orders.iter().filter_map(|order| match order {
            Order::Delete { target, .. } => Some(target.name.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// 2025-01-01T00:00:00Z in minutes since 1970.
    const START: i64 = 28_928_160;

    #[test]
    fn job_is_made_when_its_time_has_come_and_not_twice() {
        let each = cronjob(&json!({}));
        let early = planned(&each, &[], "2025-01-01T00:09:59Z");
        assert!(made(&early).is_empty());
        assert_eq!(early.due.map(|due| due.to_string()).as_deref(), Some("2025-01-01T00:10:00Z"));
        let due = planned(&each, &[], "2025-01-01T00:10:00Z");
        assert_eq!(made(&due), [format!("backup-{}", START + 10)]);
        let Some(Order::Create { object, .. }) = due.orders.first() else { panic!("a job") };
        assert_eq!(object["metadata"]["labels"]["a"], "b");
        assert_eq!(object["metadata"]["annotations"][SCHEDULED], "2025-01-01T00:10:00Z");
        let running = job(START + 10, None);
        let after = planned(&each, &[&running], "2025-01-01T00:10:01Z");
        assert!(made(&after).is_empty());
        let Some(Order::Status { change, .. }) = after.orders.first() else { panic!("a status") };
        assert_eq!(change["status"]["lastScheduleTime"], "2025-01-01T00:10:00Z");
        assert_eq!(change["status"]["active"][0]["name"], running.name());
    }

    #[test]
    fn of_missed_times_the_last_is_made_up_for_unless_it_is_too_late() {
        let each = cronjob(&json!({}));
        assert_eq!(made(&planned(&each, &[], "2025-01-01T00:45:00Z")), [format!("backup-{}", START + 40)]);
        let prompt = cronjob(&json!({"startingDeadlineSeconds": 60}));
        assert!(made(&planned(&prompt, &[], "2025-01-01T00:45:00Z")).is_empty());
        assert_eq!(made(&planned(&prompt, &[], "2025-01-01T00:40:30Z")), [format!("backup-{}", START + 40)]);
        let days = planned(&each, &[], "2025-01-03T00:45:00Z");
        assert_eq!(made(&days), [format!("backup-{}", START + 2 * 24 * 60 + 40)]);
        assert!(days.to_string().contains("TooManyMissedTimes"), "{days}");
        assert!(made(&planned(&cronjob(&json!({"suspend": true})), &[], "2025-01-01T00:45:00Z")).is_empty());
    }

    #[test]
    fn job_that_still_runs_is_beside_the_next_one_before_it_or_gone_as_the_policy_says() {
        let running = job(START + 10, None);
        let with = |policy: &str| {
            let each = cronjob(&json!({"concurrencyPolicy": policy}));
            planned(&each, &[&running], "2025-01-01T00:20:00Z")
        };
        assert_eq!(made(&with("Allow")), [format!("backup-{}", START + 20)]);
        assert!(made(&with("Forbid")).is_empty() && removed(&with("Forbid")).is_empty());
        assert!(made(&with("Replace")).is_empty());
        assert_eq!(removed(&with("Replace")), [running.name()]);
        let each = cronjob(&json!({"concurrencyPolicy": "Forbid"}));
        let late = planned(&each, &[&running], "2025-01-03T00:20:00Z");
        assert!(!late.to_string().contains("TooManyMissedTimes"), "not at each look while it cannot start: {late}");
        let ended = job(START + 10, Some("Complete"));
        assert_eq!(made(&planned(&each, &[&ended], "2025-01-01T00:20:00Z")), [format!("backup-{}", START + 20)]);
    }

    #[test]
    fn old_jobs_go_by_how_they_ended() {
        let (one, two) = (job(START - 30, Some("Complete")), job(START - 20, Some("Complete")));
        let (three, four) = (job(START - 15, Some("Failed")), job(START - 10, None));
        let plan = planned(&cronjob(&json!({})), &[&one, &two, &three, &four], "2025-01-01T00:00:31Z");
        assert_eq!(removed(&plan), [one.name()]);
    }

    #[test]
    fn schedule_that_is_never_due_is_told() {
        let plan = planned(&cronjob(&json!({"schedule": "59 23 31 2 *"})), &[], "2025-01-01T01:00:00Z");
        let message = "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second";
        assert!(plan.to_string().contains(message) && plan.due.is_none(), "{plan}");
        let suspended = cronjob(&json!({"schedule": "59 23 31 2 *", "suspend": true}));
        assert!(planned(&suspended, &[], "2025-01-01T01:00:00Z").orders.is_empty());
    }

    #[test]
    fn zone_that_nobody_knows_is_told() {
        let each = cronjob(&json!({"timeZone": "Nowhere/City"}));
        let plan =
            plan(&Input { cronjob: &each, jobs: &[], zone: None }, "2025-01-01T01:00:00Z".parse().expect("a time"));
        assert!(plan.to_string().contains("UnknownTimeZone"), "{plan}");
    }
}
