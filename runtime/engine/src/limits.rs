//! Counts the memory of one instance, for itself and for its container, and refuses what goes past either limit.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::config::TABLE_ELEMENTS;
use crate::sandbox::MemoryBytes;
use crate::usage::Usage;

/// Bytes of one table entry on the host.
const TABLE_ENTRY_BYTES: usize = size_of::<usize>();

/// Core instances, tables and memories of one guest; beyond any component of a real application.
const INSTANCES_MAX: usize = 64;
const TABLES_MAX: usize = 64;
const MEMORIES_MAX: usize = 8;

/// What the host itself holds for an instance from its beginning to its end: its store, the touched part of its stack,
/// its table of handles. Charged in full to the container, since a thousand instances cost it a thousand times.
const INSTANCE_BYTES: u64 = 32 << 10;

/// The limiter of one store.
pub(crate) struct Limits {
    limit: MemoryBytes,
    usage: Arc<Usage>,
    used: usize,
    last: usize,
    /// Bytes that the host holds for it, as counted last.
    held: u64,
    /// Whether the instance's own cost was paid.
    paid: bool,
    started: bool,
    refused: Option<Refused>,
    /// Whether a table wanted more entries than one may have.
    table_refused: bool,
}

/// Memory that a guest was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Because of this limit.
    pub(crate) limit: MemoryBytes,
    /// It would have held so much: alone, or with the others if the limit is for all of them.
    pub(crate) asked: MemoryBytes,
    /// The instances that held it together.
    pub(crate) instances: u64,
    /// Whether the guest had begun.
    pub(crate) started: bool,
}

impl Limits {
    /// For an instance that may hold `limit`, and with the others of its container what `usage` says.
    pub(crate) fn new(limit: MemoryBytes, usage: &Arc<Usage>) -> Self {
        usage.instance_begins();
        let paid = usage.take_memory(INSTANCE_BYTES).is_ok();
        Self {
            limit,
            usage: Arc::clone(usage),
            used: 0,
            last: 0,
            held: 0,
            paid,
            started: false,
            refused: None,
            table_refused: false,
        }
    }

    /// Says that the guest's own code runs from now on.
    pub(crate) fn started(&mut self) {
        self.started = true;
    }

    /// The memory that the guest was refused last, if it was. A guest may take a refusal well, so this explains a trap and
    /// is none by itself.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Whether a table of the guest was refused entries because of [`TABLE_ELEMENTS`].
    pub(crate) fn table_refused(&self) -> bool {
        self.table_refused
    }

    /// Notes that the host holds so much for the guest by now; false if that is more than it may have.
    pub(crate) fn holds(&mut self, held: u64) -> bool {
        if held <= self.held {
            self.usage.give_memory(self.held - held);
            self.held = held;
            return true;
        }
        let more = self.take(held - self.held);
        if more {
            self.held = held;
        }
        more
    }

    /// Forgets that memory was refused, for an instance that is used again.
    pub(crate) fn forgive(&mut self) {
        (self.refused, self.table_refused) = (None, false);
    }

    fn grow(&mut self, by: usize) -> bool {
        let allowed = self.take(bytes(by));
        if allowed {
            self.used = self.used.saturating_add(by);
            self.last = by;
        }
        allowed
    }

    /// Charges it and its container, if neither limit is in the way.
    fn take(&mut self, more: u64) -> bool {
        let total = bytes(self.used).saturating_add(self.held).saturating_add(more);
        if total > self.limit.0 {
            self.refuse(self.limit, total, 1);
            return false;
        }
        let more = if self.paid { more } else { more.saturating_add(INSTANCE_BYTES) };
        if let Err((limit, asked)) = self.usage.take_memory(more) {
            self.refuse(limit, asked, self.usage.instances());
            return false;
        }
        // If it was not, somebody has gone meanwhile.
        self.paid = true;
        true
    }

    fn refuse(&mut self, limit: MemoryBytes, asked: u64, instances: u64) {
        self.refused = Some(Refused { limit, asked: MemoryBytes(asked), instances, started: self.started });
    }

    fn grow_failed(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.usage.give_memory(bytes(self.last));
        self.last = 0;
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        let own = if self.paid { INSTANCE_BYTES } else { 0 };
        self.usage.give_memory(bytes(self.used) + self.held + own);
        self.usage.instance_ends();
    }
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            self.table_refused = true;
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ENTRY_BYTES)))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.grow_failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::CpuLimits;

    fn usage(limit: u64) -> Arc<Usage> {
        Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(limit))
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limits = Limits::new(MemoryBytes(1000), &usage(1 << 20));
        assert!(limits.memory_growing(0, 600, None).expect("no error"));
        assert!(limits.table_growing(0, 50, None).expect("no error"));
        assert_eq!(limits.refused(), None);
        limits.started();
        assert!(!limits.memory_growing(600, 700, None).expect("no error"));
        let refused = Refused { limit: MemoryBytes(1000), asked: MemoryBytes(1100), instances: 1, started: true };
        assert_eq!(limits.refused(), Some(refused));
    }

    #[test]
    fn table_past_what_one_may_have_is_refused_and_told() {
        let mut limits = Limits::new(MemoryBytes(1 << 30), &usage(1 << 30));
        assert!(limits.table_growing(0, TABLE_ELEMENTS, None).expect("no error") && !limits.table_refused());
        assert!(!limits.table_growing(TABLE_ELEMENTS, TABLE_ELEMENTS + 1, None).expect("no error"));
        assert!(limits.table_refused());
        limits.forgive();
        assert!(!limits.table_refused());
    }

    #[test]
    fn what_the_host_holds_counts_like_what_the_guest_does() {
        let usage = usage(1 << 20);
        let mut limits = Limits::new(MemoryBytes(1000), &usage);
        assert!(limits.memory_growing(0, 600, None).expect("no error"));
        assert!(limits.holds(300) && limits.holds(100));
        assert_eq!(usage.used().memory, 700 + INSTANCE_BYTES);
        assert!(!limits.holds(500));
        assert_eq!(limits.refused().map(|refused| refused.asked), Some(MemoryBytes(1100)));
        drop(limits);
        assert_eq!(usage.used().memory, 0);
    }

    #[test]
    fn growth_that_the_machine_refused_is_not_counted() {
        let usage = usage(1 << 20);
        let mut limits = Limits::new(MemoryBytes(1000), &usage);
        assert!(limits.memory_growing(0, 900, None).expect("no error"));
        limits.memory_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert!(limits.memory_growing(0, 900, None).expect("no error"));
        assert_eq!(usage.used().memory, 900 + INSTANCE_BYTES);
    }

    #[test]
    fn instances_of_a_container_share_its_limit_and_give_back_what_they_held() {
        let usage = usage(2 * INSTANCE_BYTES + 1000);
        let mut first = Limits::new(MemoryBytes(1000), &usage);
        let mut second = Limits::new(MemoryBytes(1000), &usage);
        assert!(first.memory_growing(0, 600, None).expect("no error"));
        assert!(!second.memory_growing(0, 600, None).expect("no error"));
        assert_eq!(second.refused().map(|refused| (refused.instances, refused.started)), Some((2, false)));
        drop(first);
        assert!(second.memory_growing(0, 600, None).expect("no error"));
        drop(second);
        let used = usage.used();
        assert_eq!((used.memory, used.instances, used.instances_total), (0, 0, 2));
        assert_eq!(used.memory_peak, 2 * INSTANCE_BYTES + 600);
    }
}
