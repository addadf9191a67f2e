//! The peer as a deterministic machine: Raft and the replicated state, without threads, clock, dice or I/O.
//!
//! Inputs go in by [`Core::propose`], [`Core::receive`], [`Core::tick`], [`Core::read`], [`Core::change_members`],
//! [`Core::hand_over`]; then [`Core::poll`] is called until it has no more [`Orders`]. [`crate::peer`] has them carried
//! out:
//!
//! 1. `send` may leave at once, beside the write to disk: a leader replicates while its own disk works.
//! 2. `persist` is made durable, in order, then its `then_send` leaves and [`Core::persisted`] is called. Not before:
//!    these messages are the promises. More orders may come until then.
//! 3. `changes`, `verdicts`, `reads` are told to whoever waits.
//!
//! The same inputs in the same order give the same orders: Raft's dice for elections are replaced by a function of
//! member, term and seed.

pub(crate) mod inputs;
pub(crate) mod members;
mod orders;
mod reads;
pub(crate) mod snapshots;
mod witness;

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::eraftpb::{Entry, EntryType, Message};
use raft::{Config, RawNode, ReadOnlyOption, StateRole};

use crate::command::{self, ProposalId};
use crate::error::OpenError;
use crate::log::{Recovered, Write};
use crate::machine::{Machine, Verdict};
use crate::memlog::MemLog;
use crate::model::{Event, MemberId, Revision};
use crate::options::{Limits, Options, Timing};
use crate::status::{Role, Status};

/// Bytes of entries in one message to a follower: as etcd's. More delays the heartbeats behind it.
const MESSAGE_BYTES: u64 = 1 << 20;

/// Messages with entries on their way to one follower: 64 MiB at most with [`MESSAGE_BYTES`], which fill a link of
/// 5 Gbit/s and 100 ms.
const MESSAGES_IN_FLIGHT: usize = 64;

/// Bytes of entries a leader takes before a majority has them: what it would have to keep in memory when it is cut off.
const UNCOMMITTED_BYTES: u64 = 128 << 20;

/// Bytes of entries applied at a time, so that a long replay does not hold up ticks.
const APPLIED_BYTES: u64 = 8 << 20;

/// Why the peer cannot go on. It takes no part any more; a person has to look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fatal(pub(crate) String);

/// What the driver has to do.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// Messages that may leave at once.
    pub(crate) send: Vec<Message>,
    /// To be made durable; then [`Core::persisted`] is called.
    pub(crate) persist: Option<Persist>,
    /// What changed, in order.
    pub(crate) changes: Vec<Arc<Event>>,
    /// What became of proposals of any member, in order.
    pub(crate) verdicts: Vec<(ProposalId, Verdict)>,
    /// What became of changes of members, in order.
    pub(crate) member_verdicts: Vec<(ProposalId, Result<(), String>)>,
    /// Reads that are linearizable once the index is applied here.
    pub(crate) reads: Vec<(u64, Vec<u8>)>,
    /// The state was replaced by a snapshot at this index, before anything else here was applied: what happened in
    /// between is not known.
    pub(crate) restored: Option<u64>,
    /// The state that it replaced, to be dropped where that may take its time.
    pub(crate) replaced: Option<Box<Machine>>,
    /// A snapshot of this state is to be written to disk, then [`Core::snapshot_taken`] is called. Shares its objects
    /// with the state in use.
    pub(crate) snapshot: Option<Box<Machine>>,
}

/// What has to be on disk before the peer keeps its word.
#[derive(Debug)]
pub(crate) struct Persist {
    /// Names this step to [`Core::persisted`].
    pub(crate) ticket: u64,
    /// What to write; None when nothing of it needs to be durable.
    pub(crate) write: Option<Write>,
    /// Messages that leave when it is durable.
    pub(crate) then_send: Vec<Message>,
}

/// The peer.
pub(crate) struct Core {
    member: u64,
    seed: u64,
    timing: Timing,
    limits: Limits,
    node: RawNode<MemLog>,
    machine: Machine,
    ticks: u64,
    /// When each other member was last heard from, in ticks.
    heard: BTreeMap<u64, u64>,
    /// This member holds no data, by its options.
    witness: bool,
    /// The feature level that all members understand.
    level: u32,
    /// The last step with a new term or vote, until that is on disk.
    promised: Option<u64>,
    /// Who asked for the change that entered the joint state, if it is known here.
    joint_asked: Option<ProposalId>,
    lead: witness::Lead,
    snapshots: snapshots::Snapshots,
    /// Reads of other members that were confirmed by being asked for.
    answers: Vec<Message>,
}

impl Core {
    /// A peer that goes on from what its disk holds.
    pub(crate) fn new(options: &Options, recovered: Recovered, seed: u64) -> Result<Self, OpenError> {
        let Recovered { machine, entries, hard_state, snapshot } = recovered;
        let base = (machine.applied, machine.term);
        let mut log = MemLog::new(base, machine.members.clone(), hard_state, entries);
        log.set_snapshot(snapshot.map(|snapshot| snapshots::describe(snapshot, machine.members.clone())));
        let config = Config {
            id: options.member.0,
            election_tick: options.timing.election,
            heartbeat_tick: options.timing.heartbeat,
            applied: machine.applied,
            max_size_per_msg: MESSAGE_BYTES,
            max_inflight_msgs: MESSAGES_IN_FLIGHT,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            // It would add to a message that waits until all in flight are one, which no limit holds. Proposals come
            // together already.
            batch_append: false,
            max_uncommitted_size: UNCOMMITTED_BYTES,
            max_committed_size_per_ready: APPLIED_BYTES,
            ..Config::default()
        };
        let node =
            RawNode::new(&config, log, &crate::logging::logger()).map_err(|error| OpenError::Raft(Box::new(error)))?;
        let mut core = Self {
            member: options.member.0,
            seed,
            timing: options.timing,
            limits: options.limits,
            node,
            machine,
            ticks: 0,
            heard: BTreeMap::new(),
            witness: options.witness,
            level: 1,
            promised: None,
            joint_asked: None,
            lead: witness::Lead::default(),
            snapshots: snapshots::Snapshots::new(),
            answers: Vec::new(),
        };
        core.check_witness().map_err(|Fatal(why)| OpenError::Options(why))?;
        if core.machine.members.voters == [core.member] && core.machine.members.voters_outgoing.is_empty() {
            // Nobody else to wait for. A campaign is refused while changes of members are unapplied; ticks come to it.
            let _ = core.node.campaign();
        }
        core.settle_election();
        Ok(core)
    }

