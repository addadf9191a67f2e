//! Raft's messages between `store-peer`s: batches of length-prefixed messages over plain TCP, as `wk` sends them over
//! its mesh.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wk_store::{MemberId, Store, Transport};

use super::nodelay;

/// Messages that wait for one member; Raft sends again what is dropped.
const QUEUE_MAX: usize = 4096;
/// Bytes sent in one go, one message at least.
const BATCH_BYTES: usize = 4 << 20;
/// A snapshot of the largest store of this bench fits.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;
/// Between two attempts to reach a member: a small part of an election.
const CONNECT_AGAIN: Duration = Duration::from_millis(20);

/// Sends the store's messages.
pub(super) struct Link(BTreeMap<MemberId, mpsc::Sender<Bytes>>);

impl Link {
    /// A link from `own` to all others of `members`.
    pub(super) fn open(own: MemberId, members: &[(MemberId, SocketAddr)]) -> Self {
        let others = members.iter().filter(|(id, _)| *id != own);
        let queue = |&(id, address): &(MemberId, SocketAddr)| {
            let (queue, messages) = mpsc::channel(QUEUE_MAX);
            tokio::spawn(send_all(own, address, messages));
            (id, queue)
        };
        Self(others.map(queue).collect())
    }
}

impl Transport for Link {
    fn send(&self, to: MemberId, message: Bytes) {
        if let Some(queue) = self.0.get(&to) {
            // A full queue means a member that is slow or gone.
            let _ = queue.try_send(message);
        }
    }
}

async fn send_all(own: MemberId, address: SocketAddr, mut messages: mpsc::Receiver<Bytes>) {
    loop {
        if let Ok(stream) = TcpStream::connect(address).await {
            nodelay(&stream);
            let _ = send_until_lost(own, stream, &mut messages).await;
        }
        if messages.is_closed() {
            return;
        }
        // Nobody is there to hear them.
        while messages.try_recv().is_ok() {}
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

async fn send_until_lost(own: MemberId, mut stream: TcpStream, messages: &mut mpsc::Receiver<Bytes>) -> io::Result<()> {
    stream.write_u64(own.0).await?;
    let mut batch = BytesMut::new();
    while let Some(first) = messages.recv().await {
        let mut next = Some(first);
        while let Some(message) = next {
            batch.put_u32(u32::try_from(message.len()).expect("a message is far below 4 GiB"));
            batch.put(message);
            next = if batch.len() < BATCH_BYTES { messages.try_recv().ok() } else { None };
        }
        stream.write_all(&batch).await?;
        batch.clear();
    }
    Ok(())
}

/// Hands the store what other members send.
pub(super) async fn receive_all(listener: TcpListener, store: Store) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        nodelay(&stream);
        tokio::spawn(receive(stream, store.clone()));
    }
}

async fn receive(stream: TcpStream, store: Store) -> io::Result<()> {
    let mut stream = BufReader::with_capacity(READ_BYTES, stream);
    let from = MemberId(stream.read_u64().await?);
    loop {
        let length = stream.read_u32().await? as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::Error::other("a message of a length that cannot be"));
        }
        let mut message = BytesMut::zeroed(length);
        stream.read_exact(&mut message).await?;
        // What is not taken is sent again.
        let _ = store.receive(from, message.freeze());
    }
}
