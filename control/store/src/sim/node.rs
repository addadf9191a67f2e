//! One machine of the world: the real peer and the real log, on a simulated disk, driven by the world's events.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use imbl::OrdMap;
use tokio::sync::{Semaphore, oneshot};

use super::bug::Bug;
use super::checker::{Step, Wanted};
use super::client::Answer;
use super::dice::Dice;
use super::disk::SimDisk;
use super::probe::Probe;
use super::weather::Weather;
use crate::command::{self, ProposalId};
use crate::core::{Core, Fatal};
use crate::disk::Disk;
use crate::error::{MemberError, OpenError};
use crate::log::{self, Log, files};
use crate::machine::Machine;
use crate::model::{MemberChange, MemberId, Revision, Txn};
use crate::options::{Options, Start};
use crate::peer::{Input, Output, Peer, Proposal};
use crate::shared::Shared;
use crate::view::Collection;
use crate::wire;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is killed; what it wrote stays in the page cache.
    Killed,
    /// The power is gone.
    Power,
}

/// A machine.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) disk: SimDisk,
    options: Options,
    /// How the next start begins.
    start: Start,
    /// How many times it was started: events of an earlier start mean nothing.
    pub(super) starts: u64,
    pub(super) running: Option<Running>,
    /// Its clock runs at this many per mille of the world's.
    pub(super) pace: u64,
    /// A disk fault was injected, so it may give up.
    pub(super) is_hurt: bool,
    /// It votes and holds no data.
    pub(super) is_witness: bool,
    /// Removed from the cluster and switched off for good.
    pub(super) is_retired: bool,
    /// Until when its process does not run.
    pub(super) frozen: Duration,
    /// How many times as long the disk takes.
    pub(super) slowness: u32,
    /// The feature level that all members speak.
    level: u32,
    bug: Option<Bug>,
}

/// A process.
pub(super) struct Running {
    pub(super) peer: Peer,
    pub(super) shared: Arc<Shared>,
    log: Log,
    files: files::Files,
    jobs: VecDeque<log::Job>,
    /// What the disk is at.
    pub(super) writing: Vec<log::Job>,
    file_jobs: VecDeque<files::Job>,
    filing: Option<files::Job>,
    sequence: u64,
    permits: Arc<Semaphore>,
    /// The last entry of its log that the referee has compared.
    pub(super) checked: u64,
    /// The last entry applied that the referee has compared.
    pub(super) applied: u64,
    /// The event that makes it work is under way.
    pub(super) is_woken: bool,
    /// For planted bugs.
    early: Vec<(ProposalId, oneshot::Sender<Result<Revision, crate::error::WriteError>>)>,
    before: OrdMap<Arc<str>, Collection>,
}

impl Node {
    pub(super) fn new(id: u64, mut options: Options, dice: &mut Dice, weather: &Weather, bug: Option<Bug>) -> Self {
        options.dir = PathBuf::from(format!("/peer-{id}"));
        options.member = MemberId(id);
        let disk = SimDisk::new(Dice::new(dice.seed()));
        disk.faults(|faults| faults.syncs_lie = bug == Some(Bug::SkipFsync));
        Self {
            id,
            disk,
            start: options.start,
            is_witness: options.witness,
            options,
            level: weather.level,
            starts: 0,
            running: None,
            pace: dice.number(1000 - weather.drift..=1000 + weather.drift),
            is_hurt: false,
            is_retired: false,
            frozen: Duration::ZERO,
            slowness: 1,
            bug,
        }
    }

    /// The time on its clock.
    fn clock(&self, base: Instant, now: Duration) -> Instant {
        base + now * self.pace as u32 / 1000
    }

    /// One tick of its clock in the world's time.
    pub(super) fn tick_lasts(&self) -> Duration {
        self.options.timing.tick * 1000 / self.pace as u32
    }

