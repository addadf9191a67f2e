//! The thread of a peer: one loop, one closed enumeration of what can happen to it. It owns the core and the log,
//! carries out the core's orders and keeps who waits for what. It decides nothing about Raft.
//!
//! Group commit: the loop takes all that waits, proposes it together, and one fsync carries it. While the disk works,
//! the next ones gather.

mod changes;
mod reads;
mod writes;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use raft::eraftpb::{ConfState, Message};
use tokio::sync::oneshot;

use self::changes::Changes;
use self::reads::Reads;
pub(crate) use self::writes::Proposal;
use self::writes::Writes;
use crate::command::ProposalId;
use crate::core::inputs::Received;
use crate::core::{Core, Fatal, Orders, SnapshotJob, Write};
use crate::error::{MemberError, ReadError};
use crate::log::{Log, SnapshotFile};
use crate::model::{MemberChange, MemberId, Revision};
use crate::options::{Timing, Transport};
use crate::shared::Shared;
use crate::state;
use crate::status::Role;
use crate::wire;

/// Events taken together at most, so that a tick is never late by more than their handling.
const BATCH: usize = 2048;

/// Ticks made up for after the thread was held up. More would start elections that no silence of the leader caused.
const TICKS_LATE: u32 = 2;

/// What can happen to a peer.
pub(crate) enum Event {
    /// A write of this peer's clients.
    Propose(Proposal),
    /// A message of another peer.
    Receive(Box<Message>),
    /// A linearizable read; answered when a view of the present state serves it.
    ReadIndex(oneshot::Sender<Result<(), ReadError>>),
    /// Time passed.
    Tick,
    /// A change of members.
    Members(MemberChange, oneshot::Sender<Result<(), MemberError>>),
    /// Leadership is to be handed over; told whether that has begun.
    HandOver(oneshot::Sender<bool>),
    /// A snapshot is on disk, or is not.
    Snapshot(Result<SnapshotTaken, String>),
    /// The end.
    Stop,
}

/// A snapshot on disk.
pub(crate) struct SnapshotTaken {
    file: SnapshotFile,
    members: ConfState,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

/// What the thread owns.
pub(crate) struct Shell {
    member: MemberId,
    incarnation: u64,
    timing: Timing,
    core: Core,
    log: Log,
    transport: Arc<dyn Transport>,
    shared: Arc<Shared>,
    events: Receiver<Event>,
    snapshots: (SyncSender<Event>, Receiver<Event>),
    snapshot: Option<JoinHandle<()>>,
    writes: Writes,
    reads: Reads,
    changes: Changes,
    /// Leader and term, to notice when they change.
    lead: (Option<MemberId>, u64),
}

impl Shell {
    pub(crate) fn new(
        core: Core,
        log: Log,
        transport: Arc<dyn Transport>,
        shared: Arc<Shared>,
        events: Receiver<Event>,
    ) -> Self {
        let member = shared.member;
        let (incarnation, timing) = (shared.incarnation, shared.timing);
        Self {
            member,
            incarnation,
            timing,
            core,
            log,
            transport,
            shared,
            events,
            // One snapshot is taken at a time.
            snapshots: mpsc::sync_channel(1),
            snapshot: None,
            writes: Writes::new(member.0, incarnation, timing.deadline),
            reads: Reads::new(member.0, incarnation, timing),
            changes: Changes::new(timing.deadline),
            lead: (None, 0),
        }
    }

    /// Runs until the end. Whoever still waits then is told.
    pub(crate) fn run(mut self) {
        let end = panic::catch_unwind(AssertUnwindSafe(|| self.work()));
        let failure = match end {
            Ok(Ok(())) => None,
            Ok(Err(Fatal(why))) => Some(why),
            Err(panic) => Some(format!("an invariant broke: {}", text_of(&*panic))),
        };
        if let Some(why) = &failure {
            tracing::error!(member = %self.member, %why, "the store gave up; this peer takes no part in it any more");
        }
        self.shared.status.send_modify(|status| {
            status.role = Role::Learner;
            status.leader = None;
            status.failure = failure.map(Into::into);
        });
        self.shared.histories.close();
        self.writes.close();
        self.reads.close();
        self.changes.close();
        while let Ok(event) = self.events.try_recv() {
            refuse(event);
        }
        if let Some(snapshot) = self.snapshot.take() {
            let _ = snapshot.join();
        }
    }

