//! What goes into the core.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::{Core, Fatal, snapshots};
use crate::command;
use crate::log::SnapshotId;
use crate::machine::Machine;

/// Nobody leads now, or the leader is handing over or full: the proposals were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotTaken;

/// What became of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Received {
    /// Raft took it.
    Taken,
    /// It brings a snapshot, or word of one, that this member needs: to be received whole, then given to
    /// [`Core::install`].
    Snapshot(Box<Message>, SnapshotId),
    /// It was dropped, and why. Raft copes.
    Dropped(&'static str),
}

impl Core {
    /// One tick of the clock has passed.
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        self.tick_raft();
        self.finish_joint();
        self.tick_snapshots();
        self.forget_entries();
        self.settle_election();
    }

    /// Proposes encoded commands, all or none: here when this peer leads, else by a message to the leader. Taken does
    /// not mean that they will be in the log.
    pub(crate) fn propose(&mut self, commands: Vec<Bytes>) -> Result<(), NotTaken> {
        if commands.is_empty() {
            return Ok(());
        }
        let entries = commands.into_iter().map(|data| Entry { data, ..Entry::default() }).collect::<Vec<_>>();
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.member;
        message.set_entries(entries.into());
        self.node.raft.step(message).map_err(|_| NotTaken)
    }

    /// Takes a message of another member.
    pub(crate) fn receive(&mut self, mut message: Message) -> Result<Received, Fatal> {
        if message.to != self.member {
            return Ok(Received::Dropped("it is for another member"));
        }
        if message.from == self.member || message.from == 0 {
            return Ok(Received::Dropped("it claims to be from this member"));
        }
        if let Some(what) = malformed(&message) {
            return Ok(Received::Dropped(what));
        }
        let kind = message.get_msg_type();
        if kind == MessageType::MsgReadIndex && !self.is_leader() {
            // Raft would pass it on, and nobody takes from us what another member says. It is asked again soon.
            return Ok(Received::Dropped("it asks the leader, which this member is not"));
        }
        if kind == MessageType::MsgTimeoutNow && self.is_witness() {
            return Ok(Received::Dropped("a witness does not lead"));
        }
        if kind == MessageType::MsgTimeoutNow && self.snapshots.is_installing() {
            return Ok(Received::Dropped("it asks for an election, and a snapshot is being installed"));
        }
        let last = self.node.raft.raft_log.last_index();
        // Raft would take the process down for these.
        if kind == MessageType::MsgHeartbeat && message.term >= self.term() && message.commit > last {
            return Err(Fatal(format!(
                "member {} acknowledged the log up to {} and has it up to {last}: its disk lost what it promised. Remove \
                 it from the cluster and join again as a new member",
                self.member, message.commit
            )));
        }
        if kind == MessageType::MsgAppendResponse && !message.reject && message.index > last {
            return Ok(Received::Dropped("it acknowledges what was never sent"));
        }
        self.heard.insert(message.from, self.ticks);
        if kind == MessageType::MsgReadIndex && self.answer_read(&mut message) {
            return Ok(Received::Taken);
        }
        if kind == MessageType::MsgSnapshot
            && let Some(received) = self.receive_snapshot(&message)
        {
            return Ok(received);
        }
        if kind == MessageType::MsgPropose {
            // When Raft passes it on to the leader of now, it comes from us. Whose it is stands in the command.
            message.from = self.member;
        }
        let taken = self.node.step(message);
        self.settle_election();
        Ok(match taken {
            Ok(()) => Received::Taken,
            Err(_) => Received::Dropped("Raft has no use for it"),
        })
    }

    /// What to do with a snapshot that this member needs: Raft gets it when it is here and good, and need not know until
    /// then. None for one that Raft answers by itself.
    fn receive_snapshot(&self, message: &Message) -> Option<Received> {
        let metadata = message.get_snapshot().get_metadata();
        let (applied, term) = (self.machine.applied, self.machine.term);
        let leader = self.node.raft.leader_id;
        let is_leaders = message.term > self.term() || leader == raft::INVALID_ID || leader == message.from;
        Some(match snapshots::identify(message.get_snapshot()) {
            _ if self.node.snap().is_some() || self.snapshots.is_installing() => {
                Received::Dropped("another snapshot is being installed")
            }
            _ if message.term < self.term() => Received::Dropped("its term has passed"),
            _ if !is_leaders => Received::Dropped("it does not come from the leader"),
            _ if metadata.index == applied && metadata.term != term => {
                Received::Dropped("it contradicts what is committed")
            }
            _ if metadata.index <= applied => return None,
            Some(snapshot) => Received::Snapshot(Box::new(message.clone()), snapshot),
            None => Received::Dropped("it describes no snapshot"),
        })
    }

    /// Gives Raft the snapshot of `message`, which is whole on disk as a part and decodes to `machine`.
    pub(crate) fn install(&mut self, mut message: Message, snapshot: SnapshotId, machine: Machine) -> Received {
        let metadata = message.get_snapshot().get_metadata();
        if (machine.applied, machine.term) != (metadata.index, metadata.term) {
            return Received::Dropped("the snapshot is not the one it says");
        }
        if machine.members != *metadata.get_conf_state() {
            return Received::Dropped("the snapshot has other members");
        }
        if self.node.snap().is_some() || self.snapshots.is_installing() || machine.applied <= self.machine.applied {
            return Received::Dropped("the log overtook it");
        }
        message.mut_snapshot().data = Bytes::new();
        self.snapshots.set_incoming(snapshot, machine);
        let taken = self.node.step(message);
        if self.node.snap().is_none() {
            self.snapshots.drop_incoming();
        }
        self.settle_election();
        match taken {
            Ok(()) => Received::Taken,
            Err(_) => Received::Dropped("Raft has no use for it"),
        }
    }

    /// Begins to hand leadership to the voter whose log is longest. False when this peer does not lead, or nobody is
    /// there to take over. Works while members change too: the next leader finishes the change. One that has yet to
    /// apply it refuses, and then handing over ends after an election timeout and may be asked for again.
    pub(crate) fn hand_over(&mut self) -> bool {
        match self.successor().filter(|_| self.is_leader()) {
            Some(id) => {
                self.node.transfer_leader(id);
                true
            }
            None => false,
        }
    }

    /// Who would lead best after this peer: of the active voters with data, the one with the longest log.
    pub(super) fn successor(&self) -> Option<u64> {
        let is_fit = |id: u64| {
            let members = &self.machine.members;
            id != self.member && members.voters.contains(&id) && !self.machine.witnesses.contains(&id)
        };
        let progress = self.node.raft.prs().iter().map(|(id, progress)| (progress.matched, *id));
        let fit = progress.filter(|&(_, id)| is_fit(id) && self.is_active(id));
        fit.max_by_key(|&(matched, id)| (matched, std::cmp::Reverse(id))).map(|(_, id)| id)
    }
}

