//! Keys that seal Secrets: turned on a running cluster, and refused where one of them is missing.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use wk_kit::{Cluster, SOON, until};

const STATUS: &str = "/apis/wk.dev/v1/cluster/status";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// A node that refuses says so once it heard its cluster, or ten seconds later.
const REFUSED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_turned_on_node_after_node_and_a_node_without_the_keys_does_not_start() {
    let mut cluster = Cluster::start(2).await;
    // 32 bytes in base64.
    let (old, new) = ("b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2w=", "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=");
    let old_key = cluster.file("old", &format!("{old}\n"));
    let new_key = cluster.file("new", &format!("{new}\n"));
    let both = cluster.file("both", &format!("{new}\n{old}\n"));
    let api = cluster.nodes[1].api().await;
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "hunter2"}});
    api.post(SECRETS, &secret).await.expect("created");

    turn(&mut cluster, &old_key).await;
    // One node alone has another key: it does not start, and what it sealed nobody has to read.
    cluster.nodes[0].kill();
    cluster.nodes[0].start(&["--secrets-key-file", &new_key]);
    let output = cluster.nodes[0].ended(REFUSED).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    for words in ["not all keys", "Missing: ", "--secrets-key-file", "--secrets-key-lost"] {
        assert!(output.stderr.contains(words), "{words}: {output:?}");
    }
    // Without a leader nobody knows whether that still holds; the other one leads by itself if it was given the vote in time.
    cluster.nodes[1].kill();
    cluster.nodes[1].start(&["--secrets-key-file", &new_key]);
    let waits = until("it waits for a leader, or refuses", REFUSED, async || {
        let said = cluster.nodes[1].stderr();
        let waits = said.contains("no leader yet, and no pod begins");
        ensure!(waits || said.contains("error: this node has not all keys"), "{said}");
        Ok(waits)
    })
    .await;
    if waits {
        cluster.nodes[0].start(&["--secrets-key-file", &old_key]);
        cluster.nodes[0].up().await;
    }
    let output = cluster.nodes[1].ended(REFUSED).await;
    assert_eq!(output.code, Some(2), "{output:?}");
    cluster.nodes[1].start(&["--secrets-key-file", &old_key]);
    if !waits {
        cluster.nodes[0].start(&["--secrets-key-file", &old_key]);
        cluster.nodes[0].up().await;
    }
    cluster.nodes[1].up().await;
    // Nor is one let in that comes without it.
    let token = cluster.token().await;
    let mut newcomer = cluster.next();
    let peer = format!("{}:7443", cluster.nodes[0].ip());
    newcomer.start(&["--join", &peer, "--token", &token, "--secrets-key-file", &new_key]);
    let output = newcomer.ended(REFUSED).await;
    assert!(output.code == Some(1) && output.stderr.contains("Missing: "), "{output:?}");
    let members = cluster.wk(&["cluster", "status"]).await;
    assert!(!members.ok().contains(newcomer.name()), "{members:?}");

    turn(&mut cluster, &both).await;
    let told = cluster.wk(&["cluster", "status"]).await;
    assert!(told.ok().contains("all Secrets are sealed with key "), "{told:?}");
    turn(&mut cluster, &new_key).await;
    for node in &cluster.nodes {
        let read = node.api().await.get(&format!("{SECRETS}/s")).await.expect("there");
        assert_eq!(read["data"]["k"], "aHVudGVyMg==");
    }
}

/// Starts node after node with the keys in this file, and waits until nothing is sealed with another than its first.
async fn turn(cluster: &mut Cluster, file: &str) {
    for index in 0..cluster.nodes.len() {
        cluster.nodes[index].kill();
        cluster.nodes[index].start(&["--secrets-key-file", file]);
        cluster.nodes[index].up().await;
    }
    let api = cluster.nodes[0].api().await;
    until("everything is sealed with the first key", SOON, async || {
        let secrets = api.get(STATUS).await?["secrets"].clone();
        ensure!(secrets["left"] == 0 && secrets["wants"].is_null() && secrets["seals"].is_string(), "{secrets}");
        Ok(())
    })
    .await;
}
