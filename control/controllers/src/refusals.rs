//! Why creations were refused lately, by whom the object was for: what becomes a `FailedCreate` event and, of a
//! ReplicaSet, its condition `ReplicaFailure`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use wk_api::{Reason, Status};

/// The same refusal is told again after this long: a creation is tried again every few seconds for as long as it takes,
/// and each event is a write.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// Owners remembered at most. Past this all are forgotten, which costs an event each.
const OWNERS_MAX: usize = 10_000;

/// Whether a refusal is another one than the last: the log has each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    News,
    Known,
}

/// What was refused, by the owner's uid.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<String, Refusal>>);

struct Refusal {
    why: String,
    told: Instant,
}

impl Refusals {
    /// Remembers that an object for `owner` was refused. Whether that is news, and whether its owner is to be told.
    pub(crate) fn note(&self, owner: &str, why: &str, now: Instant) -> (Telling, bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.get(owner).filter(|known| known.why == why);
        let telling = if known.is_some() { Telling::Known } else { Telling::News };
        if known.is_some_and(|known| now.duration_since(known.told) < TOLD_AGAIN) {
            return (telling, false);
        }
        if all.len() >= OWNERS_MAX {
            all.clear();
        }
        all.insert(owner.to_owned(), Refusal { why: why.to_owned(), told: now });
        (telling, true)
    }

    /// An object for `owner` was created.
    pub(crate) fn forget(&self, owner: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(owner);
    }

    /// Why the latest object for `owner` was refused.
    pub(crate) fn why(&self, owner: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(owner).map(|refusal| refusal.why.clone())
    }
}

/// What to tell of a refusal; None when trying again is all there is to it. A name that was drawn after `prefix` is told
/// without what was drawn, or each try would be another story.
pub(crate) fn story(prefix: &str, status: &Status) -> Option<String> {
    if !matches!(status.reason, Reason::Forbidden | Reason::Invalid | Reason::BadRequest) {
        return None;
    }
    let name = status.details.as_ref().map_or("", |details| details.name.as_str());
    if prefix.is_empty() || !name.starts_with(prefix) {
        return Some(status.message.clone());
    }
    Some(status.message.replace(&format!("{name:?}"), &format!("{prefix:?}")))
}

#[cfg(test)]
mod tests {
    use wk_api::kinds;

    use super::*;

    #[test]
    fn a_refusal_is_told_once_a_minute_and_another_one_at_once() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let note = |why, now| refusals.note("u", why, now);
        assert_eq!((note("quota", now), note("quota", now)), ((Telling::News, true), (Telling::Known, false)));
        assert_eq!(note("quota", now + TOLD_AGAIN), (Telling::Known, true), "an event, and no line in the log");
        assert_eq!(note("other", now), (Telling::News, true));
        assert_eq!(refusals.why("u").as_deref(), Some("other"));
        refusals.forget("u");
        assert_eq!(refusals.why("u"), None);
    }

    #[test]
    fn each_try_is_the_same_story() {
        let refused = |name: &str| Status::forbidden(&kinds::POD, name, "exceeded quota: q");
        let expected = Some("pods \"web-\" is forbidden: exceeded quota: q".to_owned());
        assert_eq!(story("web-", &refused("web-x7k2p")), expected);
        assert_eq!(story("web-", &refused("web-b2c4d")), expected);
        assert_eq!(story("web-", &Status::unavailable("no leader")), None);
    }
}