    /// Starts the process. What it draws at random comes from the world.
    pub(super) fn start(&mut self, dice: &mut Dice) -> Result<(), OpenError> {
        self.starts += 1;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let mut options = self.options.clone();
        options.start = self.start;
        let (log, mut recovered) = match self.start {
            Start::Bootstrap => log::bootstrap(&options, &disk)?,
            Start::Join => log::join(&options, &disk)?,
            Start::Resume => log::resume(&options, &disk)?,
        };
        self.start = Start::Resume;
        match self.bug {
            Some(Bug::LoseVote) => recovered.hard_state.vote = 0,
            Some(Bug::TruncateTail) => {
                let torn = dice.index(3).min(recovered.entries.len());
                recovered.entries.truncate(recovered.entries.len() - torn);
                let last = recovered.machine.applied + recovered.entries.len() as u64;
                recovered.hard_state.commit = recovered.hard_state.commit.min(last);
            }
            _ => {}
        }
        let core = Core::new(&options, recovered, dice.seed())?;
        let shared = Arc::new(Shared::new(&options, &core, dice.seed()));
        shared.level.store(self.level, Ordering::Relaxed);
        let checked = core.raft().raft.raft_log.first_index() - 1;
        self.running = Some(Running {
            before: core.machine().collections.clone(),
            peer: Peer::new(core, Arc::clone(&shared)),
            shared,
            log,
            files: files::Files::new(disk, options.dir.clone()),
            jobs: VecDeque::new(),
            writing: Vec::new(),
            file_jobs: VecDeque::new(),
            filing: None,
            sequence: 0,
            permits: Arc::new(Semaphore::new(1 << 20)),
            checked,
            applied: 0,
            is_woken: false,
            early: Vec::new(),
        });
        Ok(())
    }

    /// Ends the process. What the disk was at is done in part.
    pub(super) fn end(&mut self, how: End, dice: &mut Dice) {
        let Some(mut running) = self.running.take() else {
            if how == End::Power {
                self.disk.lose_power();
            }
            return;
        };
        if !running.writing.is_empty() || running.filing.is_some() {
            self.disk.faults(|faults| faults.fuse = Some(dice.number(0..=6)));
            let writing = std::mem::take(&mut running.writing);
            if !writing.is_empty() {
                let _ = running.log.carry_out(writing);
            }
            if let Some(job) = running.filing.take() {
                let _ = running.files.carry_out(job);
            }
            self.disk.faults(|faults| faults.fuse = None);
        }
        match how {
            End::Killed => self.disk.lose_process(),
            End::Power => self.disk.lose_power(),
        }
        self.frozen = Duration::ZERO;
    }

    /// The peer cannot go on; its last messages.
    pub(super) fn give_up(&mut self, why: &str, base: Instant, now: Duration) -> Vec<(u64, Bytes)> {
        let clock = self.clock(base, now);
        let Some(running) = &mut self.running else { return Vec::new() };
        let last = running.peer.end(Some(why), clock).into_iter().filter_map(|output| match output {
            Output::Send { to, message } => Some((to.0, message)),
            Output::Log(_) | Output::Files(_) => None,
        });
        last.collect()
    }

    pub(super) fn machine(&self) -> Option<&Machine> {
        self.running.as_ref().map(|running| running.peer.core().machine())
    }

