//! What the referee sees of a core.

use raft::GetEntriesContext;
use raft::eraftpb::Entry;
use raft::{RawNode, StateRole};

use crate::core::Core;
use crate::memlog::MemLog;

/// A look into Raft.
pub(super) struct Probe<'a> {
    raft: &'a RawNode<MemLog>,
    /// The peer holds no data.
    pub(super) is_witness: bool,
}

impl<'a> Probe<'a> {
    pub(super) fn new(core: &'a Core, is_witness: bool) -> Self {
        Self { raft: core.raft(), is_witness }
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    pub(super) fn term(&self) -> u64 {
        self.raft.raft.term
    }

    pub(super) fn commit(&self) -> u64 {
        self.raft.raft.raft_log.committed
    }

    pub(super) fn first(&self) -> u64 {
        self.raft.raft.raft_log.first_index()
    }

    pub(super) fn last(&self) -> u64 {
        self.raft.raft.raft_log.last_index()
    }

    /// The entries of the log in this range.
    pub(super) fn entries(&self, from: u64, through: u64) -> Vec<Entry> {
        if from > through {
            return Vec::new();
        }
        let log = &self.raft.raft.raft_log;
        log.slice(from, through + 1, None, GetEntriesContext::empty(false)).expect("the log has what it committed")
    }
}
