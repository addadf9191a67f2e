//! A store of one peer, for tests of what looks at one.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use wk_api::Kind;
use wk_store::{Change, Expect, Key, MemberId, Op, Options, Start, Store, Transport, Txn};

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
