//! Backups, what they are good for, and the last resort of those who have none.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, MESH, Node, Output, SOON, until};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const PODS: &str = "/api/v1/namespaces/default/pods";
const HOST: &str = "hello.localhost";

fn configmap(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn secret() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "s3cret"}})
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// A pod that no controller would make anew, running what the app runs.
async fn bare_pod(api: &Api) -> Value {
    let deployment = api.get("/apis/apps/v1/namespaces/default/deployments/hello").await.expect("the app is there");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": deployment["spec"]["template"]["spec"]})
}

async fn runs_on(api: &Api, pod: &str, node: &str) {
    until(&format!("pod {pod} runs on {node}"), SOON, async || {
        let pod = api.get(&format!("{PODS}/{pod}")).await?;
        let (on, phase) = (&pod["spec"]["nodeName"], &pod["status"]["phase"]);
        ensure!(on == node && phase == "Running", "{on} {phase}");
        Ok(())
    })
    .await;
}

async fn serves(node: &Node) {
    let address = node.http();
    until("the app answers", SOON, async || {
        let answer = wk_kit::get(address, HOST, "/").await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        Ok(())
    })
    .await;
}

fn names(list: &Value) -> BTreeSet<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

async fn restore(node: &Node, file: &str, more: &[&str]) -> Output {
    let data_dir = node.data_dir();
    let arguments = ["restore", file, "--data-dir", text(&data_dir), "--name", node.name()];
    node.wk(&[&arguments, more].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_made_under_writes_becomes_a_cluster_that_serves() {
    let cluster = Cluster::start(3).await;
    cluster.deploy_hello("hello", 2, &[]).await.ok();
    let api = cluster.nodes[0].api().await;
    let kept = api.post(SECRETS, &secret()).await.expect("a write");
    api.post(PODS, &bare_pod(&api).await).await.expect("a write");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (api, stop) = (api.clone(), Arc::clone(&stop));
        async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                api.post(CONFIGMAPS, &configmap(&format!("m{number}"))).await.expect("writes go on");
                number += 1;
            }
        }
    });
    until("there are writes", SOON, async || api.get(&format!("{CONFIGMAPS}/m20")).await).await;
    let before = api.get(CONFIGMAPS).await.expect("a list");
    let file = cluster.dir().join("backup");
    let file = text(&file);
    let output = cluster.nodes[1].wk(&["backup", file]).await;
    assert!(output.ok().contains("revision "), "{output:?}");
    assert!(output.stderr.contains("Secret"), "{output:?}");
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("every write was acknowledged");
    let newest = api.get(CONFIGMAPS).await.expect("a list")["metadata"]["resourceVersion"].clone();
    assert!(cluster.nodes[1].wk(&["backup", file]).await.failed(5).contains("--force"));
    cluster.nodes[2].wk(&["backup", file, "--force"]).await.ok();
    assert!(cluster.wk(&["restore", "--check", file]).await.ok().contains("whole"));

    let mut node = Node::new("fresh", cluster.net().ip(9), cluster.dir());
    let bytes = std::fs::read(file).expect("it was written");
    let sealed = !bytes.windows(8).any(|window| window == b"czNjcmV0");
    assert!(sealed, "a backup shows what a Secret holds");
    let refused = restore(&node, file, &[]).await;
    assert!(refused.failed(2).contains("--secrets-key") && !node.data_dir().exists(), "{refused:?}");
    let key = cluster.nodes[1].data_dir().join("identity/ca.key");
    let key = ["--secrets-key", text(&key)];
    let output = restore(&node, file, &key).await;
    assert!(output.ok().contains(&format!("wk up --data-dir {}", text(&node.data_dir()))), "{output:?}");
    assert!(restore(&node, file, &key).await.failed(5).contains("not empty"));
    drop(cluster.nodes);
    node.start(&[]);
    node.up().await;
    let api = node.api().await;
    let found = api.get(&format!("{SECRETS}/key")).await.expect("the Secret is there");
    assert_eq!(found, kept, "with its uid and resourceVersion");
    let after = api.get(CONFIGMAPS).await.expect("a list");
    assert!(names(&after).is_superset(&names(&before)), "what was acknowledged before the backup is in it");
    let revision = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number");
    assert!(revision(&after["metadata"]["resourceVersion"]) > revision(&newest));
    // A watch of the old cluster is told to list again, also one that had seen more than the backup holds.
    let watch = format!("{CONFIGMAPS}?watch=true&resourceVersion={}", revision(&newest) + 5);
    let event = api.get(&watch).await.expect("one event");
    assert_eq!(event["object"]["code"], 410, "{event}");
    serves(&node).await;
    runs_on(&api, "bare", "fresh").await;
    assert_eq!(names(&api.get("/api/v1/nodes").await.expect("nodes")), BTreeSet::from(["fresh".to_owned()]));
    until("the app's pods are here", SOON, async || {
        let pods = api.pods_of("hello").await?;
        let here = pods.iter().filter(|pod| pod["spec"]["nodeName"] == "fresh" && pod["status"]["phase"] == "Running");
        ensure!(here.count() == 2 && pods.len() == 2, "{} pods", pods.len());
        Ok(())
    })
    .await;
    // The token it prints lets others in.
    let greeting = node.stdout();
    let token = greeting.split("--token ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a token");
    let mut second = Node::new("second", cluster_ip(&node), node.data_dir().parent().expect("a parent"));
    second.start(&["--join", &format!("{}:{MESH}", node.ip()), "--token", token]);
    second.up().await;
    until("both are members", SOON, async || members(&api, &["fresh", "second"]).await).await;
}

