//! Nodes are killed at random, again and again.
//!
//! `cargo xtask chaos --minutes N` lets it go on for longer; `--seed` repeats the same choices.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::Instant;
use wk_kit::{Api, Cluster};

use super::ledger::Writers;

/// How long, in seconds, and which choices.
const SECONDS: &str = "WK_CHAOS_SECONDS";
const SEED: &str = "WK_CHAOS_SEED";
/// As long as the other tests take together, about.
const SECONDS_UNTOLD: u64 = 25;
const WRITERS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_outlive_nodes_that_are_killed_again_and_again() {
    let told = |name| std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")));
    let (seed, seconds) = (told(SEED).unwrap_or_else(rand::random), told(SECONDS).unwrap_or(SECONDS_UNTOLD));
    let mut dice = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(3).await;
    let apis = apis(&cluster).await;
    let writers = Writers::start(&apis, WRITERS);
    writers.acknowledged(WRITERS).await;

    let (began, mut kills) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        // Mostly one, which the others carry on without; sometimes the majority, or a power cut.
        let victims = [1, 1, 1, 1, 1, 1, 2, 2, 3][dice.random_range(0..9)];
        let first = dice.random_range(0..3);
        for node in (first..first + victims).map(|index| index % 3) {
            let node = &mut cluster.nodes[node];
            assert!(node.runs(), "{} ended by itself (seed {seed})", node.name());
            node.kill();
            kills += 1;
        }
        // Not waiting for a condition: how long nodes are gone, and are back, is what is tried at random.
        pause(&mut dice, 1500).await;
        for node in &mut cluster.nodes {
            if !node.runs() {
                node.start(&[]);
            }
        }
        if dice.random_bool(0.8) {
            writers.acknowledged(dice.random_range(1..100)).await;
        }
        pause(&mut dice, 700).await;
    }

    for node in &mut cluster.nodes {
        node.up().await;
    }
    cluster.settled().await;
    writers.acknowledged(WRITERS).await;
    let ledger = writers.stop().await;
    tell(&format!("{kills} kills (repeat them with {SEED}={seed}): {} writes not acknowledged", ledger.unacknowledged));
    ledger.check(&apis).await;
}

async fn pause(dice: &mut StdRng, millis: u64) {
    tokio::time::sleep(Duration::from_millis(dice.random_range(0..millis))).await;
}

pub(crate) async fn apis(cluster: &Cluster) -> Vec<Api> {
    let mut apis = Vec::new();
    for node in &cluster.nodes {
        apis.push(node.api().await);
    }
    apis
}

#[expect(clippy::print_stderr, reason = "a test with dice says how they fell")]
fn tell(text: &str) {
    eprintln!("{text}");
}
