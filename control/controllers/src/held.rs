//! Orders that failed lately and wait before they are tried again, so that one object that is refused again and again
//! neither floods the store nor holds up the others.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use wk_base::backoff::Backoff;
use wk_plan::Order;

/// The first wait: about a write or two, since the usual reason is a race that is over by then.
const FIRST: Duration = Duration::from_millis(10);

/// The longest wait: what a person who mends the cause is ready to wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Subjects remembered at most. Past this all are forgotten and tried again, which costs one round of refusals.
const SUBJECTS_MAX: usize = 10_000;

/// Who waits until when, by subject.
#[derive(Default)]
pub(crate) struct Held {
    subjects: HashMap<String, (Backoff, Instant)>,
}

impl Held {
    /// Whether `subject` still has to wait.
    pub(crate) fn waits(&self, subject: &str, now: Instant) -> bool {
        self.subjects.get(subject).is_some_and(|(_, until)| *until > now)
    }

    /// An order about `subject` failed.
    pub(crate) fn hold(&mut self, subject: String, now: Instant) {
        if self.subjects.len() >= SUBJECTS_MAX {
            self.subjects.clear();
        }
        let fresh = || (Backoff::new(FIRST, LONGEST), now);
        let (backoff, until) = self.subjects.entry(subject).or_insert_with(fresh);
        *until = now + backoff.next_delay();
    }

    /// An order about `subject` was carried out.
    pub(crate) fn release(&mut self, subject: &str) {
        self.subjects.remove(subject);
    }

    /// When the first of those that wait may try again. What has been let go for long is forgotten on the way.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        self.subjects.retain(|_, (_, until)| *until + LONGEST * 2 > now);
        self.subjects.values().map(|(_, until)| *until).filter(|until| *until > now).min()
    }
}

/// What orders of one subject have in common: they fail together. None for what has no subject and is not repeated.
pub(crate) fn subject(order: &Order) -> Option<String> {
    match order {
        Order::Create { kind, namespace, object, .. } => {
            let metadata = &object["metadata"];
            let owner = metadata["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
            let name = metadata["name"].as_str().unwrap_or_default();
            Some(format!("{}/{}/{owner}/{name}", kind.collection(), namespace.as_deref().unwrap_or_default()))
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
    use super::*;

    #[tokio::test]
    async fn failed_subject_waits_longer_each_time_and_not_after_a_success() {
        let (mut held, now) = (Held::default(), Instant::now());
        held.hold("a".to_owned(), now);
        assert!(held.waits("a", now) && !held.waits("b", now));
        assert!(!held.waits("a", now + FIRST));
        let first = held.next(now).expect("a waits");
        for _ in 0..6 {
            held.hold("a".to_owned(), now);
        }
        assert!(held.next(now).expect("a waits") > first + FIRST);
        held.release("a");
        assert!(held.next(now).is_none());
    }
}
