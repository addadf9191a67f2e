//! Who votes: replaced when silent, spared when stopping, removed for good; witnesses; a node whose disk is full.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, MESH, Node, SOON, until};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const STATUS: &str = "/apis/wk.dev/v1/cluster/status";
/// Short, so that tests need not wait for long.
const TIMEOUT: [&str; 2] = ["--voter-timeout", "3s"];
/// Everything a stop may take is far below this.
const STOP: Duration = Duration::from_secs(15);

fn configmap(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

/// Starts one more node with further options.
async fn add(cluster: &mut Cluster, more: &[&str]) {
    let mut node = cluster.next();
    let more = [&TIMEOUT[..], more].concat();
    match cluster.nodes.first() {
        None => node.start(&more),
        Some(first) => {
            let (address, token) = (format!("{}:{MESH}", first.ip()), cluster.token().await);
            node.start(&[&more[..], &["--join", &address, "--token", &token]].concat());
        }
    }
    node.up().await;
    cluster.nodes.push(node);
}

async fn nodes(count: usize) -> Cluster {
    let mut cluster = Cluster::empty();
    for _ in 0..count {
        add(&mut cluster, &[]).await;
    }
    cluster.settled().await;
    cluster
}

fn voters(status: &Value) -> Vec<&str> {
    let mut voters: Vec<_> = status["voters"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    voters.sort_unstable();
    voters
}

fn why<'a>(status: &'a Value, name: &str) -> &'a str {
    let mut members = status["members"].as_array().into_iter().flatten();
    members.find(|member| member["name"] == name).and_then(|member| member["why"].as_str()).unwrap_or_default()
}

/// Waits until exactly these vote, as the leader tells through `api`.
async fn vote(api: &Api, names: &[&str]) -> Value {
    until(&format!("{names:?} vote"), SOON, async || {
        let status = api.get(STATUS).await?;
        ensure!(status["note"].is_null() && voters(&status) == names, "{status}");
        Ok(status)
    })
    .await
}

