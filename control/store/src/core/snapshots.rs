//! When snapshots are taken, sent, installed, and what of the log they replace.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes};
use raft::eraftpb::{ConfState, Message, MessageType, Snapshot};
use raft::{ProgressState, SnapshotStatus};

use super::{Core, Orders};
use crate::log::SnapshotId;
use crate::machine::Machine;

/// Begins the description of a snapshot in place of the snapshot itself. No format of a state.
const DESCRIPTION: u8 = 0xff;

/// Election timeouts that a follower has to ask for the first piece of a snapshot it was told of: the word may be lost.
const FIRST_ELECTIONS: u64 = 2;

/// Election timeouts without a request of a follower that receives a snapshot, until it is told of one anew: some six
/// seconds. It asks once a second while it lives, also while it checks what it received.
const SILENT_ELECTIONS: u64 = 16;

/// How many times the log may grow past its limit while a follower receives a snapshot, which the log has to continue:
/// else it would need another one right after it, for ever when writes are many.
const HELD_LOGS: u64 = 4;

/// Bytes of a snapshot: a terabyte is more than a state in memory has, and sums of such lengths do not overflow.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 40;

/// The level from which all members fetch snapshots.
const STREAMING_LEVEL: u32 = 2;

/// The snapshots under way.
pub(super) struct Snapshots {
    /// One is being taken.
    is_taking: bool,
    /// A follower waits for one.
    is_wanted: bool,
    /// Here and decoded, not yet taken up by Raft.
    incoming: Option<(SnapshotId, Machine)>,
    /// Being made this member's own under this ticket.
    installing: Option<(u64, SnapshotId, Machine)>,
    /// On disk, to become the state.
    installed: Option<(SnapshotId, Machine)>,
    /// Followers that were told of one.
    sent: BTreeMap<u64, Sent>,
    /// Of which one each follower was told last.
    told: BTreeMap<u64, SnapshotId>,
}

struct Sent {
    /// The snapshot's last entry.
    index: u64,
    /// The tick at which it counts as lost.
    until: u64,
}

