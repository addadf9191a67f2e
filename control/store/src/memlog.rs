//! The log as Raft reads it: the entries after the last compaction, in memory. The disk has its own copy
//! ([`crate::log`]), written before anything is promised, and may reach back further ([`MemLog::forget`]).

use std::cell::Cell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

/// What an entry costs in memory and in a message beside its data.
const ENTRY_OVERHEAD: u64 = 64;

/// Entries and their context.
pub(crate) struct MemLog {
    hard_state: HardState,
    /// The members as of the first start; Raft asks once.
    members: ConfState,
    /// Index and term of the entry before the first one kept.
    base: (u64, u64),
    entries: VecDeque<Entry>,
    /// The last entry in the newest snapshot taken or installed here.
    mark: u64,
    /// Bytes of the entries after the mark: asked for too often to be counted each time.
    bytes: u64,
    /// Of the entries after the mark, those that only the disk still has.
    forgotten: u64,
    /// The last entry that the disk need not have.
    floor: u64,
    /// The newest snapshot, as followers are told of it.
    snapshot: Option<Snapshot>,
    /// Raft asked for a snapshot and there was none.
    wanted: Cell<bool>,
}

fn size(entry: &Entry) -> u64 {
    entry.data.len() as u64 + entry.context.len() as u64 + ENTRY_OVERHEAD
}

impl MemLog {
    pub(crate) fn new(base: (u64, u64), members: ConfState, hard_state: HardState, entries: Vec<Entry>) -> Self {
        let bytes = entries.iter().map(size).sum();
        Self {
            hard_state,
            members,
            base,
            entries: entries.into(),
            mark: base.0,
            bytes,
            forgotten: 0,
            floor: base.0,
            snapshot: None,
            wanted: Cell::new(false),
        }
    }

    /// Adds `entries`; those at indexes that are there void the old ones from there on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        while self.last() >= first.index {
            let Some(void) = self.entries.pop_back() else { break };
            self.bytes -= self.counted(&void);
        }
        self.bytes += entries.iter().map(|entry| self.counted(entry)).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    pub(crate) fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    pub(crate) fn hard_state(&self) -> &HardState {
        &self.hard_state
    }

    /// Starts over after a snapshot.
    pub(crate) fn restart(&mut self, base: (u64, u64)) {
        self.base = base;
        self.mark = base.0;
        self.floor = base.0;
        self.entries.clear();
        self.bytes = 0;
        self.forgotten = 0;
        self.snapshot = None;
    }

    /// Forgets the entries up to `through`, which are applied and on disk, here alone: nobody will ask for them but this
    /// member when it starts again. They count towards the next snapshot all the same.
    pub(crate) fn forget(&mut self, through: u64) {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= through) {
            self.base = (entry.index, entry.term);
            self.forgotten += u64::from(entry.index > self.mark);
        }
    }

    /// Forgets the entries up to `through`; the disk may too.
    pub(crate) fn compact(&mut self, through: u64) {
        self.floor = self.floor.max(through);
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.index <= through) {
            self.base = (entry.index, entry.term);
            self.bytes -= self.counted(&entry);
        }
    }

    /// The last index to forget so that at most so much is kept, and nothing after `limit` is forgotten.
    pub(crate) fn compaction(&self, limit: u64, kept_bytes: u64, kept_entries: u64) -> u64 {
        let (mut bytes, mut through) = (0, self.last());
        for entry in self.entries.iter().rev() {
            bytes += size(entry);
            if bytes > kept_bytes || self.last() - entry.index >= kept_entries {
                break;
            }
            through = entry.index - 1;
        }
        through.min(limit)
    }

    /// The entries up to `index` are in a snapshot.
    pub(crate) fn set_mark(&mut self, index: u64) {
        self.mark = index;
        // Those that were forgotten while the snapshot was written are left out: they are few.
        self.forgotten = 0;
        self.bytes = self.entries.iter().rev().take_while(|entry| entry.index > index).map(size).sum();
    }

    /// The last entry in the newest snapshot taken or installed here.
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    /// Entries after the mark, and their bytes.
    pub(crate) fn since_mark(&self) -> (u64, u64) {
        (self.last().saturating_sub(self.mark.max(self.base.0)) + self.forgotten, self.bytes)
    }

    /// The last entry that the disk need not have.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Bytes of the entries after `index`.
    pub(crate) fn bytes_after(&self, index: u64) -> u64 {
        self.entries.iter().rev().take_while(|entry| entry.index > index).map(size).sum()
    }

    /// What `entry` adds to the bytes after the mark.
    fn counted(&self, entry: &Entry) -> u64 {
        if entry.index > self.mark { size(entry) } else { 0 }
    }

    pub(crate) fn first(&self) -> u64 {
        self.base.0 + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    pub(crate) fn set_snapshot(&mut self, snapshot: Option<Snapshot>) {
        self.snapshot = snapshot;
    }

    /// Whether Raft asked for a snapshot that was not there, since this was last asked.
    pub(crate) fn take_wanted(&self) -> bool {
        self.wanted.take()
    }

    fn get(&self, index: u64) -> Option<&Entry> {
        let at = index.checked_sub(self.first())?;
        self.entries.get(usize::try_from(at).ok()?)
    }
}

