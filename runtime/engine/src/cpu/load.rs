//! Whether guests get in each other's way: looked at in windows of a tenth of a second, which the ticker counts.
//!
//! It answers one question: may a new instance begin on the thread that its request came on? That is the cheapest place,
//! and harmless for guests that are done within a millisecond.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeMetrics};

use crate::cpu::account::Account;
use crate::ticker::TICK;

/// Ticks of a window.
const WINDOW_TICKS: u32 = 10;

/// A container that ran for less than a tenth of a window is in nobody's way.
const BUSY_MICROS: u64 = TICK.as_micros() as u64;

/// Cores are short when guests had three quarters of them: the node's own work is the rest.
const SHORT_PERCENT: u64 = 75;

/// They are short too when the threads that serve requests had hardly a moment's rest, whoever it was that kept them: the
/// work around a short request may be as much as its guest's.
const SERVING_PERCENT: u64 = 85;

/// A busy container that had more than this part of its share of short cores is greedy. Replicas that are asked alike
/// differ by less.
const GREEDY_PERCENT: u64 = 125;

/// A greedy one takes turns for so many windows: a second, so that it gains little by being looked at anew.
const GREEDY_WINDOWS: u32 = 10;

/// While cores are short, every container that has more than its share takes turns if one was seen within so many windows that wants
/// little: what it asks for would wait behind all that they have begun.
const MEEK_WINDOWS: u32 = 20;

/// A container of which one instance ran on and on begins its next ones among the heavy for so many windows: a second.
const HEAVY_WINDOWS: u32 = 10;

/// So much of one stretch counts in its window: 16 seconds, so that no sum of them comes to what stands for a window.
const STRETCH_MICROS_MAX: u64 = 1 << 24;

/// What guests did of late.
#[derive(Debug)]
pub(crate) struct Load {
    cores: u64,
    serving: Option<Serving>,
    ticks: AtomicU32,
    /// Begins at 1, so that an account's 0 is never this window.
    window: AtomicU32,
    used_micros: AtomicU64,
    /// The part of it that was not on the threads that serve requests.
    pooled_micros: AtomicU64,
    /// Containers that ran, and their weights together.
    active: AtomicU32,
    active_shares: AtomicU64,
    /// Microseconds that each unit of weight stood for in the last window, in thousandths; most where nobody had to share.
    fair_millis: AtomicU64,
    /// The last window in which one that wants little counts.
    meek_until: AtomicU32,
    overruns: AtomicU32,
    crowded: AtomicBool,
}

/// The threads of the runtime, which serve requests.
#[derive(Debug)]
struct Serving {
    metrics: RuntimeMetrics,
    /// When they were looked at last, and how long they all had been at work by then.
    seen: Mutex<(Instant, Duration)>,
}

impl Serving {
    fn of(runtime: &Handle) -> Self {
        let metrics = runtime.metrics();
        let seen = Mutex::new((Instant::now(), at_work(&metrics)));
        Self { metrics, seen }
    }

    /// Time since the last look, and how long they were at work in it, all together.
    fn look(&self) -> (Duration, Duration) {
        let now = (Instant::now(), at_work(&self.metrics));
        let before = std::mem::replace(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner), now);
        (now.0.duration_since(before.0), now.1.saturating_sub(before.1))
    }
}

#[cfg(target_has_atomic = "64")]
fn at_work(metrics: &RuntimeMetrics) -> Duration {
    (0..metrics.num_workers()).map(|worker| metrics.worker_total_busy_duration(worker)).sum()
}

/// Not counted by the runtime on such machines.
#[cfg(not(target_has_atomic = "64"))]
fn at_work(_metrics: &RuntimeMetrics) -> Duration {
    Duration::ZERO
}

impl Load {
    /// Of so many cores, and of the threads of this runtime.
    pub(crate) fn new(cores: usize, runtime: &Handle) -> Self {
        Self { serving: Some(Serving::of(runtime)), ..Self::of_guests(cores) }
    }

