//! What one container may use of this machine, and what it has used: one [`Usage`] for all its instances, written by the
//! engine and the node, read by whoever shows it.
//!
//! Not here: who runs when (`cpu`), and the limit of a single instance (`limits`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::commons::Commons;
use crate::cpu::{Account, PERIOD};
use crate::sandbox::MemoryBytes;
use crate::threads::CONTAINER_MAX;

/// What a container may have of the machine's cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuLimits {
    /// Its weight where several want the cores, as cgroups' `cpu.shares`: 1024 for a requested core.
    pub shares: u32,
    /// The most it gets even where nobody else wants them, in thousandths of a core.
    pub quota: Option<u32>,
}

/// The weight of a container that requests nothing. cgroups' smallest, as the kubelet gives it.
const SHARES_MIN: u32 = 2;
/// cgroups' largest.
const SHARES_MAX: u32 = 262_144;
/// The weight of a whole core.
const SHARES_PER_CORE: u64 = 1024;

impl CpuLimits {
    /// No more than what is left over, and all of that.
    pub const BEST_EFFORT: Self = Self { shares: SHARES_MIN, quota: None };

    /// What `requests.cpu` and `limits.cpu` mean, in thousandths of a core: the kubelet's `MilliCPUToShares`.
    pub fn of_millis(requested: u64, quota: Option<u64>) -> Self {
        let shares = requested.saturating_mul(SHARES_PER_CORE) / 1000;
        let shares = u32::try_from(shares).unwrap_or(SHARES_MAX).clamp(SHARES_MIN, SHARES_MAX);
        Self { shares, quota: quota.map(|millis| u32::try_from(millis).unwrap_or(u32::MAX).max(1)) }
    }
}

/// A container's part in the memory of all.
#[derive(Debug)]
struct Share {
    promised: u64,
    commons: Arc<Commons>,
    /// Whether its promise came with it from another process, where it counts.
    brought: bool,
}

impl Share {
    /// What it has of all when it holds so much itself.
    fn of(&self, held: u64) -> u64 {
        held.max(self.promised)
    }

    /// What it has beyond what it was promised.
    fn beyond(&self, held: u64) -> u64 {
        self.of(held) - self.promised
    }
}

/// Counts what a container uses. All its instances share one, and a container that starts again may keep it.
#[derive(Debug)]
pub struct Usage {
    cpu_limits: CpuLimits,
    memory_max: MemoryBytes,
    share: Option<Share>,
    pub(crate) account: Account,
    cpu_nanos: AtomicU64,
    waited_nanos: AtomicU64,
    periods: Periods,
    memory: AtomicU64,
    /// What it holds in another process, which has borrowed that.
    memory_elsewhere: AtomicU64,
    memory_peak: AtomicU64,
    instances: AtomicU64,
    /// Descriptors that it has open in this process.
    pub(crate) files: AtomicU64,
    /// Threads that it may have yet in this process, to wait for the disk.
    pub(crate) threads: Semaphore,
    instances_total: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    log_dropped: AtomicU64,
    files_refused: AtomicU64,
    probes: AtomicU64,
    probes_failed: AtomicU64,
    execs: AtomicU64,
}

/// What a container used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Time on a core.
    pub cpu: Duration,
    /// Time that it wanted a core and waited for its quota.
    pub throttled: Duration,
    /// Periods of its quota in which it waited for it.
    pub throttled_periods: u64,
    /// Bytes it holds now, in its own memories and in the host's for it.
    pub memory: u64,
    /// The most it held at once.
    pub memory_peak: u64,
    /// Instances alive.
    pub instances: u64,
    /// Instances ever made.
    pub instances_total: u64,
    /// Requests it was handed.
    pub requests: u64,
    /// Requests it failed, and runs of a command that did not end well.
    pub failures: u64,
    /// Bytes of requests' bodies it was sent.
    pub bytes_in: u64,
    /// Bytes of responses' bodies it sent.
    pub bytes_out: u64,
    /// Bytes of output that were dropped because it printed too much.
    pub log_dropped: u64,
    /// Files and sockets that it was refused because it has too many open, or all containers of its process have.
    #[serde(default)]
    pub files_refused: u64,
    /// Times that a probe asked it.
    pub probes: u64,
    /// Those that it failed.
    pub probes_failed: u64,
    /// Functions and components of it that were called from outside.
    pub execs: u64,
}