    pub(super) fn probe(&self) -> Option<Probe<'_>> {
        self.running.as_ref().map(|running| Probe::new(running.peer.core(), self.is_witness))
    }

    /// Something happens to the peer.
    fn input(&mut self, input: Input, base: Instant, now: Duration) -> Result<(), Fatal> {
        let clock = self.clock(base, now);
        match &mut self.running {
            Some(running) => running.peer.handle(input, clock),
            None => Ok(()),
        }
    }

    pub(super) fn tick(&mut self, base: Instant, now: Duration) -> Result<(), Fatal> {
        self.input(Input::Tick, base, now)
    }

    pub(super) fn receive(&mut self, from: u64, bytes: &Bytes, base: Instant, now: Duration) -> Result<(), Fatal> {
        let parcel = wire::decode(bytes).map_err(|error| Fatal(format!("a message does not decode: {error}")))?;
        self.input(Input::Receive(MemberId(from), parcel), base, now)
    }

    /// Asks for a linearizable read.
    pub(super) fn read(&mut self, base: Instant, now: Duration) -> Result<Answer, Fatal> {
        let (answer, answered) = oneshot::channel();
        if self.bug == Some(Bug::StaleRead) {
            let _ = answer.send(Ok(()));
        } else {
            self.input(Input::ReadIndex(answer), base, now)?;
        }
        Ok(Answer::Read(answered))
    }

    /// Asks for a write, as the store's handle does.
    pub(super) fn write(
        &mut self,
        steps: Vec<Step>,
        txn: &Txn,
        base: Instant,
        now: Duration,
    ) -> Result<Option<Answer>, Fatal> {
        let Some(running) = &mut self.running else { return Ok(None) };
        running.sequence += 1;
        let sequence = running.sequence;
        let shared = &running.shared;
        let id = ProposalId { member: shared.member.0, incarnation: shared.incarnation, sequence };
        let command = command::encode(id, shared.histories.applied().0, txn).into();
        let permit = || Arc::clone(&running.permits).try_acquire_owned().expect("there are many");
        let permits = [permit(), permit()];
        let (mut done, outcome) = oneshot::channel();
        if self.bug == Some(Bug::AckBeforeCommit) && steps.iter().all(|step| step.wanted == Wanted::Any) {
            running.early.push((id, std::mem::replace(&mut done, oneshot::channel().0)));
        }
        self.input(Input::Propose(Proposal { sequence, command, done, permits }), base, now)?;
        Ok(Some(Answer::Write(id, steps, outcome)))
    }

    /// Asks for a change of members. Nobody waits for it.
    pub(super) fn change(&mut self, change: MemberChange, base: Instant, now: Duration) -> Result<(), Fatal> {
        let (asker, _) = oneshot::channel::<Result<(), MemberError>>();
        self.input(Input::Members(change, asker), base, now)
    }

    pub(super) fn hand_over(&mut self, base: Instant, now: Duration) -> Result<(), Fatal> {
        self.input(Input::HandOver(oneshot::channel().0), base, now)
    }

    /// Has the peer do what there is to do; the messages that leave. Jobs wait for the workers.
    pub(super) fn flush(&mut self, base: Instant, now: Duration) -> Result<Vec<(u64, Bytes)>, Fatal> {
        let clock = self.clock(base, now);
        let bug = self.bug;
        let Some(running) = &mut self.running else { return Ok(Vec::new()) };
        let before = running.peer.core().machine().collections.clone();
        let applied = running.peer.core().applied();
        let mut send = Vec::new();
        for output in running.peer.flush(clock)? {
            match output {
                Output::Send { to, message } => send.push((to.0, message)),
                Output::Log(job) => running.jobs.push_back(job),
                Output::Files(mut job) => {
                    if let files::Job::Take(machine) = &mut job
                        && bug == Some(Bug::SnapshotWithoutLast)
                    {
                        machine.collections = running.before.clone();
                    }
                    running.file_jobs.push_back(job);
                }
            }
        }
        if running.peer.core().applied() != applied {
            running.before = before;
        }
        match bug {
            Some(Bug::ApplyTwice) => running.peer.core_mut().forget_proposals(),
            Some(Bug::AckBeforeCommit) => running.acknowledge_early(),
            _ => {}
        }
        Ok(send)
    }

    /// Gives the disk what waits for it, if it is idle. True when it begins something.
    pub(super) fn begin_write(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        if !running.writing.is_empty() || running.jobs.is_empty() {
            return false;
        }
        running.writing = running.jobs.drain(..).collect();
        true
    }

    /// The disk is done.
    pub(super) fn end_write(&mut self, base: Instant, now: Duration) -> Result<(), Fatal> {
        let clock = self.clock(base, now);
        let Some(running) = &mut self.running else { return Ok(()) };
        let jobs = std::mem::take(&mut running.writing);
        let ticket = running.log.carry_out(jobs).map_err(|error| Fatal(format!("write the log: {error}")))?;
        match ticket {
            Some(ticket) => running.peer.handle(Input::Written(ticket), clock),
            None => Ok(()),
        }
    }

    /// The same for the worker with the snapshots.
    pub(super) fn begin_file(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        if running.filing.is_some() {
            return false;
        }
        running.filing = running.file_jobs.pop_front();
        running.filing.is_some()
    }

    pub(super) fn end_file(&mut self, base: Instant, now: Duration) -> Result<(), Fatal> {
        let clock = self.clock(base, now);
        let Some(running) = &mut self.running else { return Ok(()) };
        let Some(job) = running.filing.take() else { return Ok(()) };
        let done = running.files.carry_out(job).map_err(Fatal)?;
        running.peer.handle(Input::Files(done), clock)
    }

    /// Whether a vote is being written that will be a promise to another.
    pub(super) fn writes_vote(&self) -> bool {
        let Some(running) = &self.running else { return false };
        let promised = &running.peer.core().raft().raft;
        promised.vote != 0 && promised.vote != self.id && running.writing.iter().any(|job| {
            matches!(job, log::Job::Write { write, .. } if write.entries.is_empty() && write.hard_state.vote == promised.vote)
        })
    }
}

impl Running {
    /// A planted bug: answers for what is in this leader's log.
    fn acknowledge_early(&mut self) {
        let probe = Probe::new(self.peer.core(), false);
        if !probe.leads() {
            return;
        }
        for entry in probe.entries(probe.commit() + 1, probe.last()) {
            let Ok(command) = command::decode(entry.data) else { continue };
            for (_, done) in self.early.extract_if(.., |(id, _)| *id == command.id) {
                let _ = done.send(Ok(Revision(entry.index)));
            }
        }
    }
}
