//! Chance in the simulated world: all of it comes from one seed, and how much of what from a second draw of it.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// The one source of chance of a world.
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// True in `per_mille` of a thousand cases.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.0.random_range(0..1000) < per_mille
    }

    pub(super) fn number(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// An index of something that has `len` things; there is one at least.
    pub(super) fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    /// One of `all`; None when there is none.
    pub(super) fn pick<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        if all.is_empty() { None } else { Some(all[self.index(all.len())].clone()) }
    }

    /// A time from `range`, both in microseconds.
    pub(super) fn micros(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_micros(self.number(range))
    }

    pub(super) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        self.micros(range.start() * 1000..=range.end() * 1000)
    }

    /// A number for someone who throws dice of their own.
    pub(super) fn seed(&mut self) -> u64 {
        self.0.random()
    }
}
