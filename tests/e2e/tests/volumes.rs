//! Volumes of pods, as their users meet them: files from ConfigMaps and Secrets, room for their own, and what is left.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, SOON, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// Uploads the guest of commands by deploying it, and returns its image.
async fn image(cluster: &Cluster) -> String {
    let file = guest("command");
    let file = file.to_str().expect("a path of text");
    cluster.wk(&["deploy", file, "--name", "command", "--replicas", "0", "--", "sleep"]).await.ok();
    let deployment = cluster.wk(&["get", "deploy/command", "-o", "json"]).await.json();
    deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().expect("an image").to_owned()
}

/// A pod that sleeps, with these volumes at `/mnt/<name>`.
fn pod(name: &str, image: &str, volumes: &Value) -> Value {
    let mounts = volumes.as_array().into_iter().flatten();
    let mounts: Vec<Value> = mounts
        .map(
            |volume| json!({"name": volume["name"], "mountPath": format!("/mnt/{}", volume["name"].as_str().expect("a name"))}),
        )
        .collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "volumes": volumes, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": image, "args": ["sleep"], "volumeMounts": mounts}]}})
}

async fn running(api: &Api, name: &str) -> Value {
    until(&format!("pod {name} runs"), SOON, async || {
        let pod = api.get(&format!("{PODS}/{name}")).await?;
        ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
        Ok(pod)
    })
    .await
}

/// Waits until the file says this.
async fn says(cluster: &Cluster, pod: &str, path: &str, wanted: &str) {
    until(&format!("{path} of {pod} says {wanted}"), SOON, async || {
        let output = cluster.wk(&["exec", pod, "--", "cat", path]).await;
        ensure!(output.stdout == wanted, "{output:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_from_objects_follow_them_and_go_with_the_pod() {
    let cluster = Cluster::start(1).await;
    let (image, api) = (image(&cluster).await, cluster.nodes[0].api().await);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"mode": "fast"}});
    api.post(CONFIG_MAPS, &map).await.expect("a map is created");
    let volumes = json!([
        {"name": "app", "configMap": {"name": "app"}},
        {"name": "own", "emptyDir": {}},
        {"name": "pod", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "key", "secret": {"secretName": "key"}},
    ]);
    api.post(PODS, &pod("files", &image, &volumes)).await.expect("a pod is created");

    // What is missing is waited for, and told.
    until("an event says what is missing", SOON, async || {
        let events = cluster.wk(&["events", "--for", "pod/files"]).await;
        ensure!(
            events.stdout.contains("FailedMount") && events.stdout.contains("secret \"key\" not found"),
            "{events:?}"
        );
        Ok(())
    })
    .await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "s3cret"}});
    api.post(SECRETS, &secret).await.expect("a Secret is created");
    let uid = running(&api, "files").await["metadata"]["uid"].as_str().expect("a uid").to_owned();

    says(&cluster, "files", "/mnt/app/mode", "fast").await;
    says(&cluster, "files", "/mnt/key/k", "s3cret").await;
    says(&cluster, "files", "/mnt/pod/name", "files").await;
    api.merge(&format!("{CONFIG_MAPS}/app"), &json!({"data": {"mode": "slow"}})).await.expect("it changes");
    says(&cluster, "files", "/mnt/app/mode", "slow").await;

    let local = cluster.file("local.txt", "carried\n");
    cluster.wk(&["cp", &local, "files:/mnt/own/there.txt"]).await.ok();
    says(&cluster, "files", "/mnt/own/there.txt", "carried\n").await;
    let refused = cluster.wk(&["cp", &local, "files:/mnt/app/there.txt"]).await;
    assert_ne!(refused.code, Some(0), "a map's files are not the pod's to write: {refused:?}");
    let escape = cluster.wk(&["exec", "files", "--", "cat", "/mnt/own/../../../../etc/passwd"]).await;
    assert!(escape.code != Some(0) && !escape.stdout.contains("root:"), "{escape:?}");

    let volumes = cluster.dir().join("n1").join("volumes");
    assert!(!of_pod(&volumes, &uid).is_empty(), "{} holds the pod's files", volumes.display());
    let gone = async |uid: &str| {
        until("nothing of it is left", SOON, async || {
            let left = of_pod(&volumes, uid);
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await;
    };
    cluster.wk(&["delete", "pod/files"]).await.ok();
    gone(&uid).await;

    // A pod that has ended keeps none, though its object stays.
    let mut ended = pod("ended", &image, &json!([{"name": "own", "emptyDir": {}}]));
    ended["spec"]["containers"][0]["args"] = json!(["exit", "0"]);
    ended["spec"]["activeDeadlineSeconds"] = 2.into();
    let made = api.post(PODS, &ended).await.expect("a pod is created");
    let uid = made["metadata"]["uid"].as_str().expect("a uid");
    until("the pod ends", SOON, async || {
        let pod = api.get(&format!("{PODS}/ended")).await?;
        ensure!(matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")), "{}", pod["status"]);
        Ok(())
    })
    .await;
    gone(uid).await;
}

/// What lies below a node's volumes that is named by a pod's uid.
fn of_pod(volumes: &Path, uid: &str) -> Vec<PathBuf> {
    let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|it| it.path());
    let folders = ["pods", "written"].iter().flat_map(|top| entries(&volumes.join(top)));
    let all: Vec<PathBuf> = folders.flat_map(|folder| entries(&folder).collect::<Vec<_>>()).collect();
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(uid));
    all.into_iter().filter(named).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_bound_where_its_pod_runs_and_keeps_its_data_for_the_next() {
    let cluster = Cluster::start(2).await;
    let (image, api) = (image(&cluster).await, cluster.nodes[0].api().await);
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}});
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    api.post(claims, &claim).await.expect("a claim is created");
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    api.post(PODS, &pod("first", &image, &volumes)).await.expect("a pod is created");
    let node = running(&api, "first").await["spec"]["nodeName"].clone();
    let bound = api.get(&format!("{claims}/data")).await.expect("the claim");
    assert_eq!(bound["status"]["phase"], "Bound", "{bound}");
    let local = cluster.file("local.txt", "kept\n");
    cluster.wk(&["cp", &local, "first:/mnt/data/there.txt"]).await.ok();
    cluster.wk(&["delete", "pod/first"]).await.ok();

    api.post(PODS, &pod("second", &image, &volumes)).await.expect("a pod is created");
    assert_eq!(running(&api, "second").await["spec"]["nodeName"], node, "the data is there and nowhere else");
    says(&cluster, "second", "/mnt/data/there.txt", "kept\n").await;

    cluster.wk(&["delete", "pod/second", "pvc/data"]).await.ok();
    until("the volume is gone too", SOON, async || {
        let volumes = api.get("/api/v1/persistentvolumes").await?;
        let left = volumes["items"].as_array().context("a list")?.len();
        ensure!(left == 0, "{volumes}");
        Ok(())
    })
    .await;
}
