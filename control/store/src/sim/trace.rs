//! What happened in a world, in words, and a checksum of all of it.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines kept for when a promise is broken: some seconds of the world.
const KEPT: usize = 250;

#[derive(Default)]
pub(super) struct Trace {
    hasher: crc32fast::Hasher,
    last: VecDeque<String>,
    lines: u64,
    /// Every line is also printed as it happens.
    pub(super) is_loud: bool,
}

impl Trace {
    pub(super) fn add(&mut self, now: Duration, what: &str) {
        let line = format!("{:>10.4}  {what}", now.as_secs_f64());
        self.hasher.update(line.as_bytes());
        self.lines += 1;
        if self.is_loud {
            say(&line);
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Equal for equal worlds.
    pub(super) fn checksum(&self) -> (u64, u32) {
        (self.lines, self.hasher.clone().finalize())
    }

    /// The last lines.
    pub(super) fn text(&self) -> String {
        self.last.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

/// For the person who replays a seed.
#[expect(clippy::print_stderr, reason = "a replay is read at a terminal")]
pub(super) fn say(line: &str) {
    eprintln!("{line}");
}
