//! A container that prints without end is cut: what it prints past a steady rate is dropped, its log says how much, and
//! an event names the limit.
//!
//! Not here: how much is kept on disk (`logs`, by size), and levels.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wk_engine::{Output, Record, Stream, Usage};

use crate::net::LimitSink;

/// Bytes a second that a container may print all the time: some ten thousand lines, more than anybody reads, and a
/// hundredth of what a small disk can write.
const RATE: u64 = 1 << 20;
/// What a line costs beside what it says: its time and its stream, which the log puts before it. A container that prints
/// nothing but line ends would have forty times as much written.
const LINE_COST: usize = 40;
/// What it may print at once after a quiet while: one file of its log.
const BURST: u64 = 10 << 20;
/// What must be free again before output is taken again after some was dropped: half a second's, so that the log does
/// not consist of lines that say so.
const RESUME: u64 = RATE / 2;
/// Between two events about one run.
const EVENT_INTERVAL: Duration = Duration::from_mins(1);

/// An output that passes on what is within the rate.
pub struct Limited {
    inner: Arc<dyn Output>,
    usage: Arc<Usage>,
    tell: LimitSink,
    state: Mutex<State>,
}

impl Limited {
    /// In front of `inner`. What is dropped is counted in `usage`.
    pub fn new(inner: Arc<dyn Output>, usage: Arc<Usage>, tell: LimitSink) -> Self {
        Self { inner, usage, tell, state: Mutex::new(State::new(Instant::now())) }
    }

    /// Passes on `text` by `give`, if that is within the rate.
    fn pass(&self, text: &[u8], give: impl FnOnce(&dyn Output)) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let lines: usize = text.iter().map(|byte| usize::from(*byte == b'\n')).sum();
        let (size, cost) = (number(text.len()), number(text.len().saturating_add(lines * LINE_COST)));
        let verdict = self.state.lock().unwrap_or_else(PoisonError::into_inner).admit(size, cost, Instant::now());
        match verdict {
            Verdict::Pass { dropped } => {
                if dropped > 0 {
                    self.inner.write(Stream::Err, remark(dropped).as_bytes());
                }
                give(&*self.inner);
            }
            Verdict::Drop { tell } => {
                self.usage.dropped_output(size);
                if tell {
                    (self.tell)(&format!(
                        "output is dropped: the container prints more than {} KiB a second",
                        RATE >> 10
                    ));
                }
            }
        }
    }
}

impl Output for Limited {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        self.pass(bytes, |inner| inner.write(stream, bytes));
    }

    fn log(&self, record: &Record<'_>) {
        self.pass(record.to_string().as_bytes(), |inner| inner.log(record));
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let dropped = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).dropped;
        if dropped > 0 {
            self.inner.write(Stream::Err, remark(dropped).as_bytes());
        }
    }
}

fn remark(dropped: u64) -> String {
    format!("\nwk: {dropped} bytes of output dropped: the container printed more than {} KiB a second\n", RATE >> 10)
}

struct State {
    left: u64,
    at: Instant,
    /// Since output was last taken.
    dropped: u64,
    told: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Take it, and say first how much was dropped before it.
    Pass { dropped: u64 },
    /// Drop it, and perhaps tell somebody.
    Drop { tell: bool },
}

impl State {
    fn new(now: Instant) -> Self {
        Self { left: BURST, at: now, dropped: 0, told: None }
    }

    /// Judges output of so many bytes, which costs so much.
    fn admit(&mut self, size: u64, cost: u64, now: Instant) -> Verdict {
        let micros = u64::try_from(now.saturating_duration_since(self.at).as_micros()).unwrap_or(u64::MAX);
        let earned = micros.saturating_mul(RATE) / 1_000_000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.at = now;
        }
        let needed = if self.dropped > 0 { cost.max(RESUME) } else { cost };
        if self.left >= needed {
            self.left -= cost;
            return Verdict::Pass { dropped: std::mem::take(&mut self.dropped) };
        }
        self.dropped = self.dropped.saturating_add(size);
        let tell = self.told.is_none_or(|told| now.duration_since(told) >= EVENT_INTERVAL);
        if tell {
            self.told = Some(now);
        }
        Verdict::Drop { tell }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wk_engine::{CpuLimits, Level, MemoryBytes};

    #[derive(Default)]
    struct Kept(Mutex<Vec<u8>>);

    impl Output for Kept {
        fn write(&self, _: Stream, bytes: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }
    }

    /// Keeps the levels of messages.
    #[derive(Default)]
    struct Levels(Mutex<Vec<Level>>);

    impl Output for Levels {
        fn write(&self, _: Stream, _: &[u8]) {}

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.level);
        }
    }

    #[test]
    fn messages_keep_their_level() {
        let kept = Arc::new(Levels::default());
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let limited = Limited::new(Arc::<Levels>::clone(&kept), usage, Arc::new(|_| {}));
        limited.log(&Record { level: Level::Warn, context: "app", message: "hello" });
        assert_eq!(*kept.0.lock().unwrap(), [Level::Warn]);
    }

    #[test]
    fn flood_is_cut_and_the_log_says_how_much() {
        let kept = Arc::new(Kept::default());
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell: LimitSink = {
            let told = Arc::clone(&told);
            Arc::new(move |message| told.lock().unwrap().push(message.to_owned()))
        };
        let output = Limited::new(Arc::clone(&kept) as Arc<dyn Output>, Arc::clone(&usage), tell);
        let piece = vec![b'x'; 64 << 10];
        (0..1000).for_each(|_| output.write(Stream::Out, &piece));
        drop(output);
        let dropped = usage.used().log_dropped;
        // Sixty megabytes at once, of which ten are kept and what the test's own time earned.
        assert!(dropped > 20 << 20, "{dropped}");
        let kept = kept.0.lock().unwrap();
        assert!(kept.len() as u64 >= BURST - (64 << 10));
        let end = String::from_utf8_lossy(&kept[kept.len() - 100..]).into_owned();
        assert!(end.contains("bytes of output dropped: the container printed more than 1024 KiB a second\n"), "{end}");
        assert_eq!(told.lock().unwrap().len(), 1, "one event for all of it");
    }

    #[test]
    fn line_ends_cost_what_the_log_makes_of_them() {
        let kept = Arc::new(Kept::default());
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let output = Limited::new(Arc::clone(&kept) as Arc<dyn Output>, usage, Arc::new(|_| {}));
        let lines = vec![b'\n'; 64 << 10];
        (0..100).for_each(|_| output.write(Stream::Out, &lines));
        // Six megabytes of them would be within the burst by their own size.
        let kept = kept.0.lock().unwrap().len() as u64;
        assert!(kept < BURST / 20, "{kept}");
    }

    #[test]
    fn steady_printing_within_the_rate_is_never_cut() {
        let start = Instant::now();
        let mut state = State::new(start);
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            assert_eq!(state.admit(RATE, RATE, now), Verdict::Pass { dropped: 0 });
        }
    }

    #[test]
    fn output_is_taken_again_when_there_is_room_and_says_what_is_missing() {
        let start = Instant::now();
        let mut state = State::new(start);
        assert_eq!(state.admit(BURST, BURST, start), Verdict::Pass { dropped: 0 });
        assert_eq!(state.admit(10, 10, start), Verdict::Drop { tell: true });
        assert_eq!(state.admit(10, 10, start + Duration::from_millis(100)), Verdict::Drop { tell: false });
        assert_eq!(state.admit(10, 10, start + Duration::from_millis(700)), Verdict::Pass { dropped: 20 });
    }
}