/// What Raft would take the process down for, or what no member of ours sends.
fn malformed(message: &Message) -> Option<&'static str> {
    let entries = message.get_entries();
    // Raft takes a message without term for its own, and cannot pass on one that has a term.
    let is_passed_on = matches!(message.get_msg_type(), MessageType::MsgPropose | MessageType::MsgReadIndex);
    if is_passed_on != (message.term == 0) {
        return Some(if is_passed_on { "it has a term" } else { "it has no term" });
    }
    match message.get_msg_type() {
        MessageType::MsgAppend => {
            let follow = entries.iter().zip(message.index + 1..).all(|(entry, index)| entry.index == index);
            let rises = entries.windows(2).all(|pair| pair[0].term <= pair[1].term);
            let fits = entries.first().is_none_or(|entry| entry.term >= message.log_term);
            let known = entries.last().is_none_or(|entry| entry.term <= message.term);
            (!(follow && rises && fits && known)).then_some("its entries do not follow each other")
        }
        MessageType::MsgPropose => {
            // Once committed, what does not decode stops every member.
            let is_command = |entry: &Entry| {
                entry.entry_type == EntryType::EntryNormal && command::decode(entry.data.clone()).is_ok()
            };
            (entries.is_empty() || !entries.iter().all(is_command)).then_some("it proposes what is no command")
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            (entries.len() != 1).then_some("it has no context")
        }
        MessageType::MsgSnapshot => message.get_snapshot().is_empty().then_some("it has no snapshot"),
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgTransferLeader
        | MessageType::MsgCheckQuorum => Some("it is no message between members"),
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            (message.priority < 0).then_some("no member has a priority")
        }
        MessageType::MsgAppendResponse
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTimeoutNow => None,
    }
}
