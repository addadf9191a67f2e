//! A client of `store-peer`: one connection, many requests under way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::client::Deliveries;
use super::nodelay;
use super::wire::{self, Frame};

/// Bytes read at a time.
const READ_BYTES: usize = 256 << 10;

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Client(Arc<Shared>);

struct Shared {
    requests: mpsc::Sender<Frame>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Frame>>,
    watches: HashMap<u64, Deliveries>,
    is_lost: bool,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        nodelay(&stream);
        let (receiving, sending) = stream.into_split();
        let (requests, queue) = mpsc::channel(wire::QUEUE_MAX);
        let shared = Arc::new(Shared { requests, next: AtomicU64::new(1), waiting: Mutex::default() });
        tokio::spawn(wire::write_all(sending, queue));
        let reader = Arc::downgrade(&shared);
        tokio::spawn(async move {
            let mut receiving = BufReader::with_capacity(READ_BYTES, receiving);
            while let Ok(Some(frame)) = wire::read(&mut receiving).await {
                let Some(shared) = reader.upgrade() else { return };
                shared.take(frame);
            }
            if let Some(shared) = reader.upgrade() {
                let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                *waiting = Waiting { is_lost: true, ..Waiting::default() };
            }
        });
        Ok(Self(shared))
    }

    pub(super) async fn put(&self, group: &str, name: &str, value: &[u8]) -> Result<()> {
        self.ask(wire::PUT, wire::place(group, name, value), None).await.map(drop)
    }

    pub(super) async fn get(&self, group: &str, name: &str) -> Result<Bytes> {
        self.ask(wire::GET, wire::place(group, name, &[]), None).await
    }

    pub(super) async fn watch(&self, group: &str, deliveries: Deliveries) -> Result<()> {
        self.ask(wire::WATCH, wire::place(group, "", &[]), Some(deliveries)).await.map(drop)
    }

    pub(super) async fn leads(&self) -> Result<bool> {
        Ok(*self.ask(wire::LEADS, Bytes::new(), None).await? == [1])
    }

    pub(super) async fn add(&self, member: u64) -> Result<()> {
        self.ask(wire::ADD, member.to_be_bytes().to_vec().into(), None).await.map(drop)
    }

    async fn ask(&self, what: u8, body: Bytes, watch: Option<Deliveries>) -> Result<Bytes> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.is_lost {
                bail!("the connection is lost");
            }
            waiting.answers.insert(number, answer);
            waiting.watches.extend(watch.map(|watch| (number, watch)));
        }
        let sent = self.0.requests.send(Frame { number, what, body }).await;
        sent.ok().context("the connection is lost")?;
        let frame = answered.await.context("the connection was lost before the answer")?;
        if frame.what == wire::FAILED {
            bail!("{}", String::from_utf8_lossy(&frame.body));
        }
        Ok(frame.body)
    }
}

impl Shared {
    fn take(&self, frame: Frame) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if frame.what == wire::EVENT {
            if let Some(watch) = waiting.watches.get(&frame.number) {
                watch.take(&frame.body);
            }
        } else if let Some(answer) = waiting.answers.remove(&frame.number) {
            let _ = answer.send(frame);
        }
    }
}
