//! What was told of a container a moment ago, so that people read of the same thing once.

use std::collections::BTreeMap;
use std::time::Duration;

use wk_base::time::Timestamp;

/// How often requests that fail for the same reason, or breaches of the same limit, are worth telling: each time costs the
/// cluster an fsync.
const INTERVAL: Duration = Duration::from_secs(10);
/// Reasons and limits of one container of which it is known when they were told last: several times what there are.
const KNOWN_MAX: usize = 64;

/// When each reason for which requests fail, and each limit, was told last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told(BTreeMap<(String, String), Timestamp>);

impl Told {
    /// Whether that was not told just before: each limit is told for itself, also those that have a reason in common. What
    /// `what` counts does not make it another.
    pub(super) fn is_due(&mut self, reason: &str, what: &str, now: Timestamp) -> bool {
        let is_old = |last: Timestamp| now.duration_since(last).unsigned_abs() >= INTERVAL;
        let key = (reason.to_owned(), what.chars().filter(|it| !it.is_ascii_digit()).collect());
        if self.0.get(&key).is_some_and(|last| !is_old(*last)) {
            return false;
        }
        if self.0.len() >= KNOWN_MAX {
            self.0.retain(|_, last| !is_old(*last));
        }
        let due = self.0.len() < KNOWN_MAX;
        if due {
            self.0.insert(key, now);
        }
        due
    }
}
