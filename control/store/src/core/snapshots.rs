//! When snapshots are taken, sent, installed, and what of the log they replace.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Snapshot};
use raft::{ProgressState, SnapshotStatus};

use super::{Core, Orders, SnapshotJob};
use crate::log::SnapshotFile;
use crate::machine::Machine;

/// The snapshots under way.
pub(super) struct Snapshots {
    /// One is being taken.
    is_taking: bool,
    /// A follower waits for one.
    is_wanted: bool,
    /// Came from the leader and decoded, not yet taken up by Raft.
    incoming: Option<Machine>,
    /// Being written to disk under this ticket.
    installing: Option<(u64, Machine)>,
    /// On disk, to become the state.
    installed: Option<Machine>,
    /// Followers that were sent one: the tick at which it counts as lost.
    sent: BTreeMap<u64, u64>,
}

impl Snapshots {
    pub(super) fn new() -> Self {
        Self {
            is_taking: false,
            is_wanted: false,
            incoming: None,
            installing: None,
            installed: None,
            sent: BTreeMap::new(),
        }
    }

    pub(super) fn set_incoming(&mut self, machine: Machine) {
        self.incoming = Some(machine);
    }

    pub(super) fn drop_incoming(&mut self) {
        self.incoming = None;
    }

    pub(super) fn start_install(&mut self, ticket: u64, index: u64, term: u64) -> bool {
        match self.incoming.take().filter(|machine| (machine.applied, machine.term) == (index, term)) {
            Some(machine) => {
                self.installing = Some((ticket, machine));
                true
            }
            None => false,
        }
    }

    pub(super) fn installed(&mut self, ticket: u64) {
        if let Some((_, machine)) = self.installing.take_if(|(of, _)| *of <= ticket) {
            self.installed = Some(machine);
        }
    }

    pub(super) fn take_installed(&mut self) -> Option<Machine> {
        self.installed.take()
    }
}

impl Core {
    /// Orders a snapshot when the log has grown past its limit, or a follower needs one.
    pub(super) fn order_snapshot(&mut self, orders: &mut Orders) {
        self.snapshots.is_wanted |= self.node.store().take_wanted();
        if self.snapshots.is_taking || self.snapshots.installing.is_some() || self.machine.applied == 0 {
            return;
        }
        let (entries, bytes) = self.node.store().since_mark();
        // Half of the log must be applied, else the snapshot would replace little of it.
        let applied = self.machine.applied.saturating_sub(self.node.store().mark());
        let is_long = entries > self.limits.log_entries || bytes > self.limits.log_bytes;
        if self.snapshots.is_wanted || (is_long && applied * 2 > entries) {
            self.snapshots.is_taking = true;
            orders.snapshot =
                Some(SnapshotJob { machine: self.machine.clone(), hard_state: self.node.store().hard_state().clone() });
        }
    }

    /// The snapshot ordered is on disk. Returns the last index that the log on disk need not keep.
    pub(crate) fn snapshot_taken(&mut self, file: &SnapshotFile, members: ConfState) -> u64 {
        self.snapshots.is_taking = false;
        if file.index < self.node.store().first().saturating_sub(1) {
            // The leader's snapshot overtook ours.
            return self.node.store().first().saturating_sub(1);
        }
        let through = self.node.store().compaction(file.index, self.limits.kept_bytes, self.limits.kept_entries);
        let is_wanted = std::mem::take(&mut self.snapshots.is_wanted);
        let log = self.node.mut_store();
        log.compact(through);
        log.set_mark(file.index.max(log.mark()));
        if is_wanted {
            log.set_snapshot(Some(message(file.index, file.term, members, file.body.clone())));
        }
        log.first() - 1
    }

    /// The snapshot ordered could not be taken, which is no harm yet: it is ordered again.
    pub(crate) fn snapshot_failed(&mut self) {
        self.snapshots.is_taking = false;
    }

    /// Counts the snapshots under way to followers, and lets go of the one in memory when nobody needs it.
    pub(super) fn tick_snapshots(&mut self) {
        if !self.is_leader() {
            self.snapshots.sent.clear();
            self.node.mut_store().set_snapshot(None);
            return;
        }
        let first = self.node.store().first();
        let (mut is_needed, mut lost) = (false, Vec::new());
        let others = self.node.raft.prs().iter().filter(|&(id, _)| *id != self.member);
        for (&id, progress) in others {
            is_needed |= progress.matched + 1 < first;
            if progress.state != ProgressState::Snapshot {
                if progress.state == ProgressState::Replicate {
                    self.snapshots.sent.remove(&id);
                }
                continue;
            }
            is_needed = true;
            // While it travels it is not sent again. A follower that has it says so, which ends this state at once.
            let late = self.ticks + self.timing.snapshot as u64;
            let until = self.snapshots.sent.entry(id).or_insert(late);
            if *until <= self.ticks {
                *until = late;
                lost.push(id);
            }
        }
        for id in lost {
            self.node.report_snapshot(id, SnapshotStatus::Failure);
        }
        if !is_needed {
            self.node.mut_store().set_snapshot(None);
        }
    }
}

fn message(index: u64, term: u64, members: ConfState, body: Bytes) -> Snapshot {
    let mut snapshot = Snapshot { data: body, ..Snapshot::default() };
    let metadata = snapshot.mut_metadata();
    metadata.index = index;
    metadata.term = term;
    metadata.set_conf_state(members);
    snapshot
}
