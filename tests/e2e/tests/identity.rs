//! Keys and certificates that change while the cluster goes on, and what nodes are to those who ask: Leases, node ports,
//! pods of a DaemonSet.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Cluster, SOON, get, until};

const KEYS: &str = "/apis/wk.dev/v1/signingkeys";

#[tokio::test(flavor = "multi_thread")]
async fn tokens_outlive_a_turn_of_their_key_and_older_administrators_do_not_outlive_a_revocation() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.wk(&["create", "token", "default", "--duration", "1h"]).await.ok().trim().to_owned();
    let turned = cluster.wk(&["cluster", "keys", "rotate", "--now"]).await;
    assert!(turned.ok().contains("is published"), "{turned:?}");
    // Whoever leads by then lets it sign.
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    cluster.nodes[leader].start(&[]);
    cluster.nodes[leader].up().await;
    for node in &cluster.nodes {
        let api = node.api().await;
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        until("another key signs, and the old one verifies", SOON, async || {
            let keys = api.get(KEYS).await?["items"].clone();
            let roles: Vec<&str> =
                keys.as_array().into_iter().flatten().filter_map(|key| key["role"].as_str()).collect();
            ensure!(roles == ["retired", "signs"], "{keys}");
            let known = api.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await?;
            ensure!(known["status"]["authenticated"] == true, "{known}");
            Ok(())
        })
        .await;
    }

    // A node makes another kubeconfig where there is none: that one is younger than those of the others.
    cluster.nodes[2].stop().await;
    std::fs::remove_file(cluster.nodes[2].kubeconfig()).expect("its kubeconfig");
    cluster.nodes[2].start(&[]);
    cluster.nodes[2].up().await;
    let listed = cluster.nodes[2].wk(&["user", "list"]).await;
    assert!(listed.ok().matches("system:masters").count() >= 3, "{listed:?}");
    cluster.nodes[2].wk(&["user", "revoke", "--older"]).await.ok();
    until("the first node's kubeconfig is refused at its own node", SOON, async || {
        let refused = cluster.nodes[0].wk(&["get", "nodes"]).await;
        ensure!(refused.code != Some(0) && refused.stderr.contains("Unauthorized"), "{refused:?}");
        Ok(())
    })
    .await;
    cluster.nodes[2].wk(&["get", "nodes"]).await.ok();
    // A start makes another one of what is no longer good.
    cluster.nodes[0].stop().await;
    cluster.nodes[0].start(&[]);
    cluster.nodes[0].up().await;
    cluster.nodes[0].wk(&["get", "nodes"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_has_a_lease_a_daemon_and_the_ports_of_services() {
    let cluster = Cluster::start(2).await;
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    let api = cluster.nodes[0].api().await;
    let service = "/api/v1/namespaces/default/services/hello";
    let changed = api.merge(service, &json!({"spec": {"type": "NodePort"}})).await.expect("a node port");
    let number = changed["spec"]["ports"][0]["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let number = number.expect("a number");
    for node in &cluster.nodes {
        let place = SocketAddr::new(IpAddr::V4(node.ip()), number);
        until("the app answers at each node's port", SOON, async || {
            let answer = get(place, "any.example", "/").await?;
            ensure!(answer.status == 200, "{}", answer.status);
            Ok(())
        })
        .await;
    }

    let deployment = api.get("/apis/apps/v1/namespaces/default/deployments/hello").await.expect("the deployment");
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"] = json!({"app": "each"});
    let set = json!({
        "metadata": {"name": "each"}, "spec": {"selector": {"matchLabels": {"app": "each"}}, "template": template},
    });
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    api.post(sets, &set).await.expect("a DaemonSet");
    until("a pod of it is ready on each node", SOON, async || {
        let status = api.get(&format!("{sets}/each")).await?["status"].clone();
        ensure!(status["numberAvailable"] == 2 && status["desiredNumberScheduled"] == 2, "{status}");
        Ok(())
    })
    .await;

    let renewed = async |name: &str| -> anyhow::Result<String> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
        let lease: Value = cluster.nodes[1].api().await.get(&path).await?;
        lease["spec"]["renewTime"].as_str().map(str::to_owned).context("no time")
    };
    let first = until("there is a Lease", SOON, async || renewed("n1").await).await;
    until("it is renewed", SOON, async || {
        ensure!(renewed("n1").await? > first);
        Ok(())
    })
    .await;
}
