//! A peer without threads, clock or files: the core, and who waits for what. One closed enumeration of what can happen to
//! it. It has the core's orders carried out by whoever drives it: [`crate::shell`], or the simulator.
//!
//! Group commit: the driver gives it all that waits, [`Peer::flush`] proposes it together, and one fsync carries it.
//! While the disk works the next ones are proposed and sent to the others: [`Input::Written`] comes later.

mod changes;
mod reads;
mod transfer;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use raft::eraftpb::{Message, MessageType};
use tokio::sync::oneshot;

use self::changes::Changes;
use self::reads::Reads;
use self::transfer::{PIECE_BYTES, Transfers};
pub(crate) use self::writes::Proposal;
use self::writes::Writes;
use crate::command::ProposalId;
use crate::core::inputs::Received;
use crate::core::{Core, Fatal, Orders, snapshots};
use crate::error::{MemberError, ReadError};
use crate::log::{self, files};
use crate::model::{MemberChange, MemberId, Revision};
use crate::shared::Shared;
use crate::status::Role;
use crate::wire::{self, Ask, Parcel, Piece};

/// Election timeouts that a step may take to become durable until a leader makes room for another: 1.6 s by default,
/// more than a busy disk takes for one fsync and less than clients wait for their writes.
const STALLED_ELECTIONS: u64 = 4;

/// How long a step may take to become durable until the disk counts as failed: twice what Linux gives a disk to answer one
/// command. Counted in ticks, of which few are made up for: a machine that was paused has a disk that was paused too.
const DISK_DEADLINE: Duration = Duration::from_mins(1);

/// What can happen to a peer.
pub(crate) enum Input {
    /// A write of this peer's clients.
    Propose(Proposal),
    /// A message of another peer.
    Receive(MemberId, Parcel),
    /// A linearizable read; answered when a view of the present state serves it.
    ReadIndex(oneshot::Sender<Result<(), ReadError>>),
    /// Time passed.
    Tick,
    /// A change of members.
    Members(MemberChange, oneshot::Sender<Result<(), MemberError>>),
    /// Leadership is to be handed over; told whether that has begun.
    HandOver(oneshot::Sender<bool>),
    /// The log has carried out all jobs up to the one with this ticket.
    Written(u64),
    /// A job beside the log is done.
    Files(files::Done),
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Send a message, which may be lost.
    Send { to: MemberId, message: bytes::Bytes },
    /// Have the log carry this out, after those before; then give [`Input::Written`].
    Log(log::Job),
    /// Have this carried out beside the log, after those before; then give [`Input::Files`].
    Files(files::Job),
}

/// A step that is not durable yet, and what is to be sent when it is.
struct Unwritten {
    ticket: u64,
    /// False when nothing of it is written, and it only waits for those before.
    is_written: bool,
    then_send: Vec<Message>,
    /// The tick at which it was ordered.
    since: u64,
}

/// See the module.
pub(crate) struct Peer {
    member: MemberId,
    incarnation: u64,
    /// Open to the simulator's look.
    pub(crate) core: Core,
    shared: Arc<Shared>,
    writes: Writes,
    reads: Reads,
    changes: Changes,
    transfers: Transfers,
    unwritten: VecDeque<Unwritten>,
    /// On the leader: the last entry of each batch that is not applied, and when it was proposed.
    proposed: VecDeque<(u64, Instant)>,
    /// Ticks of the clock so far.
    ticks: u64,
    /// A disk that takes more ticks for one step hangs.
    stalled: u64,
    /// A disk that takes more ticks for one step has failed.
    failed: u64,
    out: Vec<Output>,
    /// Leader and term, to notice when they change.
    lead: (Option<MemberId>, u64),
}