/// Counts the periods of a quota, which follow each other from the first wait on, in which it was waited for.
#[derive(Debug, Default)]
struct Periods {
    begun: OnceLock<Instant>,
    /// The first that was not counted yet.
    next: AtomicU64,
    count: AtomicU64,
}

impl Periods {
    /// Called by one at a time: under the lock of the queue.
    fn waited(&self, since: Instant, now: Instant) {
        let begun = *self.begun.get_or_init(|| since);
        let number = |at: Instant| {
            u64::try_from(at.saturating_duration_since(begun).as_nanos() / PERIOD.as_nanos()).unwrap_or(u64::MAX)
        };
        let first = number(since).max(self.next.load(Ordering::Relaxed));
        let next = number(now).saturating_add(1);
        if next > first {
            self.count.fetch_add(next - first, Ordering::Relaxed);
            self.next.store(next, Ordering::Relaxed);
        }
    }
}

impl Usage {
    /// Nothing used yet. `memory_max` is for all instances together.
    pub fn new(cpu: CpuLimits, memory_max: MemoryBytes) -> Arc<Self> {
        Arc::new(Self::sharing(cpu, memory_max, None))
    }

    /// The same for a container of a machine, which was promised so much of what all of them may hold.
    pub fn within(cpu: CpuLimits, memory_max: MemoryBytes, promised: MemoryBytes, commons: &Arc<Commons>) -> Arc<Self> {
        // A promise that nobody could keep, of a pod that no scheduler placed, is none.
        let promised = if commons.promise(promised.0) { promised.0 } else { 0 };
        let share = Share { promised, commons: Arc::clone(commons), brought: false };
        Arc::new(Self::sharing(cpu, memory_max, Some(share)))
    }

    /// The same in another process, whose commons borrow: what it was promised counts where it was, and needs no loan here.
    pub fn lent(cpu: CpuLimits, memory_max: MemoryBytes, promised: MemoryBytes, commons: &Arc<Commons>) -> Arc<Self> {
        commons.bring(promised.0);
        let share = Share { promised: promised.0, commons: Arc::clone(commons), brought: true };
        Arc::new(Self::sharing(cpu, memory_max, Some(share)))
    }

