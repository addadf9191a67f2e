//! Whether guests get in each other's way: looked at in windows of a tenth of a second, which the ticker counts.
//!
//! It answers one question: may a new instance begin on the thread that its request came on? That is the cheapest place,
//! and harmless for guests that are done within a millisecond.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::cpu::account::Account;
use crate::ticker::TICK;

/// Ticks of a window.
const WINDOW_TICKS: u32 = 10;

/// A container that ran for a tenth of a window is busy.
const BUSY_MICROS: u64 = TICK.as_micros() as u64;

/// Cores are short when guests had three quarters of them: the node's own work is the rest.
const SHORT_PERCENT: u64 = 75;

/// A busy container that had more than this part of its share of short cores is greedy. Replicas that are asked alike
/// differ by less.
const GREEDY_PERCENT: u64 = 125;

/// A greedy one takes turns for so many windows: a second, so that it gains little by being looked at anew.
const GREEDY_WINDOWS: u32 = 10;

/// A container of which one instance ran on and on begins its next ones among the heavy for so many windows: a second.
const HEAVY_WINDOWS: u32 = 10;

/// What guests did of late.
#[derive(Debug)]
pub(crate) struct Load {
    cores: u64,
    ticks: AtomicU32,
    /// Begins at 1, so that an account's 0 is never this window.
    window: AtomicU32,
    used_micros: AtomicU64,
    busy: AtomicU32,
    /// The weights of those together.
    busy_shares: AtomicU64,
    /// Microseconds that each unit of weight stood for in the last window, in thousandths; most where nobody had to share.
    fair_millis: AtomicU64,
    overruns: AtomicU32,
    crowded: AtomicBool,
}

impl Load {
    pub(crate) fn new(cores: usize) -> Self {
        Self {
            cores: cores as u64,
            ticks: AtomicU32::new(0),
            window: AtomicU32::new(1),
            used_micros: AtomicU64::new(0),
            busy: AtomicU32::new(0),
            busy_shares: AtomicU64::new(0),
            fair_millis: AtomicU64::new(u64::MAX),
            overruns: AtomicU32::new(0),
            crowded: AtomicBool::new(false),
        }
    }

    /// A tick passed.
    pub(crate) fn tick(&self) {
        if self.ticks.fetch_add(1, Ordering::Relaxed) % WINDOW_TICKS != WINDOW_TICKS - 1 {
            return;
        }
        self.window.fetch_add(1, Ordering::Relaxed);
        let (used, busy) = (self.used_micros.swap(0, Ordering::Relaxed), self.busy.swap(0, Ordering::Relaxed));
        let window = TICK.as_micros() as u64 * u64::from(WINDOW_TICKS);
        let short = used * 100 >= window * self.cores * SHORT_PERCENT;
        let shares = self.busy_shares.swap(0, Ordering::Relaxed);
        let fair = if busy >= 2 && short { used.saturating_mul(1000) / shares.max(1) } else { u64::MAX };
        self.fair_millis.store(fair, Ordering::Relaxed);
        let overruns = u64::from(self.overruns.swap(0, Ordering::Relaxed));
        self.crowded.store(overruns > self.cores, Ordering::Relaxed);
    }

    /// `account` was on a core.
    pub(crate) fn ran(&self, account: &Account, nanos: u64) {
        let (window, micros) = (self.window.load(Ordering::Relaxed), nanos / 1000);
        self.used_micros.fetch_add(micros, Ordering::Relaxed);
        // Two threads may do this at once and lose a part: it is a tendency that is wanted, not a sum.
        let seen = account.window.load(Ordering::Relaxed);
        let (at, sum) = (seen >> 32, seen & u64::from(u32::MAX));
        let before = if at == u64::from(window) { sum } else { 0 };
        if at + 1 == u64::from(window) && self.is_greedy(account, sum) {
            account.greedy_until.store(window + GREEDY_WINDOWS, Ordering::Relaxed);
        }
        let total = (before + micros).min(u64::from(u32::MAX));
        account.window.store(u64::from(window) << 32 | total, Ordering::Relaxed);
        if before < BUSY_MICROS && total >= BUSY_MICROS {
            self.busy.fetch_add(1, Ordering::Relaxed);
            self.busy_shares.fetch_add(u64::from(account.shares), Ordering::Relaxed);
        }
    }

