//! The write-ahead log and the snapshots on disk: what this peer has promised, in files.
//!
//! ```text
//! DIR/0000000000000003.log                    segments: magic, format, then frames
//! DIR/00000000000000a1-0000000000000002.snap  the newest snapshot: index and term
//! DIR/*.tmp                                   half-written, deleted when the log is opened
//! ```
//!
//! **Guarantees.** What [`Log::append`] and [`Log::install`] returned Ok for is there after a crash. A frame, the unit of
//! one fsync, is there whole or not at all. What was damaged later is refused with file and offset, never repaired.
//!
//! **Assumptions.** A sector (512 bytes) is written whole or not at all; `rename` is atomic; after an error of `fsync`
//! nothing more is written: what the caller gets is final, and it must stop voting.
//!
//! Not here: what the entries mean. The members of the cluster are not in the log: they are part of a snapshot, and
//! entries change them.

mod frame;
mod open;
mod record;
mod segment;
mod snapshot;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::PathBuf;

use raft::eraftpb::{Entry, HardState};

pub(crate) use self::open::{Recovered, bootstrap, join, resume};
use self::record::Record;
use self::segment::Segment;
pub(crate) use self::snapshot::SnapshotFile;
use crate::disk;
use crate::model::MemberId;

/// The write-ahead log, open for appending.
pub(crate) struct Log {
    dir: PathBuf,
    member: MemberId,
    /// Size at which a segment is followed by the next.
    segment_bytes: u64,
    /// Segments that are full, oldest first, with the highest index each may hold.
    closed: VecDeque<(PathBuf, u64)>,
    active: Segment,
    /// The highest index the active segment may hold.
    active_last: u64,
    hard_state: HardState,
    buffer: Vec<u8>,
}

impl Log {
    /// Writes `entries` and `hard_state` as one frame and waits until it is on disk.
    pub(crate) fn append(&mut self, entries: &[Entry], hard_state: &HardState) -> io::Result<()> {
        if self.active.len() >= self.segment_bytes {
            self.rotate(None)?;
        }
        self.buffer.clear();
        if *hard_state != self.hard_state {
            Record::HardState(hard_state.clone()).put(&mut self.buffer);
        }
        for entry in entries {
            record::put_entry(&mut self.buffer, entry);
            self.active_last = self.active_last.max(entry.index);
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.active.write(&self.buffer)?;
        self.hard_state = hard_state.clone();
        Ok(())
    }

    /// Makes `snapshot`, received from the leader, the beginning of this log: durable in one step, the rename of the
    /// snapshot's file. Whatever the log held is void.
    pub(crate) fn install(&mut self, snapshot: &SnapshotFile, hard_state: &HardState) -> io::Result<()> {
        snapshot.write(&self.dir, hard_state)?;
        self.hard_state = hard_state.clone();
        self.restart((snapshot.index, snapshot.term))
    }

    /// Goes on after `base`: whatever the log held is void.
    fn restart(&mut self, base: (u64, u64)) -> io::Result<()> {
        self.rotate(Some(base))?;
        let void = std::mem::take(&mut self.closed);
        self.delete(void.into_iter().map(|(path, _)| path))
    }

    /// Deletes the segments that hold nothing after `through`.
    pub(crate) fn compact(&mut self, through: u64) -> io::Result<()> {
        let mut old = Vec::new();
        while let Some((_, last)) = self.closed.front()
            && *last <= through
        {
            old.extend(self.closed.pop_front().map(|(path, _)| path));
        }
        self.delete(old)
    }

    /// Where the files are.
    pub(crate) fn dir(&self) -> &PathBuf {
        &self.dir
    }

    fn delete(&self, paths: impl IntoIterator<Item = PathBuf>) -> io::Result<()> {
        let mut any = false;
        for path in paths {
            fs::remove_file(path)?;
            any = true;
        }
        if any { disk::sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Starts the next segment. It repeats the hard state, so that the ones before it can be deleted.
    fn rotate(&mut self, reset: Option<(u64, u64)>) -> io::Result<()> {
        let head = segment::head(self.member, &self.hard_state, reset);
        let next = Segment::create(&self.dir, self.active.number() + 1, &head)?;
        let full = std::mem::replace(&mut self.active, next);
        let last = std::mem::take(&mut self.active_last);
        self.closed.push_back((full.path().to_owned(), last));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