    /// Whether it shares a part of what all containers may hold, as those without a limit do.
    pub fn is_part(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.commons.is_part())
    }

    /// What it was promised of what all containers may hold.
    pub fn promised(&self) -> MemoryBytes {
        MemoryBytes(self.share.as_ref().map_or(0, |share| share.promised))
    }

    fn sharing(cpu: CpuLimits, memory_max: MemoryBytes, share: Option<Share>) -> Self {
        let zero = AtomicU64::default;
        Self {
            cpu_limits: cpu,
            memory_max,
            share,
            account: Account::new(cpu),
            cpu_nanos: zero(),
            waited_nanos: zero(),
            periods: Periods::default(),
            memory: zero(),
            memory_elsewhere: zero(),
            memory_peak: zero(),
            instances: zero(),
            files: zero(),
            threads: Semaphore::new(CONTAINER_MAX),
            instances_total: zero(),
            requests: zero(),
            failures: zero(),
            bytes_in: zero(),
            bytes_out: zero(),
            log_dropped: zero(),
            files_refused: zero(),
            probes: zero(),
            probes_failed: zero(),
            execs: zero(),
        }
    }

    /// What it may have of the cores.
    pub fn cpu_limits(&self) -> CpuLimits {
        self.cpu_limits
    }

    /// What all its instances may hold together.
    pub fn memory_max(&self) -> MemoryBytes {
        self.memory_max
    }

    /// The figures as they are now; not of one instant, since they are read one after the other.
    pub fn used(&self) -> Used {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Used {
            cpu: Duration::from_nanos(read(&self.cpu_nanos)),
            throttled: Duration::from_nanos(read(&self.waited_nanos)),
            throttled_periods: read(&self.periods.count),
            memory: read(&self.memory).saturating_add(read(&self.memory_elsewhere)),
            memory_peak: read(&self.memory_peak),
            instances: read(&self.instances),
            instances_total: read(&self.instances_total),
            requests: read(&self.requests),
            failures: read(&self.failures),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            log_dropped: read(&self.log_dropped),
            files_refused: read(&self.files_refused),
            probes: read(&self.probes),
            probes_failed: read(&self.probes_failed),
            execs: read(&self.execs),
        }
    }

    /// Takes over what the same container used in another process between two looks at it: its time and its instances.
    /// What it holds now replaces what it held then. Requests and their bytes are counted where they pass.
    pub fn take_over(&self, before: &Used, now: &Used) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let add = |counter: &AtomicU64, before: u64, now: u64| {
            // What is held may be less than before: the difference wraps, and so does the sum, to what is meant.
            counter.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        };
        add(&self.cpu_nanos, nanos(before.cpu), nanos(now.cpu));
        add(&self.waited_nanos, nanos(before.throttled), nanos(now.throttled));
        add(&self.periods.count, before.throttled_periods, now.throttled_periods);
        add(&self.instances, before.instances, now.instances);
        add(&self.instances_total, before.instances_total, now.instances_total);
        add(&self.files_refused, before.files_refused, now.files_refused);
        // It has no more than its own limit, whatever is said.
        let most = |bytes: u64| bytes.min(self.memory_max.0);
        self.memory_peak.fetch_max(most(now.memory_peak), Ordering::Relaxed);
        add(&self.memory_elsewhere, most(before.memory), most(now.memory));
    }

    /// A request arrived.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A request, or a run of a command, did not end well.
    pub fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A probe asked it. What that cost is counted like everything else that it does.
    pub fn probed(&self, healthy: bool) {
        self.probes.fetch_add(1, Ordering::Relaxed);
        self.probes_failed.fetch_add(u64::from(!healthy), Ordering::Relaxed);
    }

    /// A function or component of it was called from outside.
    pub fn called(&self) {
        self.execs.fetch_add(1, Ordering::Relaxed);
    }

    /// Part of a request's body arrived.
    pub fn received(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Part of a response's body was sent.
    pub fn sent(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Output was dropped.
    pub fn dropped_output(&self, bytes: u64) {
        self.log_dropped.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A file or a socket was not opened: it has too many.
    pub(crate) fn refused_file(&self) {
        self.files_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ran(&self, nanos: u64) {
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.account.charge(nanos);
    }

    /// Until when it has to rest, if it has used up its quota.
    pub fn throttled(&self) -> Option<Instant> {
        self.account.throttled(Instant::now())
    }

    /// It waited for its quota from then until now.
    pub(crate) fn waited(&self, since: Instant, now: Instant) {
        let nanos = u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX);
        self.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.periods.waited(since, now);
    }

    pub(crate) fn instance_begins(&self) {
        self.instances.fetch_add(1, Ordering::Relaxed);
        self.instances_total.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn instance_ends(&self) {
        self.instances.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many instances are alive.
    pub(crate) fn instances(&self) -> u64 {
        self.instances.load(Ordering::Relaxed)
    }

    /// Takes more memory, unless that would be more than all instances may hold together, or all containers. Then it says
    /// which limit that is, and how much it would have been.
    pub(crate) fn take_memory(&self, bytes: u64) -> Result<(), (MemoryBytes, u64)> {
        let within = |held: u64| held.checked_add(bytes).filter(|total| *total <= self.memory_max.0);
        let taken = self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        let before = taken.map_err(|held| (self.memory_max, held.saturating_add(bytes)))?;
        let after = before + bytes;
        if let Some(share) = &self.share
            && !share.commons.take(share.of(after) - share.of(before))
        {
            let refused = Err((share.commons.max(), share.commons.held().saturating_add(bytes)));
            // As if it had been taken: others of this container may have gone on from there.
            share.commons.hold(share.of(after) - share.of(before));
            self.give_memory(bytes);
            return refused;
        }
        self.memory_peak.fetch_max(after, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn give_memory(&self, bytes: u64) {
        let before = self.memory.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(share) = &self.share {
            share.commons.give(share.of(before) - share.of(before.saturating_sub(bytes)));
        }
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        if let Some(share) = &self.share {
            share.commons.give(share.beyond(*self.memory.get_mut()));
            if share.brought {
                share.commons.take_away(share.promised);
            } else {
                share.commons.break_off(share.promised);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn period_in_which_the_quota_was_waited_for_is_counted_once() {
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let at = |millis: u64| Duration::from_millis(millis);
        let start = Instant::now();
        usage.waited(start, start + at(20));
        usage.waited(start + at(60), start + at(90));
        assert_eq!(usage.used().throttled_periods, 1);
        usage.waited(start + at(95), start + at(250));
        usage.waited(start + at(910), start + at(920));
        let used = usage.used();
        assert_eq!((used.throttled_periods, used.throttled), (4, at(20 + 30 + 155 + 10)));
    }

    #[test]
    fn requested_cores_weigh_as_the_kubelet_weighs_them() {
        for (millis, shares) in [(0, 2), (1, 2), (100, 102), (250, 256), (1000, 1024), (u64::MAX, 262_144)] {
            assert_eq!(CpuLimits::of_millis(millis, None).shares, shares, "{millis}m");
        }
    }

    #[test]
    fn what_another_process_says_it_holds_is_shown_up_to_its_limit_and_counts_as_what_was_lent() {
        let commons = Commons::new(MemoryBytes(1000));
        let usage = Usage::within(CpuLimits::BEST_EFFORT, MemoryBytes(100), MemoryBytes(30), &commons);
        let (none, holds) = (Used::default(), |memory| Used { memory, ..Used::default() });
        usage.take_over(&none, &holds(20));
        usage.take_over(&holds(20), &holds(u64::MAX));
        assert_eq!((commons.held(), usage.used().memory), (30, 100));
        usage.take_over(&holds(u64::MAX), &holds(50));
        assert_eq!((commons.held(), usage.used().memory), (30, 50));
        drop(usage);
        assert_eq!(commons.held(), 0);
    }

    #[test]
    fn what_another_process_used_is_added_and_what_it_holds_is_replaced() {
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(100));
        let none = Used::default();
        let cpu = Duration::from_secs(2);
        let some = Used { cpu, memory: 80, memory_peak: 90, instances: 2, instances_total: 7, ..none };
        usage.take_over(&none, &some);
        usage.take_over(&some, &Used { memory: 0, instances: 0, ..some });
        let used = usage.used();
        assert_eq!((used.cpu, used.memory, used.memory_peak), (cpu, 0, 90));
        assert_eq!((used.instances, used.instances_total), (0, 7));
    }

    #[test]
    fn memory_of_all_instances_has_one_limit_and_a_peak() {
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(100));
        assert!(usage.take_memory(60).is_ok() && usage.take_memory(40).is_ok());
        assert_eq!(usage.take_memory(1), Err((MemoryBytes(100), 101)));
        usage.give_memory(60);
        assert_eq!(usage.take_memory(1), Ok(()));
        assert_eq!((usage.used().memory, usage.used().memory_peak), (41, 100));
    }

    #[test]
    fn containers_hold_no_more_than_there_is_for_all_and_each_gets_what_it_was_promised() {
        let commons = Commons::new(MemoryBytes(100));
        let one = |limit, promised| {
            Usage::within(CpuLimits::BEST_EFFORT, MemoryBytes(limit), MemoryBytes(promised), &commons)
        };
        let (greedy, promised) = (one(1000, 0), one(1000, 40));
        assert_eq!(greedy.take_memory(60), Ok(()));
        assert_eq!(greedy.take_memory(1), Err((MemoryBytes(100), 101)));
        assert_eq!(greedy.used().memory, 60);
        assert_eq!(promised.take_memory(40), Ok(()));
        assert!(promised.take_memory(1).is_err(), "beyond its promise it is one of all");
        greedy.give_memory(50);
        assert_eq!(promised.take_memory(20), Ok(()));
        promised.give_memory(45);
        assert_eq!(commons.held(), 50);
        let unkept = one(1000, 60);
        assert_eq!((commons.held(), unkept.take_memory(51)), (50, Err((MemoryBytes(100), 101))));
        drop((greedy, promised));
        assert_eq!(commons.held(), 0);
    }
}
