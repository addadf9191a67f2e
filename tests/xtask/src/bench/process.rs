//! What the kernel says about a process.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Clock ticks a second in `/proc`: the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// Memory of a process, in KiB.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    /// Pages it has in memory.
    pub(super) resident: u64,
    /// The same, with shared pages divided among those who share them.
    pub(super) proportional: u64,
    /// Of it, what no file backs.
    pub(super) anonymous: u64,
}

pub(super) fn memory(pid: u32) -> Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("read a process' memory")?;
    Ok(Memory {
        resident: field(&text, "Rss:").context("no Rss")?,
        proportional: field(&text, "Pss:").context("no Pss")?,
        anonymous: field(&text, "Anonymous:").context("no Anonymous")?,
    })
}

/// Bytes it has caused to be written to disk.
pub(super) fn written(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).context("read a process' input and output")?;
    field(&text, "write_bytes:").context("no write_bytes")
}

/// Processor time it has used, its own and the kernel's for it.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("read a process' times")?;
    let ticks = ticks(&text).context("no times")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The processes that it started and that still run.
pub(super) fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has just ended is none.
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if parent == Some(pid) {
            found.push(child);
        }
    }
    Ok(found)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The 14th and 15th field of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Threads of a process.
pub(super) fn threads(pid: u32) -> Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).context("no line of threads")?;
    Ok(threads.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        assert_eq!(ticks("7 (a) b) R 1 2 3 4 5 6 7 8 9 10 40 2 0 0"), Some(42));
    }

    #[test]
    fn own_memory_and_writes_can_be_read() {
        let own = std::process::id();
        assert!(memory(own).expect("on Linux").resident > 0);
        assert!(written(own).is_ok() && cpu(own).is_ok());
    }
}
