//! Volumes of a pod, over a store.

use futures::FutureExt as _;
use serde_json::json;
use wk_base::body::{Body, BoxError};
use wk_image::Digest;

use super::*;
use crate::{spec, testing, typed};

const SOON: Duration = Duration::from_secs(20);

/// Nobody else has images.
struct Alone;

#[async_trait]
impl Peers for Alone {
    async fn fetch(&self, _digest: &Digest, _attempt: u32) -> Result<Option<Body>, BoxError> {
        Ok(None)
    }
}

#[tokio::test]
async fn guest_that_stands_still_while_it_looks_keeps_no_files_from_being_brought_up_to_date() {
    let ((cluster, _data), top) = (testing::cluster().await, tempfile::tempdir().unwrap());
    let map = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    cluster.create(&kinds::CONFIGMAP, Some("default"), map).await.unwrap();
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    let pod = json!({"metadata": {"name": "web"}, "spec": {
        "automountServiceAccountToken": false,
        "containers": [{"name": "app", "image": "app", "volumeMounts": mounts}],
        "volumes": [{"name": "v", "configMap": {"name": "c"}}],
    }});
    cluster.create(&kinds::POD, Some("default"), pod).await.unwrap();
    let stored = cluster.store().view().get(&wk_cluster::key(&kinds::POD, Some("default"), "web")).unwrap();
    let spec = spec::read(&typed(&stored).unwrap()).unwrap();

    let options = Options { root: top.path().join("volumes"), host_paths: Vec::new(), keys: Keyring::default() };
    let registry = Registry { blobs: Blobs::open(top.path().join("blobs")).unwrap(), peers: Arc::new(Alone) };
    let volumes = Volumes::new(options, registry, cluster, "n1", &Tasks::new());
    volumes.adopt(&stored, &spec, false);
    let expand = |text: &str| text.to_owned();
    let held = volumes.hold(&spec.uid, "app", &spec.containers[0].mounts, &expand);
    let held = tokio::time::timeout(SOON, held).await.expect("what it is made of is there").unwrap();
    let fill = held.fill.unwrap();
    let mut look = fill.fill(&held.mounts[0]);
    assert!((&mut look).now_or_never().is_none());
    tokio::time::timeout(SOON, volumes.refresh()).await.expect("it waits for no guest");
    look.await.unwrap();
    assert_eq!(std::fs::read_to_string(held.mounts[0].root.join("a")).unwrap(), "1");
}
