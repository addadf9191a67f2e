//! Job: pods until enough of them succeeded, or too many failed.
//!
//! Each pod carries a finalizer until it is counted, so that one that goes away early is not forgotten: its uid is put
//! down in `status.uncountedTerminatedPods`, then the finalizer goes, then the count rises (KEP-2307).
//!
//! Not here: what `podFailurePolicy`, `successPolicy` and `backoffLimitPerIndex` make of a pod ([`policy`]).

mod count;
mod indexes;
mod policy;
#[cfg(test)]
mod tests;

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_api::strategy::Propagation;
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::conditions::{self, Condition};
use crate::order::{Event, EventType, Order, Plan, Target};
use crate::{owned, pod, read};

use count::{Counted, FINALIZER, is_tracked};

const COMPONENT: &str = "job-controller";
/// Pods created or deleted by one plan for one Job (`MaxPodCreateDeletePerSync` in Kubernetes).
const BURST_MAX: usize = 500;
/// The wait after the first failure, and the longest: Kubernetes' figures.
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(10);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(600);
/// Past this many doublings [`BACKOFF_MAX`] holds anyway.
const BACKOFF_DOUBLINGS_MAX: u32 = 6;
/// Where a pod of an indexed Job says which one it is: an annotation and a label.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// What the decision is made from.
pub struct Input<'a> {
    /// The Job.
    pub job: &'a Object,
    /// Pods that it controls.
    pub pods: &'a [&'a Object],
    /// Pods of its namespace that nobody controls.
    pub orphans: &'a [&'a Object],
}

/// How a Job ends.
struct End {
    /// Set as soon as it is decided, while pods still run.
    first: &'static str,
    /// Set when none does any more.
    last: &'static str,
    reason: &'static str,
    message: String,
}

/// Counts what ended, creates what is missing, ends what is done.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let job = input.job;
    let mut plan = Plan::default();
    if job.is_deleting() || is_finished(job) {
        plan.orders.extend(input.pods.iter().filter(|pod| is_tracked(pod)).map(|pod| untrack(pod)));
        if !job.is_deleting() {
            plan.extend(expire(job, now));
        }
        return plan;
    }
    let claims = owned::claims(&kinds::JOB, job, &kinds::POD, input.pods, input.orphans);
    if !claims.is_empty() {
        plan.orders = claims;
        return plan;
    }
    let counted = Counted::of(job, input.pods);
    plan.orders.extend(counted.to_untrack.iter().map(|pod| untrack(pod)));
    let active: Vec<&Object> = input.pods.iter().copied().filter(|pod| pod::is_active(pod)).collect();
    let suspended = job.0["spec"]["suspend"] == true;
    let end = end(job, &counted, &active, now, &mut plan);
    let running = if end.is_some() || suspended {
        plan.orders.extend(active.iter().take(BURST_MAX).map(|pod| remove(pod)));
        active.len()
    } else {
        plan.extend(scale(job, &counted, &active, input.pods, now));
        active.len()
    };
    plan.extend(status(job, &counted, &active, end.as_ref().map(|end| (end, running == 0)), suspended, now));
    plan
}

/// Lets go of pods whose Job is no more: nobody will count them.
pub fn release<'a>(pods: impl IntoIterator<Item = &'a Object>) -> Plan {
    let orders = pods.into_iter().filter(|pod| is_tracked(pod)).map(untrack).collect();
    Plan { orders, ..Plan::default() }
}

fn is_finished(job: &Object) -> bool {
    ["Complete", "Failed"].iter().any(|kind| conditions::status(job, kind) == "True")
}

/// A finished Job goes `ttlSecondsAfterFinished` after its end (KEP-592).
fn expire(job: &Object, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(seconds) = job.int("/spec/ttlSecondsAfterFinished") else { return plan };
    let ended = ["Complete", "Failed"].iter().find_map(|kind| {
        let condition = conditions::find(job, kind).filter(|condition| condition["status"] == "True")?;
        read::parse_time(condition.get("lastTransitionTime"))
    });
    let Some(ended) = ended else { return plan };
    let due = ended.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    if due > now {
        plan.due_by(due);
    } else {
        let target = Target::version(&kinds::JOB, job);
        let propagation = Some(Propagation::Foreground);
        plan.orders.push(Order::Delete { target, grace_period_seconds: None, propagation });
    }
    plan
}