impl Peer {
    pub(crate) fn new(core: Core, shared: Arc<Shared>) -> Self {
        let member = shared.member;
        let (incarnation, timing) = (shared.incarnation, shared.timing);
        Self {
            member,
            incarnation,
            core,
            shared,
            writes: Writes::new(member.0, incarnation, timing.deadline),
            reads: Reads::new(member.0, incarnation, timing),
            changes: Changes::new(timing.deadline),
            transfers: Transfers::default(),
            unwritten: VecDeque::new(),
            proposed: VecDeque::new(),
            ticks: 0,
            stalled: timing.election as u64 * STALLED_ELECTIONS,
            failed: (DISK_DEADLINE.as_nanos() / timing.tick.as_nanos()) as u64,
            out: Vec::new(),
            lead: (None, 0),
        }
    }

    /// The core, for the simulator to look at.
    #[cfg(test)]
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The core, to plant bugs in.
    #[cfg(test)]
    pub(crate) fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// Takes one input. What comes of it is known after [`Peer::flush`].
    pub(crate) fn handle(&mut self, input: Input, now: Instant) -> Result<(), Fatal> {
        match input {
            // It would wait for the disk, and so would all after it.
            Input::Propose(proposal) if self.shared.room.is_full() => proposal.refuse_for_room(),
            Input::Propose(proposal) => self.writes.add(proposal, now),
            Input::Receive(from, parcel) => self.receive(from, parcel, now)?,
            Input::ReadIndex(reader) => self.reads.add(reader, now),
            Input::Tick => {
                self.ticks += 1;
                self.check_disk()?;
                self.core.tick();
                self.writes.tick(now, self.core.term(), self.core.is_leader());
                self.reads.tick(now);
                self.changes.tick(now);
                self.transfers.tick(now, &mut self.out);
                self.yield_when_stalled();
            }
            Input::Members(change, asker) => self.changes.add(change, asker, now),
            Input::HandOver(asker) => {
                let _ = asker.send(self.core.hand_over());
            }
            Input::Written(ticket) => self.settle_unwritten(ticket),
            Input::Files(done) => self.files_done(done, now),
        }
        Ok(())
    }

    /// Gives the core what waits, and returns what is to be done until the next input.
    pub(crate) fn flush(&mut self, now: Instant) -> Result<Vec<Output>, Fatal> {
        loop {
            self.writes.propose(&mut self.core, now);
            let id = |sequence| ProposalId { member: self.member.0, incarnation: self.incarnation, sequence };
            self.core.speak(self.shared.level.load(Ordering::Relaxed));
            self.changes.propose(&mut self.core, id);
            self.reads.ask(&mut self.core, id, now);
            let mut is_idle = true;
            while let Some(orders) = self.core.poll()? {
                is_idle = false;
                self.carry_out(orders, now);
                self.notice_leader();
            }
            if is_idle {
                return Ok(std::mem::take(&mut self.out));
            }
        }
    }

    fn receive(&mut self, from: MemberId, parcel: Parcel, now: Instant) -> Result<(), Fatal> {
        match parcel {
            Parcel::Raft(message) => {
                let kind = message.msg_type;
                match self.core.receive(*message)? {
                    Received::Taken => {}
                    Received::Snapshot(message, snapshot) => {
                        let described = snapshots::is_described(message.get_snapshot());
                        let state = (!described).then(|| message.get_snapshot().data.clone());
                        self.transfers.begin(message, snapshot, state, now, &mut self.out);
                    }
                    Received::Dropped(why) => {
                        tracing::debug!(member = %self.member, %from, ?kind, why, "dropped a message");
                    }
                }
            }
            Parcel::Ask(Ask { snapshot, offset, .. }) => self.asked(from, snapshot, offset),
            Parcel::Piece(piece) => self.transfers.receive(from, piece, now, &mut self.out),
        }
        Ok(())
    }

