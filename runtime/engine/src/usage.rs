//! What one container may use of this machine, and what it has used: one [`Usage`] for all its instances, written by the
//! engine and the node, read by whoever shows it.
//!
//! Not here: who runs when (`cpu`), and the limit of a single instance (`limits`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cpu::Account;
use crate::sandbox::MemoryBytes;

/// What a container may have of the machine's cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Counts what a container uses. All its instances share one, and a container that starts again may keep it.
#[derive(Debug)]
pub struct Usage {
    cpu_limits: CpuLimits,
    memory_max: MemoryBytes,
    pub(crate) account: Account,
    cpu_nanos: AtomicU64,
    waited_nanos: AtomicU64,
    memory: AtomicU64,
    memory_peak: AtomicU64,
    instances: AtomicU64,
    instances_total: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    log_dropped: AtomicU64,
}

/// What a container used until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Time on a core.
    pub cpu: Duration,
    /// Time that it wanted a core and waited for its quota.
    pub throttled: Duration,
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
}

impl Usage {
    /// Nothing used yet. `memory_max` is for all instances together.
    pub fn new(cpu: CpuLimits, memory_max: MemoryBytes) -> Arc<Self> {
        let zero = AtomicU64::default;
        Arc::new(Self {
            cpu_limits: cpu,
            memory_max,
            account: Account::new(cpu),
            cpu_nanos: zero(),
            waited_nanos: zero(),
            memory: zero(),
            memory_peak: zero(),
            instances: zero(),
            instances_total: zero(),
            requests: zero(),
            failures: zero(),
            bytes_in: zero(),
            bytes_out: zero(),
            log_dropped: zero(),
        })
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
            memory: read(&self.memory),
            memory_peak: read(&self.memory_peak),
            instances: read(&self.instances),
            instances_total: read(&self.instances_total),
            requests: read(&self.requests),
            failures: read(&self.failures),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            log_dropped: read(&self.log_dropped),
        }
    }

    /// A request arrived.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A request, or a run of a command, did not end well.
    pub fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
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

    pub(crate) fn ran(&self, nanos: u64) {
        self.cpu_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.account.charge(nanos);
    }

    pub(crate) fn waited(&self, nanos: u64) {
        self.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
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

    /// Takes more memory, unless that would be more than all instances may hold together.
    pub(crate) fn take_memory(&self, bytes: u64) -> bool {
        let within = |held: u64| held.checked_add(bytes).filter(|total| *total <= self.memory_max.0);
        match self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(before) => {
                self.memory_peak.fetch_max(before + bytes, Ordering::Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) fn give_memory(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_cores_weigh_as_the_kubelet_weighs_them() {
        for (millis, shares) in [(0, 2), (1, 2), (100, 102), (250, 256), (1000, 1024), (u64::MAX, 262_144)] {
            assert_eq!(CpuLimits::of_millis(millis, None).shares, shares, "{millis}m");
        }
    }

    #[test]
    fn memory_of_all_instances_has_one_limit_and_a_peak() {
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(100));
        assert!(usage.take_memory(60) && usage.take_memory(40));
        assert!(!usage.take_memory(1));
        usage.give_memory(60);
        assert!(usage.take_memory(1));
        assert_eq!((usage.used().memory, usage.used().memory_peak), (41, 100));
    }
}
