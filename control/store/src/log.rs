//! The write-ahead log and the snapshots on disk: what this peer has promised, in files.
//!
//! ```text
//! DIR/0000000000000003.log                    segments: magic, format, then frames
//! DIR/00000000000000a1-0000000000000002.snap  the newest snapshot: index and term
//! DIR/*.part                                  a snapshot on its way from the leader
//! DIR/*.tmp                                   half-written, deleted when the log is opened
//! ```
//!
//! **Guarantees.** What [`Log::append`] and [`Log::install`] returned Ok for is there after a crash. A frame, the unit of
//! one fsync, is there whole or not at all. What was damaged later is refused with file and offset, never repaired.
//!
//! **Assumptions.** A sector (512 bytes) is written whole or not at all; `rename` is atomic; after an error of `fsync`
//! nothing more is written: what the caller gets is final, and it must stop voting. A full disk is waited for instead:
//! it refuses what is written before anything is promised, and what was written of it is cut off again.
//!
//! Not here: what the entries mean. The members of the cluster are not in the log: they are part of a snapshot, and
//! entries change them.

pub(crate) mod files;
mod frame;
mod open;
mod record;
pub(crate) mod segment;
pub(crate) mod snapshot;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use raft::eraftpb::{Entry, HardState};

pub(crate) use self::open::{Recovered, begin, bootstrap, join, resume};
use self::record::Record;
use self::segment::Segment;
pub(crate) use self::snapshot::SnapshotId;
use crate::disk::Disk;
use crate::machine::Machine;
use crate::model::MemberId;
use crate::room::Room;

/// One durable step.
#[derive(Debug)]
pub(crate) struct Write {
    /// A snapshot of the leader's that is here as a part. Replaces the log, before anything else of this step.
    pub(crate) snapshot: Option<SnapshotId>,
    /// To be appended; an index that is there already voids what was there and after.
    pub(crate) entries: Vec<Entry>,
    /// Term, vote and commit.
    pub(crate) hard_state: HardState,
}

/// What the log is asked to do. Jobs are carried out in order.
#[derive(Debug)]
pub(crate) enum Job {
    /// To be made durable; the ticket names it to whoever waits.
    Write { ticket: u64, write: Write },
    /// The entries up to this index are in a snapshot and need not be kept.
    Compact(u64),
}

impl Job {
    /// Entries that it writes.
    pub(crate) fn entries(&self) -> usize {
        match self {
            Self::Write { write, .. } => write.entries.len(),
            Self::Compact(_) => 0,
        }
    }
}

/// The write-ahead log, open for appending.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
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
    /// Who waits when the disk is full.
    room: Arc<Room>,
}

impl Log {
    /// From now on a full disk is waited for.
    pub(crate) fn wait_for(&mut self, room: Arc<Room>) {
        self.room = room;
    }

    /// Carries out `jobs`, in order, and returns the ticket of the last one that was a write. Writes that follow each
    /// other become one frame: one fsync carries all that waited while the disk was at work.
    pub(crate) fn carry_out(&mut self, jobs: impl IntoIterator<Item = Job>) -> io::Result<Option<u64>> {
        let mut last = None;
        let mut gathered: Option<(Vec<Entry>, HardState)> = None;
        for job in jobs {
            match job {
                Job::Write { ticket, write: Write { snapshot, entries, hard_state } } => {
                    if let Some(snapshot) = snapshot {
                        self.append_gathered(&mut gathered)?;
                        self.install(&snapshot, &hard_state)?;
                    }
                    match &mut gathered {
                        Some((all, newest)) => {
                            all.extend(entries);
                            *newest = hard_state;
                        }
                        None => gathered = Some((entries, hard_state)),
                    }
                    last = Some(ticket);
                }
                Job::Compact(through) => {
                    self.append_gathered(&mut gathered)?;
                    self.compact(through)?;
                }
            }
        }
        self.append_gathered(&mut gathered)?;
        Ok(last)
    }

    fn append_gathered(&mut self, gathered: &mut Option<(Vec<Entry>, HardState)>) -> io::Result<()> {
        match gathered.take() {
            Some((entries, hard_state)) => self.append(&entries, &hard_state),
            None => Ok(()),
        }
    }

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
        let Self { active, disk, buffer, room, .. } = self;
        room.retry(|| active.write(&**disk, buffer))?;
        self.hard_state = hard_state.clone();
        Ok(())
    }

    /// Makes `snapshot`, received from the leader, the beginning of this log: durable in one step, the rename of the
    /// snapshot's file. Whatever the log held is void.
    fn install(&mut self, snapshot: &SnapshotId, hard_state: &HardState) -> io::Result<()> {
        // The promises first: the log that holds them is void from the rename on. Not the commit, which the log does not
        // reach.
        let commit = self.hard_state.commit;
        self.append(&[], &HardState { commit, ..hard_state.clone() })?;
        self.disk.rename(&snapshot.part(&self.dir), &snapshot.path(&self.dir))?;
        self.disk.sync_dir(&self.dir)?;
        self.hard_state = hard_state.clone();
        self.restart((snapshot.index, snapshot.term))?;
        snapshot::prune(&*self.disk, &self.dir, snapshot.index, &[])
    }

    /// Makes `machine` the beginning of this log: durable in one step, the rename of its snapshot. Whatever the log held
    /// is void.
    pub(crate) fn replace(&mut self, machine: &Machine, hard_state: &HardState) -> io::Result<()> {
        // The promises first, as for a snapshot of the leader's.
        let commit = self.hard_state.commit;
        self.append(&[], &HardState { commit, ..hard_state.clone() })?;
        let snapshot = snapshot::write(&*self.disk, &self.dir, machine)?;
        self.hard_state = hard_state.clone();
        self.restart((snapshot.index, snapshot.term))?;
        snapshot::prune(&*self.disk, &self.dir, snapshot.index, &[])
    }

    /// Goes on after `base`: whatever the log held is void.
    fn restart(&mut self, base: (u64, u64)) -> io::Result<()> {
        self.rotate(Some(base))?;
        let void = std::mem::take(&mut self.closed);
        self.delete(void.into_iter().map(|(path, _)| path))
    }

    /// Deletes the segments that hold nothing after `through`.
    fn compact(&mut self, through: u64) -> io::Result<()> {
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
            self.disk.remove(&path)?;
            any = true;
        }
        if any { self.disk.sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Starts the next segment. It repeats the hard state, so that the ones before it can be deleted.
    fn rotate(&mut self, reset: Option<(u64, u64)>) -> io::Result<()> {
        let head = segment::head(self.member, &self.hard_state, reset);
        let number = self.active.number() + 1;
        let next = self.room.retry(|| Segment::create(&*self.disk, &self.dir, number, &head))?;
        let full = std::mem::replace(&mut self.active, next);
        let last = std::mem::take(&mut self.active_last);
        self.closed.push_back((full.path().to_owned(), last));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