/// Whether it is over, and how.
fn end(job: &Object, counted: &Counted<'_>, active: &[&Object], now: Timestamp, plan: &mut Plan) -> Option<End> {
    if let Some(decided) = ["FailureTarget", "SuccessCriteriaMet"].into_iter().find_map(|kind| {
        conditions::find(job, kind).filter(|condition| condition["status"] == "True").map(|found| (kind, found))
    }) {
        return Some(again(decided.0, decided.1));
    }
    let failed = |reason, message: String| Some(End { first: "FailureTarget", last: "Failed", reason, message });
    let succeeded =
        |reason, message: String| Some(End { first: "SuccessCriteriaMet", last: "Complete", reason, message });
    if let Some(why) = &counted.verdict {
        return failed("PodFailurePolicy", why.clone());
    }
    let limit = job.int("/spec/backoffLimit").unwrap_or(6);
    let restarts: i64 = active.iter().map(|pod| pod::restarts(pod)).sum();
    let retries = job.text("/spec/template/spec/restartPolicy") == "OnFailure" && restarts > 0;
    if counted.failed > limit || retries && restarts >= limit.max(1) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit".to_owned());
    }
    if let Some(seconds) = job.int("/spec/activeDeadlineSeconds")
        && job.0["spec"]["suspend"] != true
        && let Some(start) = read::parse_time(job.at("/status/startTime"))
    {
        let due = start.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
        if due <= now {
            return failed("DeadlineExceeded", "Job was active longer than specified deadline".to_owned());
        }
        plan.due_by(due);
    }
    let lost = i64::try_from(counted.failed_indexes.len()).unwrap_or(i64::MAX);
    if job.int("/spec/maxFailedIndexes").is_some_and(|most| lost > most) {
        let why = "Job has exceeded the specified maximal number of failed indexes";
        return failed("MaxFailedIndexesExceeded", why.to_owned());
    }
    if let Some(why) = policy::success(job, &counted.indexes) {
        return succeeded("SuccessPolicy", why);
    }
    let complete = match completions(job) {
        Some(wanted) if lost > 0 && counted.succeeded + lost >= wanted => {
            return failed("FailedIndexes", "Job has failed indexes".to_owned());
        }
        Some(wanted) => counted.succeeded >= wanted,
        // Without a number, the first success says that the work is done; the others may end what they do.
        None => counted.succeeded > 0 && active.is_empty(),
    };
    if complete {
        succeeded("CompletionsReached", "Reached expected number of succeeded pods".to_owned())
    } else {
        None
    }
}

/// Why a Job ends.
const REASONS: [&str; 7] = [
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "PodFailurePolicy",
    "MaxFailedIndexesExceeded",
    "FailedIndexes",
    "SuccessPolicy",
    "CompletionsReached",
];

/// What was decided at an earlier look.
fn again(first: &'static str, condition: &Value) -> End {
    let reason = REASONS.into_iter().find(|reason| condition["reason"] == *reason).unwrap_or("CompletionsReached");
    let last = if first == "FailureTarget" { "Failed" } else { "Complete" };
    End { first, last, reason, message: read::text(condition, "message").to_owned() }
}

fn completions(job: &Object) -> Option<i64> {
    job.int("/spec/completions")
}

fn is_indexed(job: &Object) -> bool {
    job.text("/spec/completionMode") == "Indexed"
}