    /// The replicated state.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The last entry applied.
    pub(crate) fn applied(&self) -> u64 {
        self.machine.applied
    }

    /// Raft, for the simulator to look at.
    #[cfg(test)]
    pub(crate) fn raft(&self) -> &RawNode<MemLog> {
        &self.node
    }

    /// A bug for the simulator to find: it is forgotten which proposals were applied.
    #[cfg(test)]
    pub(crate) fn forget_proposals(&mut self) {
        self.machine.recent = crate::machine::Recent::default();
    }

    /// Who leads, as far as known.
    pub(crate) fn leader(&self) -> Option<MemberId> {
        Some(self.node.raft.leader_id).filter(|&id| id != 0).map(MemberId)
    }

    /// Raft's term.
    pub(crate) fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// Whether this peer leads.
    pub(crate) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// What this peer knows of itself and the others.
    pub(crate) fn status(&self) -> Status {
        let members = &self.machine.members;
        let ids = |lists: [&[u64]; 2]| lists.into_iter().flatten().copied().map(MemberId).collect();
        let role = match self.node.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower if self.node.raft.promotable() => Role::Follower,
            StateRole::Follower => Role::Learner,
        };
        let mut status = Status {
            leader: self.leader(),
            term: self.term(),
            role,
            voters: ids([&members.voters, &members.voters_outgoing]),
            learners: ids([&members.learners, &members.learners_next]),
            witnesses: self.machine.witnesses.iter().copied().map(MemberId).collect(),
            joint: self.machine.is_joint(),
            applied: Revision(self.machine.applied),
            commit: Revision(self.node.raft.raft_log.committed),
            ..Status::new(MemberId(self.member))
        };
        if self.is_leader() {
            let last = self.node.raft.raft_log.last_index();
            let others = self.node.raft.prs().iter().filter(|&(id, _)| *id != self.member);
            status.lag = others.map(|(id, progress)| (MemberId(*id), last.saturating_sub(progress.matched))).collect();
            // In whole election timeouts, so that the status does not change with each tick.
            let rounds =
                |id: MemberId| (self.silence(id.0) / self.timing.election as u64) * self.timing.election as u64;
            let ticks = |id: MemberId| u32::try_from(rounds(id)).unwrap_or(u32::MAX);
            status.silent = status.lag.keys().map(|&id| (id, self.timing.tick.saturating_mul(ticks(id)))).collect();
            status.active = status.lag.keys().copied().filter(|id| self.is_active(id.0)).collect();
        }
        status
    }

    /// Whether the members are those of `status`.
    pub(crate) fn has_members(&self, status: &Status) -> bool {
        let members = &self.machine.members;
        let lists = [&members.voters, &members.voters_outgoing, &members.learners, &members.learners_next];
        let is_known = |id: &u64| {
            let id = MemberId(*id);
            status.voters.contains(&id) || status.learners.contains(&id)
        };
        let count = lists.iter().map(|list| list.len()).sum::<usize>();
        let both = members.voters.iter().filter(|id| members.voters_outgoing.contains(id)).count();
        status.joint == self.machine.is_joint()
            && status.voters.len() + status.learners.len() + both == count
            && members.voters.iter().all(|id| status.voters.contains(&MemberId(*id)))
            && lists.into_iter().flatten().all(is_known)
    }

    fn is_active(&self, id: u64) -> bool {
        self.heard.get(&id).is_some_and(|&tick| self.ticks - tick < self.timing.election as u64)
    }

    /// Replaces the die that Raft threw for the next election. The terms of two members that tie differ from then on,
    /// so they do not tie for ever.
    fn settle_election(&mut self) {
        let draw = mix(self.seed ^ mix(self.member ^ mix(self.node.raft.term)));
        let ticks = self.timing.election;
        let extra = usize::try_from(draw % ticks as u64).expect("less than a usize");
        self.node.raft.set_randomized_election_timeout(ticks + extra);
    }

    /// Applies a committed entry.
    fn apply(&mut self, entry: Entry, orders: &mut Orders) -> Result<(), Fatal> {
        let (index, term) = (entry.index, entry.term);
        match entry.entry_type {
            EntryType::EntryNormal if entry.data.is_empty() => self.machine.pass(index, term),
            EntryType::EntryNormal => {
                let command = command::decode(entry.data)
                    .map_err(|error| Fatal(format!("entry {index} of the log cannot be applied: {error}")))?;
                let id = command.id;
                let verdict = self.machine.apply(index, term, command, &mut orders.changes);
                orders.verdicts.push((id, verdict));
            }
            EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                self.apply_members(&entry, orders)?;
                self.machine.pass(index, term);
            }
        }
        Ok(())
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests;
