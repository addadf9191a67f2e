//! Raft's messages between members, over the mesh: batches of length-prefixed messages to `POST /raft`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use wk_base::body::{self, Body, BoxError};
use wk_base::tasks::Tasks;
use wk_mesh::{Lane, Mesh};
use wk_store::{MemberId, Store, Transport};

use super::members::Members;
use super::raft_batch;

/// Where batches are sent.
pub(crate) const PATH: &str = "/raft";

/// Messages that wait for one member. Raft sends again what is dropped, and more would only be older.
const QUEUE_MAX: usize = 4096;
/// Bytes put into one batch, one message at least.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// A message this large is a snapshot: it travels alone, so that heartbeats do not wait behind it.
const LARGE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes taken in one batch: a snapshot of the largest store that this version means to hold.
const RECEIVE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// A batch that takes longer is given up; Raft sends again.
const BATCH_DEADLINE: Duration = Duration::from_secs(2);
/// The same for a snapshot.
const LARGE_DEADLINE: Duration = Duration::from_mins(1);

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
        let (mesh, members, tasks) = (self.mesh.clone(), self.members.clone(), self.tasks.clone());
        let _runtime = self.runtime.enter();
        self.tasks.spawn_until_stop("raft-link", send_all(mesh, members, to, messages, tasks));
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

async fn send_all(mesh: Mesh, members: Members, to: MemberId, mut messages: mpsc::Receiver<Bytes>, tasks: Tasks) {
    // One snapshot at a time: another one of the same state would only slow it down.
    let large = Arc::new(Semaphore::new(1));
    while let Some(first) = messages.recv().await {
        let mut batch = Vec::new();
        let mut size = 0;
        let mut next = Some(first);
        while let Some(message) = next.take() {
            if message.len() < LARGE_BYTES {
                size += message.len();
                batch.push(message);
            } else if let Ok(turn) = Arc::clone(&large).try_acquire_owned() {
                let (mesh, members) = (mesh.clone(), members.clone());
                tasks.spawn_until_stop("raft-snapshot", async move {
                    send(&mesh, &members, to, raft_batch::join([message]), LARGE_DEADLINE, Lane::Bulk).await;
                    drop(turn);
                });
            }
            if size < BATCH_BYTES {
                next = messages.try_recv().ok();
            }
        }
        if batch.is_empty() {
            continue;
        }
        send(&mesh, &members, to, raft_batch::join(batch), BATCH_DEADLINE, Lane::Control).await;
    }
}

async fn send(mesh: &Mesh, members: &Members, to: MemberId, batch: Bytes, deadline: Duration, lane: Lane) {
    let Some(member) = members.get(to) else { return };
    let mut request = Request::post(PATH).body(body::full(batch)).expect("a constant path");
    request.extensions_mut().insert(lane);
    if let Err(error) = mesh.request(&member.name, request, deadline).await {
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
