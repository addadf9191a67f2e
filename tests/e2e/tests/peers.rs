//! Nodes as peers: they carry on where they stopped, are found where they moved to, and share out the votes.

use anyhow::ensure;
use serde_json::{Value, json};
use wk_kit::{Cluster, SOON, until};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

fn configmap(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn second_start_on_a_data_directory_carries_on() {
    let mut cluster = Cluster::start(1).await;
    cluster.deploy_hello("hello", 2, &[]).await.ok();
    let token = cluster.token().await;
    let before = cluster.wk(&["get", "deploy,svc,ingress,secret", "-o", "json"]).await.json();
    for stop in ["SIGTERM", "SIGKILL"] {
        match stop {
            "SIGTERM" => cluster.nodes[0].stop().await,
            _ => cluster.nodes[0].kill(),
        }
        cluster.nodes[0].start(&[]);
        cluster.nodes[0].up().await;
        let after = cluster.wk(&["get", "deploy,svc,ingress,secret", "-o", "json"]).await.json();
        let uids = |list: &Value| {
            list["items"].as_array().into_iter().flatten().map(|it| it["metadata"]["uid"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(uids(&after), uids(&before), "after {stop}");
        assert_eq!(cluster.token().await, token);
        let address = cluster.nodes[0].http();
        until(&format!("the app answers after {stop}"), SOON, async || {
            let answer = wk_kit::get(address, "hello.localhost", "/").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
        .await;
    }
    // The kubeconfig of before is as good as the new one, and so is joining.
    cluster.add().await;
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_comes_back_on_another_address_is_found_by_the_others() {
    let mut cluster = Cluster::start(3).await;
    cluster.deploy_hello("hello", 3, &[]).await.ok();
    let moved = (cluster.leader().await + 1) % 3;
    cluster.nodes[moved].stop().await;
    let elsewhere = cluster.net().ip(77);
    cluster.nodes[moved].move_to(elsewhere);
    cluster.nodes[moved].start(&[]);
    cluster.nodes[moved].up().await;
    let greeting = cluster.nodes[moved].stdout();
    assert!(!greeting.contains("no leader yet"), "it tells the others before it waits for them: {greeting}");
    cluster.settled().await;
    let name = cluster.nodes[moved].name().to_owned();
    let api = cluster.nodes[(moved + 1) % 3].api().await;
    until("the others know the new address", SOON, async || {
        let node = api.get(&format!("/api/v1/nodes/{name}")).await?;
        let addresses = node["status"]["addresses"].to_string();
        ensure!(addresses.contains(&elsewhere.to_string()), "{addresses}");
        let cluster = api.get("/apis/wk.dev/v1/cluster").await?;
        let members = cluster["members"].to_string();
        ensure!(members.contains(&format!("{elsewhere}:7443")), "{members}");
        Ok(())
    })
    .await;
    // It has its vote: with one of the others gone, writes need it.
    let gone = (moved + 1) % 3;
    cluster.nodes[gone].kill();
    let own = cluster.nodes[moved].api().await;
    until("writes go on with the vote of the one that moved", SOON, async || {
        own.post(CONFIGMAPS, &configmap("after")).await
    })
    .await;
    // And traffic finds its pods: those of the last of the three, through its own ingress.
    let address = cluster.nodes[moved].http();
    until("it serves", SOON, async || {
        let answer = wk_kit::get(address, "hello.localhost", "/").await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_may_come_back_on_other_addresses() {
    let mut cluster = Cluster::start(3).await;
    cluster.nodes[0].api().await.post(CONFIGMAPS, &configmap("kept")).await.expect("a write");
    for (host, index) in (70_u8..).zip(0..3) {
        cluster.nodes[index].stop().await;
        let elsewhere = cluster.net().ip(host);
        cluster.nodes[index].move_to(elsewhere);
        cluster.nodes[index].start(&[]);
        cluster.nodes[index].up().await;
        cluster.settled().await;
    }
    for node in &cluster.nodes {
        node.api().await.get(&format!("{CONFIGMAPS}/kept")).await.expect("every node has it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_of_six_nodes_vote_and_all_serve() {
    let mut cluster = Cluster::start(6).await;
    let status = cluster.api().await.get("/apis/wk.dev/v1/cluster").await.expect("the cluster's page");
    assert_eq!(status["voters"].as_array().map(Vec::len), Some(5), "{status}");
    assert_eq!(status["members"].as_array().map(Vec::len), Some(6), "{status}");
    let voters = status["voters"].to_string();
    let sixth = cluster
        .nodes
        .iter()
        .position(|node| !voters.contains(&format!("\"{}\"", node.name())))
        .expect("one has no vote");
    let api = cluster.nodes[sixth].api().await;
    api.post(CONFIGMAPS, &configmap("through-the-sixth")).await.expect("a node without a vote takes writes");
    for node in &cluster.nodes {
        node.api().await.get(&format!("{CONFIGMAPS}/through-the-sixth")).await.expect("every node reads it");
    }
    let output = cluster.wk(&["status"]).await;
    assert!(output.ok().contains("5 voters: 2 of them may fail"), "{output:?}");
    assert_eq!(output.stdout.matches(" Ready ").count(), 6, "{output:?}");
}

/// Tries to write where it cannot be done.
async fn write_refused(api: &wk_kit::Api, name: &str) -> wk_kit::Refused {
    let error = api.post(CONFIGMAPS, &configmap(name)).await.expect_err("no majority, no write");
    error.downcast().unwrap_or_else(|error| panic!("not a Status: {error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_apps_go_on_and_writes_are_refused_with_a_reason() {
    let mut cluster = Cluster::start(3).await;
    cluster.deploy_hello("hello", 3, &[]).await.ok();
    let (survivor, api) = (cluster.nodes[0].http(), cluster.nodes[0].api().await);
    until("the survivor-to-be knows the app", SOON, async || {
        let answer = wk_kit::get(survivor, "hello.localhost", "/").await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
    .await;
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    // The first may have been taken into the log before the other's silence was noticed: "may happen yet" is the truth.
    let refused = write_refused(&api, "first").await;
    assert!(matches!(refused.code, 503 | 504), "{refused}");
    let refused = write_refused(&api, "second").await;
    assert_eq!(refused.code, 503, "{refused}");
    let message = refused.status["message"].as_str().unwrap_or_default();
    assert!(message.contains("leader") || message.contains("majority"), "it does not say why: {message}");
    for _ in 0..20 {
        let answer = wk_kit::get(survivor, "hello.localhost", "/").await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    // The survivor's own process is started anew, alone: it runs its pod from its own disk.
    cluster.nodes[0].kill();
    cluster.nodes[0].start(&[]);
    cluster.nodes[0].up().await;
    assert!(cluster.nodes[0].stdout().contains("no leader yet"), "{}", cluster.nodes[0].stdout());
    until("its own pod serves again", SOON, async || {
        let answer = wk_kit::get(survivor, "hello.localhost", "/").await?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    })
    .await;
    cluster.nodes[1].start(&[]);
    cluster.nodes[1].up().await;
    let api = cluster.nodes[0].api().await;
    until("writes go on", SOON, async || api.post(CONFIGMAPS, &configmap("taken")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_a_name_get_names_of_their_own() {
    let cluster = Cluster::start(1).await;
    let (address, token) = (cluster.nodes[0].ip().to_string(), cluster.token().await);
    let mut nodes = Vec::new();
    for host in [2, 3] {
        let mut node = wk_kit::Node::new(&format!("unnamed-{host}"), cluster.net().ip(host), cluster.dir());
        let (listen, data_dir) = (node.ip().to_string(), node.data_dir().display().to_string());
        let words = ["up", "--listen", &listen, "--data-dir", &data_dir, "--join", &address, "--token", &token];
        node.start_exactly(&words.map(str::to_owned));
        node.up().await;
        nodes.push(node);
    }
    until("each has a Node", SOON, async || {
        let output = cluster.wk(&["get", "nodes", "-o", "name"]).await;
        let names: std::collections::BTreeSet<&str> = output.ok().lines().collect();
        ensure!(names.len() == 3, "{output:?}");
        Ok(())
    })
    .await;
}
