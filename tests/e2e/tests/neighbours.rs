//! Guests that mean harm, each beside one that behaves: how they end, what is told of it, and how little the other notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use http_body_util::{BodyExt as _, Empty};
use serde_json::{Value, json};
use wk_kit::{Api, Cluster, Connection, Node, SOON, Transport, guest, until};

const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const BAD: &str = "bad.localhost";
const HELLO: &str = "hello.localhost";

/// What a guest does, and what is to come of it.
struct Case {
    path: &'static str,
    /// The status that the client sees; None when the response had begun and breaks off.
    status: Option<u16>,
    /// What the client is told.
    told: &'static str,
    /// The event's reason and what it says; `*` for a name that does not matter here.
    event: (&'static str, &'static str),
}

const fn case(path: &'static str, status: u16, told: &'static str, event: (&'static str, &'static str)) -> Case {
    Case { path, status: Some(status), told, event }
}

/// Those whose response breaks off at their deadline.
const fn breaks(path: &'static str) -> Case {
    Case { path, status: None, told: "", event: ("DeadlineExceeded", "did not finish within 1s") }
}

const CASES: &[Case] = &[
    case("/trap", 502, "502 app failed", ("Trapped", "unreachable")),
    case("/loop", 504, "504 deadline", ("DeadlineExceeded", "did not finish within 1s")),
    case("/alloc", 502, "502 app failed", ("OOMKilled", "its limit of 32 MiB")),
    case("/recurse", 502, "502 app failed", ("", "")),
    case("/headers", 502, "502 app failed", ("LimitExceeded", "its limit of 65536 bytes of headers")),
    case("/handles", 502, "502 app failed", ("", "")),
    breaks("/slow"),
    breaks("/gush"),
    case(CALLS, 200, "", ("ConnectionLimit", "at most 128 at once")),
    case("/flood", 504, "504 deadline", ("", "")),
];

/// A thousand calls at once to a peer, each of which holds its connection for a while.
const CALLS: &str = "/requests/peer.default.svc.cluster.local/stream";
/// The same to itself: it has no memory for most of them.
const OWN_CALLS: &str = "/requests/bad.default.svc.cluster.local/stream";

/// Deploys the guest that misbehaves: 32 MiB, a second for a request, and the cluster to talk to; and one of the same that
/// has memory for all its calls.
async fn deploy_bad(cluster: &Cluster, api: &Api) {
    let file = guest("http");
    let file = file.to_str().expect("a path of text");
    let words = ["deploy", file, "--name", "bad", "--memory", "32Mi", "--egress", "cluster", "--replicas", "0"];
    cluster.wk(&words).await.ok();
    cluster.wk(&["deploy", file, "--name", "peer"]).await.ok();
    let template = json!({"metadata": {"annotations": {"wk.dev/request-timeout": "1s"}}});
    let changed = json!({"spec": {"replicas": 1, "template": template}});
    api.merge(&format!("{DEPLOYMENTS}/bad"), &changed).await.expect("the deployment takes it");
    serves(&cluster.nodes[0], BAD).await;
}

async fn serves(node: &Node, host: &str) {
    until(&format!("{host} answers"), SOON, async || {
        let answer = wk_kit::get(node.http(), host, "/").await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        Ok(())
    })
    .await;
}

