//! A node whose disk is full.

use anyhow::ensure;
use wk_kit::{Cluster, SOON, SmallDisk, holds, until};

use super::kills::apis;
use super::ledger::Writers;

/// Room for a start and some minutes of log, and little enough to be filled at once.
const DISK_MIB: u32 = 64;
const WRITERS: usize = 4;
/// Until the cluster is seen to go on without it.
const WRITES: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn node_with_a_full_disk_steps_aside_says_so_and_comes_back() {
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
    cluster.nodes[0].kill();
    cluster.nodes[0].start(&[]);
    cluster.nodes[0].up().await;
    cluster.settled().await;
    writers.acknowledged(WRITERS).await;
    let ledger = writers.stop().await;
    ledger.check(&apis).await;
}
