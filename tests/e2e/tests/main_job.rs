//! The main job: three nodes, one app, one URL; any node may be killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Cluster, Connection, Kubectl, Load, SOON, Transport, example, until};

const HOST: &str = "hello-http.localhost";
/// The promise: this long after the leader's death, at the latest, writes go on.
const WRITES_GO_ON: Duration = Duration::from_secs(2);
const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Three nodes and three replicas, deployed as the README says.
async fn three() -> Cluster {
    let cluster = Cluster::start(3).await;
    let output = cluster.deploy_hello("hello-http", 3, &[]).await;
    output.ok();
    cluster
}

fn configmap(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

async fn pod_names(cluster: &mut Cluster) -> BTreeSet<String> {
    let pods = cluster.api().await.pods_of("hello-http").await.expect("pods can be listed");
    pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect()
}

/// Waits until an ingress answers for the app with all of `count` pods.
async fn serves(cluster: &Cluster, node: usize, count: usize) {
    let address = cluster.nodes[node].http();
    until(&format!("{address} balances over {count} pods"), SOON, async || {
        let mut connection = Connection::open(address, Transport::Http1).await?;
        let mut seen = BTreeSet::new();
        for _ in 0..4 * count {
            let answer = connection.get(HOST, "/").await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
            seen.extend(answer.pod().map(str::to_owned));
        }
        ensure!(seen.len() == count, "only {seen:?} answered");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_through_each_ingress_reach_all_three_replicas() {
    let mut cluster = three().await;
    let pods = pod_names(&mut cluster).await;
    assert_eq!(pods.len(), 3);
    let api = cluster.api().await;
    let nodes: BTreeSet<String> =
        api.pods_of("hello-http").await.expect("pods").iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
    assert_eq!(nodes.len(), 3, "the replicas are spread over the nodes");
    for node in &cluster.nodes {
        let mut connection = Connection::open(node.http(), Transport::Http1).await.expect("the ingress listens");
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let answer = connection.get(HOST, "/greet").await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            let pod = answer.pod().expect("hello-http names its pod").to_owned();
            assert_eq!(answer.body, format!("Hello from {pod}: GET /greet\n"));
            seen.insert(pod);
        }
        assert_eq!(seen, pods, "through {}", node.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_leader_under_load_fails_no_request_and_stops_no_write() {
    let mut cluster = three().await;
    let leader = cluster.leader().await;
    let survivors: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    for survivor in &survivors {
        serves(&cluster, *survivor, 3).await;
    }
    let apis = [cluster.nodes[survivors[0]].api().await, cluster.nodes[survivors[1]].api().await];
    // The connections are made before, so that what is measured is the cluster.
    for api in &apis {
        api.get("/version").await.expect("the API answers");
    }
    let addresses: Vec<_> = survivors.iter().map(|index| cluster.nodes[*index].http()).collect();
    let load = Load::start(&addresses, HOST);
    load.answered(200).await;

    load.mark("the leader is killed");
    let killed = Instant::now();
    cluster.nodes[leader].kill();
    for (number, api) in apis.iter().enumerate() {
        let mut attempt = 0;
        until("a write through a survivor succeeds", SOON, async || {
            attempt += 1;
            api.post(CONFIGMAPS, &configmap(&format!("after-kill-{number}-{attempt}"))).await
        })
        .await;
        let took = killed.elapsed();
        load.mark("a write succeeded through a survivor");
        assert!(took < WRITES_GO_ON, "writes through survivor {number} went on only after {took:?}");
    }
    apis[0].post(CONFIGMAPS, &configmap("written-meanwhile")).await.expect("writes go on");

    let lost = cluster.nodes[leader].name().to_owned();
    until("the lost pod is replaced on another node", Duration::from_mins(1), async || {
        let pods = apis[0].pods_of("hello-http").await?;
        let running = |pod: &&Value| {
            let ready = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["spec"]["nodeName"] != lost.as_str()
                && pod["metadata"]["deletionTimestamp"].is_null()
                && ready.into_iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
        };
        let count = pods.iter().filter(running).count();
        ensure!(count == 3, "{count} of 3 run elsewhere");
        Ok(())
    })
    .await;
    load.mark("the lost pod is replaced");
    load.answered(200).await;

    cluster.nodes[leader].start(&[]);
    cluster.nodes[leader].up().await;
    load.mark("the killed node is up again");
    let own = cluster.nodes[leader].api().await;
    let seen = own.get(&format!("{CONFIGMAPS}/written-meanwhile")).await;
    assert_eq!(seen.expect("the killed node caught up")["data"]["a"], "1");
    cluster.settled().await;
    serves(&cluster, leader, 3).await;
    load.answered(200).await;
    load.stop().await.none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_hangs_under_load_fails_no_request_and_comes_back() {
    let mut cluster = three().await;
    // The leader: it has to be replaced, too.
    let hung = cluster.leader().await;
    let survivors: Vec<usize> = (0..3).filter(|index| *index != hung).collect();
    for survivor in &survivors {
        serves(&cluster, *survivor, 3).await;
    }
    let addresses: Vec<_> = survivors.iter().map(|index| cluster.nodes[*index].http()).collect();
    let api = cluster.nodes[survivors[0]].api().await;
    let load = Load::start(&addresses, HOST);
    load.answered(200).await;
    load.mark("the leader hangs");
    cluster.nodes[hung].freeze();
    until("a write through a survivor succeeds", SOON, async || {
        api.post(CONFIGMAPS, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "w-"}}))
            .await
    })
    .await;
    load.mark("writes go on");
    load.answered(300).await;
    cluster.nodes[hung].thaw();
    load.mark("it goes on");
    serves(&cluster, hung, 3).await;
    load.answered(300).await;
    load.stop().await.none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_replica_of_a_killed_node_comes_back_on_another() {
    let mut cluster = Cluster::start(3).await;
    let follower = (cluster.leader().await + 1) % 3;
    // The only one where it must be lost.
    for index in (0..3).filter(|index| *index != follower) {
        cordon(&cluster, index, true).await;
    }
    cluster.deploy_hello("hello-http", 1, &[]).await.ok();
    for index in (0..3).filter(|index| *index != follower) {
        cordon(&cluster, index, false).await;
    }
    let survivor = (follower + 1) % 3;
    serves(&cluster, survivor, 1).await;
    let api = cluster.nodes[survivor].api().await;
    let name = cluster.nodes[follower].name().to_owned();
    let pods = api.pods_of("hello-http").await.expect("pods");
    assert_eq!(pods[0]["spec"]["nodeName"], name.as_str());
    cluster.nodes[follower].kill();
    until("the pod runs on another node, with the module it has from a peer", Duration::from_mins(1), async || {
        let pods = api.pods_of("hello-http").await?;
        let moved = pods.iter().find(|pod| pod["spec"]["nodeName"] != name.as_str()).context("not moved")?;
        ensure!(moved["status"]["phase"] == "Running", "{}", moved["status"]);
        Ok(())
    })
    .await;
    serves(&cluster, survivor, 1).await;
    // A new app finds its way too while a node is down.
    let file = example("hello-http");
    let file = file.to_str().expect("a path of text");
    cluster.nodes[survivor].wk(&["deploy", file, "--name", "later", "--replicas", "2"]).await.ok();
}

async fn cordon(cluster: &Cluster, node: usize, on: bool) {
    let path = format!("/api/v1/nodes/{}", cluster.nodes[node].name());
    let change = json!({"spec": {"unschedulable": on}});
    cluster.nodes[0].api().await.merge(&path, &change).await.expect("a node can be cordoned");
}

/// Writes one object after another through a node until it does not answer any more, and returns what was acknowledged.
async fn write_until_death(api: wk_kit::Api, writer: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    loop {
        let name = format!("acknowledged-{writer}-{}", acknowledged.len());
        match api.post(CONFIGMAPS, &configmap(&name)).await {
            Ok(_) => acknowledged.push(name),
            Err(_) => return acknowledged,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_the_death_of_all_nodes() {
    let mut cluster = Cluster::start(3).await;
    let mut writers = Vec::new();
    for (number, node) in cluster.nodes.iter().enumerate() {
        writers.push(tokio::spawn(write_until_death(node.api().await, number)));
    }
    let api = cluster.api().await;
    until("a hundred objects are written", SOON, async || {
        let count = api.get(CONFIGMAPS).await?["items"].as_array().map_or(0, Vec::len);
        ensure!(count >= 100, "{count} are");
        Ok(())
    })
    .await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start(&[]);
    }
    for node in &mut cluster.nodes {
        node.up().await;
    }
    let list = cluster.api().await.get(CONFIGMAPS).await.expect("a list");
    let there: BTreeSet<&str> =
        list["items"].as_array().into_iter().flatten().filter_map(|it| it["metadata"]["name"].as_str()).collect();
    for writer in writers {
        let acknowledged = writer.await.expect("a writer does not panic");
        assert!(!acknowledged.is_empty());
        let lost: Vec<&String> = acknowledged.iter().filter(|name| !there.contains(name.as_str())).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_all_nodes_were_killed() {
    let mut cluster = three().await;
    let api = cluster.nodes[1].api().await;
    api.post(CONFIGMAPS, &configmap("kept")).await.expect("a write");
    let last = api.merge(&format!("{CONFIGMAPS}/kept"), &json!({"data": {"b": "2"}})).await.expect("a write");
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start(&[]);
    }
    for node in &mut cluster.nodes {
        node.up().await;
    }
    cluster.settled().await;
    for node in 0..3 {
        let kept =
            cluster.nodes[node].api().await.get(&format!("{CONFIGMAPS}/kept")).await.expect("the object is there");
        assert_eq!(kept, last, "as node {node} knows it");
        serves(&cluster, node, 3).await;
    }
    let api = cluster.api().await;
    for path in
        ["/apis/apps/v1/namespaces/default/deployments", "/apis/networking.k8s.io/v1/namespaces/default/ingresses"]
    {
        let found = api.get(&format!("{path}/hello-http")).await;
        found.with_context(|| path.to_owned()).expect("what was deployed is there");
    }
    cluster.deploy_hello("hello-http", 3, &["--env", "AFTER=1"]).await.ok();
    serves(&cluster, 2, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_it_all() {
    let cluster = three().await;
    let Some(kubectl) = Kubectl::find(&cluster.nodes[1].kubeconfig(), cluster.dir()) else { return };
    let output = kubectl.run(&["get", "nodes,pods,deploy,svc", "-o", "wide"]).await;
    let text = output.ok();
    for node in &cluster.nodes {
        let line =
            text.lines().find(|line| line.starts_with(&format!("node/{} ", node.name()))).expect("the node is listed");
        assert!(line.contains(" Ready ") && line.contains(&node.ip().to_string()), "{line}");
    }
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("pod/hello-http-") && line.contains(" 1/1 ") && line.contains(" Running "))
            .count(),
        3,
        "{text}"
    );
    let deployment =
        text.lines().find(|line| line.starts_with("deployment.apps/hello-http ")).expect("the deployment is listed");
    assert_eq!(deployment.split_whitespace().skip(1).take(3).collect::<Vec<_>>(), ["3/3", "3", "3"]);
    let service = text.lines().find(|line| line.starts_with("service/hello-http ")).expect("the service is listed");
    assert!(service.contains(" ClusterIP ") && service.contains(" 80/TCP "), "{service}");
}
