//! Witnesses: members that vote and keep the log's terms and indexes, and not what it says. Two members with data and a
//! witness survive the loss of one, with two disks of data.
//!
//! What a witness has can elect a leader, and only one that has as much; so an entry that a witness has and no member
//! alive with data would leave the cluster without a leader. Therefore the leader withholds entries from witnesses until
//! they are on its own disk and every voter with data that keeps up has acknowledged them. One that falls silent, or does
//! not acknowledge for an election timeout, is no longer waited for until it has caught up. The voters waited for are the
//! replication set of "Extended Raft with witness" (Zhang, 2023, etcd-io/raft issue 133), kept here by the leader
//! alone: it is for liveness, what is safe is Raft's own business.
//!
//! Not here: who may be a witness (`machine/members.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::eraftpb::{EntryType, Message, MessageType};
use raft::{INVALID_ID, ProgressState};

use super::{Core, Fatal, MESSAGES_IN_FLIGHT, Orders, snapshots};
use crate::command;
use crate::options::WITNESS_COLLECTIONS;
use crate::state;

/// Messages withheld from one witness. Raft has [`MESSAGES_IN_FLIGHT`] under way and adds one with each heartbeat; what
/// does not fit is as if the network had lost it.
const WITHHELD_MAX: usize = 2 * MESSAGES_IN_FLIGHT;

/// A message on its way to a witness, and the tick from which on it waits.
struct Held {
    message: Message,
    since: u64,
}

/// What a leader knows for the time that it leads.
#[derive(Default)]
pub(super) struct Lead {
    /// The term it leads in, 0 when it does not.
    term: u64,
    /// The tick at which it began.
    since: u64,
    held: BTreeMap<u64, VecDeque<Held>>,
    /// Voters with data that are not waited for: the others are the replication set.
    left_behind: BTreeSet<u64>,
    /// The last index that left for a witness, now and at the last tick.
    released: u64,
    released_before: u64,
}

impl Core {
    /// Whether this member is a witness: by its options, or as the others know it.
    pub(super) fn is_witness(&self) -> bool {
        self.witness || self.machine.witnesses.contains(&self.member)
    }

    /// A member is a witness from its first day or never. One that has no data and believes otherwise could lead.
    pub(super) fn check_witness(&self) -> Result<(), Fatal> {
        let is_known = self.machine.takes_part(self.member);
        match (self.witness, self.machine.witnesses.contains(&self.member)) {
            (false, true) if is_known => Err(Fatal(format!(
                "member {} is a witness of this cluster and was not started as one: start it as a witness",
                self.member
            ))),
            (true, false) if is_known => Err(Fatal(format!(
                "member {} was started as a witness and the cluster knows it as a member with data: start it as that, or \
                 remove it and join again as a witness",
                self.member
            ))),
            _ => Ok(()),
        }
    }

    /// One tick of Raft. A witness forgets a leader that fell silent, and waits for another one instead of standing for
    /// election itself. Nobody stands for election whose snapshot is not in its place yet: Raft would look for the entries
    /// that it replaces, and take the process down.
    pub(super) fn tick_raft(&mut self) {
        let raft = &mut self.node.raft;
        let is_late = raft.election_elapsed + 1 >= raft.randomized_election_timeout();
        if self.is_witness() && is_late {
            let term = self.term();
            self.node.raft.become_follower(term, INVALID_ID);
        } else if !self.snapshots.is_installing() {
            self.node.tick();
        }
        self.catch_up();
    }

    /// How many ticks a member was silent while this one led.
    pub(super) fn silence(&self, id: u64) -> u64 {
        let heard = self.heard.get(&id).copied().unwrap_or(0);
        self.ticks - heard.max(self.lead.since)
    }

    /// Notices when this peer begins or ceases to lead.
    fn notice_lead(&mut self) {
        let term = if self.is_leader() { self.term() } else { 0 };
        if self.lead.term != term {
            let last = self.node.raft.raft_log.last_index();
            self.lead = Lead { term, since: self.ticks, released: last, released_before: last, ..Lead::default() };
        }
    }