    fn of_guests(cores: usize) -> Self {
        Self {
            cores: cores as u64,
            serving: None,
            ticks: AtomicU32::new(0),
            window: AtomicU32::new(1),
            used_micros: AtomicU64::new(0),
            pooled_micros: AtomicU64::new(0),
            active: AtomicU32::new(0),
            active_shares: AtomicU64::new(0),
            fair_millis: AtomicU64::new(u64::MAX),
            meek_until: AtomicU32::new(0),
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
        let (used, active) = (self.used_micros.swap(0, Ordering::Relaxed), self.active.swap(0, Ordering::Relaxed));
        let shares = self.active_shares.swap(0, Ordering::Relaxed);
        let short = self.is_short(used, self.pooled_micros.swap(0, Ordering::Relaxed));
        let fair = if active >= 2 && short { used.saturating_mul(1000) / shares.max(1) } else { u64::MAX };
        self.fair_millis.store(fair, Ordering::Relaxed);
        let overruns = u64::from(self.overruns.swap(0, Ordering::Relaxed));
        self.crowded.store(overruns > self.cores, Ordering::Relaxed);
    }

    /// Whether cores were short in a window in which guests used so much, and so much of it in the pool.
    fn is_short(&self, used: u64, pooled: u64) -> bool {
        let window = TICK.as_micros() as u64 * u64::from(WINDOW_TICKS);
        let busy = self.serving.as_ref().is_some_and(|serving| {
            let (passed, at_work) = serving.look();
            let (passed, at_work) = (passed.as_micros(), at_work.as_micros());
            let are_full = |work: u128, count: u64| work * 100 >= passed * u128::from(count * SERVING_PERCENT);
            // A worker's process may have fewer of these threads than the machine has cores.
            are_full(at_work, serving.metrics.num_workers() as u64)
                || are_full(at_work + u128::from(pooled), self.cores)
        });
        busy || used * 100 >= window * self.cores * SHORT_PERCENT
    }

    /// `account` was on a core.
    pub(crate) fn ran(&self, account: &Account, nanos: u64) {
        let (window, micros) = (self.window.load(Ordering::Relaxed), nanos / 1000);
        self.used_micros.fetch_add(micros, Ordering::Relaxed);
        let begins = u64::from(window) << 32;
        let seen = account.window.load(Ordering::Relaxed);
        // Several threads may end a stretch at once: one of them is the window's first.
        let is_first = seen < begins
            && account.window.compare_exchange(seen, begins, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_first {
            // What did not run in the last window wanted nothing.
            let was_last = seen >> 32 == u64::from(window - 1);
            self.judge(account, if was_last { seen & u64::from(u32::MAX) } else { 0 }, window);
            self.active.fetch_add(1, Ordering::Relaxed);
            self.active_shares.fetch_add(u64::from(account.shares), Ordering::Relaxed);
        }
        account.window.fetch_add(micros.min(STRETCH_MICROS_MAX), Ordering::Relaxed);
    }

    /// As [`Load::ran`], and it was on no thread that serves requests.
    pub(crate) fn ran_in_pool(&self, account: &Account, nanos: u64) {
        self.pooled_micros.fetch_add(nanos / 1000, Ordering::Relaxed);
        self.ran(account, nanos);
    }

    /// What so many microseconds in the last window say of `account`.
    fn judge(&self, account: &Account, micros: u64, window: u32) {
        let fair = self.fair_millis.load(Ordering::Relaxed);
        if fair == u64::MAX {
            return;
        }
        let fair = fair.saturating_mul(u64::from(account.shares)) / 1000;
        if micros.saturating_mul(2) < fair {
            // One that takes turns wants much, and has only had nothing to do for a moment.
            if !account.takes_turns(window) {
                self.meek_until.store(window + MEEK_WINDOWS, Ordering::Relaxed);
            }
            return;
        }
        let others_wait = self.meek_until.load(Ordering::Relaxed) >= window;
        let most = if others_wait { fair } else { fair.saturating_mul(GREEDY_PERCENT) / 100 };
        if micros >= BUSY_MICROS && micros > most {
            account.greedy_until.store(window + GREEDY_WINDOWS, Ordering::Relaxed);
        }
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
        crowded || account.takes_turns(window)
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
        let load = Load::of_guests(1);
        let [one, two] = std::array::from_fn(|_| Account::new(CpuLimits::BEST_EFFORT));
        window(&load, &[(&one, 90)]);
        window(&load, &[(&one, 90)]);
        assert!(!load.queues(&one));
        window(&load, &[(&one, 45), (&two, 45)]);
        window(&load, &[(&one, 50), (&two, 40)]);
        assert!(!load.queues(&one) && !load.queues(&two), "they share as they should");
        window(&load, &[(&one, 60), (&two, 30)]);
        window(&load, &[(&one, 60), (&two, 30)]);
        assert!(load.queues(&one) && !load.queues(&two));
        windows(&load, GREEDY_WINDOWS + 1);
        assert!(!load.queues(&one));
    }

    #[test]
    fn whoever_wants_much_of_short_cores_takes_turns_while_another_wants_little() {
        let load = Load::of_guests(1);
        let [one, two, quiet] = std::array::from_fn(|_| Account::new(CpuLimits::BEST_EFFORT));
        let all = |quiet_millis| [(&quiet, quiet_millis), (&one, 45), (&two, 45)];
        window(&load, &all(1));
        window(&load, &all(1));
        window(&load, &all(1));
        assert!(load.queues(&one) && load.queues(&two));
        assert!(!load.queues(&quiet), "what asks for little is not held up");
        // Nobody minds where there is room for all.
        windows(&load, GREEDY_WINDOWS + 1);
        for _ in 0..3 {
            window(&load, &[(&quiet, 1), (&one, 30), (&two, 30)]);
        }
        assert!(!load.queues(&one) && !load.queues(&two));
    }

    #[test]
    fn whoever_has_less_than_its_share_is_not_held_up_by_bursts_of_others() {
        let load = Load::of_guests(1);
        let [bursts, floods, steady] = std::array::from_fn(|_| Account::new(CpuLimits::BEST_EFFORT));
        load.overran(&bursts);
        for _ in 0..3 {
            window(&load, &[(&bursts, 40), (&floods, 35), (&steady, 20)]);
            // It has nothing to do between two bursts, which is no modesty.
            window(&load, &[(&floods, 60), (&steady, 20)]);
            assert!(load.queues(&bursts) && !load.queues(&steady));
        }
        assert!(load.queues(&floods));
    }

    /// A window in which these ran for so many milliseconds.
    fn window(load: &Load, parts: &[(&Account, u64)]) {
        for (account, millis) in parts {
            load.ran(account, millis * 1_000_000);
        }
        windows(load, 1);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn threads_that_serve_without_a_rest_are_short_cores_however_few_they_are() {
        let load = Load::new(64, &Handle::current());
        let begun = Instant::now();
        while load.is_short(0, 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
        // The runtime tells it when a thread looks for more work.
        while !load.is_short(0, 0) {
            let work = async {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(5) {}
            };
            tokio::spawn(work).await.expect("no panic");
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }

    #[test]
    fn share_is_weighed() {
        let load = Load::of_guests(1);
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
    fn container_whose_instances_end_at_once_on_several_threads_is_one() {
        const ROUNDS: u32 = 100_000;
        let (load, account) = (Load::of_guests(2), Account::new(CpuLimits::BEST_EFFORT));
        let arrived = AtomicU32::new(0);
        // Spins, so that both go on at the same moment.
        let meet = |number: u32| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 * number {
                std::hint::spin_loop();
                std::thread::yield_now();
            }
        };
        let most = AtomicU32::new(0);
        let work = |is_one: bool| {
            for round in 0..ROUNDS {
                meet(2 * round + 1);
                load.ran(&account, 1_000_000);
                meet(2 * round + 2);
                if is_one {
                    most.fetch_max(load.active.load(Ordering::SeqCst), Ordering::SeqCst);
                    windows(&load, 1);
                }
            }
        };
        std::thread::scope(|threads| {
            threads.spawn(|| work(false));
            work(true);
        });
        assert_eq!(most.into_inner(), 1);
    }

    #[test]
    fn container_that_ran_on_queues_for_a_second() {
        let load = Load::of_guests(4);
        let account = Account::new(CpuLimits::BEST_EFFORT);
        load.overran(&account);
        assert!(load.queues(&account));
        windows(&load, HEAVY_WINDOWS);
        assert!(load.queues(&account));
        windows(&load, 1);
        assert!(!load.queues(&account));
    }
}
