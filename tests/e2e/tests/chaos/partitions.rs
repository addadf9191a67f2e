//! Nodes on machines of their own, and links between them that lose everything, in one direction or both.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use wk_kit::{Api, Cluster, Lab, SOON, until};

use super::kills::apis;
use super::ledger::{CONFIGMAPS, Writers, code, configmap};

const WRITERS: usize = 4;

/// Three nodes on three machines: the index of the leader comes first.
async fn three() -> Option<(Cluster, [usize; 3])> {
    let mut cluster = Cluster::start_in(Lab::open(3)?, 3).await;
    let leader = cluster.leader().await;
    Some((cluster, [leader, (leader + 1) % 3, (leader + 2) % 3]))
}

fn machine(node: usize) -> u8 {
    u8::try_from(node + 1).expect("few nodes")
}

fn cut(cluster: &Cluster, from: usize, to: usize) {
    cluster.lab().cut(machine(from), machine(to));
}

fn heal(cluster: &Cluster, from: usize, to: usize) {
    cluster.lab().heal(machine(from), machine(to));
}

/// Waits until a node, asked itself, says that one of those leads.
async fn led_by(api: &Api, cluster: &Cluster, nodes: &[usize]) {
    until("one of those that hear each other leads", SOON, async || {
        let status = api.get("/apis/wk.dev/v1/cluster").await?;
        let leader = status["leader"].as_str().context("nobody leads")?;
        ensure!(nodes.iter().any(|node| cluster.nodes[*node].name() == leader), "{leader} leads");
        Ok(())
    })
    .await;
}

/// Replaces the object `fact`, which says what is true now.
async fn state(api: &Api, what: &str) {
    until(&format!("{what} is written"), SOON, async || {
        api.put(&format!("{CONFIGMAPS}/fact"), &configmap("fact", what)).await
    })
    .await;
}

async fn read(api: &Api) -> anyhow::Result<Value> {
    api.get(&format!("{CONFIGMAPS}/fact")).await
}

/// Waits until all nodes say that it is true.
async fn all_read(apis: &[Api], what: &str) {
    for api in apis {
        until(&format!("every node reads {what}"), SOON, async || {
            let fact = read(api).await?;
            ensure!(fact["data"]["first"] == what, "{fact}");
            Ok(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_is_cut_off_neither_writes_nor_reads_what_is_no_longer_true() {
    let Some((cluster, [old, one, other])) = three().await else { return };
    let apis = apis(&cluster).await;
    apis[old].post(CONFIGMAPS, &configmap("fact", "before")).await.expect("a write");
    let writers = Writers::start(&[apis[old].clone()], WRITERS);
    writers.acknowledged(40).await;

    for node in [one, other] {
        cut(&cluster, old, node);
        cut(&cluster, node, old);
    }
    led_by(&apis[one], &cluster, &[one, other]).await;
    state(&apis[one], "after").await;
    // The majority said so before these began: whatever the old leader answers with now, it is not "before".
    let reads = futures::future::join_all((0..8).map(|_| read(&apis[old]))).await;
    for outcome in reads {
        let fact = outcome.expect_err("a read that nobody can vouch for is answered");
        assert!(!format!("{fact:#}").contains("before"), "{fact:#}");
    }
    let written = apis[old].post(CONFIGMAPS, &configmap("alone", "alone")).await;
    assert!(matches!(code(&written), Some(503 | 504)), "a write without a majority: {written:?}");

    for node in [one, other] {
        heal(&cluster, old, node);
        heal(&cluster, node, old);
    }
    all_read(&apis, "after").await;
    writers.acknowledged(WRITERS).await;
    let ledger = writers.stop().await;
    ledger.check(&apis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_hears_and_is_not_heard_is_replaced() {
    let Some((cluster, [old, one, other])) = three().await else { return };
    let apis = apis(&cluster).await;
    apis[old].post(CONFIGMAPS, &configmap("fact", "before")).await.expect("a write");
    let writers = Writers::start(&apis, WRITERS);
    writers.acknowledged(40).await;
    for node in [one, other] {
        cut(&cluster, old, node);
    }
    led_by(&apis[one], &cluster, &[one, other]).await;
    state(&apis[other], "after").await;
    let fact = read(&apis[old]).await;
    assert!(fact.is_err(), "a read that nobody can vouch for is answered: {fact:?}");
    for node in [one, other] {
        heal(&cluster, old, node);
    }
    all_read(&apis, "after").await;
    writers.acknowledged(WRITERS).await;
    let ledger = writers.stop().await;
    ledger.check(&apis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follower_that_hears_and_is_not_heard_disturbs_nobody() {
    let Some((cluster, [leader, deaf, other])) = three().await else { return };
    let apis = apis(&cluster).await;
    apis[leader].post(CONFIGMAPS, &configmap("fact", "before")).await.expect("a write");
    let term = async |api: &Api| {
        let status = api.get("/apis/wk.dev/v1/cluster").await.expect("the cluster's page");
        status["term"].as_u64().expect("a term")
    };
    let writers = Writers::start(&[apis[leader].clone(), apis[other].clone()], WRITERS);
    writers.acknowledged(40).await;
    for node in [leader, other] {
        cut(&cluster, deaf, node);
    }
    // Many elections' time of writes, while the one that cannot get a word through would like to lead.
    writers.acknowledged(400).await;
    state(&apis[leader], "after").await;
    // Who stands for election begins a term of its own, which the others do not get to know of. They may have begun one
    // for reasons of theirs, and it hears of that.
    let (of_deaf, of_others) = (term(&apis[deaf]).await, term(&apis[leader]).await);
    assert!(of_deaf <= of_others, "it stood for election: {of_deaf}, where the others are at {of_others}");
    for node in [leader, other] {
        heal(&cluster, deaf, node);
    }
    all_read(&apis, "after").await;
    let ledger = writers.stop().await;
    ledger.check(&apis).await;
}
