//! Modules lie on several nodes, also those that were uploaded when there was one.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;
use wk_kit::{Cluster, SOON, until};

fn modules(data_dir: &Path) -> BTreeSet<String> {
    let listed = std::fs::read_dir(data_dir.join("blobs/sha256")).into_iter().flatten().flatten();
    listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn module_uploaded_to_the_first_node_is_copied_to_those_that_join() {
    let mut cluster = Cluster::start(1).await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let uploaded = modules(&cluster.nodes[0].data_dir());
    assert!(!uploaded.is_empty());
    cluster.add().await;
    cluster.add().await;
    for node in &cluster.nodes[1..] {
        until("it has all modules, though it runs none of them", SOON, async || {
            let here = modules(&node.data_dir());
            ensure!(here.is_superset(&uploaded), "{here:?}");
            Ok(())
        })
        .await;
    }
    let api = cluster.api().await;
    until("no module is short of copies", SOON, async || {
        let status = api.get("/apis/wk.dev/v1/cluster").await?;
        ensure!(status["modules"]["short"] == 0, "{}", status["modules"]);
        Ok(())
    })
    .await;
}