    fn work(&mut self) -> Result<(), Fatal> {
        self.flush()?;
        self.publish_status(true);
        let mut next_tick = Instant::now() + self.timing.tick;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            let mut go = match self.events.recv_timeout(wait) {
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => Go::On,
                // All handles are gone.
                Err(RecvTimeoutError::Disconnected) => Go::Stop,
            };
            for _ in 1..BATCH {
                match self.events.try_recv() {
                    Ok(event) if go == Go::On => go = self.handle(event)?,
                    Ok(event) => refuse(event),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            if go == Go::Stop {
                return Ok(());
            }
            while let Ok(event) = self.snapshots.1.try_recv() {
                self.handle(event)?;
            }
            let now = Instant::now();
            let is_tick = next_tick <= now;
            for _ in 0..TICKS_LATE {
                if next_tick <= now {
                    self.handle(Event::Tick)?;
                    next_tick += self.timing.tick;
                }
            }
            next_tick = next_tick.max(now);
            self.flush()?;
            self.publish_status(is_tick);
        }
    }

    fn handle(&mut self, event: Event) -> Result<Go, Fatal> {
        match event {
            Event::Propose(proposal) => self.writes.add(proposal),
            Event::Receive(message) => {
                let (from, kind) = (message.from, message.msg_type);
                if let Received::Dropped(why) = self.core.receive(*message)? {
                    tracing::debug!(member = %self.member, from, ?kind, why, "dropped a message");
                }
            }
            Event::ReadIndex(reader) => self.reads.add(reader),
            Event::Tick => {
                self.core.tick();
                let now = Instant::now();
                self.writes.tick(now, self.core.term(), self.core.is_leader());
                self.reads.tick(now);
                self.changes.tick(now);
            }
            Event::Members(change, asker) => self.changes.add(change, asker),
            Event::HandOver(asker) => {
                let _ = asker.send(self.core.hand_over());
            }
            Event::Snapshot(taken) => self.snapshot_taken(taken)?,
            Event::Stop => return Ok(Go::Stop),
        }
        Ok(Go::On)
    }

    /// Gives the core what waits, and carries out its orders until it has none.
    fn flush(&mut self) -> Result<(), Fatal> {
        loop {
            self.writes.propose(&mut self.core);
            let id = |sequence| ProposalId { member: self.member.0, incarnation: self.incarnation, sequence };
            self.changes.propose(&mut self.core, id);
            self.reads.ask(&mut self.core, id);
            let mut is_idle = true;
            while let Some(orders) = self.core.poll()? {
                is_idle = false;
                self.carry_out(orders)?;
                self.notice_leader();
            }
            if is_idle {
                return Ok(());
            }
        }
    }

    fn carry_out(&mut self, orders: Orders) -> Result<(), Fatal> {
        self.send(orders.send);
        let applied = Revision(self.core.applied());
        if orders.restored.is_some() || self.shared.histories.applied() != applied {
            // The view first: who is woken by a change finds it there.
            self.shared.view.store(Arc::new(self.core.machine().view()));
            if let Some(floor) = orders.restored {
                self.shared.histories.restart(Revision(floor));
                self.writes.restored(self.core.machine());
            }
            self.shared.histories.publish(&orders.changes, applied);
        }
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
            if let Some(write) = persist.write {
                self.persist(write)?;
            }
            self.send(persist.then_send);
            self.core.persisted(persist.ticket);
        }
        if let Some(job) = orders.snapshot {
            self.take_snapshot(job)?;
        }
        Ok(())
    }

