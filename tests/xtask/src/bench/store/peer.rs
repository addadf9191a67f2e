//! `cargo xtask store-peer`, which `bench store` starts three of: a store of ours as a process, with a port for the
//! other peers and one for clients. Plain TCP, loopback, no identity: for measuring and nothing else.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wk_store::{Change, Expect, Key, MemberChange, MemberError, MemberId, Op, Options, Start, Store, Txn, Value};

use super::link::{self, Link};
use super::wire::{self, Frame};
use super::{STAMP_AT, nodelay};

/// Bytes read from a client at a time.
const READ_BYTES: usize = 256 << 10;

/// Options of `cargo xtask store-peer`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which of the members it is, from 1.
    #[arg(long)]
    member: u64,
    /// Where the members hear each other, in order.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<SocketAddr>,
    /// Where it hears clients.
    #[arg(long)]
    clients: SocketAddr,
    /// Where its data is.
    #[arg(long)]
    dir: PathBuf,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<()> {
    let Arguments { member, peers, clients, dir } = arguments;
    let start = match (dir.exists(), member) {
        (true, _) => Start::Resume,
        (false, 1) => Start::Bootstrap,
        (false, _) => Start::Join,
    };
    std::fs::create_dir_all(&dir).context("make the data directory")?;
    let members: Vec<(MemberId, SocketAddr)> = (1..).map(MemberId).zip(peers).collect();
    let own = members.iter().find(|(id, _)| id.0 == member).context("the member is not among the peers")?.1;
    let (for_peers, for_clients) = (TcpListener::bind(own).await?, TcpListener::bind(clients).await?);
    let link = Link::open(MemberId(member), &members);
    let store = Store::open(Options::new(dir, MemberId(member), start), Arc::new(link)).context("open the store")?;
    store.speak(wk_store::LEVEL);
    tokio::spawn(link::receive_all(for_peers, store.clone()));
    let mut status = store.status();
    let failed = status.wait_for(|status| status.failure.is_some());
    tokio::select! {
        failed = failed => anyhow::bail!("the store gave up: {:?}", failed?.failure),
        accepted = accept(for_clients, &store) => Ok(accepted?),
    }
}

async fn accept(listener: TcpListener, store: &Store) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        nodelay(&stream);
        tokio::spawn(answer_all(stream, store.clone()));
    }
}

/// Answers the requests of one connection, each as soon as it can be.
async fn answer_all(stream: TcpStream, store: Store) {
    let (receiving, sending) = stream.into_split();
    let (answers, queue) = mpsc::channel(wire::QUEUE_MAX);
    tokio::spawn(wire::write_all(sending, queue));
    let mut receiving = BufReader::with_capacity(READ_BYTES, receiving);
    while let Ok(Some(frame)) = wire::read(&mut receiving).await {
        let (store, answers) = (store.clone(), answers.clone());
        tokio::spawn(async move {
            let number = frame.number;
            let (what, body) = match answer(&store, frame, &answers).await {
                Ok(body) => (wire::OK, body),
                Err(error) => (wire::FAILED, format!("{error:#}").into()),
            };
            let _ = answers.send(Frame { number, what, body }).await;
        });
    }
}

async fn answer(store: &Store, frame: Frame, answers: &mpsc::Sender<Frame>) -> Result<Bytes> {
    match frame.what {
        wire::PUT => {
            let (group, name, bytes) = wire::read_place(frame.body)?;
            let value = Value { bytes, stamp: Some(STAMP_AT) };
            let op = Op { key: Key::new(group, name), expect: Expect::Any, change: Change::Put(value) };
            store.write(Txn::from(op)).await?;
            Ok(Bytes::new())
        }
        wire::GET => {
            let (group, name, _) = wire::read_place(frame.body)?;
            let stored = store.read().await?.get(&Key::new(group, name));
            Ok(stored.map(|stored| stored.bytes()).unwrap_or_default())
        }
        wire::WATCH => {
            let (group, ..) = wire::read_place(frame.body)?;
            let mut watch = store.watch(&group, store.view().revision())?;
            let (number, answers) = (frame.number, answers.clone());
            tokio::spawn(async move {
                while let Ok(event) = watch.next().await {
                    let body = event.object().bytes().clone();
                    if answers.send(Frame { number, what: wire::EVENT, body }).await.is_err() {
                        break;
                    }
                }
            });
            Ok(Bytes::new())
        }
        wire::ADD => {
            let number = frame.body.as_ref().try_into().context("a member's number")?;
            let member = MemberId(u64::from_be_bytes(number));
            store.change_members(MemberChange::AddLearner(member)).await?;
            promote(store, member).await?;
            Ok(Bytes::new())
        }
        wire::LEADS => Ok(vec![u8::from(store.status().borrow().is_leader())].into()),
        what => anyhow::bail!("no request {what}"),
    }
}

/// Makes a learner a voter.
async fn promote(store: &Store, member: MemberId) -> Result<(), MemberError> {
    store.change_members(MemberChange::promote(member)).await
}