/// What a snapshot on disk means for the log and for other snapshots.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The last index that the log need not keep.
    pub(crate) through: u64,
    /// Snapshots from before this index are of no use,
    pub(crate) newest: u64,
    /// but for those at these, which followers are receiving.
    pub(crate) kept: Vec<u64>,
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
            told: BTreeMap::new(),
        }
    }

    pub(super) fn set_incoming(&mut self, snapshot: SnapshotId, machine: Machine) {
        self.incoming = Some((snapshot, machine));
    }

    pub(super) fn drop_incoming(&mut self) {
        self.incoming = None;
    }

    pub(super) fn start_install(&mut self, ticket: u64, index: u64, term: u64) -> Option<SnapshotId> {
        let (snapshot, machine) =
            self.incoming.take().filter(|(snapshot, _)| (snapshot.index, snapshot.term) == (index, term))?;
        self.installing = Some((ticket, snapshot, machine));
        Some(snapshot)
    }

    pub(super) fn installed(&mut self, ticket: u64) {
        if let Some((_, snapshot, machine)) = self.installing.take_if(|(of, ..)| *of <= ticket) {
            self.installed = Some((snapshot, machine));
        }
    }

    /// A snapshot is on its way into the place of log and state.
    pub(super) fn is_installing(&self) -> bool {
        self.installing.is_some() || self.installed.is_some()
    }

    pub(super) fn take_installed(&mut self) -> Option<(SnapshotId, Machine)> {
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
            self.snapshots.is_wanted = false;
            orders.snapshot = Some(Box::new(self.machine.clone()));
        }
    }

    /// Forgets entries that nobody but this member's own disk will be asked for: it is alone. Whoever joins it is sent a
    /// snapshot anyway.
    pub(super) fn forget_entries(&mut self) {
        let is_alone = self.node.raft.prs().iter().all(|(id, _)| *id == self.member);
        if is_alone && self.is_leader() {
            self.node.mut_store().forget(self.machine.applied);
        }
    }

    /// The snapshot ordered is on disk.
    pub(crate) fn snapshot_taken(&mut self, snapshot: SnapshotId, members: ConfState) -> Taken {
        self.snapshots.is_taking = false;
        // Whoever asked for one meanwhile may be content with this one, else asks again.
        self.snapshots.is_wanted = false;
        self.node.store().take_wanted();
        let floor = self.node.store().floor();
        if snapshot.index < floor {
            // The leader's snapshot overtook ours, and may not have its name on disk yet: ours is still the newest there.
            return Taken { through: floor, newest: snapshot.index, kept: Vec::new() };
        }
        let kept: Vec<u64> = self.snapshots.sent.values().map(|sent| sent.index).collect();
        let store = self.node.store();
        let held = kept.iter().copied().filter(|&index| store.bytes_after(index) <= self.limits.log_bytes * HELD_LOGS);
        let limit = held.min().unwrap_or(snapshot.index).min(snapshot.index);
        let through = store.compaction(limit, self.limits.kept_bytes, self.limits.kept_entries);
        let log = self.node.mut_store();
        log.compact(through);
        log.set_mark(snapshot.index.max(log.mark()));
        log.set_snapshot(Some(describe(snapshot, members)));
        Taken { through: log.floor(), newest: snapshot.index, kept }
    }

    /// Whether the follower `from` may have pieces of `snapshot`: it was told of it. Notes that it lives.
    pub(crate) fn asked_for(&mut self, from: u64, snapshot: SnapshotId) -> bool {
        let progress = self.node.raft.prs().get(from).filter(|_| self.is_leader());
        let is_sent = self.snapshots.told.get(&from) == Some(&snapshot)
            && progress.is_some_and(|progress| {
                progress.state == ProgressState::Snapshot && progress.pending_snapshot == snapshot.index
            });
        if is_sent {
            let until = self.ticks + SILENT_ELECTIONS * self.timing.election as u64;
            self.snapshots.sent.insert(from, Sent { index: snapshot.index, until });
        }
        is_sent
    }

    /// Notes which followers `messages` tell of a snapshot.
    pub(super) fn note_told(&mut self, messages: &[Message]) {
        let told = messages.iter().filter(|message| message.get_msg_type() == MessageType::MsgSnapshot);
        let told = told.filter_map(|message| Some((message.to, identify(message.get_snapshot())?)));
        self.snapshots.told.extend(told);
    }

    /// Counts the snapshots under way to followers.
    pub(super) fn tick_snapshots(&mut self) {
        if !self.is_leader() {
            self.snapshots.sent.clear();
            self.snapshots.told.clear();
            return;
        }
        let patience =
            if self.streams() { FIRST_ELECTIONS * self.timing.election as u64 } else { self.timing.snapshot as u64 };
        let mut lost = Vec::new();
        let others = self.node.raft.prs().iter().filter(|&(id, _)| *id != self.member);
        for (&id, progress) in others {
            if progress.state != ProgressState::Snapshot {
                if progress.state == ProgressState::Replicate {
                    self.snapshots.sent.remove(&id);
                }
                continue;
            }
            // While it travels it is not sent again. A follower that has it says so, which ends this state at once.
            let fresh = Sent { index: progress.pending_snapshot, until: self.ticks + patience };
            let sent = self.snapshots.sent.entry(id).or_insert_with(|| Sent { ..fresh });
            if sent.index != progress.pending_snapshot {
                *sent = Sent { index: progress.pending_snapshot, until: self.ticks + patience };
            }
            if sent.until <= self.ticks {
                lost.push(id);
            }
        }
        for id in lost {
            self.snapshots.sent.remove(&id);
            self.node.report_snapshot(id, SnapshotStatus::Failure);
        }
    }

    /// Whether followers are told of snapshots and fetch them, or are sent them whole as members of an earlier version
    /// expect it.
    pub(crate) fn streams(&self) -> bool {
        self.level >= STREAMING_LEVEL
    }
}

/// The snapshot as Raft sends it to a follower: where it stands, and in place of its data how to know it.
pub(super) fn describe(snapshot: SnapshotId, members: ConfState) -> Snapshot {
    let mut data = Vec::with_capacity(1 + 8 + 4);
    data.push(DESCRIPTION);
    data.extend_from_slice(&snapshot.bytes.to_le_bytes());
    data.extend_from_slice(&snapshot.checksum.to_le_bytes());
    message(snapshot.index, snapshot.term, members, data.into())
}

/// A snapshot as Raft sends it.
pub(super) fn message(index: u64, term: u64, members: ConfState, data: Bytes) -> Snapshot {
    let mut snapshot = Snapshot { data, ..Snapshot::default() };
    let metadata = snapshot.mut_metadata();
    metadata.index = index;
    metadata.term = term;
    metadata.set_conf_state(members);
    snapshot
}

/// Which snapshot a message brings, or describes.
pub(crate) fn identify(snapshot: &Snapshot) -> Option<SnapshotId> {
    let (index, term) = (snapshot.get_metadata().index, snapshot.get_metadata().term);
    let mut data: Bytes = snapshot.data.clone();
    if !is_described(snapshot) {
        let checksum = data.last_chunk().map(|checksum| u32::from_le_bytes(*checksum))?;
        return Some(SnapshotId { index, term, bytes: data.len() as u64, checksum });
    }
    data.advance(1);
    let (bytes, checksum) = (data.try_get_u64_le().ok()?, data.try_get_u32_le().ok()?);
    (data.is_empty() && bytes <= SNAPSHOT_BYTES_MAX).then_some(SnapshotId { index, term, bytes, checksum })
}

/// Whether the state itself is to be fetched.
pub(crate) fn is_described(snapshot: &Snapshot) -> bool {
    snapshot.data.first() == Some(&DESCRIPTION)
}
