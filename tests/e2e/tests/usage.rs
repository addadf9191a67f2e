//! What pods and nodes use, as `top` shows it from any node.

use anyhow::ensure;
use serde_json::json;
use wk_kit::{Cluster, Kubectl, Load, SOON, guest, until};

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";

#[tokio::test(flavor = "multi_thread")]
async fn top_tells_of_pods_on_every_node() {
    let cluster = Cluster::start(3).await;
    cluster.deploy_hello("hello", 3, &[]).await.ok();
    let load = Load::start(&[cluster.nodes[0].http()], "hello.localhost");
    load.answered(50).await;
    for node in &cluster.nodes {
        let api = node.api().await;
        until("all three pods and nodes are measured", SOON, async || {
            let pods = api.get(&format!("{METRICS}/namespaces/default/pods")).await?;
            let nodes = api.get(&format!("{METRICS}/nodes")).await?;
            let count = |list: &serde_json::Value| list["items"].as_array().map_or(0, Vec::len);
            ensure!(count(&pods) == 3 && count(&nodes) == 3, "{pods}\n{nodes}");
            Ok(())
        })
        .await;
    }
    load.stop().await.none_failed();
    let top = cluster.wk(&["top", "pods"]).await;
    assert_eq!(top.ok().lines().filter(|line| line.starts_with("hello-")).count(), 3, "{top:?}");
    let node = &cluster.nodes[2];
    if let Some(kubectl) = Kubectl::find(&node.kubeconfig(), cluster.dir()) {
        let top = kubectl.run(&["top", "pods", "--containers"]).await;
        assert_eq!(top.ok().lines().filter(|line| line.contains("hello-")).count(), 3, "{top:?}");
        let nodes = kubectl.run(&["top", "nodes"]).await;
        for name in ["n1", "n2", "n3"] {
            assert!(nodes.ok().contains(name), "{nodes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_gets_no_more_of_a_core_than_its_limit() {
    let cluster = Cluster::start(1).await;
    let file = guest("command");
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--name", "loop", "--replicas", "0", "--", "loop"]).await.ok();
    let api = cluster.nodes[0].api().await;
    let path = "/apis/apps/v1/namespaces/default/deployments/loop";
    let deployment = api.get(path).await.expect("the deployment");
    let mut container = deployment["spec"]["template"]["spec"]["containers"][0].clone();
    container["resources"] = json!({"limits": {"cpu": "200m"}});
    let limited = json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}}});
    api.merge(path, &limited).await.expect("the deployment takes a limit");
    // Measured over a window: at first it holds the start, with what a bucket lets through at once.
    until("it uses what it may and no more", SOON, async || {
        let pods = api.get(&format!("{METRICS}/namespaces/default/pods")).await?;
        let cpu = pods["items"][0]["containers"][0]["usage"]["cpu"].as_str().unwrap_or_default().to_owned();
        let nanos: u64 = cpu.trim_end_matches('n').parse().unwrap_or_default();
        ensure!((50_000_000..=250_000_000).contains(&nanos), "{cpu}");
        Ok(())
    })
    .await;
}