    /// Whether so many microseconds in the last window were more than `account` may have of cores that are short.
    fn is_greedy(&self, account: &Account, micros: u64) -> bool {
        let fair = self.fair_millis.load(Ordering::Relaxed).saturating_mul(u64::from(account.shares)) / 1000;
        micros >= BUSY_MICROS && micros > fair.saturating_mul(GREEDY_PERCENT) / 100
    }

    /// An instance of `account` ran for a slice and wanted more.
    pub(crate) fn overran(&self, account: &Account) {
        let window = self.window.load(Ordering::Relaxed);
        account.heavy_until.store(window + HEAVY_WINDOWS, Ordering::Relaxed);
        self.overruns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a new instance of `account` has to queue with the others.
    pub(crate) fn queues(&self, account: &Account) -> bool {
        let window = self.window.load(Ordering::Relaxed);
        // As many long first slices as there are cores in a tenth of a second: from many containers at once, since each
        // is known by its first.
        let crowded =
            self.crowded.load(Ordering::Relaxed) || u64::from(self.overruns.load(Ordering::Relaxed)) > self.cores;
        let until = |window: &AtomicU32| window.load(Ordering::Relaxed);
        crowded || until(&account.heavy_until).max(until(&account.greedy_until)) >= window
    }
}

/// An instance that took so long in one go is not one of the quick ones: half a slice, since the first one of an instance
/// ends somewhere within.
pub(crate) const OVERRUN: Duration = Duration::from_millis(4);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::CpuLimits;

    fn windows(load: &Load, count: u32) {
        (0..count * WINDOW_TICKS).for_each(|_| load.tick());
    }

    #[test]
    fn busy_container_has_the_machine_for_itself_and_takes_turns_when_it_has_more_than_its_share() {
        let load = Load::new(1);
        let [one, two, quiet] = std::array::from_fn(|_| Account::new(CpuLimits::BEST_EFFORT));
        let window = |parts: [u64; 3]| {
            for (account, millis) in [&one, &two, &quiet].into_iter().zip(parts) {
                load.ran(account, millis * 1_000_000);
            }
            windows(&load, 1);
        };
        window([90, 0, 1]);
        window([90, 0, 1]);
        assert!(!load.queues(&one));
        window([45, 45, 1]);
        window([50, 40, 1]);
        assert!(!load.queues(&one) && !load.queues(&two), "they share as they should");
        window([70, 20, 1]);
        window([70, 20, 1]);
        assert!(load.queues(&one) && !load.queues(&two));
        assert!(!load.queues(&quiet), "what asks for little is not held up");
        windows(&load, GREEDY_WINDOWS + 1);
        assert!(!load.queues(&one));
    }

    #[test]
    fn share_is_weighed() {
        let load = Load::new(1);
        let heavy = Account::new(CpuLimits { shares: 300, ..CpuLimits::BEST_EFFORT });
        let light = Account::new(CpuLimits { shares: 100, ..CpuLimits::BEST_EFFORT });
        for _ in 0..2 {
            load.ran(&heavy, 50_000_000);
            load.ran(&light, 50_000_000);
            windows(&load, 1);
        }
        assert!(load.queues(&light) && !load.queues(&heavy));
    }

    #[test]
    fn container_that_ran_on_queues_for_a_second() {
        let load = Load::new(4);
        let account = Account::new(CpuLimits::BEST_EFFORT);
        load.overran(&account);
        assert!(load.queues(&account));
        windows(&load, HEAVY_WINDOWS);
        assert!(load.queues(&account));
        windows(&load, 1);
        assert!(!load.queues(&account));
    }
}
