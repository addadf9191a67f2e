//! A store of one peer, for tests of what looks at one, and what a shell works with.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use wk_api::Kind;
use wk_base::time::SystemClock;
use wk_cluster::Cluster;
use wk_store::{Change, Expect, Key, MemberId, Op, Options, Start, Store, Transport, Txn};

use crate::electorate::Electorate;
use crate::recorder::Recorder;
use crate::refusals::Refusals;
use crate::work::{Desk, Looks};
use crate::writes::{self, Writes};

/// What a shell works with that writes like this, and whose events nobody writes.
pub(crate) fn desk(cluster: &Cluster, writes: Arc<dyn Writes>) -> Desk {
    Desk {
        cluster: cluster.clone(),
        clock: Arc::new(SystemClock),
        heartbeats: Arc::default(),
        measured: Arc::default(),
        electorate: Electorate { roll: Arc::new(|_| BTreeMap::new()), limit: Duration::ZERO },
        recorder: Recorder::new(cluster.clone()).0,
        authority: "certificate".into(),
        writes,
        user: writes::user("test"),
        refusals: Refusals::default(),
        looks: Looks::default(),
    }
}

/// The store, and the directory that it lies in.
pub(crate) struct Alone {
    store: Store,
    _dir: tempfile::TempDir,
}

struct Nowhere;

impl Transport for Nowhere {
    fn send(&self, _to: MemberId, _message: Bytes) {}
}

impl Alone {
    /// One that leads.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options::new(dir.path().join("store"), MemberId(1), Start::Bootstrap);
        let store = Store::open(options, Arc::new(Nowhere)).expect("opens");
        drop(store.status().wait_for(wk_store::Status::is_leader).await.expect("runs"));
        Self { store, _dir: dir }
    }

    /// Writes an object as it stands, or removes it.
    pub(crate) async fn write(&self, kind: &Kind, name: &str, object: Option<Value>) {
        let put = |object: Value| Change::Put(wk_store::Value { bytes: object.to_string().into(), stamp: None });
        let change = object.map_or(Change::Delete, put);
        let op = Op { key: Key::new(kind.collection(), name), expect: Expect::Any, change };
        self.store.write(Txn::from(op)).await.expect("written");
    }
}

impl Deref for Alone {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
