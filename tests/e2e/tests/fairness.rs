//! One client that floods the API, and another who goes on as before.
//!
//! What the other's requests take is compared with what they take while the same flood goes to another cluster on the same
//! machine: so the work of sending a flood, and of a process that answers one, is in both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use wk_kit::{Cluster, SOON, until};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Objects that the floods list and watch.
const OBJECTS: usize = 600;
/// Clients of a flood, each with a request under way all the time.
const CROWD: usize = 32;
/// Gets and creates of the other, in a round, and how many clients send them.
const ROUND_REQUESTS: usize = 120;
const ROUND_CLIENTS: usize = 2;
/// Each flood is looked at so often at most. One look that finds the other undisturbed is enough: a flood that disturbs does so each
/// time, and what else the machine does in the meantime does not.
const LOOKS_MAX: usize = 8;
/// What a request may wait beside twice its normal: a step of each core's, unoptimised, at each of its own steps.
const SLICE: Duration = Duration::from_millis(8);
/// And beside a crowd that writes: what the crowd's members had committed before, which a read that is up to date shows. That is
/// as long as a machine takes for it, unoptimised; so much of the time of one write of each, and whoever stood in line behind all
/// of them would wait for the whole of it.
const APPLIED: f64 = 0.75;

/// A user, as the administrator who speaks for them.
#[derive(Clone)]
struct User {
    client: kube::Client,
    name: &'static str,
}

impl User {
    async fn of(cluster: &Cluster, name: &'static str) -> Self {
        Self { client: cluster.nodes[0].api().await.client(), name }
    }

    async fn send(&self, method: Method, path: &str, accept: &str, body: String) -> anyhow::Result<StatusCode> {
        let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.header("impersonate-user", self.name).header("impersonate-group", "system:masters");
        let exchange = async {
            let response = self.client.send(request.body(body.into_bytes().into())?).await?;
            let status = response.status();
            response.into_body().collect().await?;
            anyhow::Ok(status)
        };
        tokio::time::timeout(SOON, exchange).await.with_context(|| format!("{path}: no answer"))?
    }

    async fn get(&self, path: &str) -> anyhow::Result<StatusCode> {
        self.send(Method::GET, path, "application/json", String::new()).await
    }

    async fn create(&self, name: &str) -> anyhow::Result<StatusCode> {
        self.send(Method::POST, MAPS, "application/json", map(name).to_string()).await
    }
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "x".repeat(300)}})
}

/// What is sent without end.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Gets,
    Lists,
    Creates,
    Watches,
}

impl Kind {
    /// `crowd` is what a write of each member takes.
    fn slack(self, crowd: Duration) -> Duration {
        match self {
            Self::Gets | Self::Lists | Self::Watches => SLICE,
            Self::Creates => SLICE + crowd.mul_f64(APPLIED),
        }
    }
}

/// A crowd of clients of one user that send the same again and again, until it is stopped.
struct Flood {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    crowd: Vec<tokio::task::JoinHandle<()>>,
}

impl Flood {
    fn start(user: &User, kind: Kind) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (user, stop, answered) = (user.clone(), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let sent = match kind {
                        Kind::Gets => user.get(&format!("{MAPS}/object-1")).await,
                        Kind::Lists => user.send(Method::GET, MAPS, TABLE, String::new()).await,
                        Kind::Creates => {
                            user.create(&format!("flood-{}", NUMBER.fetch_add(1, Ordering::Relaxed))).await
                        }
                        Kind::Watches => {
                            user.get(&format!("{MAPS}?watch=true&resourceVersion=0&timeoutSeconds=1")).await
                        }
                    };
                    match sent {
                        // Being told to come later is what may happen to it.
                        Ok(StatusCode::TOO_MANY_REQUESTS) => tokio::time::sleep(Duration::from_millis(5)).await,
                        Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => {}
                    }
                }
            })
        };
        let crowd = (0..CROWD).map(client).collect();
        Self { stop, answered, crowd }
    }

    /// Waits until it is a steady one: its connections are open.
    async fn rose(&self) {
        until("the whole crowd is answered", SOON, async || {
            let answered = self.answered.load(Ordering::Relaxed);
            ensure!(answered >= CROWD, "only {answered} are");
            Ok(())
        })
        .await;
    }

    /// Ends it, and tells how many were answered.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.crowd).await;
        self.answered.load(Ordering::Relaxed)
    }
}