    fn persist(&mut self, write: Write) -> Result<(), Fatal> {
        let Write { snapshot, entries, hard_state } = write;
        let written = match snapshot {
            Some(snapshot) => self.log.install(&snapshot, &hard_state),
            None => Ok(()),
        };
        written.and_then(|()| self.log.append(&entries, &hard_state)).map_err(|error| {
            // What of it reached the disk is unknown, and a second fsync would lie about the first.
            Fatal(format!("write the log in {}: {error}", self.log.dir().display()))
        })
    }

    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            let to = MemberId(message.to);
            match wire::encode(&message) {
                Ok(bytes) => self.transport.send(to, bytes),
                Err(error) => tracing::error!(member = %self.member, %to, %error, "cannot encode a message"),
            }
        }
    }

    /// Encodes and writes a snapshot beside the loop, so that writes go on.
    fn take_snapshot(&mut self, job: SnapshotJob) -> Result<(), Fatal> {
        if let Some(last) = self.snapshot.take() {
            let _ = last.join();
        }
        let (dir, done) = (self.log.dir().clone(), self.snapshots.0.clone());
        let run = move || {
            let taken = or_panic(|| {
                let SnapshotJob { machine, hard_state } = job;
                let file = SnapshotFile { index: machine.applied, term: machine.term, body: state::encode(&machine) };
                file.write(&dir, &hard_state).map_err(|error| error.to_string())?;
                Ok(SnapshotTaken { file, members: machine.members })
            });
            let taken = taken.map_err(|why| format!("{}: {why}", dir.display()));
            // Fails when the loop has ended, which needs no snapshot.
            let _ = done.try_send(Event::Snapshot(taken));
        };
        let spawned = thread::Builder::new().name("wk-store-snapshot".to_owned()).spawn(run);
        self.snapshot = Some(spawned.map_err(|error| Fatal(format!("start a thread for a snapshot: {error}")))?);
        Ok(())
    }

    fn snapshot_taken(&mut self, taken: Result<SnapshotTaken, String>) -> Result<(), Fatal> {
        match taken {
            Ok(SnapshotTaken { file, members }) => {
                let through = self.core.snapshot_taken(&file, members);
                self.log.compact(through).map_err(|error| Fatal(format!("delete old logs: {error}")))?;
                tracing::debug!(member = %self.member, revision = file.index, bytes = file.body.len(), "took a snapshot");
                Ok(())
            }
            // The disk that cannot take a snapshot will not take the log for long.
            Err(why) => {
                self.core.snapshot_failed();
                Err(Fatal(format!("write a snapshot in {why}")))
            }
        }
    }

    /// Tells those who wait that a leader is there to ask anew.
    fn notice_leader(&mut self) {
        let lead = (self.core.leader(), self.core.term());
        if lead != self.lead {
            self.lead = lead;
            if lead.0.is_some() {
                self.writes.lead_changed(lead.1);
                self.reads.ask_again();
            }
            self.publish_status(true);
        }
    }

    /// Publishes the status: always when members or role differ, positions only when `with_positions`.
    fn publish_status(&self, with_positions: bool) {
        let members = &self.core.machine().members;
        self.shared.status.send_if_modified(|status| {
            let same = status.voters.len() + status.learners.len()
                == members.voters.len() + members.learners.len() + members.voters_outgoing.len()
                && members.voters.iter().all(|id| status.voters.contains(&MemberId(*id)));
            if !with_positions && same {
                return false;
            }
            let now = self.core.status();
            let changed = now != *status;
            *status = now;
            changed
        });
    }
}

/// Tells whoever waits for `event` that nobody will handle it.
fn refuse(event: Event) {
    match event {
        Event::Propose(proposal) => proposal.refuse(),
        Event::ReadIndex(reader) => drop(reader.send(Err(ReadError::Stopped))),
        Event::Members(_, asker) => drop(asker.send(Err(MemberError::Stopped))),
        Event::HandOver(asker) => drop(asker.send(false)),
        Event::Receive(_) | Event::Tick | Event::Snapshot(_) | Event::Stop => {}
    }
}

/// What `act` returns, or that it panicked: whoever waits for it hears of it either way.
fn or_panic<T>(act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(format!("an invariant broke: {}", text_of(&*panic))))
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no words for it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_panics_is_reported_as_failed() {
        let failed: Result<(), String> = or_panic(|| panic!("no room"));
        assert_eq!(failed, Err("an invariant broke: no room".to_owned()));
    }
}
