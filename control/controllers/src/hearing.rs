//! Since when this leader listens to heartbeats without a gap.
//!
//! Not here: what silence means (`wk_plan::nodes`). A gap is time in which the whole process stood still, and not time
//! in which one shell waited for its own writes: beats arrive during those. So a task of its own looks at the clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::SignedDuration;
use wk_base::time::{Clock, Timestamp};

use crate::heartbeats::Heartbeats;

/// Between looks at the clock: an eighth of [`DEAF_AFTER`], so that a busy machine is not taken for a stopped one.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// A leader that did not look for this long was suspended, or its clock was set: what it did not hear then says nothing
/// about the nodes.
const DEAF_AFTER: SignedDuration = SignedDuration::from_secs(2);

/// A clock this much behind an earlier look was set back. Less is two tasks that read it one after the other.
const SET_BACK_AFTER: SignedDuration = SignedDuration::from_secs(1);

/// One leadership's ear.
#[derive(Debug, Default)]
pub(crate) struct Hearing(Mutex<Option<Span>>);

/// Since when it has listened without a gap, and when it last did.
#[derive(Debug, Clone, Copy)]
struct Span {
    since: Timestamp,
    last: Timestamp,
}

impl Hearing {
    /// Notes that this process lives at `now`, and says since when it has without a gap.
    pub(crate) fn look(&self, now: Timestamp, heartbeats: &Heartbeats) -> Timestamp {
        let mut span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let span = span.get_or_insert(Span { since: now, last: now });
        let passed = now.duration_since(span.last);
        if passed < -SET_BACK_AFTER {
            // What was heard is dated in the future and would hide silence.
            heartbeats.clear();
            *span = Span { since: now, last: now };
        } else if passed > DEAF_AFTER {
            tracing::warn!("this leader did not look at heartbeats for a while; every node gets its grace anew");
            span.since = now;
        }
        span.last = span.last.max(now);
        span.since
    }
}

/// Looks at the clock until it is dropped.
pub(crate) async fn listen(hearing: Arc<Hearing>, clock: Arc<dyn Clock>, heartbeats: Arc<Heartbeats>) {
    loop {
        hearing.look(clock.now(), &heartbeats);
        tokio::time::sleep(LISTEN_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(100_000 + millis).expect("in range")
    }

    #[test]
    fn gap_starts_every_grace_anew_and_a_short_one_does_not() {
        let (hearing, heartbeats) = (Hearing::default(), Heartbeats::new());
        assert_eq!(hearing.look(at(0), &heartbeats), at(0));
        assert_eq!(hearing.look(at(2000), &heartbeats), at(0));
        assert_eq!(hearing.look(at(4001), &heartbeats), at(4001));
    }

    #[test]
    fn clock_that_was_set_back_forgets_what_was_heard() {
        let (hearing, heartbeats) = (Hearing::default(), Heartbeats::new());
        heartbeats.beat("n1", at(9000), crate::heartbeats::Told::default());
        assert_eq!(hearing.look(at(9000), &heartbeats), at(9000));
        assert_eq!(hearing.look(at(8990), &heartbeats), at(9000), "two tasks that read the clock out of order");
        assert!(heartbeats.heard().contains_key("n1"));
        assert_eq!(hearing.look(at(1000), &heartbeats), at(1000));
        assert!(heartbeats.heard().is_empty());
    }

    #[test]
    fn pass_that_waits_long_for_its_writes_is_not_deaf() {
        let (hearing, heartbeats) = (Hearing::default(), Heartbeats::new());
        hearing.look(at(0), &heartbeats);
        // Ten seconds of writes, in which only `listen` looks.
        for millis in (0..10_000).step_by(250) {
            hearing.look(at(millis), &heartbeats);
        }
        assert_eq!(hearing.look(at(10_000), &heartbeats), at(0));
    }
}