/// Waits for an event of the pod with these words.
async fn event(api: &Api, pod: &str, (reason, words): (&str, &str)) {
    until(&format!("{reason} of {pod} says {words:?}"), SOON, async || {
        let events = api.get("/api/v1/namespaces/default/events").await?;
        let events = events["items"].as_array().context("no events")?;
        let of_pod = events.iter().filter(|event| event["involvedObject"]["name"] == pod);
        let told: Vec<_> = of_pod.map(|event| (event["reason"].as_str(), event["message"].as_str())).collect();
        let found = told.iter().any(|(is, said)| *is == Some(reason) && said.is_some_and(|it| it.contains(words)));
        ensure!(found, "{told:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_ends_as_documented() {
    let cluster = Cluster::start(1).await;
    let (node, api) = (&cluster.nodes[0], cluster.nodes[0].api().await);
    deploy_bad(&cluster, &api).await;
    let pod = api.pods_of("bad").await.expect("pods").pop().expect("one")["metadata"]["name"].clone();
    let pod = pod.as_str().expect("a name");
    for Case { path, status, told, event: words } in CASES {
        let seen = ask(node.http(), path).await.expect("an answer");
        assert_eq!(seen.broke_off, status.is_none(), "{path} came to {seen:?}");
        assert_eq!(seen.status, status.unwrap_or(200), "{path} came to {seen:?}");
        assert!(seen.start.starts_with(told), "{path} came to {seen:?}");
        if !words.0.is_empty() {
            event(&api, pod, *words).await;
        }
        // It went no further than its own request.
        serves(node, BAD).await;
    }
    let object = api.get(&format!("{PODS}/{pod}")).await.expect("the pod");
    let container = &object["status"]["containerStatuses"][0];
    assert_eq!((&container["restartCount"], &container["ready"]), (&json!(0), &json!(true)), "{container}");
    let last = container["lastState"]["terminated"]["reason"].as_str().unwrap_or_default();
    assert_ne!(last, "ConnectionLimit", "a limit that ends nothing is no end of the container: {container}");
}

#[tokio::test(flavor = "multi_thread")]
async fn program_that_floods_its_log_goes_on_and_is_told() {
    let cluster = Cluster::start(1).await;
    let (node, api) = (&cluster.nodes[0], cluster.nodes[0].api().await);
    let file = guest("command");
    cluster.wk(&["deploy", file.to_str().expect("a path of text"), "--name", "loud", "--", "flood"]).await.ok();
    let pod = api.pods_of("loud").await.expect("pods").pop().expect("one");
    let name = pod["metadata"]["name"].as_str().expect("a name");
    event(&api, name, ("LogLimit", "the container prints more than 1024 KiB a second")).await;
    until("its log says how much was dropped", SOON, async || {
        let log = node.wk(&["logs", name, "--tail", "5000"]).await;
        ensure!(log.stdout.contains("bytes of output dropped: the container printed more than 1024 KiB a second"));
        Ok(())
    })
    .await;
    let pod = api.get(&format!("{PODS}/{name}")).await.expect("the pod");
    let container = &pod["status"]["containerStatuses"][0];
    assert!(container["state"]["running"].is_object() && container["lastState"] == json!({}), "{container}");
}

/// What came of a request to the guest that misbehaves.
#[derive(Debug)]
struct Seen {
    status: u16,
    /// The beginning of the body: nobody keeps one that does not end.
    start: String,
    broke_off: bool,
}

/// How fast a client takes a body: a frame of at most 64 KiB each time, which makes a line of 100 megabits a second. One
/// without any bound would measure how fast this machine copies, for which the neighbour's clients need it too.
const FRAME_PAUSE: Duration = Duration::from_millis(5);

async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<Seen> {
    let mut connection = Connection::open(address, Transport::Http1).await?;
    let mut response = connection.send("GET", BAD, path, Empty::new().boxed_unsync()).await?;
    let (mut start, mut broke_off) = (String::new(), false);
    while let Some(frame) = response.frame().await {
        tokio::time::sleep(FRAME_PAUSE).await;
        match frame {
            Ok(frame) if start.is_empty() => {
                start = String::from_utf8_lossy(frame.data_ref().map_or(&[][..], |data| data)).into_owned();
            }
            Ok(_) => {}
            Err(_) => {
                broke_off = true;
                break;
            }
        }
    }
    Ok(Seen { status: response.status().as_u16(), start, broke_off })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_granted_is_out_of_reach() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    cluster.deploy_hello("other", 1, &[]).await.ok();
    let file = guest("http");
    let words = ["deploy", file.to_str().expect("a path of text"), "--name", "bad", "--env", "GIVEN=this"];
    cluster.wk(&words).await.ok();
    serves(node, BAD).await;
    let answer = wk_kit::get(node.http(), BAD, "/escape").await.expect("an answer");
    // The one that each pod has: the token of its service account.
    for line in ["directories 1", "read denied", "read above denied", "write denied"] {
        assert!(answer.body.contains(&format!("{line}\n")), "{}", answer.body);
    }
    assert!(!answer.body.contains("http allowed"), "{}", answer.body);
    let target = "/requests/other.default.svc.cluster.local/";
    let answer = wk_kit::get(node.http(), BAD, target).await.expect("an answer");
    assert_eq!(answer.body, "answered 0, limited 0, denied 1000, otherwise 0\n");
    let answer = wk_kit::get(node.http(), BAD, "/env").await.expect("an answer");
    assert!(answer.body.contains("GIVEN=this\n") && answer.body.contains("WK_POD_NAME=bad-"), "{}", answer.body);
    for mine in ["HOME=", "PATH=", "WK_LOG=", "USER="] {
        assert!(!answer.body.contains(&format!("\n{mine}")), "{}", answer.body);
    }
}

/// Requests of one round, and clients that send them.
const ROUND_REQUESTS: usize = 100;
const ROUND_CLIENTS: usize = 2;
/// A misbehaviour is looked at so often at most. One look that finds the neighbour undisturbed is enough: what disturbs it does so
/// each time, and what else the machine does in the meantime does not.
const LOOKS_MAX: usize = 10;
/// What a neighbour may wait beside twice its normal: the slice that a guest runs before it gives way.
const SLICE: Duration = Duration::from_millis(10);

/// The 99th percentile of a round of requests to the neighbour that behaves.
async fn p99(node: &Node) -> Duration {
    let address = node.http();
    let clients = (0..ROUND_CLIENTS).map(|_| async move {
        let mut connection = Connection::open(address, Transport::Http1).await.expect("the port is open");
        let mut took = Vec::new();
        for _ in 0..ROUND_REQUESTS / ROUND_CLIENTS {
            let sent = Instant::now();
            let answer = connection.get(HELLO, "/").await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            took.push(sent.elapsed());
        }
        took
    });
    let mut all: Vec<Duration> = join_all(clients).await.concat();
    all.sort();
    all[all.len() * 99 / 100 - 1]
}

/// Clients that ask for a misbehaviour again and again, until this is stopped.
struct Harm {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Harm {
    fn start(node: &Node, path: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (address, stop) = (node.http(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // How it ends is the other test's business.
                    let _ = ask(address, path).await;
                }
            })
        };
        let clients = (0..2).map(client).collect();
        Self { stop, clients }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.clients).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "figures that a person may want to see")]
async fn neighbour_answers_within_twice_its_normal_beside_each_misbehaviour() {
    let cluster = Cluster::start(1).await;
    let (node, api) = (&cluster.nodes[0], cluster.nodes[0].api().await);
    cluster.deploy_hello("hello", 1, &[]).await.ok();
    deploy_bad(&cluster, &api).await;
    serves(node, HELLO).await;
    p99(node).await;
    serves(node, "peer.localhost").await;
    for path in CASES.iter().map(|case| case.path).chain([OWN_CALLS]) {
        let mut seen = Vec::new();
        let undisturbed = loop {
            let before = p99(node).await;
            let harm = Harm::start(node, path);
            let beside = p99(node).await;
            harm.stop().await;
            let normal = before.max(p99(node).await);
            seen.push((normal, beside));
            if beside <= (normal * 2).max(normal + SLICE) {
                break true;
            }
            if seen.len() == LOOKS_MAX {
                break false;
            }
        };
        eprintln!("{path}: p99 normally and beside it: {seen:?}");
        assert!(undisturbed, "{path} disturbs its neighbour each time (p99 normally, beside it): {seen:?}");
    }
    let pods = api.pods_of("hello").await.expect("pods");
    let restarts = pods.iter().map(|pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].clone());
    assert_eq!(restarts.collect::<Vec<_>>(), [json!(0)]);
}