/// As many pods at once as it asks for, and no more than are still needed.
fn scale(job: &Object, counted: &Counted<'_>, active: &[&Object], pods: &[&Object], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let count = |number: i64| usize::try_from(number).unwrap_or_default();
    let parallelism = count(job.int("/spec/parallelism").unwrap_or(1));
    let wanted = match completions(job) {
        Some(completions) => {
            parallelism.min(count(completions - counted.succeeded).saturating_sub(counted.failed_indexes.len()))
        }
        None if counted.succeeded > 0 => active.len().min(parallelism),
        None => parallelism,
    };
    if active.len() > wanted {
        let mut surplus = active.to_vec();
        // What has come least far is lost least.
        surplus.sort_by_key(|pod| (pod::is_ready(pod), std::cmp::Reverse(read::created(pod)), pod.name()));
        plan.orders.extend(surplus.into_iter().take((active.len() - wanted).min(BURST_MAX)).map(remove));
        return plan;
    }
    // One that is on its way out still counts where its replacement is to wait for its end.
    let going = if job.text("/spec/podReplacementPolicy") == "Failed" { counted.terminating } else { 0 };
    let missing = wanted.saturating_sub(active.len() + going).min(BURST_MAX);
    if missing == 0 {
        return plan;
    }
    let by_index = policy::limit(job).map(|_| policy::tried(job, pods));
    // Where indexes fail each for itself, each waits for itself.
    if let Some(until) = counted.wait_until().filter(|until| by_index.is_none() && *until > now) {
        plan.say(format!("{}: {missing} pods to create, after a failure at {until}", job.name()));
        plan.due_by(until);
        return plan;
    }
    plan.say(format!("{}: {} of {wanted} pods exist, {missing} to create", job.name(), active.len()));
    if is_indexed(job) {
        let all = count(completions(job).unwrap_or_default());
        let taken: Vec<usize> = active.iter().filter_map(|pod| index_of(pod)).collect();
        let is_over = |index: &usize| counted.indexes.has(*index) || counted.failed_indexes.has(*index);
        let tried = |index| by_index.as_ref().map(|all| all.get(&index).copied().unwrap_or_default());
        let mut left = missing;
        for index in (0..all).filter(|index| !is_over(index) && !taken.contains(index)) {
            if left == 0 {
                break;
            }
            if let Some(until) = tried(index).and_then(|tried| tried.wait).filter(|until| *until > now) {
                plan.due_by(until);
            } else {
                plan.orders.push(create(job, Some((index, tried(index).map(|tried| tried.failures)))));
                left -= 1;
            }
        }
    } else {
        plan.orders.extend((0..missing).map(|_| create(job, None)));
    }
    plan
}

fn index_of(pod: &Object) -> Option<usize> {
    pod.annotation(INDEX)?.parse().ok()
}

fn untrack(pod: &Object) -> Order {
    let left: Vec<&Value> = pod.items("/metadata/finalizers").iter().filter(|name| *name != FINALIZER).collect();
    Order::Update { target: Target::version(&kinds::POD, pod), change: json!({"metadata": {"finalizers": left}}) }
}

fn remove(pod: &Object) -> Order {
    Target::version(&kinds::POD, pod).delete()
}

/// A pod, of an indexed Job with its index and the failures of that before.
fn create(job: &Object, place: Option<(usize, Option<i64>)>) -> Order {
    let index = place.map(|(index, _)| index);
    let template = |pointer: &str| read::at(job, pointer).cloned();
    let base = index.map_or_else(|| job.name().to_owned(), |index| format!("{}-{index}", job.name()));
    let mut metadata = json!({
        "generateName": format!("{base}-"),
        "namespace": job.namespace(),
        "ownerReferences": [owned::controller_reference(&kinds::JOB, job)],
        "finalizers": [FINALIZER],
    });
    for field in ["labels", "annotations"] {
        if let Some(value) = template(&format!("/spec/template/metadata/{field}")) {
            metadata[field] = value;
        }
    }
    let mut spec = template("/spec/template/spec").unwrap_or_else(|| json!({}));
    if let Some(index) = index {
        metadata["annotations"][INDEX] = index.to_string().into();
        metadata["labels"][INDEX] = index.to_string().into();
        if let Some(failures) = place.and_then(|(_, failures)| failures) {
            metadata["annotations"][policy::FAILURES] = failures.to_string().into();
        }
        if spec.get("hostname").is_none_or(Value::is_null) {
            spec["hostname"] = base.into();
        }
        indexes::tell(&mut spec, INDEX);
    }
    Order::Create {
        kind: &kinds::POD,
        namespace: Some(job.namespace().to_owned()),
        object: json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}),
        announce: Some(event(job, EventType::Normal, "SuccessfulCreate", "Created pod: ".to_owned())),
    }
}

