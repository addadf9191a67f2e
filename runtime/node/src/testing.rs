//! What tests of this crate share.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use wk_cluster::Cluster;
use wk_store::{MemberId, Options, Start, Store, Timing, Transport};

struct Nobody;

impl Transport for Nobody {
    fn send(&self, _to: MemberId, _message: bytes::Bytes) {}
}

/// A cluster of one, with the namespaces of a new one, for as long as its directory is there.
pub(crate) async fn cluster() -> (Cluster, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut options = Options::new(dir.path(), MemberId(1), Start::Bootstrap);
    options.timing = Timing { tick: Duration::from_millis(5), ..Timing::default() };
    options.index = Some(wk_cluster::INDEX);
    let store = Store::open(options, Arc::new(Nobody)).expect("an empty store");
    let cluster = Cluster::new(store, Arc::new(wk_base::time::SystemClock));
    cluster.ensure_namespaces().await.expect("the namespaces of a new cluster");
    (cluster, dir)
}
