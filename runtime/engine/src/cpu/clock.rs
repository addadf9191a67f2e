//! How long a guest was on a core: cheap for a short poll, exact for a long one.
//!
//! The thread's CPU clock is a call into the kernel, half a microsecond where a whole request takes thirty. So a poll is
//! timed by the monotonic clock, which is twenty times cheaper, and corrected by the thread's clock when it was long: only
//! then can the kernel have let somebody else run meanwhile for a time that matters.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A reading of the thread's clock serves as the start of polls for this long; it bounds the error of a long poll.
const FRESH: Duration = Duration::from_millis(1);

/// A poll that took less is taken at its word.
const LONG: Duration = Duration::from_micros(200);

thread_local! {
    /// The last reading of this thread's CPU clock, and when.
    static READING: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// One stretch of work on this thread.
pub(crate) struct Stretch {
    began: Instant,
    cpu: u64,
}

impl Stretch {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        let began = Instant::now();
        let known = READING.get().filter(|(at, _)| began.duration_since(*at) < FRESH);
        Self { began, cpu: known.map_or_else(|| read(began), |(_, cpu)| cpu) }
    }

    /// Nanoseconds on a core since it began.
    pub(crate) fn end(self) -> u64 {
        let now = Instant::now();
        let wall = now.duration_since(self.began);
        let nanos = u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX);
        if wall < LONG { nanos } else { nanos.min(read(now).saturating_sub(self.cpu)) }
    }
}

fn read(now: Instant) -> u64 {
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = |part: i64| u64::try_from(part).unwrap_or(0);
    let cpu = nanos(cpu.tv_sec) * 1_000_000_000 + nanos(cpu.tv_nsec);
    READING.set(Some((now, cpu)));
    cpu
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_asleep_is_not_time_on_a_core() {
        let stretch = Stretch::begin();
        std::thread::park_timeout(Duration::from_millis(20));
        assert!(stretch.end() < 15_000_000);
    }

    #[test]
    fn time_at_work_is_counted() {
        let stretch = Stretch::begin();
        let before = read(Instant::now());
        while read(Instant::now()) - before < 5_000_000 {}
        assert!(stretch.end() >= 5_000_000);
    }
}
