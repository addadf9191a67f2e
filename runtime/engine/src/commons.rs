//! The memory that all containers of a machine may hold together, in this process and in others.
//!
//! Not here: what one container may hold (`usage`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sandbox::MemoryBytes;

/// The memory that all containers of a machine may hold together. Their own limits may be more in sum than there is, and
/// who has none could take all: what is past this is refused to whoever asks for it, before the kernel ends the node.
///
/// What a container was promised (`requests.memory`) it gets: it counts as held from the beginning.
///
/// The containers of another process have commons of their own, which begin with nothing and borrow from the machine's in
/// steps ([`Lender`]); what is lent counts as held there.
pub struct Commons {
    max: AtomicU64,
    held: AtomicU64,
    source: Source,
}

/// What they are a part of.
enum Source {
    Machine,
    /// Of these, in this process.
    Part(Arc<Commons>),
    /// Of another process'.
    Lender(Box<dyn Lender>),
}

/// Lends memory of all to a process' commons.
pub trait Lender: Send + Sync + 'static {
    /// Lends so many bytes, or none. Blocks shortly.
    fn lend(&self, bytes: u64) -> bool;
}

/// What is borrowed at a time, at least: a few instances, so that a process asks seldom, and a machine of 1 GiB has
/// enough for some forty of them.
const LOAN_BYTES: u64 = 16 << 20;
/// Loans that are asked for where other threads take what comes.
const BORROWS_MAX: usize = 4;

impl Commons {
    /// So much for all of them.
    pub fn new(max: MemoryBytes) -> Arc<Self> {
        Self::of(max, Source::Machine)
    }

    /// So much of `whole`, for some.
    pub fn part(max: MemoryBytes, whole: &Arc<Self>) -> Arc<Self> {
        Self::of(max, Source::Part(Arc::clone(whole)))
    }

    /// What `lender` lends, and nothing else.
    pub fn borrowing(lender: impl Lender) -> Arc<Self> {
        Self::of(MemoryBytes(0), Source::Lender(Box::new(lender)))
    }

    fn of(max: MemoryBytes, source: Source) -> Arc<Self> {
        Arc::new(Self { max: AtomicU64::new(max.0), held: AtomicU64::new(0), source })
    }