/// Writes until it is taken: between two leaders a write is refused.
async fn write(api: &Api, name: &str) {
    until(&format!("{name} is written"), SOON, async || api.post(CONFIGMAPS, &configmap(name)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voter_gone_for_long_is_replaced_and_does_not_come_back_as_one() {
    let mut cluster = nodes(4).await;
    let api = cluster.nodes[0].api().await;
    vote(&api, &["n1", "n2", "n3"]).await;
    assert!(why(&api.get(STATUS).await.expect("status"), "n4").contains("3 voters are enough"));
    cluster.nodes[2].kill();
    until("n3's silence is told, and when it ends", SOON, async || {
        let status = api.get(STATUS).await?;
        let why = why(&status, "n3");
        ensure!(why.starts_with("silent for") && why.contains("replaced in"), "{why}");
        Ok(())
    })
    .await;
    vote(&api, &["n1", "n2", "n4"]).await;
    cluster.nodes[2].start(&[]);
    cluster.nodes[2].up().await;
    until("n3 follows without a vote", SOON, async || {
        let status = api.get(STATUS).await?;
        ensure!(why(&status, "n3").contains("3 voters are enough"), "{status}");
        Ok(())
    })
    .await;
    let output = cluster.nodes[3].wk(&["cluster", "status"]).await;
    assert!(output.ok().contains("3 voters: any one of them may be lost"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_leader_gives_its_vote_to_the_node_that_had_none() {
    let mut cluster = nodes(4).await;
    let leader = cluster.leader().await;
    let name = cluster.nodes[leader].name().to_owned();
    let api = cluster.nodes[(leader + 1) % 4].api().await;
    cluster.nodes[leader].terminate();
    let output = cluster.nodes[leader].ended(STOP).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let rest: Vec<&str> = ["n1", "n2", "n3", "n4"].into_iter().filter(|other| *other != name).collect();
    // It had left before it ended, so nobody waits for its vote and nobody is elected now.
    assert_eq!(voters(&vote(&api, &rest).await), rest);
    api.post(CONFIGMAPS, &configmap("without-it")).await.expect("three of three vote");
    cluster.nodes[leader].start(&[]);
    cluster.nodes[leader].up().await;
    until("it is back, and waits", SOON, async || {
        let status = api.get(STATUS).await?;
        ensure!(why(&status, &name).contains("voters are enough"), "{status}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_that_stops_keeps_its_vote_and_is_the_majority_when_another_dies() {
    let mut cluster = nodes(3).await;
    let leader = cluster.leader().await;
    let (stopped, dead) = ((leader + 1) % 3, (leader + 2) % 3);
    let api = cluster.nodes[leader].api().await;
    cluster.nodes[stopped].terminate();
    let output = cluster.nodes[stopped].ended(STOP).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    api.post(CONFIGMAPS, &configmap("without-it")).await.expect("two of three vote");
    assert_eq!(voters(&api.get(STATUS).await.expect("two of three vote")), ["n1", "n2", "n3"]);
    cluster.nodes[dead].kill();
    cluster.nodes[stopped].start(&[]);
    cluster.nodes[stopped].up().await;
    write(&api, "two-of-three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_node_learns_it_and_its_name_is_free() {
    let mut cluster = nodes(4).await;
    let refused = cluster.nodes[0].wk(&["cluster", "remove", "n4"]).await;
    assert_eq!(refused.code, Some(5), "it is heard from: {refused:?}");
    let unknown = cluster.nodes[0].wk(&["cluster", "remove", "n9"]).await;
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
    // Through a node that need not lead.
    cluster.nodes[1].wk(&["cluster", "remove", "n4", "--force"]).await.ok();
    let output = cluster.nodes[3].ended(STOP).await;
    assert_eq!(output.code, Some(15), "{output:?}");
    assert!(output.stderr.contains("n4 was removed from its cluster"), "{output:?}");
    let names = cluster.wk(&["get", "nodes", "-o", "name"]).await;
    assert_eq!(names.ok().lines().count(), 3, "{names:?}");
    let again = cluster.nodes[0].wk(&["cluster", "remove", "n4"]).await;
    assert_eq!(again.code, Some(3), "{again:?}");
    cluster.nodes[3].start(&[]);
    assert_eq!(cluster.nodes[3].ended(SOON).await.code, Some(15));
    // Removed while it was away, it is told when it asks.
    cluster.nodes[2].kill();
    until("n3 can be removed", SOON, async || {
        let output = cluster.nodes[0].wk(&["cluster", "remove", "n3"]).await;
        ensure!(output.code == Some(0), "{output:?}");
        Ok(())
    })
    .await;
    cluster.nodes[2].start(&[]);
    assert_eq!(cluster.nodes[2].ended(SOON).await.code, Some(15));
    // A new member of the same name.
    let (address, token) = (format!("{}:{MESH}", cluster.nodes[0].ip()), cluster.token().await);
    let mut node = Node::new("n3", cluster.net().ip(9), cluster.dir());
    std::fs::remove_dir_all(node.data_dir()).expect("the old one's directory");
    node.start(&["--join", &address, "--token", &token]);
    node.up().await;
    cluster.nodes[2] = node;
    vote(&cluster.nodes[0].api().await, &["n1", "n2", "n3"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_and_a_witness_bear_the_loss_of_one() {
    let mut cluster = nodes(2).await;
    assert_eq!(voters(&cluster.api().await.get(STATUS).await.expect("status")), ["n1"]);
    add(&mut cluster, &["--witness"]).await;
    let api = cluster.nodes[1].api().await;
    vote(&api, &["n1", "n2", "n3"]).await;
    let output = cluster.wk(&["get", "nodes", "-o", "name"]).await;
    assert_eq!(output.ok().lines().count(), 2, "a witness has no Node: {output:?}");
    let refused = cluster.nodes[2].wk(&["get", "pods"]).await;
    assert!(refused.stderr.contains("is a witness"), "{refused:?}");
    write(&api, "before").await;
    cluster.nodes[0].kill();
    write(&api, "after").await;
    cluster.nodes[0].start(&[]);
    cluster.nodes[0].up().await;
    let first = cluster.nodes[0].api().await;
    first.get(&format!("{CONFIGMAPS}/after")).await.expect("it catches up");
    // A third node takes the witness' place.
    add(&mut cluster, &[]).await;
    vote(&first, &["n1", "n2", "n4"]).await;
    until("the witness passes on why it waits", SOON, async || {
        let status = cluster.nodes[2].wk(&["cluster", "status"]).await;
        ensure!(status.stdout.contains("a witness votes beside exactly two"), "{status:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voters_are_spread_over_zones_and_who_may_not_vote_does_not() {
    let mut cluster = Cluster::empty();
    for zone in ["a", "a", "b"] {
        add(&mut cluster, &["--zone", zone]).await;
    }
    let api = cluster.nodes[0].api().await;
    vote(&api, &["n1", "n2", "n3"]).await;
    add(&mut cluster, &["--zone", "c", "--no-vote"]).await;
    add(&mut cluster, &["--zone", "c"]).await;
    // One of the two in zone a gives way; the one in c that may not vote is left alone.
    let status = until("every zone has a voter", SOON, async || {
        let status = api.get(STATUS).await?;
        let voters = voters(&status);
        ensure!(voters.len() == 3 && voters.contains(&"n3") && voters.contains(&"n5"), "{status}");
        let survives = status["survives"].as_str().unwrap_or_default();
        ensure!(survives.contains("any one zone"), "{survives}");
        Ok(status)
    })
    .await;
    assert!(why(&status, "n4").contains("--no-vote"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn node_started_without_options_is_what_it_was() {
    let mut cluster = nodes(2).await;
    let before = cluster.nodes[1].ip();
    cluster.nodes[1].stop().await;
    let data_dir = cluster.nodes[1].data_dir().display().to_string();
    cluster.nodes[1].start_exactly(&["up", "--data-dir", &data_dir].map(str::to_owned));
    cluster.nodes[1].up().await;
    let greeting = cluster.nodes[1].stdout();
    assert!(greeting.contains(&format!("https://{before}:6443")), "{greeting}");
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomer_that_moves_before_it_has_anything_is_found() {
    let mut cluster = nodes(1).await;
    let (address, token) = (format!("{}:{MESH}", cluster.nodes[0].ip()), cluster.token().await);
    let mut node = cluster.next();
    node.start(&["--join", &address, "--token", &token]);
    let identity = node.data_dir().join("identity/node.json");
    until("it is admitted", SOON, async || Ok(std::fs::metadata(&identity).map(|_| ())?)).await;
    node.kill();
    let elsewhere = cluster.net().ip(77);
    node.move_to(elsewhere);
    node.start(&[]);
    node.up().await;
    let api = cluster.nodes[0].api().await;
    cluster.nodes.push(node);
    until("it is known at its new address, and keeps up", SOON, async || {
        let status = api.get(STATUS).await?;
        let members = status["members"].as_array().context("no members")?;
        let moved = members.iter().find(|it| it["name"] == "n2").context("no n2")?;
        ensure!(moved["address"] == format!("{elsewhere}:{MESH}") && moved["lag"] == 0, "{moved}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_takes_a_node_out_of_the_store_and_not_down() {
    let mut cluster = nodes(2).await;
    let (address, token) = (format!("{}:{MESH}", cluster.nodes[0].ip()), cluster.token().await);
    let mut node = cluster.next();
    // Files may not grow beyond 400 KiB: the log meets the limit as it would meet a full disk.
    node.start_limited(400, &[&TIMEOUT[..], &["--join", &address, "--token", &token]].concat());
    node.up().await;
    cluster.nodes.push(node);
    cluster.settled().await;
    let api = cluster.nodes[0].api().await;
    let large = "x".repeat(100_000);
    for number in 0..6 {
        let mut object = configmap(&format!("large-{number}"));
        object["data"]["a"] = json!(large);
        until("the others take it", SOON, async || api.post(CONFIGMAPS, &object).await).await;
    }
    until("its failure is told", SOON, async || {
        let status = api.get(STATUS).await?;
        ensure!(why(&status, "n3").contains("its disk failed"), "{status}");
        Ok(())
    })
    .await;
    until("its Node says so", SOON, async || {
        let node = api.get("/api/v1/nodes/n3").await?;
        let conditions = node["status"]["conditions"].as_array().context("no conditions")?;
        let store = conditions.iter().find(|it| it["type"] == "StoreHealthy").context("no condition")?;
        ensure!(store["status"] == "False" && store["reason"] == "DiskFull", "{store}");
        Ok(())
    })
    .await;
    assert!(cluster.nodes[2].runs(), "it goes on with its pods");
    let own = cluster.nodes[2].api().await;
    let refused = own.get(CONFIGMAPS).await.expect_err("it cannot know what is new");
    assert!(format!("{refused:#}").contains("store gave up"), "{refused:#}");
    // Room again: it takes part again.
    cluster.nodes[2].stop().await;
    cluster.nodes[2].start(&[]);
    cluster.nodes[2].up().await;
    vote(&api, &["n1", "n2", "n3"]).await;
    own.get(&format!("{CONFIGMAPS}/large-5")).await.expect("it caught up");
}
