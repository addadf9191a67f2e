//! Changing what runs while it is used: no request is dropped.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::ensure;
use wk_kit::{Cluster, Load, SOON, until};

const HOST: &str = "hello.localhost";

async fn three(replicas: usize) -> Cluster {
    let cluster = Cluster::start(3).await;
    cluster.deploy_hello("hello", replicas, &[]).await.ok();
    for node in &cluster.nodes {
        let address = node.http();
        until(&format!("{address} knows the app"), SOON, async || {
            let answer = wk_kit::get(address, HOST, "/").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
        .await;
    }
    cluster
}

fn doors(cluster: &Cluster, except: Option<usize>) -> Vec<SocketAddr> {
    let nodes = cluster.nodes.iter().enumerate().filter(|(index, _)| Some(*index) != except);
    nodes.map(|(_, node)| node.http()).collect()
}

async fn pods(cluster: &mut Cluster) -> BTreeSet<String> {
    let pods = cluster.api().await.pods_of("hello").await.expect("pods can be listed");
    pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn deploying_again_drops_no_request() {
    let mut cluster = three(3).await;
    let old = pods(&mut cluster).await;
    let load = Load::start(&doors(&cluster, None), HOST);
    let posts = Load::start_posting(&doors(&cluster, None), HOST);
    load.answered(100).await;
    for version in ["VERSION=2", "VERSION=3"] {
        load.mark(version);
        cluster.deploy_hello("hello", 3, &["--env", version]).await.ok();
        load.mark("deployed");
    }
    load.answered(100).await;
    let report = load.stop().await;
    report.none_failed();
    posts.stop().await.none_failed();
    let new = until("the pods of before are gone", SOON, async || {
        let new = pods(&mut cluster).await;
        ensure!(new.len() == 3 && new.is_disjoint(&old), "{old:?} became {new:?}");
        Ok(new)
    })
    .await;
    assert!(new.iter().all(|pod| report.pods.contains_key(pod)), "{new:?} answered: {report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_up_and_down_drops_no_request() {
    let cluster = three(2).await;
    let api = cluster.nodes[0].api().await;
    let load = Load::start(&doors(&cluster, None), HOST);
    load.answered(100).await;
    for replicas in [6, 1, 3] {
        load.mark(&format!("scale to {replicas}"));
        cluster.wk(&["scale", "deploy/hello", "--replicas", &replicas.to_string()]).await.ok();
        until(&format!("{replicas} pods are ready, and no other is left"), SOON, async || {
            let pods = api.pods_of("hello").await?;
            let status = api.get("/apis/apps/v1/namespaces/default/deployments/hello").await?["status"].clone();
            ensure!(pods.len() == replicas && status["readyReplicas"] == replicas, "{} pods, {status}", pods.len());
            Ok(())
        })
        .await;
        load.answered(50).await;
    }
    load.stop().await.none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_node_drops_no_request_through_the_others() {
    let mut cluster = three(3).await;
    let leader = cluster.leader().await;
    // The one that leads has more to hand over than the others.
    for index in [leader, (leader + 1) % 3] {
        let load = Load::start(&doors(&cluster, Some(index)), HOST);
        let posts = Load::start_posting(&doors(&cluster, Some(index)), HOST);
        load.answered(100).await;
        load.mark("SIGTERM");
        cluster.nodes[index].stop().await;
        load.mark("it is gone");
        load.answered(200).await;
        load.mark("it starts");
        cluster.nodes[index].start(&[]);
        cluster.nodes[index].up().await;
        load.mark("it is up");
        cluster.settled().await;
        load.answered(200).await;
        load.stop().await.none_failed();
        posts.stop().await.none_failed();
        let address = cluster.nodes[index].http();
        until("it serves again itself", SOON, async || {
            let answer = wk_kit::get(address, HOST, "/").await?;
            ensure!(answer.status == 200, "{}", answer.body);
            Ok(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrading_a_node_fails_no_request_through_the_others() {
    let cluster = three(3).await;
    let api = cluster.nodes[1].api().await;
    let node = cluster.nodes[0].name();
    let started = async || {
        let object = api.get(&format!("/api/v1/nodes/{node}")).await.expect("the node is there");
        object["metadata"]["annotations"]["wk.dev/started"].as_str().expect("it says when it started").to_owned()
    };
    let before = started().await;
    let load = Load::start(&doors(&cluster, Some(0)), HOST);
    let posts = Load::start_posting(&doors(&cluster, Some(0)), HOST);
    load.answered(100).await;
    load.mark("upgrade");
    let output = cluster.nodes[1].wk(&["node", "upgrade", node]).await;
    load.mark("upgraded");
    assert!(output.ok().contains(&format!("node/{node} upgraded from ")), "{output:?}");
    assert_ne!(started().await, before, "another process of it runs");
    let object = api.get(&format!("/api/v1/nodes/{node}")).await.expect("the node is there");
    assert_ne!(object["spec"]["unschedulable"], true, "{}", object["spec"]);
    load.answered(100).await;
    load.stop().await.none_failed();
    posts.stop().await.none_failed();
    let answer = wk_kit::get(cluster.nodes[0].http(), HOST, "/").await.expect("its ingress is back");
    assert_eq!(answer.status, 200);
}