    /// Whether they are a part of others in this process.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self.source, Source::Part(_))
    }

    /// Bytes that are held, promised, or lent to other processes.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that may be held, as far as that is known here.
    pub(crate) fn max(&self) -> MemoryBytes {
        MemoryBytes(self.max.load(Ordering::Relaxed))
    }

    /// Takes so many bytes, for a container or to lend them to another process; false when there is not so much.
    pub fn take(&self, bytes: u64) -> bool {
        match &self.source {
            Source::Machine => self.take_here(bytes),
            Source::Part(whole) => {
                let taken = self.take_here(bytes);
                if taken && !whole.take(bytes) {
                    self.held.fetch_sub(bytes, Ordering::Relaxed);
                    return false;
                }
                taken
            }
            Source::Lender(lender) => {
                let borrowed = || self.borrow(&**lender, bytes);
                self.take_here(bytes) || (0..BORROWS_MAX).any(|_| borrowed() && self.take_here(bytes))
            }
        }
    }

    /// Gives back what was taken.
    pub fn give(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Source::Part(whole) = &self.source {
            whole.give(bytes);
        }
    }

    /// Of what was borrowed gives up what is not needed, but for some steps, and tells how much: it is the lender's again.
    pub fn surplus(&self) -> u64 {
        let mut spare = 0;
        let _ = self.max.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |max| {
            spare = max.saturating_sub(self.held().saturating_add(2 * LOAN_BYTES));
            Some(max - spare)
        });
        spare
    }

    fn borrow(&self, lender: &dyn Lender, bytes: u64) -> bool {
        // Where there is no whole step left, what is needed.
        let lent = [bytes.max(LOAN_BYTES), bytes].into_iter().find(|wanted| lender.lend(*wanted));
        self.max.fetch_add(lent.unwrap_or_default(), Ordering::Relaxed);
        lent.is_some()
    }

    fn take_here(&self, bytes: u64) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let within = |held: u64| held.checked_add(bytes).filter(|total| *total <= max);
        bytes == 0 || self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    /// Takes without asking.
    pub(crate) fn hold(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if let Source::Part(whole) = &self.source {
            whole.hold(bytes);
        }
    }

    /// Promises so many bytes of the whole, whatever part a container is of; false when there is not so much.
    pub(crate) fn promise(&self, bytes: u64) -> bool {
        match &self.source {
            Source::Part(whole) => whole.promise(bytes),
            Source::Machine | Source::Lender(_) => self.take(bytes),
        }
    }

    /// Ends a promise.
    pub(crate) fn break_off(&self, bytes: u64) {
        match &self.source {
            Source::Part(whole) => whole.break_off(bytes),
            Source::Machine | Source::Lender(_) => self.give(bytes),
        }
    }

    /// A promise comes from where it counts.
    pub(crate) fn bring(&self, bytes: u64) {
        self.max.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// And goes.
    pub(crate) fn take_away(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.max.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for Commons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commons").field("max", &self.max).field("held", &self.held).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{CpuLimits, Usage};

    impl Lender for Arc<Commons> {
        fn lend(&self, bytes: u64) -> bool {
            self.take(bytes)
        }
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn processes_borrow_in_steps_and_hold_no_more_together_than_there_is() {
        let machine = Commons::new(MemoryBytes(40 * MIB));
        let (one, other) = (Commons::borrowing(Arc::clone(&machine)), Commons::borrowing(Arc::clone(&machine)));
        assert!(one.take(1) && one.take(15 * MIB) && other.take(MIB));
        assert_eq!(machine.held(), 32 * MIB, "one step each");
        assert!(machine.take(4 * MIB), "the node's own");
        assert!(one.take(4 * MIB), "no step is left, and what is needed is");
        assert!(!one.take(MIB) && other.take(15 * MIB) && !other.take(1));
        one.give(19 * MIB);
        let surplus = one.surplus();
        assert_eq!((surplus, one.surplus()), (0, 0), "two steps stay");
    }

    #[test]
    fn what_is_not_needed_any_more_goes_back() {
        let machine = Commons::new(MemoryBytes(200 * MIB));
        let one = Commons::borrowing(Arc::clone(&machine));
        assert!(one.take(100 * MIB));
        one.give(99 * MIB);
        let surplus = one.surplus();
        assert_eq!(surplus, (100 - 1 - 32) * MIB);
        machine.give(surplus);
        assert!(one.take(32 * MIB) && machine.held() == 33 * MIB);
    }

    #[test]
    fn a_promise_is_kept_in_another_process_without_a_loan() {
        let machine = Commons::new(MemoryBytes(100 * MIB));
        let (some, limits) = (MemoryBytes(60 * MIB), CpuLimits::BEST_EFFORT);
        let here = Usage::within(limits, some, MemoryBytes(30 * MIB), &machine);
        let there = Commons::borrowing(Arc::clone(&machine));
        let usage = Usage::lent(limits, some, here.promised(), &there);
        assert!(usage.take_memory(30 * MIB).is_ok() && machine.held() == 30 * MIB);
        assert!(usage.take_memory(MIB).is_ok() && machine.held() == 46 * MIB);
        drop(usage);
        assert_eq!((there.held(), there.max()), (0, MemoryBytes(16 * MIB)));
    }

    #[test]
    fn a_part_is_bounded_by_itself_and_by_the_whole_and_promises_are_of_the_whole() {
        let machine = Commons::new(MemoryBytes(100));
        let part = Commons::part(MemoryBytes(50), &machine);
        let unlimited = Usage::within(CpuLimits::BEST_EFFORT, MemoryBytes(1000), MemoryBytes(40), &part);
        assert_eq!((part.held(), machine.held()), (0, 40));
        assert!(unlimited.take_memory(90).is_ok() && unlimited.take_memory(1).is_err());
        assert_eq!((part.held(), machine.held()), (50, 90));
        unlimited.give_memory(10);
        assert!(machine.take(20) && unlimited.take_memory(1).is_err(), "the whole is full");
        assert_eq!(part.held(), 40);
        drop(unlimited);
        assert_eq!((part.held(), machine.held()), (0, 20));
    }
}
