//! Orders that failed lately and wait before they are tried again, so that one object that is refused again and again
//! neither floods the store nor holds up the others.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::time::Instant;
use wk_api::{Kind, kinds};
use wk_base::backoff::Backoff;
use wk_plan::Order;
use wk_store::{Part, View};

/// The first wait: about a write or two, since the usual reason is a race that is over by then.
const FIRST: Duration = Duration::from_millis(10);

/// The longest wait: what a person who mends the cause is ready to wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Subjects remembered at most. Past this all are forgotten and tried again, which costs one round of refusals.
const SUBJECTS_MAX: usize = 10_000;

/// The longest wait of what was refused: only another object or another rule makes that a yes, and both are seen sooner.
const LONGEST_REFUSED: Duration = Duration::from_mins(5);

/// What admission goes by. When one of these changes, those that were refused are tried again.
const RULES: [&Kind; 10] = [
    &kinds::NAMESPACE,
    &kinds::RESOURCEQUOTA,
    &kinds::LIMITRANGE,
    &kinds::SERVICEACCOUNT,
    &kinds::PRIORITYCLASS,
    &kinds::RUNTIMECLASS,
    &kinds::VALIDATINGADMISSIONPOLICY,
    &kinds::VALIDATINGADMISSIONPOLICYBINDING,
    &kinds::VALIDATINGWEBHOOKCONFIGURATION,
    &kinds::MUTATINGWEBHOOKCONFIGURATION,
];

/// Why an order failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The world had moved on, or somebody could not be reached.
    Passing,
    /// Such an object may not be.
    Refused,
}

/// Who waits until when, by subject.
#[derive(Default)]
pub(crate) struct Held {
    subjects: HashMap<String, Wait>,
    rules: Option<[Part; RULES.len()]>,
}

struct Wait {
    failure: Failure,
    backoff: Backoff,
    failed: Instant,
    until: Instant,
}

impl Held {
    /// Lets those try again whom other rules may let pass than those in `view` before.
    pub(crate) fn heed(&mut self, view: &View) {
        let rules = Some(RULES.map(|kind| view.part(kind.collection())));
        if rules != self.rules {
            self.rules = rules;
            self.subjects.values_mut().for_each(|wait| wait.until = wait.until.min(wait.failed + LONGEST));
        }
    }

    /// Whether `subject` still has to wait.
    pub(crate) fn waits(&self, subject: &str, now: Instant) -> bool {
        self.subjects.get(subject).is_some_and(|wait| wait.until > now)
    }

    /// An order about `subject` failed. Those that fail beside it count once.
    pub(crate) fn hold(&mut self, subject: String, failure: Failure, now: Instant) {
        if self.subjects.len() >= SUBJECTS_MAX {
            self.subjects.clear();
        }
        let fresh = || Wait { failure, backoff: backoff(failure), failed: now, until: now };
        let wait = self.subjects.entry(subject).or_insert_with(fresh);
        if wait.failure != failure {
            *wait = fresh();
        }
        if wait.until <= now {
            (wait.failed, wait.until) = (now, now + wait.backoff.next_delay());
        }
    }

    /// An order about `subject` was carried out.
    pub(crate) fn release(&mut self, subject: &str) {
        self.subjects.remove(subject);
    }

    /// When to look again at those that wait: no later than the usual longest wait, since rules may change. What has been
    /// let go for long is forgotten on the way.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        self.subjects.retain(|_, wait| wait.until + LONGEST * 2 > now);
        let next = self.subjects.values().map(|wait| wait.until).filter(|until| *until > now).min();
        next.map(|next| next.min(now + LONGEST))
    }
}

fn backoff(failure: Failure) -> Backoff {
    Backoff::new(FIRST, if failure == Failure::Passing { LONGEST } else { LONGEST_REFUSED })
}

/// What orders of one subject have in common: they fail together. None for what has no subject and is not repeated.
///
/// What is to be created is told apart by its spec: a template that was mended makes what was never refused.
pub(crate) fn subject(order: &Order) -> Option<String> {
    match order {
        Order::Create { kind, namespace, object, .. } => {
            let metadata = &object["metadata"];
            let owner = metadata["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
            let name = metadata["name"].as_str().unwrap_or_default();
            let mut spec = DefaultHasher::new();
            object["spec"].to_string().hash(&mut spec);
            let (place, spec) = (namespace.as_deref().unwrap_or_default(), spec.finish());
            Some(format!("{}/{place}/{owner}/{name}/{spec:x}", kind.collection()))
        }
        Order::Update { target, .. }
        | Order::Status { target, .. }
        | Order::Bind { target, .. }
        | Order::Delete { target, .. }
        | Order::Evict { target, .. } => Some(target.uid.clone()),
        Order::Vote { .. } => Some("votes".to_owned()),
        Order::Event(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Alone;

    #[tokio::test]
    async fn failed_subject_waits_longer_each_time_and_not_after_a_success() {
        let (mut held, now) = (Held::default(), Instant::now());
        held.hold("a".to_owned(), Failure::Passing, now);
        assert!(held.waits("a", now) && !held.waits("b", now));
        assert!(!held.waits("a", now + FIRST));
        let first = held.next(now).expect("a waits");
        for _ in 0..6 {
            held.hold("a".to_owned(), Failure::Passing, now);
        }
        assert_eq!(held.next(now), Some(first), "what fails together counts once");
        let mut then = now;
        for _ in 0..20 {
            then += LONGEST;
            held.hold("a".to_owned(), Failure::Passing, then);
        }
        assert!(held.waits("a", then + LONGEST / 3) && !held.waits("a", then + LONGEST));
        held.release("a");
        assert!(held.next(now).is_none());
    }

    #[tokio::test]
    async fn what_is_refused_waits_for_minutes_unless_the_rules_change() {
        let store = Alone::start().await;
        let (mut held, mut now) = (Held::default(), Instant::now());
        held.heed(&store.view());
        for _ in 0..20 {
            held.hold("a".to_owned(), Failure::Refused, now);
            now += LONGEST_REFUSED;
        }
        held.hold("a".to_owned(), Failure::Refused, now);
        let later = now + LONGEST_REFUSED / 3;
        held.heed(&store.view());
        assert!(held.waits("a", later));
        assert_eq!(held.next(now), Some(now + LONGEST), "somebody looks whether the rules have changed");
        store.write(&kinds::RESOURCEQUOTA, "n/q", Some(json!({"metadata": {}}))).await;
        held.heed(&store.view());
        assert!(held.waits("a", now) && !held.waits("a", later));
    }

    #[test]
    fn what_a_mended_template_makes_is_another_subject() {
        let order = |image: &str| {
            let object = json!({"metadata": {"generateName": "p-"}, "spec": {"image": image}});
            Order::Create { kind: &kinds::POD, namespace: Some("default".to_owned()), object, announce: None }
        };
        assert_eq!(subject(&order("a")), subject(&order("a")));
        assert_ne!(subject(&order("a")), subject(&order("b")));
    }
}
