//! Single requests: gets, patches and creates, as many as the cluster takes; and gets beside a load that it takes easily.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::task::JoinSet;

use super::client::{Client, JSON};
use super::{CONFIG_MAPS, Cluster, PODS, WORKERS, cells, pod_name};
use crate::bench::store::load::{self, Latency, Measured, Window};
use crate::bench::table::Table;
use crate::bench::{Bench, progress};

/// What makes an object of about 1 KiB.
const TEXT_BYTES: usize = 900;
const WARM_UP: Duration = Duration::from_secs(1);
/// Gets and creates a second of the load that is no flood: a cluster with some hundred controllers and people.
const PACED_GETS: u32 = 500;
const PACED_CREATES: u32 = 250;

pub(super) async fn measure(bench: &Bench<'_>, cluster: &Cluster) -> Result<String> {
    let window = Window { warm_up: WARM_UP, measured: Duration::from_secs(bench.arguments.seconds.into()) };
    let (mut creates, mut patches, mut gets, mut beside) =
        (Series::default(), Series::default(), Series::default(), Series::default());
    for round in 1..=bench.rounds() {
        progress(&format!("requests, round {round} of {}", bench.rounds()));
        let pods = cluster.pods;
        let get = move |client: Client, worker, repetition| async move { get(&client, pods, worker, repetition).await };
        gets.add(&run(cluster, window, get).await.context("get")?);
        let patch = move |client: Client, worker: usize, repetition: usize| async move {
            // Nobody else has these pods.
            let number = (worker + repetition * WORKERS) % pods;
            let change = json!({"metadata": {"annotations": {"example.com/seen": format!("{round}-{repetition}")}}});
            client.merge(&format!("{PODS}/{}", pod_name(number)), &change).await.map(drop)
        };
        patches.add(&run(cluster, window, patch).await.context("patch")?);
        let create = move |client: Client, worker, repetition| async move {
            create(&client, &format!("flat-{round}-{worker}-{repetition}")).await
        };
        creates.add(&run(cluster, window, create).await.context("create")?);
        beside.latency(paced(cluster, window, round).await.context("get beside creates")?);
    }
    let mut table = Table::new(
        &format!(
            "Requests of {WORKERS} clients in one process, over {} connections to the API of three nodes (HTTP/2 with TLS, \
             JSON); medians of {} rounds of {} s. Gets are linearizable and of pods, patches are merge patches of pods, \
             creates are of ConfigMaps of 1 KiB:",
            cluster.clients.len(),
            bench.rounds(),
            bench.arguments.seconds
        ),
        &["", "median", "range"],
    );
    for (what, series) in [("get", &gets), ("patch", &patches), ("create", &creates)] {
        series.rows(what, &mut table);
    }
    let what = format!("get beside {PACED_GETS} gets and {PACED_CREATES} creates a second");
    table.row(&cells(&format!("{what}: p50 ms"), &beside.medians, 2));
    table.row(&cells(&format!("{what}: p99 ms"), &beside.p99s, 2));
    Ok(table.finish())
}

/// What was seen, round by round.
#[derive(Default)]
struct Series {
    rates: Vec<f64>,
    medians: Vec<f64>,
    p99s: Vec<f64>,
    cpus: Vec<f64>,
}

impl Series {
    fn add(&mut self, seen: &Measured) {
        self.rates.push(seen.per_second);
        self.cpus.push(seen.cpu);
        self.latency(seen.latency);
    }

    fn latency(&mut self, seen: Latency) {
        self.medians.push(seen.median);
        self.p99s.push(seen.p99);
    }

    fn rows(&self, what: &str, table: &mut Table) {
        table.row(&cells(&format!("{what}: a second"), &self.rates, 0));
        table.row(&cells(&format!("{what}: p50 ms"), &self.medians, 2));
        table.row(&cells(&format!("{what}: p99 ms"), &self.p99s, 2));
        table.row(&cells(&format!("{what}: CPU µs of all nodes"), &self.cpus, 0));
    }
}

async fn run<Act, Done>(cluster: &Cluster, window: Window, act: Act) -> Result<Measured>
where
    Act: Fn(Client, usize, usize) -> Done + Clone + Send + 'static,
    Done: Future<Output = Result<()>> + Send,
{
    load::run(&cluster.clients, WORKERS, window, &cluster.pids(), || {}, act).await
}

/// One pod, hardly ever the one that was asked for before.
async fn get(client: &Client, pods: usize, worker: usize, repetition: usize) -> Result<()> {
    let number = (worker * 7919 + repetition * 104_729) % pods;
    client.get(&format!("{PODS}/{}", pod_name(number)), &[("accept", JSON)]).await.map(drop)
}

async fn create(client: &Client, name: &str) -> Result<()> {
    let data = json!({"text": "x".repeat(TEXT_BYTES)});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
    client.post(CONFIG_MAPS, &object).await.map(drop)
}

/// Sends gets and creates at a steady rate, whether the ones before are answered or not; how long the gets took.
async fn paced(cluster: &Cluster, window: Window, round: u8) -> Result<Latency> {
    let taken: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let (begun, mut sent, mut under_way) = (Instant::now(), [0_u32; 2], JoinSet::new());
    let (clients, pods) = (&cluster.clients, cluster.pods);
    let length = window.warm_up + window.measured;
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while begun.elapsed() < length {
        tick.tick().await;
        for (sent, (rate, is_get)) in sent.iter_mut().zip([(PACED_GETS, true), (PACED_CREATES, false)]) {
            while f64::from(*sent) < begun.elapsed().as_secs_f64() * f64::from(rate) {
                *sent += 1;
                let (number, counts) = (*sent as usize, is_get && begun.elapsed() > window.warm_up);
                let (client, taken) = (clients[number % clients.len()].clone(), Arc::clone(&taken));
                under_way.spawn(async move {
                    let begun = Instant::now();
                    if is_get {
                        get(&client, pods, number, 0).await?;
                    } else {
                        create(&client, &format!("paced-{round}-{number}")).await?;
                    }
                    if counts {
                        taken.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed());
                    }
                    anyhow::Ok(())
                });
            }
        }
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Latency::of(&taken))
}
