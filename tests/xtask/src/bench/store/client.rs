//! What the bench asks of either side, and the clock that both are measured with.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use tokio::task::AbortHandle;

use super::{STAMP_AT, Side, grpc, ours};

/// Where an object is: a collection of ours, or the first part of a key of etcd, and the rest of it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) group: Arc<str>,
    pub(super) name: Arc<str>,
}

impl Place {
    pub(super) fn new(group: &str, name: &str) -> Self {
        Self { group: group.into(), name: name.into() }
    }

    fn key(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

/// What a watcher is to see.
#[derive(Clone)]
pub(super) enum Watched {
    /// One object: ours watches its collection, in which it is alone, etcd the key.
    Object(Place),
    /// A whole group: ours watches the collection, etcd the prefix.
    Group(Arc<str>),
}

/// A connection to a peer of either side. Clones share it.
#[derive(Clone)]
pub(super) enum Client {
    Ours(ours::Client),
    Etcd(grpc::Client),
}

impl Client {
    pub(super) async fn connect(side: Side, address: SocketAddr) -> Result<Self> {
        Ok(match side {
            Side::Ours => Self::Ours(ours::Client::connect(address).await?),
            Side::Etcd => Self::Etcd(grpc::Client::connect(address).await?),
        })
    }

    /// Writes an object and waits until it is acknowledged.
    pub(super) async fn put(&self, place: &Place, value: &[u8]) -> Result<()> {
        match self {
            Self::Ours(client) => client.put(&place.group, &place.name, value).await,
            Self::Etcd(client) => client.put(&place.key(), value).await,
        }
    }

    /// A linearizable read; empty if there is no such object.
    pub(super) async fn get(&self, place: &Place) -> Result<Bytes> {
        match self {
            Self::Ours(client) => client.get(&place.group, &place.name).await,
            Self::Etcd(client) => client.get(&place.key()).await,
        }
    }

    /// Whether the peer leads.
    pub(super) async fn leads(&self) -> Result<bool> {
        match self {
            Self::Ours(client) => client.leads().await,
            Self::Etcd(client) => client.leads().await,
        }
    }

    /// Watches until the result is dropped; returns when all watches have begun.
    pub(super) async fn watch(&self, watched: &[Watched], deliveries: &Deliveries) -> Result<Watching> {
        match self {
            Self::Ours(client) => {
                for watched in watched {
                    let (Watched::Object(Place { group, .. }) | Watched::Group(group)) = watched;
                    client.watch(group, deliveries.clone()).await?;
                }
                Ok(Watching(None))
            }
            Self::Etcd(client) => {
                let watches = watched.iter().map(|watched| match watched {
                    Watched::Object(place) => (place.key(), None, deliveries.clone()),
                    // The byte after the slash ends the range.
                    Watched::Group(group) => (format!("{group}/"), Some(format!("{group}0")), deliveries.clone()),
                });
                Ok(Watching(Some(client.watch(watches.collect()).await?)))
            }
        }
    }
}

/// Watches under way. Those of ours end with their connection.
pub(super) struct Watching(Option<AbortHandle>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// How long after its writing each change reached a watcher. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Deliveries(Arc<Mutex<Vec<Duration>>>);

impl Deliveries {
    /// A watcher was handed an object with this value.
    pub(super) fn take(&self, value: &Bytes) {
        let Some(Ok(written)) = value.get(..STAMP_AT as usize).map(TryInto::try_into) else { return };
        let took = now().saturating_sub(Duration::from_nanos(u64::from_be_bytes(written)));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    /// What came since the last call.
    pub(super) fn drain(&self) -> Vec<Duration> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Time since this process first asked: writers and watchers are all in it.
pub(super) fn now() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

/// A value of `size` bytes that says when it was made.
pub(super) fn value(size: usize) -> Vec<u8> {
    let nanos = u64::try_from(now().as_nanos()).expect("a run takes less than centuries");
    let mut value = nanos.to_be_bytes().to_vec();
    // Neither side compresses, so any bytes are as good as others.
    value.resize(size, b'x');
    value
}