impl Storage for MemLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let mut room = max_size.into().unwrap_or(u64::MAX);
        let mut entries = Vec::new();
        for index in low..high {
            let Some(entry) = self.get(index) else { return Err(StorageError::Unavailable.into()) };
            // One at least, however large: else it would never be sent.
            if !entries.is_empty() && size(entry) > room {
                break;
            }
            room = room.saturating_sub(size(entry));
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.0 {
            return Ok(self.base.1);
        }
        if index < self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        self.get(index).map(|entry| entry.term).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let is_fit = |snapshot: &&Snapshot| {
            let metadata = snapshot.get_metadata();
            let members = metadata.get_conf_state();
            // A member ignores a snapshot from before it was added.
            let mut all = [&members.voters, &members.learners, &members.voters_outgoing].into_iter().flatten();
            // The log must go on where the snapshot ends.
            metadata.index >= request_index.max(self.base.0) && all.any(|id| *id == to)
        };
        self.snapshot.as_ref().filter(is_fit).cloned().ok_or_else(|| {
            self.wanted.set(true);
            StorageError::SnapshotTemporarilyUnavailable.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 36].into(), ..Entry::default() }
    }

    fn log() -> MemLog {
        MemLog::new((1, 1), ConfState::default(), HardState::default(), (2..=6).map(|index| entry(index, 1)).collect())
    }

    #[test]
    fn a_conflicting_entry_voids_those_after_it() {
        let mut log = log();
        log.append(&[entry(4, 2)]);
        assert_eq!((log.last(), log.term(4), log.term(3)), (4, Ok(2), Ok(1)));
        assert_eq!(log.since_mark(), (3, 300));
    }

    #[test]
    fn what_follows_the_last_snapshot_is_counted_as_the_log_changes() {
        let mut log = log();
        assert_eq!((log.mark(), log.since_mark()), (1, (5, 500)));
        log.set_mark(4);
        assert_eq!(log.since_mark(), (2, 200));
        log.compact(3);
        assert_eq!(log.since_mark(), (2, 200), "what is forgotten was not counted");
        log.append(&[entry(6, 2), entry(7, 2), entry(8, 2)]);
        assert_eq!(log.since_mark(), (4, 400), "one of them is in place of an old one");
        log.compact(5);
        assert_eq!(log.since_mark(), (3, 300));
        log.restart((20, 3));
        assert_eq!((log.mark(), log.since_mark()), (20, (0, 0)));
    }

    #[test]
    fn what_is_forgotten_stays_on_disk_and_counts_towards_the_next_snapshot() {
        let mut log = log();
        log.forget(4);
        assert_eq!(
            (log.first(), log.floor(), log.term(4), log.term(3)),
            (5, 1, Ok(1), Err(StorageError::Compacted.into()))
        );
        assert_eq!(log.since_mark(), (5, 500));
        log.append(&[entry(7, 1)]);
        assert_eq!(log.since_mark(), (6, 600));
        // A snapshot of what was applied then; more was forgotten meanwhile.
        let through = log.compaction(3, 0, 0);
        log.compact(through);
        log.set_mark(3);
        assert_eq!((log.first(), log.floor(), log.mark()), (5, 3, 3));
        assert_eq!(log.since_mark(), (3, 300), "all but the one that was forgotten");
    }

    #[test]
    fn the_term_before_the_first_entry_is_known_and_no_older_one() {
        let mut log = log();
        log.compact(3);
        assert_eq!((log.first(), log.term(3), log.term(2)), (4, Ok(1), Err(StorageError::Compacted.into())));
        assert_eq!(log.since_mark(), (3, 300));
    }

    #[test]
    fn compaction_keeps_a_tail() {
        let log = log();
        assert_eq!(log.compaction(6, 1000, 2), 4);
        assert_eq!(log.compaction(6, 300, 100), 3);
        assert_eq!(log.compaction(2, 300, 100), 2);
        assert_eq!(log.compaction(6, 1000, 100), 1);
    }

    #[test]
    fn a_read_is_limited_by_size_but_never_empty() {
        let log = log();
        let read = |size| log.entries(2, 7, size, GetEntriesContext::empty(false)).expect("is there").len();
        assert_eq!((read(0), read(250), read(1000)), (1, 2, 5));
    }

    #[test]
    fn a_snapshot_that_is_not_there_is_asked_for_once() {
        let log = log();
        assert!(log.snapshot(0, 2).is_err());
        assert!(log.take_wanted() && !log.take_wanted());
    }

    #[test]
    fn a_snapshot_from_before_a_member_was_added_is_not_sent_to_it() {
        let mut log = log();
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = 4;
        snapshot.mut_metadata().set_conf_state(ConfState::from((vec![1], vec![2])));
        log.set_snapshot(Some(snapshot));
        assert!(log.snapshot(0, 2).is_ok() && !log.take_wanted());
        assert!(log.snapshot(0, 3).is_err() && log.take_wanted());
        log.compact(5);
        assert!(log.snapshot(0, 2).is_err(), "the log goes on after 5");
    }
}