    /// Takes out of `orders` what is for witnesses, strips it, and lets go of what they may have by now. `before` are
    /// the witnesses when the messages were made: one of them may have been removed since.
    pub(super) fn withhold(&mut self, before: &BTreeSet<u64>, orders: &mut Orders) {
        self.notice_lead();
        if before.is_empty() && self.machine.witnesses.is_empty() {
            return;
        }
        let leads = self.is_leader();
        let is_log = |message: &Message| {
            matches!(message.get_msg_type(), MessageType::MsgAppend | MessageType::MsgSnapshot)
                && before.contains(&message.to)
        };
        let (hold, send) = std::mem::take(&mut orders.send).into_iter().partition(is_log);
        orders.send = send;
        if let Some(persist) = &mut orders.persist {
            // Of a leader that stepped down: as if lost. Of one that is the sole voter: nobody else to wait for.
            persist.then_send.retain(|message| leads || !is_log(message));
            for message in persist.then_send.iter_mut().filter(|message| is_log(message)) {
                *message = self.strip(std::mem::take(message));
            }
        }
        if leads {
            for message in hold {
                let message = self.strip(message);
                self.hold(message);
            }
            self.release(&mut orders.send);
        }
    }

    /// The message without what a witness does not keep. Terms and indexes stay.
    fn strip(&self, mut message: Message) -> Message {
        for entry in message.mut_entries().iter_mut() {
            let is_command = entry.entry_type == EntryType::EntryNormal && !entry.data.is_empty();
            if is_command && !command::is_within(entry.data.clone(), WITNESS_COLLECTIONS) {
                entry.data = Bytes::new();
            }
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            // Made of the state as it is now, which is small without its objects: no older one need be kept for this.
            let hollow = self.machine.hollow(WITNESS_COLLECTIONS);
            let (index, term) = (hollow.applied, hollow.term);
            let body = state::encode(&hollow);
            message.set_snapshot(snapshots::message(index, term, hollow.members, body));
        }
        message
    }

    fn hold(&mut self, message: Message) {
        let held = self.lead.held.entry(message.to).or_default();
        // Raft began again from an earlier place, or says the same with a newer commit.
        while held.pop_back_if(|old| first(&old.message) >= first(&message)).is_some() {}
        if held.len() < WITHHELD_MAX {
            held.push_back(Held { message, since: self.ticks });
        }
    }

    /// Lets go of what is on disk here and on all voters of the replication set.
    fn release(&mut self, send: &mut Vec<Message>) {
        if self.lead.held.values().all(VecDeque::is_empty) {
            return;
        }
        let prs = self.node.raft.prs();
        let matched = |id: u64| prs.get(id).map_or(0, |progress| progress.matched);
        let overdue = |held: &Held| self.ticks - held.since >= self.timing.election as u64;
        let late = self.lead.held.values().filter_map(VecDeque::front).filter(|held| overdue(held));
        let late = late.map(|held| last(&held.message)).min();
        let mut floor = matched(self.member);
        for id in self.machine.data_voters().filter(|&id| id != self.member) {
            let by_snapshot = prs.get(id).is_none_or(|progress| progress.state == ProgressState::Snapshot);
            if by_snapshot || !self.is_active(id) || late.is_some_and(|late| matched(id) < late) {
                self.lead.left_behind.insert(id);
            }
            if !self.lead.left_behind.contains(&id) {
                floor = floor.min(matched(id));
            }
        }
        self.lead.held.retain(|id, _| self.machine.witnesses.contains(id));
        for held in self.lead.held.values_mut() {
            while let Some(free) = held.pop_front_if(|held| last(&held.message) <= floor) {
                self.lead.released = self.lead.released.max(last(&free.message));
                send.push(free.message);
            }
        }
    }

    /// Waits again for the voters that have what witnesses had a tick ago: under a steady load nobody has all.
    fn catch_up(&mut self) {
        let mut left_behind = std::mem::take(&mut self.lead.left_behind);
        left_behind.retain(|&id| {
            let progress = self.node.raft.prs().get(id);
            let keeps_up = progress.is_some_and(|progress| {
                progress.state == ProgressState::Replicate && progress.matched >= self.lead.released_before
            });
            !(keeps_up && self.is_active(id)) && self.machine.takes_part(id)
        });
        self.lead.left_behind = left_behind;
        self.lead.released_before = self.lead.released;
    }
}

/// The index before the first entry of `message`: where it begins.
fn first(message: &Message) -> u64 {
    match message.get_msg_type() {
        MessageType::MsgSnapshot => 0,
        _ => message.index,
    }
}

/// The last index that the witness has when it took `message`.
fn last(message: &Message) -> u64 {
    match message.get_msg_type() {
        MessageType::MsgSnapshot => message.get_snapshot().get_metadata().index,
        _ => message.index + message.get_entries().len() as u64,
    }
}
