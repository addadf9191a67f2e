//! A node whose disk is full.

use anyhow::ensure;
use serde_json::json;
use wk_kit::{Cluster, SOON, SmallDisk, holds, until};

use super::kills::apis;
use super::ledger::Writers;

/// Room for a start and some minutes of log, and little enough to be filled at once.
const DISK_MIB: u32 = 64;
const WRITERS: usize = 4;
/// Until the cluster is seen to go on without it.
const WRITES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn node_with_a_full_disk_steps_aside_says_so_and_comes_back_by_itself() {
    let mut cluster = Cluster::empty();
    let Some(disk) = SmallDisk::mount(&cluster.next().data_dir(), DISK_MIB) else { return };
    for _ in 0..3 {
        cluster.add().await;
    }
    cluster.settled().await;
    let apis = apis(&cluster).await;
    let (own, others) = apis.split_first().expect("three nodes");
    let writers = Writers::start(others, WRITERS);
    writers.acknowledged(WRITERS).await;

    disk.fill();
    until("the node says that its disk is full", SOON, async || {
        let page = own.get("/apis/wk.dev/v1/cluster").await.map(|status| status["failure"].to_string());
        let of_others = others[0].get("/apis/wk.dev/v1/cluster").await?.to_string();
        let said = format!("{}{}{of_others}", page.unwrap_or_default(), cluster.nodes[0].stderr());
        ensure!(said.contains("No space left") || said.contains("disk is full"), "{said}");
        Ok(())
    })
    .await;
    writers.acknowledged(WRITES).await;
    let node = &mut cluster.nodes[0];
    holds("the node's process lives", std::time::Duration::from_secs(2), async || {
        ensure!(node.runs(), "it ended");
        Ok(())
    })
    .await;

    disk.free();
    cluster.settled().await;
    writers.acknowledged(WRITERS).await;
    let ledger = writers.stop().await;
    ledger.check(&apis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lone_node_with_a_full_disk_is_read_refuses_writes_and_goes_on_once_there_is_room() {
    const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
    let mut cluster = Cluster::empty();
    let Some(disk) = SmallDisk::mount(&cluster.next().data_dir(), DISK_MIB) else { return };
    cluster.add().await;
    cluster.settled().await;
    let api = cluster.api().await;
    // Larger than what is left of the last block.
    let large = |name: &str| json!({"metadata": {"name": name}, "data": {"x": "x".repeat(200_000)}});
    api.post(CONFIGMAPS, &large("before")).await.expect("is written");

    disk.fill();
    until("writes are refused with the reason", SOON, async || match api.post(CONFIGMAPS, &large("during")).await {
        Err(error) if format!("{error:#}").contains("disk is full") => Ok(()),
        other => anyhow::bail!("{other:?}"),
    })
    .await;
    let read = api.get(&format!("{CONFIGMAPS}/before")).await.expect("is read");
    assert_eq!(read["metadata"]["name"], "before");

    disk.free();
    until("writes go on", SOON, async || api.post(CONFIGMAPS, &large("after")).await.map(drop)).await;
    assert!(cluster.nodes[0].runs(), "without a restart");
}
