//! Raft's messages between members, over the mesh: as a stream of length-prefixed messages, or in batches to `POST /raft`
//! where the other side is of an older version.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use wk_base::body::{self, Body, BoxError};
use wk_base::tasks::Tasks;
use wk_mesh::{Lane, Mesh};
use wk_store::{MemberId, Store, Transport};

use super::members::Members;
use super::raft_batch;
use super::raft_stream::{self, Ended};

/// Where batches are sent.
pub(crate) const PATH: &str = "/raft";

/// Messages that wait for one member. Raft sends again what is dropped, and more would only be older.
const QUEUE_MAX: usize = 4096;
/// Bytes put into one batch, one message at least.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// A message this large is a snapshot: it travels alone, so that heartbeats do not wait behind it.
pub(super) const LARGE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes taken in one batch: a snapshot of the largest store that this version means to hold.
const RECEIVE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// A batch that takes longer is given up; Raft sends again.
const BATCH_DEADLINE: Duration = Duration::from_secs(2);
/// The same for a snapshot.
const LARGE_DEADLINE: Duration = Duration::from_mins(1);
/// Before a stream that ended is opened again: a member that is on its way out ends each at once.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
/// A member that took no stream may be of a newer version after this.
const STREAM_AGAIN: Duration = Duration::from_secs(30);

/// Sends the store's messages.
pub(crate) struct RaftLink {
    mesh: Mesh,
    members: Members,
    tasks: Tasks,
    /// The store sends from a thread of its own.
    runtime: Handle,
    queues: Mutex<BTreeMap<MemberId, mpsc::Sender<Bytes>>>,
}

impl RaftLink {
    /// A link to all `members`.
    pub(crate) fn new(mesh: Mesh, members: Members, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { mesh, members, tasks, runtime: Handle::current(), queues: Mutex::default() })
    }

    fn open_queue(&self, to: MemberId) -> mpsc::Sender<Bytes> {
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        let way = Way { mesh: self.mesh.clone(), members: self.members.clone(), to };
        // One snapshot at a time: another one of the same state would only slow it down.
        let large = Arc::new(Semaphore::new(1));
        let waiting = Queue { messages, first: None, large, way: way.clone(), tasks: self.tasks.clone() };
        let _runtime = self.runtime.enter();
        self.tasks.spawn_until_stop("raft-link", send_all(way, waiting));
        queue
    }
}

impl Transport for RaftLink {
    fn send(&self, to: MemberId, message: Bytes) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(to).or_insert_with(|| self.open_queue(to));
        // A full queue means a member that is slow or gone: what does not fit is dropped.
        let _ = queue.try_send(message);
    }
}

/// How to reach one member.
#[derive(Clone)]
struct Way {
    mesh: Mesh,
    members: Members,
    to: MemberId,
}

/// What waits for one member.
pub(super) struct Queue {
    messages: mpsc::Receiver<Bytes>,
    /// Taken out already.
    first: Option<Bytes>,
    large: Arc<Semaphore>,
    way: Way,
    tasks: Tasks,
}

impl Queue {
    /// Waits until something is to be sent; false at the end.
    async fn wait(&mut self) -> bool {
        if self.first.is_none() {
            self.first = self.messages.recv().await;
        }
        self.first.is_some()
    }

    /// What is to be sent next, together; None at the end. Loses nothing where it is dropped.
    pub(super) async fn batch(&mut self) -> Option<Bytes> {
        loop {
            if !self.wait().await {
                return None;
            }
            let (mut batch, mut size, mut next) = (Vec::new(), 0, self.first.take());
            while let Some(message) = next.take() {
                if message.len() < LARGE_BYTES {
                    size += message.len();
                    batch.push(message);
                } else {
                    self.send_large(message);
                }
                if size < BATCH_BYTES {
                    next = self.messages.try_recv().ok();
                }
            }
            if !batch.is_empty() {
                return Some(raft_batch::join(batch));
            }
        }
    }

    fn send_large(&self, message: Bytes) {
        let Ok(turn) = Arc::clone(&self.large).try_acquire_owned() else { return };
        let way = self.way.clone();
        self.tasks.spawn_until_stop("raft-snapshot", async move {
            send(&way, raft_batch::join([message]), LARGE_DEADLINE, Lane::Bulk).await;
            drop(turn);
        });
    }

    /// Nobody is there to hear it.
    fn forget(&mut self) {
        self.first = None;
        while self.messages.try_recv().is_ok() {}
    }
}

async fn send_all(way: Way, queue: Queue) {
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    let mut takes_batches_until = None;
    loop {
        let mut own = Arc::clone(&queue).lock_owned().await;
        if !own.wait().await {
            return;
        }
        let Some(member) = way.members.get(way.to) else {
            own.forget();
            continue;
        };
        if takes_batches_until.is_some_and(|until| Instant::now() < until) {
            let Some(batch) = own.batch().await else { return };
            send(&way, batch, BATCH_DEADLINE, Lane::Control).await;
            continue;
        }
        match raft_stream::send(&way.mesh, &member.name, own).await {
            Ended::Later => tokio::time::sleep(REOPEN_PAUSE).await,
            Ended::Refused => queue.lock().await.forget(),
            Ended::Unknown => takes_batches_until = Some(Instant::now() + STREAM_AGAIN),
        }
    }
}

async fn send(way: &Way, batch: Bytes, deadline: Duration, lane: Lane) {
    let Some(member) = way.members.get(way.to) else { return };
    let mut request = Request::post(PATH).body(body::full(batch)).expect("a constant path");
    request.extensions_mut().insert(lane);
    if let Err(error) = way.mesh.request(&member.name, request, deadline).await {
        tracing::debug!(%error, node = %member.name, "raft messages lost");
    }
}

/// Takes a batch from the member `from` and hands its messages to the store.
pub(crate) async fn receive(store: &Store, from: MemberId, body: Body) -> Result<(), BoxError> {
    let mut batch = body::collect(body, RECEIVE_BYTES_MAX).await?;
    while let Some(message) = raft_batch::next(&mut batch) {
        store.receive(from, message?)?;
    }
    Ok(())
}