/// The address beside a node's.
fn cluster_ip(node: &Node) -> std::net::Ipv4Addr {
    let [one, two, three, four] = node.ip().octets();
    [one, two, three, four + 1].into()
}

async fn members(api: &Api, expected: &[&str]) -> anyhow::Result<()> {
    let status = api.get("/apis/wk.dev/v1/cluster").await?;
    let members = status["members"].as_array().context("a list")?.iter();
    let members: BTreeSet<&str> = members.filter_map(|member| member["name"].as_str()).collect();
    ensure!(members == expected.iter().copied().collect(), "{status}");
    let nodes = names(&api.get("/api/v1/nodes").await?);
    ensure!(nodes == expected.iter().map(|name| (*name).to_owned()).collect(), "nodes {nodes:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_backup_is_refused_and_leaves_nothing() {
    let cluster = Cluster::start(1).await;
    let file = cluster.dir().join("backup");
    cluster.wk(&["backup", text(&file)]).await.ok();
    let whole = std::fs::read(&file).expect("it was written");
    let node = Node::new("fresh", cluster.net().ip(9), cluster.dir());
    let key = cluster.nodes[0].data_dir().join("identity/ca.key");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let cut = whole[..whole.len() - 3].to_vec();
    for (name, bytes, why) in [
        ("flipped", flipped, "damaged at byte"),
        ("cut", cut, "cut short"),
        ("other", b"{}".to_vec(), "no backup of wk"),
    ] {
        let file = cluster.dir().join(name);
        std::fs::write(&file, bytes).expect("the temporary directory can be written");
        let output = restore(&node, text(&file), &["--secrets-key", text(&key)]).await;
        assert!(output.failed(1).contains(why) && output.stderr.contains(text(&file)), "{output:?}");
        assert!(!node.data_dir().exists(), "{name} left something");
        let output = cluster.wk(&["restore", "--check", text(&file)]).await;
        assert!(output.failed(1).contains(why), "{output:?}");
    }
    // Where nothing can be written nothing is asked for.
    let error = cluster.wk(&["backup", text(&cluster.dir().join("no/such/dir"))]).await;
    assert!(error.failed(1).contains("no/such"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn survivor_of_a_lost_majority_becomes_a_cluster_again() {
    let mut cluster = Cluster::start(3).await;
    cluster.deploy_hello("hello", 3, &[]).await.ok();
    let api = cluster.nodes[0].api().await;
    api.post(CONFIGMAPS, &configmap("kept")).await.expect("a write");
    until("the survivor-to-be has it", SOON, async || {
        let local = format!("{CONFIGMAPS}/kept?resourceVersion=0");
        cluster.nodes[2].api().await.get(&local).await
    })
    .await;
    let survivor_dir = cluster.nodes[2].data_dir();
    let recover = ["cluster", "recover", "--data-dir", text(&survivor_dir)];
    let recover_now = [&recover[..], &["--yes"]].concat();
    assert!(cluster.nodes[2].wk(&recover_now).await.failed(10).contains("in use"));
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    std::fs::remove_dir_all(cluster.nodes[0].data_dir()).expect("it can be removed");
    let api = cluster.nodes[2].api().await;
    until("the survivor cannot write", SOON, async || {
        let refused = api.post(CONFIGMAPS, &configmap("lost")).await.err().context("it was taken")?;
        ensure!(refused.to_string().starts_with("503"), "{refused:#}");
        Ok(())
    })
    .await;
    cluster.nodes[2].stop().await;

    let output = cluster.nodes[2].wk(&recover).await;
    let said = output.failed(2);
    for words in ["n1 (", "n2 (", "never start them again", "lost is what", "nothing was changed", "--yes"] {
        assert!(said.contains(words), "{words}: {output:?}");
    }
    let output = cluster.nodes[2].wk(&recover_now).await;
    assert!(output.ok().contains("recovered: node n3"), "{output:?}");
    let aside = output.stdout.split("before are in ").nth(1).and_then(|rest| rest.split(';').next()).expect("a path");
    assert!(Path::new(aside).is_dir(), "{output:?}");
    cluster.nodes[2].start(&[]);
    cluster.nodes[2].up().await;
    let api = cluster.nodes[2].api().await;
    api.post(CONFIGMAPS, &configmap("new")).await.expect("it writes alone");
    api.get(&format!("{CONFIGMAPS}/kept")).await.expect("what was there is there");
    members(&api, &["n3"]).await.expect("it is alone");
    until("all replicas are on the survivor", SOON, async || {
        let pods = api.pods_of("hello").await?;
        let here = pods.iter().filter(|pod| pod["spec"]["nodeName"] == "n3" && pod["status"]["phase"] == "Running");
        ensure!(here.count() == 3 && pods.len() == 3, "{} pods", pods.len());
        Ok(())
    })
    .await;
    serves(&cluster.nodes[2]).await;

    // A new node joins; an old one that comes back is nobody.
    let token = cluster.nodes[2].wk(&["token"]).await.ok().trim().to_owned();
    let mut new = Node::new("n4", cluster.net().ip(4), cluster.dir());
    new.start(&["--join", &format!("{}:{MESH}", cluster.nodes[2].ip()), "--token", &token]);
    new.up().await;
    until("two are members", SOON, async || members(&api, &["n3", "n4"]).await).await;
    cluster.nodes[1].start(&[]);
    let output = cluster.nodes[1].ended(SOON).await;
    assert!(output.stderr.contains("was removed from its cluster"), "{output:?}");
    for number in 0..20 {
        api.post(CONFIGMAPS, &configmap(&format!("after-{number}"))).await.expect("nothing disturbs it");
    }
    members(&api, &["n3", "n4"]).await.expect("as before");
}
