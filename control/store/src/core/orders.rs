//! What comes out of the core.

use raft::StateRole;

use super::{Core, Fatal, Orders, Persist};
use crate::log::{SnapshotId, Write};

impl Core {
    /// The next orders, None when there is nothing to do until the next input.
    pub(crate) fn poll(&mut self) -> Result<Option<Orders>, Fatal> {
        let mut orders = Orders::default();
        let witnesses = self.machine.witnesses.clone();
        self.finish_restore(&mut orders)?;
        let is_ready = self.node.has_ready();
        if is_ready {
            self.ready(&mut orders)?;
        }
        self.send_answers(&mut orders);
        self.withhold(&witnesses, &mut orders);
        self.settle_election();
        self.order_snapshot(&mut orders);
        let is_idle = !is_ready && orders.restored.is_none() && orders.snapshot.is_none() && orders.send.is_empty();
        Ok((!is_idle).then_some(orders))
    }

    /// The step `ticket` of [`Persist`], and all before it, are on disk.
    pub(crate) fn persisted(&mut self, ticket: u64) {
        self.promised.take_if(|promised| *promised <= ticket);
        self.node.on_persist_ready(ticket);
        self.snapshots.installed(ticket);
    }

    fn ready(&mut self, orders: &mut Orders) -> Result<(), Fatal> {
        let mut ready = self.node.ready();
        let before = self.node.store().hard_state().clone();
        if ready.hs().is_some_and(|now| (now.term, now.vote) != (before.term, before.vote)) {
            self.promised = Some(ready.number());
        }
        let mut then_send = ready.take_persisted_messages();
        let send = ready.take_messages();
        self.note_told(&then_send);
        self.note_told(&send);
        if self.promised.is_some() {
            // A sole voter becomes leader in one step, with a term and vote that are not on disk yet. Were its learners
            // to hear of the term now, a crash could make it use the term twice.
            then_send.extend(send);
        } else {
            orders.send = send;
        }
        orders.reads = ready.take_read_states().into_iter().map(|read| (read.index, read.request_ctx)).collect();
        let snapshot = self.start_install(&ready)?;
        let entries = ready.take_entries();
        let log = self.node.mut_store();
        if let Some(hard_state) = ready.hs() {
            log.set_hard_state(hard_state.clone());
        }
        if let Some(snapshot) = &snapshot {
            log.restart((snapshot.index, snapshot.term));
        }
        log.append(&entries);
        let hard_state = log.hard_state().clone();
        let ticket = ready.number();
        // A newer commit alone is not worth a write: it is learned again, and goes with the next one.
        let write = ready.must_sync().then_some(Write { snapshot, entries, hard_state });
        orders.persist = Some(Persist { ticket, write, then_send });
        let committed = ready.take_committed_entries();
        self.node.advance_append_async(ready);
        if let Some(last) = committed.last().map(|entry| entry.index) {
            for entry in committed {
                self.apply(entry, orders)?;
            }
            let end = self.node.raft.raft_log.last_index();
            self.node.advance_apply_to(last);
            if self.node.raft.raft_log.last_index() > end {
                // Raft appended the entry that leaves a joint state, and would send it with the next heartbeat.
                self.node.raft.bcast_append();
            }
        }
        Ok(())
    }

    /// Notes the snapshot that Raft took from the leader, to be installed when it is on disk.
    fn start_install(&mut self, ready: &raft::Ready) -> Result<Option<SnapshotId>, Fatal> {
        if ready.snapshot().is_empty() {
            return Ok(None);
        }
        let metadata = ready.snapshot().get_metadata();
        let started = self.snapshots.start_install(ready.number(), metadata.index, metadata.term);
        started
            .map(Some)
            .ok_or_else(|| Fatal(format!("the snapshot at index {} was not checked when it came", metadata.index)))
    }

    /// Puts a snapshot that is on disk by now in the place of the state.
    fn finish_restore(&mut self, orders: &mut Orders) -> Result<(), Fatal> {
        if let Some((snapshot, machine)) = self.snapshots.take_installed() {
            self.node.advance_apply_to(machine.applied);
            let described = super::snapshots::describe(snapshot, machine.members.clone());
            self.node.mut_store().set_snapshot(Some(described));
            tracing::info!(member = self.member, revision = machine.applied, "caught up by a snapshot");
            orders.restored = Some(machine.applied);
            orders.replaced = Some(Box::new(std::mem::replace(&mut self.machine, machine)));
            self.check_witness()?;
            if !self.machine.is_joint()
                && let Some(id) = self.joint_asked.take()
            {
                orders.member_verdicts.push((id, Ok(())));
            }
        }
        Ok(())
    }

    /// Steps down when this member leads and has just lost its vote, by a change that another leader proposed. Tells the
    /// best of the voters to take over, so that nobody waits for an election timeout.
    pub(super) fn leave_if_removed(&mut self) {
        if self.node.raft.state == StateRole::Leader && !self.node.raft.promotable() {
            if let Some(id) = self.successor() {
                self.node.raft.send_timeout_now(id);
            }
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, raft::INVALID_ID);
        }
    }
}
