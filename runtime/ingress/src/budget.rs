//! How many retries there may be, so that a service that fails everywhere is not asked twice as often for it.
//!
//! A bucket of tokens, a hundred parts each. Every request adds some parts, every second adds some tokens, every retry
//! takes one. It starts full and is deep, since killing a node breaks all that is in flight there at one moment, and
//! each of those is owed its retry.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Limits;
use crate::balance::Millis;

const PARTS: u64 = 100;

/// The bucket.
#[derive(Debug)]
pub(crate) struct Budget {
    parts: AtomicU64,
    full: u64,
    per_request: u64,
    per_second: u64,
    /// When the time's share was added last.
    refilled: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        let full = u64::from(limits.retry_burst) * PARTS;
        Self {
            parts: AtomicU64::new(full),
            full,
            per_request: u64::from(limits.retry_percent),
            per_second: u64::from(limits.retry_floor) * PARTS,
            refilled: AtomicU64::new(0),
        }
    }

    /// A request came.
    pub(crate) fn request(&self) {
        // In calm times the bucket is full, and this is one load. Two at once may overfill it by one share: no harm.
        if self.parts.load(Ordering::Relaxed) < self.full {
            self.parts.fetch_add(self.per_request, Ordering::Relaxed);
        }
    }

    /// Takes a token for a retry. False when there is none.
    pub(crate) fn retry(&self, now: Millis) -> bool {
        self.refill(now);
        self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |parts| parts.checked_sub(PARTS)).is_ok()
    }

    fn refill(&self, now: Millis) {
        let last = self.refilled.load(Ordering::Relaxed);
        let due = now.0.saturating_sub(last).saturating_mul(self.per_second) / 1000;
        if due < PARTS {
            return;
        }
        // Whoever moves the time adds its share.
        if self.refilled.compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let fill = |parts: u64| Some(parts.saturating_add(due).min(self.full.max(parts)));
            // The closure never declines, so this cannot fail.
            let _ = self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Millis};
    use crate::Limits;

    fn budget(burst: u32, percent: u32, floor: u32) -> Budget {
        Budget::new(&Limits { retry_burst: burst, retry_percent: percent, retry_floor: floor, ..Limits::default() })
    }

    fn retries(budget: &Budget, now: u64) -> usize {
        (0..10_000).take_while(|_| budget.retry(Millis(now))).count()
    }

    #[test]
    fn everything_in_flight_on_a_killed_node_may_be_retried_at_once() {
        assert_eq!(retries(&Budget::new(&Limits::default()), 0), 1024);
    }

    #[test]
    fn in_a_lasting_failure_a_fifth_of_the_requests_is_retried() {
        let budget = budget(10, 20, 0);
        assert_eq!(retries(&budget, 0), 10);
        (0..1000).for_each(|_| budget.request());
        assert!((10..=11).contains(&retries(&budget, 0)), "never more than the bucket holds");
        let spread = (0..1000).filter(|_| {
            budget.request();
            budget.retry(Millis(0))
        });
        assert_eq!(spread.count(), 200);
    }

    #[test]
    fn time_alone_brings_retries_back() {
        let budget = budget(10, 0, 4);
        assert_eq!(retries(&budget, 0), 10);
        assert_eq!(retries(&budget, 100), 0);
        assert_eq!(retries(&budget, 500), 2);
        assert_eq!(retries(&budget, 1_000_000), 10);
    }
}
