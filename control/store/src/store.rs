//! The handle: what the rest of wk calls. It encodes, checks limits, and waits; the thread behind it does the rest.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::timeout;

use crate::backup::{About, Backup};
use crate::command::{self, ProposalId};
use crate::core::Core;
use crate::decoded;
use crate::disk::{Disk, RealDisk};
use crate::error::{Compacted, MemberError, OpenError, ReadError, ReceiveError, WriteError};
use crate::log::{self, files::Files};
use crate::metrics::Metrics;
use crate::model::{Change, MemberChange, MemberId, Revision, Txn};
use crate::options::{Options, Start, Transport, WITNESS_COLLECTIONS};
use crate::packing::Packing;
use crate::peer::{Input, Peer, Proposal};
use crate::shared::Shared;
use crate::shell::{Event, Shell};
use crate::status::Status;
use crate::tags::Tag;
use crate::view::View;
use crate::watch::Watch;
use crate::wire::{self, Parcel};

/// Writes of one peer under way at once; more wait for their turn. Beyond some thousands a batch only gets later, not
/// larger: one fsync carries them all.
pub(crate) const WRITES_MAX: usize = 4096;

/// KiB of writes of one peer under way at once: 64 MiB, what the peer keeps in memory while there is no leader.
const WRITE_KIB_MAX: u32 = 64 << 10;

/// Events in the queue of the thread: all writes, and as many reads and messages. When it is full, reads are refused and
/// messages dropped, which Raft sends again.
const QUEUE: usize = 2 * WRITES_MAX;

/// Longer than the thread takes to answer when it lives: it is held up by a disk that hangs.
const GRACE: Duration = Duration::from_secs(2);

/// Election timeouts that handing over may take: Raft gives up after one.
const HAND_OVER_ELECTIONS: u32 = 3;

