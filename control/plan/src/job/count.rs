//! What became of a Job's pods, each counted once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wk_api::Object;
use wk_base::time::Timestamp;

use super::indexes::Indexes;
use super::policy::{self, Verdict};
use super::{BACKOFF_DOUBLINGS_MAX, BACKOFF_FIRST, BACKOFF_MAX, completions, index_of, is_indexed};
use crate::{pod, read};

/// What a pod carries until it is counted.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

pub(super) fn is_tracked(pod: &Object) -> bool {
    pod.items("/metadata/finalizers").iter().any(|name| name == FINALIZER)
}

/// The counts as they are to be.
pub(super) struct Counted<'a> {
    /// Pods, or for an indexed Job indexes, that succeeded; those under way to the count included.
    pub(super) succeeded: i64,
    /// Pods that failed; those under way to the count included.
    pub(super) failed: i64,
    /// Pods that are deleted and have not ended.
    pub(super) terminating: usize,
    /// Of an indexed Job.
    pub(super) indexes: Indexes,
    /// Those that failed for good.
    pub(super) failed_indexes: Indexes,
    /// Why a pod's failure is the Job's.
    pub(super) verdict: Option<String>,
    /// Pods whose uid is put down: their finalizer has done its work.
    pub(super) to_untrack: Vec<&'a Object>,
    done: (i64, i64),
    uncounted: (BTreeSet<String>, BTreeSet<String>),
    /// Those that failed after the last one that succeeded: how many, and when the last of them did.
    failures: (u32, Option<Timestamp>),
}

impl<'a> Counted<'a> {
    pub(super) fn of(job: &Object, pods: &[&'a Object]) -> Self {
        let limit = usize::try_from(completions(job).unwrap_or_default()).unwrap_or_default();
        let mut indexes = Indexes::parse(job.text("/status/completedIndexes"), limit);
        let put_down = |pointer: &str| -> BTreeSet<String> {
            job.items(pointer).iter().filter_map(|uid| Some(uid.as_str()?.to_owned())).collect()
        };
        let succeeded = put_down("/status/uncountedTerminatedPods/succeeded");
        let failed = put_down("/status/uncountedTerminatedPods/failed");
        let tracked: BTreeSet<&str> = pods.iter().filter(|pod| is_tracked(pod)).map(|pod| pod.uid()).collect();
        let count = |pointer: &str| job.int(pointer).unwrap_or_default();
        let mut done = (count("/status/succeeded"), count("/status/failed"));
        let mut to_untrack = Vec::new();
        let mut uncounted = (BTreeSet::new(), BTreeSet::new());
        let mut failed_indexes = Indexes::parse(job.text("/status/failedIndexes"), limit);
        let mut verdict = None;
        // Put down, and the finalizer is gone: from now on the number stands for it.
        let left = |uids: BTreeSet<String>, total: &mut i64| -> BTreeSet<String> {
            let (still, counted): (BTreeSet<_>, BTreeSet<_>) =
                uids.into_iter().partition(|uid| tracked.contains(uid.as_str()));
            *total += i64::try_from(counted.len()).unwrap_or_default();
            still
        };
        uncounted.0.extend(left(succeeded, &mut done.0));
        uncounted.1.extend(left(failed, &mut done.1));
        for pod in pods.iter().copied().filter(|pod| is_tracked(pod)) {
            if uncounted.0.contains(pod.uid()) || uncounted.1.contains(pod.uid()) {
                to_untrack.push(pod);
            } else if pod::phase(pod) == "Succeeded" {
                if is_indexed(job) {
                    match index_of(pod).filter(|index| *index < limit) {
                        Some(index) => indexes.add(index),
                        None => continue,
                    }
                }
                uncounted.0.insert(pod.uid().to_owned());
            } else if pod::phase(pod) == "Failed" || pod.is_deleting() && replaces_at_once(job) {
                match policy::judge(job, pod) {
                    // It leaves no trace.
                    Verdict::Ignore => {
                        to_untrack.push(pod);
                        continue;
                    }
                    Verdict::FailIndex => index_of(pod).into_iter().for_each(|index| failed_indexes.add(index)),
                    Verdict::FailJob(why) => verdict = verdict.or(Some(why)),
                    Verdict::Count => {}
                }
                uncounted.1.insert(pod.uid().to_owned());
            }
        }
        if is_indexed(job) {
            // An index counts once, whatever number of pods succeeded for it.
            done.0 = i64::try_from(indexes.len()).unwrap_or_default();
        }
        let many = |uids: &BTreeSet<String>| i64::try_from(uids.len()).unwrap_or_default();
        let under_way = if is_indexed(job) { 0 } else { many(&uncounted.0) };
        let terminating = pods.iter().filter(|pod| pod.is_deleting() && !pod::is_finished(pod)).count();
        Self {
            succeeded: done.0 + under_way,
            failed: done.1 + many(&uncounted.1),
            terminating,
            indexes,
            failed_indexes,
            verdict,
            to_untrack,
            done,
            uncounted,
            failures: failures(pods),
        }
    }

    /// Whether no pod is under way to the count.
    pub(super) fn is_settled(&self) -> bool {
        self.uncounted.0.is_empty() && self.uncounted.1.is_empty()
    }

    pub(super) fn succeeded_and_done(&self) -> i64 {
        self.done.0
    }

    pub(super) fn failed_and_done(&self) -> i64 {
        self.done.1
    }

    /// As `status.uncountedTerminatedPods`; lists that are empty are null, which takes them out.
    pub(super) fn uncounted(&self) -> Value {
        let list = |uids: &BTreeSet<String>| if uids.is_empty() { Value::Null } else { json!(uids) };
        json!({"succeeded": list(&self.uncounted.0), "failed": list(&self.uncounted.1)})
    }

    /// Until when no pod is created: the wait doubles with each failure since the last success.
    pub(super) fn wait_until(&self) -> Option<Timestamp> {
        let (count, last) = self.failures;
        Some(wait(count, last?))
    }
}

/// The end of the wait after this many failures, of which the last was at `last`.
pub(super) fn wait(count: u32, last: Timestamp) -> Timestamp {
    let doublings = count.saturating_sub(1).min(BACKOFF_DOUBLINGS_MAX);
    let wait = (BACKOFF_FIRST * (1 << doublings)).min(BACKOFF_MAX);
    last.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// Whether a pod on its way out is replaced before it has ended (`podReplacementPolicy`, KEP-3939).
fn replaces_at_once(job: &Object) -> bool {
    job.text("/spec/podReplacementPolicy") != "Failed"
}

fn failures(pods: &[&Object]) -> (u32, Option<Timestamp>) {
    let ended = |phase: &str| -> Vec<Timestamp> {
        pods.iter().filter(|pod| pod::phase(pod) == phase).map(|pod| finished_at(pod)).collect()
    };
    let last_success = ended("Succeeded").into_iter().max();
    let since: Vec<Timestamp> =
        ended("Failed").into_iter().filter(|at| last_success.is_none_or(|success| *at > success)).collect();
    (u32::try_from(since.len()).unwrap_or(u32::MAX), since.into_iter().max())
}

/// When the last container of a pod ended; the pod's creation when none says.
pub(super) fn finished_at(pod: &Object) -> Timestamp {
    let statuses = pod.items("/status/containerStatuses").iter();
    let ends = statuses.filter_map(|status| read::parse_time(status.pointer("/state/terminated/finishedAt")));
    ends.max().unwrap_or_else(|| read::created(pod))
}

const _: () = assert!(BACKOFF_FIRST.as_secs() << BACKOFF_DOUBLINGS_MAX >= BACKOFF_MAX.as_secs());
