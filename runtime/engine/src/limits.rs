//! Counts the memory of one instance and refuses what goes past its limit.

use wasmtime::ResourceLimiter;

use crate::sandbox::MemoryBytes;

/// Bytes of one table entry on the host.
const TABLE_ENTRY_BYTES: usize = size_of::<usize>();

/// Core instances, tables and memories of one guest; beyond any component of a real application.
const INSTANCES_MAX: usize = 64;
const TABLES_MAX: usize = 64;
const MEMORIES_MAX: usize = 8;

/// The limiter of one store.
pub(crate) struct Limits {
    limit: MemoryBytes,
    used: usize,
    last: usize,
    refused: bool,
}

impl Limits {
    pub(crate) fn new(limit: MemoryBytes) -> Self {
        Self { limit, used: 0, last: 0, refused: false }
    }

    /// The limit, when the guest was refused memory because of it. A guest may take a refusal well, so this explains a
    /// trap and is none by itself.
    pub(crate) fn breached(&self) -> Option<MemoryBytes> {
        self.refused.then_some(self.limit)
    }

    fn grow(&mut self, by: usize) -> bool {
        let total = self.used.saturating_add(by);
        if u64::try_from(total).unwrap_or(u64::MAX) > self.limit.0 {
            self.refused = true;
            return false;
        }
        self.used = total;
        self.last = by;
        true
    }

    fn grow_failed(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.last = 0;
    }
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

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limits = Limits::new(MemoryBytes(1000));
        assert!(limits.memory_growing(0, 600, None).expect("no error"));
        assert!(limits.table_growing(0, 50, None).expect("no error"));
        assert_eq!(limits.breached(), None);
        assert!(!limits.memory_growing(600, 700, None).expect("no error"));
        assert_eq!(limits.breached(), Some(MemoryBytes(1000)));
    }

    #[test]
    fn growth_that_the_machine_refused_is_not_counted() {
        let mut limits = Limits::new(MemoryBytes(1000));
        assert!(limits.memory_growing(0, 900, None).expect("no error"));
        limits.memory_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert!(limits.memory_growing(0, 900, None).expect("no error"));
    }
}