    /// A disk that does not answer for long has failed, and what waits for it must not fill the memory.
    fn check_disk(&mut self) -> Result<(), Fatal> {
        if self.shared.room.is_full() {
            // It does answer, and is waited for; its time begins when there is room.
            self.unwritten.iter_mut().for_each(|step| step.since = self.ticks);
        }
        match self.unwritten.front() {
            Some(step) if self.ticks - step.since > self.failed => {
                Err(Fatal(format!("the disk has not finished a write for {} s", DISK_DEADLINE.as_secs())))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A leader whose disk hangs goes on ordering writes and never learns of its own: another voter does better.
    fn yield_when_stalled(&mut self) {
        let is_stalled = |step: &Unwritten| self.ticks - step.since > self.stalled;
        let waits = self.shared.room.is_full() || self.unwritten.front().is_some_and(is_stalled);
        if self.core.is_leader() && waits && self.core.hand_over() {
            tracing::warn!(member = %self.member, "the disk hangs; another voter is asked to lead");
        }
    }

    /// A follower asks for a piece of a snapshot.
    fn asked(&mut self, from: MemberId, snapshot: log::SnapshotId, offset: u64) {
        if !self.core.asked_for(from.0, snapshot) {
            let bytes = bytes::Bytes::new();
            let none = Parcel::Piece(Piece { to: from, snapshot, offset, bytes });
            self.out.push(Output::Send { to: from, message: none.encode() });
        } else if offset < snapshot.bytes && self.transfers.may_read(from) {
            let length = PIECE_BYTES.min(usize::try_from(snapshot.bytes - offset).unwrap_or(PIECE_BYTES));
            self.out.push(Output::Files(files::Job::Read { to: from, snapshot, offset, length }));
        }
    }

    fn carry_out(&mut self, orders: Orders, now: Instant) {
        self.send(orders.send);
        let applied = Revision(self.core.applied());
        while let Some((_, since)) = self.proposed.pop_front_if(|(last, _)| *last <= applied.0) {
            self.shared.metrics.commit_seconds.observe(now.duration_since(since).as_secs_f64());
        }
        if orders.restored.is_some() || self.shared.histories.applied() != applied {
            // The view first: who is woken by a change finds it there.
            self.shared.view.store(Arc::new(self.core.machine().view()));
            if let Some(floor) = orders.restored {
                self.shared.metrics.snapshots_received.inc();
                self.shared.histories.restart(Revision(floor));
                self.writes.restored(self.core.machine(), now);
            }
            self.shared.histories.publish(&orders.changes, applied);
        }
        // After the view: so that the last one to hold its objects is the worker.
        self.out.extend(orders.replaced.map(|machine| Output::Files(files::Job::Forget(machine))));
        for (id, verdict) in orders.verdicts {
            self.writes.settle(id, verdict, applied.0);
        }
        for (id, verdict) in orders.member_verdicts {
            if (id.member, id.incarnation) == (self.member.0, self.incarnation) {
                self.changes.settle(id.sequence, verdict);
            }
        }
        self.reads.confirmed(orders.reads);
        self.reads.answer(applied.0);
        if let Some(persist) = orders.persist {
            let is_written = persist.write.is_some();
            let last = persist.write.as_ref().and_then(|write| write.entries.last());
            if self.core.is_leader()
                && let Some(last) = last
            {
                self.proposed.push_back((last.index, now));
            }
            let (ticket, then_send) = (persist.ticket, persist.then_send);
            self.unwritten.push_back(Unwritten { ticket, is_written, then_send, since: self.ticks });
            match persist.write {
                Some(write) => self.out.push(Output::Log(log::Job::Write { ticket, write })),
                None => self.settle_unwritten(0),
            }
        }
        if let Some(machine) = orders.snapshot {
            self.out.push(Output::Files(files::Job::Take(machine)));
        }
    }

    /// What the log has carried out may be promised now.
    fn settle_unwritten(&mut self, written: u64) {
        while let Some(step) = self.unwritten.pop_front_if(|step| !step.is_written || step.ticket <= written) {
            self.send(step.then_send);
            self.core.persisted(step.ticket);
        }
    }

    fn files_done(&mut self, done: files::Done, now: Instant) {
        match done {
            files::Done::Taken { snapshot, members } => {
                let snapshots::Taken { through, newest, kept } = self.core.snapshot_taken(snapshot, members);
                self.shared.metrics.snapshots_taken.inc();
                self.shared.metrics.snapshot_bytes.set(snapshot.bytes.cast_signed());
                self.out.push(Output::Log(log::Job::Compact(through)));
                self.out.push(Output::Files(files::Job::Prune { newest, kept }));
                tracing::debug!(member = %self.member, revision = snapshot.index, bytes = snapshot.bytes, "took a snapshot");
            }
            files::Done::Piece { to, snapshot, offset, piece: bytes } => {
                self.transfers.was_read(to);
                let piece = Parcel::Piece(Piece { to, snapshot, offset, bytes });
                self.out.push(Output::Send { to, message: piece.encode() });
            }
            files::Done::Filled { message } => {
                if let Some(message) = message {
                    self.send_one(&message);
                }
            }
            files::Done::Begun { snapshot, offset } => {
                self.transfers.begun(snapshot, offset, now, &mut self.out);
            }
            files::Done::Finished { snapshot, state } => {
                let Some(message) = self.transfers.finished(snapshot) else { return };
                let outcome = match state {
                    Ok(machine) => self.core.install(*message, snapshot, *machine),
                    Err(why) => {
                        tracing::warn!(member = %self.member, revision = snapshot.index, why, "refused a snapshot");
                        return;
                    }
                };
                if let Received::Dropped(why) = outcome {
                    tracing::debug!(member = %self.member, revision = snapshot.index, why, "dropped a snapshot");
                }
            }
            files::Done::Nothing => {}
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot
                && !self.core.streams()
                && snapshots::is_described(message.get_snapshot())
                && let Some(snapshot) = snapshots::identify(message.get_snapshot())
            {
                let message = Box::new(message);
                self.out.push(Output::Files(files::Job::Fill { message, snapshot }));
            } else {
                self.send_one(&message);
            }
        }
    }

    fn send_one(&mut self, message: &Message) {
        let to = MemberId(message.to);
        match wire::encode(message) {
            Ok(message) => self.out.push(Output::Send { to, message }),
            Err(error) => tracing::error!(member = %self.member, %to, %error, "cannot encode a message"),
        }
    }

    /// Tells those who wait that a leader is there to ask anew.
    fn notice_leader(&mut self) {
        let lead = (self.core.leader(), self.core.term());
        if lead != self.lead {
            self.lead = lead;
            self.proposed.clear();
            if lead.0.is_some() {
                self.shared.metrics.leader_changes.inc();
                self.writes.lead_changed(lead.1);
                self.reads.ask_again();
            }
            self.publish_status(true);
        }
    }

    /// Publishes the status: always when members or role differ, positions only when `with_positions`.
    pub(crate) fn publish_status(&self, with_positions: bool) {
        self.shared.status.send_if_modified(|status| {
            if !with_positions && self.core.has_members(status) {
                return false;
            }
            let now = self.core.status();
            let changed = now != *status;
            *status = now;
            changed
        });
    }

    /// The end, and why if it is not wanted. Whoever still waits is told. Returns the last messages: a leader that cannot
    /// go on asks another voter to take over, which promises nothing of its own.
    pub(crate) fn end(&mut self, failure: Option<&str>, now: Instant) -> Vec<Output> {
        self.out.clear();
        if failure.is_some()
            && self.core.hand_over()
            && let Ok(Some(orders)) = self.core.poll()
        {
            self.send(orders.send);
        }
        self.shared.status.send_modify(|status| {
            status.role = Role::Learner;
            status.leader = None;
            status.failure = failure.map(Into::into);
        });
        self.shared.histories.close();
        self.writes.close(now);
        self.reads.close();
        self.changes.close(now);
        std::mem::take(&mut self.out)
    }
}

impl Input {
    /// Tells whoever waits for this that nobody will handle it.
    pub(crate) fn refuse(self) {
        match self {
            Self::Propose(proposal) => proposal.refuse(),
            Self::ReadIndex(reader) => drop(reader.send(Err(ReadError::Stopped))),
            Self::Members(_, asker) => drop(asker.send(Err(MemberError::Stopped))),
            Self::HandOver(asker) => drop(asker.send(false)),
            Self::Receive(..) | Self::Tick | Self::Written(_) | Self::Files(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
