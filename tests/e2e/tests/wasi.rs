//! What WASI promises, as guests see it in pods of a real node: `tests/guests/wasi` checks facts and prints a line for each.

use anyhow::ensure;
use serde_json::{Value, json};
use wk_kit::{Cluster, SOON, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Uploads a guest by deploying no replica of it, and returns its image.
async fn image(cluster: &Cluster, name: &str) -> String {
    let file = guest(&format!("wasi/{name}"));
    cluster.wk(&["deploy", file.to_str().expect("a path of text"), "--name", name, "--replicas", "0"]).await.ok();
    let deployment = cluster.wk(&["get", &format!("deploy/{name}"), "-o", "json"]).await.json();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

/// Runs a guest in the node's process and in a worker, and checks that at least `facts` hold in both.
async fn all_hold(cluster: &Cluster, guest: &str, facts: usize) {
    let image = image(cluster, guest).await;
    hold(cluster, guest, &image, facts, json!({"wk.dev/egress": "cluster"})).await;
    let apart = json!({"wk.dev/egress": "cluster", "wk.dev/isolation": "pod"});
    hold(cluster, &format!("{guest}-apart"), &image, facts, apart).await;
}

/// The same for a pod with the mounts and arguments that it wants, and with these annotations.
async fn hold(cluster: &Cluster, name: &str, image: &str, facts: usize, annotations: Value) {
    let api = cluster.nodes[0].api().await;
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "containers": [{
                "name": "main", "image": image, "args": ["all", "two words", "ä=ö"],
                "env": [{"name": "GREETING", "value": "good day = yes"}],
                "volumeMounts": [mount("data"), mount("other"), mount("fixed")],
            }],
            "volumes": [
                {"name": "data", "emptyDir": {}}, {"name": "other", "emptyDir": {}},
                {"name": "fixed", "configMap": {"name": "fixed"}},
            ],
        },
    });
    api.post(PODS, &pod).await.expect("a pod is created");
    let ended = until(&format!("{name} has checked everything"), SOON, async || {
        let pod = api.get(&format!("{PODS}/{name}")).await?;
        let ended = pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        ensure!(!ended.is_null(), "{}", pod["status"]);
        Ok(ended)
    })
    .await;
    let log = cluster.wk(&["logs", name]).await;
    let failed: Vec<&str> = log.ok().lines().filter(|line| !line.starts_with("ok ")).collect();
    assert_eq!(ended["exitCode"], 0, "{ended}\n{}", failed.join("\n"));
    let held = log.ok().lines().filter(|line| line.starts_with("ok ")).count();
    assert!(held >= facts, "{held} facts are too few, {facts} were there before");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_wasi_promises_holds_in_pods() {
    let cluster = Cluster::start(1).await;
    cluster.deploy_hello("echo", 1, &[]).await.ok();
    let fixed = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fixed"},
        "data": {"greeting": "hello"}});
    let api = cluster.nodes[0].api().await;
    api.post("/api/v1/namespaces/default/configmaps", &fixed).await.expect("a config map is created");
    all_hold(&cluster, "preview1", 60).await;
    all_hold(&cluster, "preview2", 63).await;
}
