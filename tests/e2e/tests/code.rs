//! Machine code between nodes: who cannot compile well is given it by who can.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::ensure;
use wk_kit::{Cluster, MESH, Node, SOON, until};

/// The names of a node's compiled modules: each says module, settings and target.
fn compiled(data_dir: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(data_dir.join("compiled")).into_iter().flatten().flatten();
    files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "cwasm"))
        .collect()
}

/// Two like nodes need one compilation, and an interpreting one, which asks the others first, needs another. That one of
/// them has the very same code afterwards, which it has no use for, says who made it.
#[tokio::test(flavor = "multi_thread")]
async fn module_is_compiled_once_for_like_nodes_and_by_a_strong_one_for_a_weak_one() {
    let mut cluster = Cluster::start(2).await;
    let mut weak = cluster.next();
    let (address, token) = (format!("{}:{MESH}", cluster.nodes[0].ip()), cluster.token().await);
    weak.start(&["--join", &address, "--token", &token, "--engine", "pulley64"]);
    weak.up().await;
    cluster.nodes.push(weak);
    cluster.settled().await;
    cluster.deploy_hello("hello", 3, &[]).await.ok();

    let code: Vec<_> = cluster.nodes.iter().map(|node| compiled(&node.data_dir())).collect();
    assert_eq!(code[2].len(), 1, "code for one module: {code:?}");
    assert!(code[..2].iter().any(|strong| strong.is_superset(&code[2])), "a strong node has it too: {code:?}");
    let compilations = |node: &Node| node.stderr().matches("module compiled").count();
    let made: Vec<usize> = cluster.nodes.iter().map(compilations).collect();
    assert_eq!((made[2], made.iter().sum::<usize>()), (0, 2), "one for each kind of machine: {made:?}");

    cluster.nodes[0].stop().await;
    cluster.nodes[1].stop().await;
    let address = cluster.nodes[2].http();
    until("the interpreted replica answers alone", SOON, async || {
        let answer = wk_kit::get(address, "hello.localhost", "/").await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
    .await;
}