/// The 99th percentiles of a round of gets, and of a round of creates.
async fn round(user: &User, number: usize) -> anyhow::Result<[Duration; 2]> {
    let clients = (0..ROUND_CLIENTS).map(|client| async move {
        let (mut gets, mut creates) = (Vec::new(), Vec::new());
        for request in 0..ROUND_REQUESTS / ROUND_CLIENTS / 2 {
            let sent = Instant::now();
            let status = user.get(&format!("{MAPS}/object-{request}")).await?;
            ensure!(status == StatusCode::OK, "a get was answered {status}");
            gets.push(sent.elapsed());
            let sent = Instant::now();
            let status = user.create(&format!("other-{number}-{client}-{request}")).await?;
            ensure!(status == StatusCode::CREATED, "a create was answered {status}");
            creates.push(sent.elapsed());
        }
        anyhow::Ok((gets, creates))
    });
    let (mut gets, mut creates) = (Vec::new(), Vec::new());
    for seen in join_all(clients).await {
        let seen = seen?;
        gets.extend(seen.0);
        creates.extend(seen.1);
    }
    Ok([gets, creates].map(|mut took| {
        took.sort();
        took[took.len() * 99 / 100 - 1]
    }))
}

/// A cluster with objects, and the time in which each member of a crowd writes one: the median.
async fn filled() -> (Cluster, Duration) {
    let cluster = Cluster::start(1).await;
    let admin = User::of(&cluster, "filler").await;
    let numbers: Vec<usize> = (0..OBJECTS).collect();
    let mut took = Vec::new();
    for some in numbers.chunks_exact(CROWD) {
        let begun = Instant::now();
        let made = join_all(some.iter().map(async |number| admin.create(&format!("object-{number}")).await)).await;
        assert!(made.iter().all(|made| made.as_ref().is_ok_and(|status| *status == StatusCode::CREATED)), "{made:?}");
        took.push(begun.elapsed());
    }
    took.sort();
    (cluster, took[took.len() / 2])
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "figures that a person may want to see")]
async fn flood_by_one_client_leaves_anothers_p99_within_twice_its_normal() {
    let ((cluster, crowd), (elsewhere, _)) = (filled().await, filled().await);
    let (other, floods) = (User::of(&cluster, "other").await, User::of(&cluster, "flood").await);
    let floods_elsewhere = User::of(&elsewhere, "flood").await;
    let mut number = 0;
    round(&other, number).await.expect("a warm server");
    for kind in [Kind::Gets, Kind::Lists, Kind::Creates, Kind::Watches] {
        let mut seen = Vec::new();
        let undisturbed = loop {
            let mut look = async |flooded: &User| {
                number += 1;
                let flood = Flood::start(flooded, kind);
                flood.rose().await;
                let took = round(&other, number).await;
                let answered = flood.stop().await;
                assert!(answered > CROWD, "{kind:?} was no flood");
                (took.unwrap_or_else(|error| panic!("beside {kind:?}: {error:#}")), answered)
            };
            let (normal, _) = look(&floods_elsewhere).await;
            let (beside, answered) = look(&floods).await;
            seen.push((normal, beside, answered));
            if beside
                .iter()
                .zip(&normal)
                .all(|(beside, normal)| *beside <= (*normal * 2).max(*normal + kind.slack(crowd)))
            {
                break true;
            }
            if seen.len() == LOOKS_MAX {
                break false;
            }
        };
        eprintln!(
            "a crowd's writes take {crowd:?}; {kind:?}: p99 of gets and creates normally, beside the flood, and its answers: {seen:?}"
        );
        assert!(undisturbed, "{kind:?} disturb another client each time: {seen:?}");
    }
}
