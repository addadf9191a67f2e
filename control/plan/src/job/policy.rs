//! What a Job's policies make of its pods' ends: `podFailurePolicy` (KEP-3329), `backoffLimitPerIndex` (KEP-3850),
//! `successPolicy` (KEP-3998).
//!
//! Wording: `pkg/controller/job/{pod_failure_policy,success_policy,indexed_job_utils}.go`.

use std::collections::BTreeMap;

use serde_json::Value;
use wk_api::Object;
use wk_base::time::Timestamp;

use super::count;
use super::indexes::Indexes;
use crate::{pod, read};

/// Failures that count before the pod that carries it, for its index.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// What a failed pod means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One failure more.
    Count,
    /// Nothing.
    Ignore,
    /// Its index is not tried again.
    FailIndex,
    /// The Job has failed, for this reason.
    FailJob(String),
}

/// What the Job's rules say of a failed pod: the first that fits.
pub(super) fn judge(job: &Object, pod: &Object) -> Verdict {
    for (index, rule) in job.items("/spec/podFailurePolicy/rules").iter().enumerate() {
        let action = read::text(rule, "action");
        let Some(what) = by_exit_code(rule, pod).or_else(|| by_condition(rule, pod)) else { continue };
        return match action {
            "FailJob" => Verdict::FailJob(format!("{what} matching {action} rule at index {index}")),
            "FailIndex" if limit(job).is_some() => Verdict::FailIndex,
            "Ignore" => Verdict::Ignore,
            _ => Verdict::Count,
        };
    }
    match limit(job) {
        Some(limit) if failures(pod) >= limit => Verdict::FailIndex,
        _ => Verdict::Count,
    }
}

/// `spec.backoffLimitPerIndex`.
pub(super) fn limit(job: &Object) -> Option<i64> {
    job.int("/spec/backoffLimitPerIndex")
}

/// How often the pod's index had failed when it was created.
fn failures(pod: &Object) -> i64 {
    pod.annotation(FAILURES).and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// How often an index has failed, and until when it is not tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tried {
    pub(super) failures: i64,
    pub(super) wait: Option<Timestamp>,
}

/// The same of each index that pods tell of.
pub(super) fn tried(job: &Object, pods: &[&Object]) -> BTreeMap<usize, Tried> {
    let mut all = BTreeMap::<usize, Tried>::new();
    for pod in pods.iter().filter(|pod| pod::phase(pod) == "Failed") {
        let Some(index) = super::index_of(pod) else { continue };
        let own = all.entry(index).or_default();
        let failures = failures(pod) + i64::from(judge(job, pod) != Verdict::Ignore);
        own.failures = own.failures.max(failures);
        own.wait =
            own.wait.max(Some(count::wait(u32::try_from(failures).unwrap_or(u32::MAX), count::finished_at(pod))));
    }
    all
}

fn by_exit_code(rule: &Value, pod: &Object) -> Option<String> {
    let wanted = rule.get("onExitCodes").filter(|wanted| wanted.is_object())?;
    let name = read::text(wanted, "containerName");
    let values: Vec<i64> = wanted["values"].as_array()?.iter().filter_map(Value::as_i64).collect();
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"].map(|pointer| pod.items(pointer));
    statuses.into_iter().flatten().find_map(|status| {
        let container = read::text(status, "name");
        let code = status.pointer("/state/terminated/exitCode")?.as_i64().filter(|code| *code != 0)?;
        let fits = values.contains(&code) == (read::text(wanted, "operator") == "In");
        (fits && (name.is_empty() || name == container)).then(|| {
            let (namespace, pod) = (pod.namespace(), pod.name());
            format!("Container {container} for pod {namespace}/{pod} failed with exit code {code}")
        })
    })
}

fn by_condition(rule: &Value, pod: &Object) -> Option<String> {
    let wanted = rule.get("onPodConditions")?.as_array()?;
    let conditions = pod.items("/status/conditions");
    let is_met = |wanted: &&Value| {
        conditions.iter().any(|own| own["type"] == wanted["type"] && own["status"] == wanted["status"])
    };
    let met = wanted.iter().find(is_met)?;
    Some(format!("Pod {}/{} has condition {}", pod.namespace(), pod.name(), read::text(met, "type")))
}

/// Which rule of the success policy the indexes that succeeded meet.
pub(super) fn success(job: &Object, done: &Indexes) -> Option<String> {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let limit = super::completions(job).and_then(|all| usize::try_from(all).ok()).unwrap_or_default();
    let rules = job.items("/spec/successPolicy/rules");
    let met = rules.iter().position(|rule| {
        let least = rule.get("succeededCount").and_then(Value::as_i64);
        match rule.get("succeededIndexes").and_then(Value::as_str) {
            Some(text) => {
                let wanted = Indexes::parse(text, limit);
                let met = wanted.common(done);
                least.map_or(met == wanted.len(), |least| count(met) >= least)
            }
            None => least.is_some_and(|least| count(done.len()) >= least),
        }
    });
    met.map(|index| format!("Matched rules at index {index}"))
}