/// A peer of the store. Clones share it; the peer stops when [`Store::stop`] is called or all are dropped.
#[derive(Clone)]
pub struct Store(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    events: SyncSender<Event>,
    sequence: AtomicU64,
    writes: Arc<Semaphore>,
    write_kib: Arc<Semaphore>,
    entry_bytes: usize,
    packing: Mutex<Packing>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens the store in `options.dir` and starts its thread.
    #[expect(clippy::needless_pass_by_value, reason = "the seam: options are made for one store")]
    pub fn open(options: Options, transport: Arc<dyn Transport>) -> Result<Self, OpenError> {
        options.check()?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (log, recovered) = match options.start {
            Start::Bootstrap => log::bootstrap(&options, &disk)?,
            Start::Join => log::join(&options, &disk)?,
            Start::Resume => log::resume(&options, &disk)?,
        };
        let core = Core::new(&options, recovered, rand::random())?;
        let shared = Arc::new(Shared::new(&options, &core, rand::random()));
        let files = Files::new(disk, options.dir.clone());
        let (events, queue) = sync_channel(QUEUE);
        let peer = Peer::new(core, Arc::clone(&shared));
        let no_thread = |source| OpenError::Io { act: "start a thread for", file: options.dir.clone(), source };
        let shell = Shell::new(peer, (log, files), Arc::clone(&shared), transport, (events.clone(), queue));
        let shell = shell.map_err(no_thread)?;
        let thread = thread::Builder::new()
            .name(format!("wk-store-{}", options.member))
            .spawn(move || shell.run())
            .map_err(no_thread)?;
        Ok(Self(Arc::new(Handle {
            shared,
            events,
            sequence: AtomicU64::new(0),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            write_kib: Arc::new(Semaphore::new(WRITE_KIB_MAX as usize)),
            entry_bytes: options.limits.entry_bytes,
            packing: Mutex::default(),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// Writes `txn`, on any peer. Ok only when it is in the fsynced logs of a majority and applied here: its revision.
    ///
    /// Dropping the future does not undo the write.
    pub async fn write(&self, txn: Txn) -> Result<Revision, WriteError> {
        let begun = Instant::now();
        let outcome = self.propose(txn).await;
        self.0.shared.metrics.wrote(&outcome, begun.elapsed().as_secs_f64());
        outcome
    }

    async fn propose(&self, txn: Txn) -> Result<Revision, WriteError> {
        check(&txn)?;
        let Handle { shared, events, .. } = &*self.0;
        if shared.witness && txn.ops.iter().any(|op| !WITNESS_COLLECTIONS.contains(&op.key.collection())) {
            // It would never learn what became of it.
            return Err(WriteError::Unavailable {
                reason: "this peer is a witness and holds no data: ask another one",
            });
        }
        let sequence = self.0.sequence.fetch_add(1, Ordering::Relaxed);
        let id = ProposalId { member: shared.member.0, incarnation: shared.incarnation, sequence };
        let command = command::encode(id, shared.histories.applied().0, &txn);
        let (size, limit) = (command.len(), self.0.entry_bytes);
        if size > limit {
            return Err(WriteError::TooLarge { size, limit });
        }
        let deadline = shared.timing.deadline;
        let permits = timeout(deadline, self.permits(size)).await.map_err(|_| WriteError::Unavailable {
            reason: "too many writes are waiting for a majority of the voters",
        })??;
        let (done, outcome) = oneshot::channel();
        let proposal = Proposal { sequence, command: command.into(), done, permits };
        events.try_send(Event::Input(Input::Propose(proposal))).map_err(|error| match error {
            TrySendError::Full(_) => WriteError::Unavailable { reason: "the store's queue is full" },
            TrySendError::Disconnected(_) => WriteError::Stopped,
        })?;
        match timeout(deadline + GRACE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The thread ended without a word, or hangs.
            Ok(Err(_)) | Err(_) => Err(WriteError::Unknown { waited: deadline }),
        }
    }

    async fn permits(&self, size: usize) -> Result<[OwnedSemaphorePermit; 2], WriteError> {
        // An entry is limited to far less than the semaphore holds.
        let kib = u32::try_from(size / 1024 + 1).unwrap_or(WRITE_KIB_MAX).min(WRITE_KIB_MAX);
        let count = Arc::clone(&self.0.writes).acquire_owned().await.map_err(|_| WriteError::Stopped)?;
        let bytes = Arc::clone(&self.0.write_kib).acquire_many_owned(kib).await.map_err(|_| WriteError::Stopped)?;
        Ok([count, bytes])
    }

    /// The state with every write acknowledged before this was called, on any peer.
    pub async fn read(&self) -> Result<View, ReadError> {
        let deadline = self.0.shared.timing.deadline;
        let (answer, answered) = oneshot::channel();
        self.0.events.try_send(Event::Input(Input::ReadIndex(answer))).map_err(|error| match error {
            TrySendError::Full(_) => ReadError::Unavailable { reason: "the store's queue is full" },
            TrySendError::Disconnected(_) => ReadError::Stopped,
        })?;
        match timeout(deadline + GRACE, answered).await {
            Ok(Ok(answer)) => answer.map(|()| self.view()),
            Ok(Err(_)) => Err(ReadError::Stopped),
            Err(_) => Err(ReadError::NoLeader { waited: deadline + GRACE }),
        }
    }

    /// Between two calls of [`Store::age`].
    pub const AGE_EVERY: Duration = Duration::from_secs(15);

    /// Lets go of what is kept for those who ask again soon, and nobody did: changes that watches could resume from, decoded
    /// forms, bytes that other objects have too. Takes some microseconds for each object that was written since. Whoever opened
    /// the store calls it every [`Store::AGE_EVERY`].
    pub fn age(&self) {
        self.0.shared.histories.age();
        decoded::age();
        self.0.packing.lock().unwrap_or_else(PoisonError::into_inner).pack(self.view());
    }

    /// The state as this peer has it, which may be behind.
    pub fn view(&self) -> View {
        View::clone(&self.0.shared.view.load())
    }

    /// A backup of the state with every write acknowledged before this was called, on any peer. Writes go on beside it.
    pub async fn backup(&self, about: About) -> Result<Backup, ReadError> {
        let view = self.read().await?;
        Ok(Backup::new(view, self.0.shared.status.borrow().term, about))
    }

    /// The changes of `collection` after the revision `after`, on this peer.
    pub fn watch(&self, collection: &str, after: Revision) -> Result<Watch, Compacted> {
        self.0.shared.histories.watch(collection, after)
    }

    /// The changes of `collection` after the revision `after` whose object has `tag` before or after them, on this peer.
    /// Costs what it delivers, not what else happens.
    ///
    /// All changes of the collection if the store was opened without an [`Index`](crate::Index).
    pub fn watch_tagged(&self, collection: &str, tag: Tag, after: Revision) -> Result<Watch, Compacted> {
        self.0.shared.histories.watch_tagged(collection, tag, after)
    }

    /// The objects of `collection` alone as they were at `revision`, as far as the history reaches back and this peer
    /// has come; else None.
    pub fn view_at(&self, collection: &str, revision: Revision) -> Option<View> {
        let view = self.view();
        if view.revision() <= revision {
            return (view.revision() == revision).then_some(view);
        }
        self.0.shared.histories.rewound(collection, revision, &view)
    }

    /// Takes a message of the peer `from`, which must have proved who it is: one that claims another sender is refused.
    #[expect(clippy::needless_pass_by_value, reason = "what is kept of the message shares its buffer")]
    pub fn receive(&self, from: MemberId, message: Bytes) -> Result<(), ReceiveError> {
        let parcel = wire::decode(&message)?;
        if let Parcel::Raft(message) = &parcel
            && message.from != from.0
        {
            return Err(ReceiveError::NotTheirs { from, claimed: MemberId(message.from) });
        }
        if parcel.to() != self.0.shared.member {
            return Err(ReceiveError::NotForUs { to: parcel.to() });
        }
        self.0.events.try_send(Event::Input(Input::Receive(from, parcel))).map_err(|error| match error {
            TrySendError::Full(_) => ReceiveError::Busy,
            TrySendError::Disconnected(_) => ReceiveError::Stopped,
        })
    }

    /// Adds what this peer counts and measures to `registry`; names begin with `wk_store_`.
    pub fn register_metrics(&self, registry: &mut Registry) {
        Metrics::register(&self.0.shared, registry);
    }

    /// What this peer knows of itself and the others, as it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.shared.status.subscribe()
    }

    /// Changes who takes part; on the leader only. Ok when the change is committed and applied here, also when it was
    /// made before.
    pub async fn change_members(&self, change: MemberChange) -> Result<(), MemberError> {
        let deadline = self.0.shared.timing.deadline;
        let (asker, answer) = oneshot::channel();
        self.0.events.try_send(Event::Input(Input::Members(change, asker))).map_err(|error| match error {
            TrySendError::Full(_) => MemberError::Busy { waited: Duration::ZERO },
            TrySendError::Disconnected(_) => MemberError::Stopped,
        })?;
        match timeout(deadline + GRACE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(MemberError::Unknown { waited: deadline }),
        }
    }

    /// Says up to which feature level all members understand each other: [`crate::LEVEL`] of the oldest version among
    /// them. Until this is said it is 1, the version before there were levels, and what needs more is refused. Takes
    /// effect before the next change of members; it must not sink below what is in use, such as witnesses.
    pub fn speak(&self, level: u32) {
        self.0.shared.level.store(level, Ordering::Relaxed);
    }

    /// The feature level last said by [`Store::speak`], and not more than this version's own.
    pub fn level(&self) -> u32 {
        self.0.shared.level.load(Ordering::Relaxed).min(crate::LEVEL)
    }

    /// Hands leadership to the voter with data whose log is longest, if this peer leads and there is one. Returns when another
    /// leads, or after a bounded wait.
    pub async fn step_down(&self) {
        let timing = self.0.shared.timing;
        let limit = timing.tick * u32::try_from(timing.election).unwrap_or(u32::MAX) * HAND_OVER_ELECTIONS;
        let (asker, answer) = oneshot::channel();
        if self.0.events.try_send(Event::Input(Input::HandOver(asker))).is_err() {
            return;
        }
        if matches!(timeout(limit, answer).await, Ok(Ok(true))) {
            let mut status = self.status();
            let member = self.0.shared.member;
            let moved = status.wait_for(|status| status.leader.is_some_and(|leader| leader != member));
            let _ = timeout(limit, moved).await;
        }
    }

    /// Stops the thread and waits for it: after this the directory is free. Does not hand over leadership; call
    /// [`Store::step_down`] first for that.
    pub async fn stop(&self) {
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let events = self.0.events.clone();
        let joined = tokio::task::spawn_blocking(move || {
            // Waits for room in the queue, which the thread makes; fails when the thread has ended.
            let _ = events.send(Event::Stop);
            if let Some(thread) = thread {
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

impl Drop for Handle {
    /// Nobody can ask for anything any more.
    fn drop(&mut self) {
        if matches!(self.events.try_send(Event::Stop), Err(TrySendError::Full(_))) {
            let events = self.events.clone();
            // Waits for room in the queue, which the thread makes; without a thread the process is ending anyway.
            let _ = thread::Builder::new().spawn(move || drop(events.send(Event::Stop)));
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "store of member {}", self.0.shared.member)
    }
}

fn check(txn: &Txn) -> Result<(), WriteError> {
    let invalid = |reason| Err(WriteError::Invalid { reason });
    let mut keys = BTreeSet::new();
    for op in &txn.ops {
        if !keys.insert(&op.key) {
            return invalid("a key appears twice");
        }
        if let Change::Put(value) = &op.change
            && value.stamp.is_some_and(|at| at as usize > value.bytes.len())
        {
            return invalid("a stamp is outside of its value");
        }
    }
    if keys.is_empty() { invalid("it has no op") } else { Ok(()) }
}
