//! One container's claim on the cores: its weight, its quota, and how it has behaved of late.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::usage::CpuLimits;

/// A quota is refilled as if once in this time: the kubelet's `cpuCFSQuotaPeriod`.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);

/// A throttled container goes on when it has earned this much, or a period's quota if that is less: going on for less
/// would be more switching than running.
const GRAIN: Duration = Duration::from_millis(10);

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// What the scheduler keeps of a container.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: u64,
    pub(crate) shares: u32,
    quota: Option<Mutex<Bucket>>,
    /// Weighted time it has had; looked at under the queue's lock only.
    pub(crate) virtual_time: Mutex<u128>,
    /// In which window it last ran, and for how many microseconds in it.
    pub(super) window: AtomicU64,
    /// The last window in which it takes turns, having had more than its share.
    pub(super) greedy_until: AtomicU32,
    /// The last window in which its new instances do not begin on the node's own threads.
    pub(super) heavy_until: AtomicU32,
}

impl Account {
    pub(crate) fn new(limits: CpuLimits) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            shares: limits.shares.max(1),
            quota: limits.quota.map(|millis| Mutex::new(Bucket::new(millis, Instant::now()))),
            virtual_time: Mutex::default(),
            window: AtomicU64::new(0),
            greedy_until: AtomicU32::new(0),
            heavy_until: AtomicU32::new(0),
        }
    }

    /// Whether its new instances take turns with those of others, for having had much.
    pub(super) fn takes_turns(&self, window: u32) -> bool {
        let until = |of: &AtomicU32| of.load(Ordering::Relaxed);
        until(&self.heavy_until).max(until(&self.greedy_until)) >= window
    }

    pub(crate) fn charge(&self, nanos: u64) {
        if let Some(quota) = &self.quota {
            quota.lock().unwrap_or_else(PoisonError::into_inner).charge(nanos, Instant::now());
        }
    }

    /// When it may go on, if it has used up its quota.
    pub(crate) fn throttled(&self, now: Instant) -> Option<Instant> {
        self.quota.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).wait(now)
    }
}

/// Time on a core, earned at a steady rate, saved up for one period at most, and owed when a slice went beyond.
#[derive(Debug)]
struct Bucket {
    millis: u32,
    nanos: i64,
    at: Instant,
    waiting: bool,
}

impl Bucket {
    fn new(millis: u32, now: Instant) -> Self {
        let mut bucket = Self { millis, nanos: 0, at: now, waiting: false };
        bucket.nanos = bucket.earned(PERIOD);
        bucket
    }

    fn earned(&self, time: Duration) -> i64 {
        let nanos = time.as_nanos() * u128::from(self.millis) / 1000;
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }

    fn refill(&mut self, now: Instant) {
        let earned = self.earned(now.saturating_duration_since(self.at));
        self.nanos = self.nanos.saturating_add(earned).min(self.earned(PERIOD));
        self.at = self.at.max(now);
    }

    fn charge(&mut self, nanos: u64, now: Instant) {
        self.refill(now);
        self.nanos = self.nanos.saturating_sub(i64::try_from(nanos).unwrap_or(i64::MAX));
        self.waiting |= self.nanos <= 0;
    }

    fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let enough = i64::try_from(GRAIN.as_nanos()).unwrap_or(i64::MAX).min(self.earned(PERIOD));
        if !self.waiting || self.nanos >= enough {
            self.waiting = false;
            return None;
        }
        let missing = u64::try_from(enough - self.nanos).unwrap_or(0);
        Some(now + Duration::from_nanos(missing.saturating_mul(1000) / u64::from(self.millis.max(1)) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn quota_is_what_it_says_over_time_even_with_slices_beyond_it() {
        let start = Instant::now();
        // A quarter of a core, used in slices of 10 ms whenever it may.
        let mut bucket = Bucket::new(250, start);
        let (mut now, mut ran) = (start, 0);
        while now < start + Duration::from_secs(10) {
            if let Some(later) = bucket.wait(now) {
                now = later;
            } else {
                now += Duration::from_millis(10);
                ran += 10;
                bucket.charge(10 * MILLISECOND, now);
            }
        }
        assert!((2450..=2550).contains(&ran), "{ran} ms of 2500");
    }

    #[test]
    fn idle_time_is_saved_up_for_one_period_only() {
        let start = Instant::now();
        let mut bucket = Bucket::new(500, start);
        let later = start + Duration::from_mins(1);
        assert_eq!(bucket.wait(later), None);
        bucket.charge(50 * MILLISECOND, later);
        let goes_on = bucket.wait(later).expect("a period's quota is used up");
        assert_eq!((goes_on - later).as_millis(), 20, "10 ms are earned in 20");
    }
}