fn event(job: &Object, kind: EventType, reason: &'static str, message: String) -> Event {
    Event { regarding: Target::incarnation(&kinds::JOB, job), kind, reason, message, component: COMPONENT }
}

/// Whether the status says all of this already. A field that is null in the change is one that is not there.
fn says(job: &Object, status: &Value) -> bool {
    status.as_object().into_iter().flatten().all(|(field, value)| {
        let there = job.0["status"].get(field).filter(|there| !there.is_null());
        match value {
            Value::Object(parts) if parts.values().any(Value::is_null) => {
                let left: serde_json::Map<_, _> =
                    parts.clone().into_iter().filter(|(_, part)| !part.is_null()).collect();
                there == Some(&Value::Object(left))
            }
            value => read::same(there.unwrap_or(&Value::Null), value),
        }
    })
}

fn status(
    job: &Object,
    counted: &Counted<'_>,
    active: &[&Object],
    end: Option<(&End, bool)>,
    suspended: bool,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let mut events = Vec::new();
    let mut found = job.items("/status/conditions").to_vec();
    let mut put = |kind, status, reason, message: &str| {
        let same = found.iter().any(|old| old["type"] == kind && old["status"] == status);
        if !same {
            let wanted = Condition { kind, status, reason, message: message.to_owned() };
            conditions::set(&mut found, &wanted, Some("lastProbeTime"), now);
        }
        !same
    };
    let mut start = job.at("/status/startTime").cloned().unwrap_or_default();
    let mut completed = Value::Null;
    match end {
        Some((end, is_last)) => {
            put(end.first, "True", end.reason, &end.message);
            // The pods that are not counted yet would be forgotten.
            if is_last && counted.is_settled() && put(end.last, "True", end.reason, &end.message) {
                if end.last == "Complete" {
                    completed = read::format_time(now);
                    events.push(event(job, EventType::Normal, "Completed", "Job completed".to_owned()));
                } else {
                    events.push(event(job, EventType::Warning, end.reason, end.message.clone()));
                }
            }
        }
        None if suspended => {
            if put("Suspended", "True", "JobSuspended", "Job suspended") {
                events.push(event(job, EventType::Normal, "Suspended", "Job suspended".to_owned()));
            }
            start = Value::Null;
        }
        None => {
            let was = conditions::status(job, "Suspended") == "True";
            if was && put("Suspended", "False", "JobResumed", "Job resumed") {
                events.push(event(job, EventType::Normal, "Resumed", "Job resumed".to_owned()));
            }
            if start.is_null() {
                start = read::format_time(now);
            }
        }
    }
    let mut status = json!({
        "active": active.len(),
        "ready": active.iter().filter(|pod| pod::is_ready(pod)).count(),
        "terminating": counted.terminating,
        "succeeded": counted.succeeded_and_done(),
        "failed": counted.failed_and_done(),
        "startTime": start,
        "uncountedTerminatedPods": counted.uncounted(),
    });
    if !completed.is_null() {
        status["completionTime"] = completed;
    }
    if is_indexed(job) {
        status["completedIndexes"] = counted.indexes.to_string().into();
        if policy::limit(job).is_some() {
            status["failedIndexes"] = counted.failed_indexes.to_string().into();
        }
    }
    if !found.is_empty() {
        status["conditions"] = found.into();
    }
    if !says(job, &status) {
        let target = Target::version(&kinds::JOB, job);
        plan.orders.push(Order::Status { target, change: json!({"status": status}) });
        plan.orders.extend(events.into_iter().map(Order::Event));
    }
    plan
}
