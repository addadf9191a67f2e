//! A steady load of requests, and what became of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::web::{Connection, Transport};
use crate::{SOON, until};

/// Pause of a client after each answer: the load is to be steady, not to be all the machine does.
const PAUSE: Duration = Duration::from_millis(4);
/// Clients for each address.
const CLIENTS: usize = 3;
/// Failures that a message shows; the hundredth looks like the first.
const FAILURES_SHOWN: usize = 12;

/// Clients that send requests one after another, each on a connection it keeps, until they are stopped.
#[derive(Debug)]
pub struct Load {
    began: Instant,
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Report>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
    /// What the test did meanwhile, and when.
    marks: Mutex<Vec<(Instant, String)>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were sent.
    pub sent: usize,
    /// The answers other than 200 and the errors, with the time since the load began.
    pub failures: Vec<String>,
    /// The longest that one took, and when it was sent.
    pub slowest: Duration,
    /// How many each pod answered.
    pub pods: BTreeMap<String, usize>,
    /// What the test did meanwhile.
    pub marks: Vec<String>,
}

impl Load {
    /// Starts clients of the ingresses, who GET `/` of `host`: what may be sent again when a node dies.
    pub fn start(addresses: &[SocketAddr], host: &str) -> Self {
        Self::sending(addresses, host, Asking::Get)
    }

    /// Starts clients of the ingresses, who POST to hello-http's `/echo`: what may be sent only once.
    pub fn start_posting(addresses: &[SocketAddr], host: &str) -> Self {
        Self::sending(addresses, host, Asking::Post)
    }

    fn sending(addresses: &[SocketAddr], host: &str, asking: Asking) -> Self {
        let (began, shared) = (Instant::now(), Arc::new(Shared::default()));
        let clients = addresses.iter().flat_map(|address| [*address; CLIENTS]);
        let clients =
            clients.map(|address| tokio::spawn(client(address, host.to_owned(), asking, began, Arc::clone(&shared))));
        Self { began, clients: clients.collect(), shared }
    }

    /// Remembers that the test does something now, for the message of a failure.
    pub fn mark(&self, what: &str) {
        self.shared.marks.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), what.to_owned()));
    }

    /// Waits until `count` more requests were answered.
    pub async fn answered(&self, count: usize) {
        let wanted = self.shared.answered.load(Ordering::Relaxed) + count;
        until(&format!("{count} more requests are answered"), SOON, async || {
            let answered = self.shared.answered.load(Ordering::Relaxed);
            ensure!(answered >= wanted, "{} are missing", wanted - answered);
            Ok(())
        })
        .await;
    }

    /// Ends the load and tells what became of it.
    pub async fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut whole = Report::default();
        for client in self.clients {
            let report = client.await.expect("a client does not panic");
            whole.sent += report.sent;
            whole.failures.extend(report.failures);
            whole.slowest = whole.slowest.max(report.slowest);
            for (pod, count) in report.pods {
                *whole.pods.entry(pod).or_default() += count;
            }
        }
        let marks = self.shared.marks.lock().unwrap_or_else(PoisonError::into_inner);
        whole.marks = marks.iter().map(|(at, what)| format!("{:?}: {what}", at.duration_since(self.began))).collect();
        whole
    }
}

impl Report {
    /// Checks that something was sent and that nothing failed.
    ///
    /// # Panics
    /// If something did; the message says what, and what the test did meanwhile.
    #[track_caller]
    pub fn none_failed(&self) -> &Self {
        let shown = &self.failures[..self.failures.len().min(FAILURES_SHOWN)];
        assert!(
            self.failures.is_empty() && self.sent > 0,
            "{} of {} requests failed (slowest {:?})\n  {}\nmeanwhile\n  {}",
            self.failures.len(),
            self.sent,
            self.slowest,
            shown.join("\n  "),
            self.marks.join("\n  ")
        );
        self
    }
}

/// What a client sends.
#[derive(Debug, Clone, Copy)]
enum Asking {
    Get,
    Post,
}

async fn client(address: SocketAddr, host: String, asking: Asking, began: Instant, shared: Arc<Shared>) -> Report {
    let mut report = Report::default();
    let mut connection = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        report.sent += 1;
        match ask(&mut connection, address, &host, asking).await {
            Ok(pod) => *report.pods.entry(pod).or_default() += 1,
            Err(error) => {
                connection = None;
                report.failures.push(format!("{:?}, after {:?}: {address}: {error:#}", sent - began, sent.elapsed()));
            }
        }
        shared.answered.fetch_add(1, Ordering::Relaxed);
        report.slowest = report.slowest.max(sent.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    report
}

/// One request; answers with the pod that took it.
async fn ask(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    host: &str,
    asking: Asking,
) -> anyhow::Result<String> {
    if connection.is_none() {
        *connection = Some(Connection::open(address, Transport::Http1).await?);
    }
    let connection = connection.as_mut().expect("made above");
    let answer = match asking {
        Asking::Get => connection.get(host, "/").await?,
        Asking::Post => connection.post(host, "/echo", "there and back").await?,
    };
    ensure!(answer.status == 200, "{} {:?}", answer.status, answer.body);
    ensure!(matches!(asking, Asking::Get) || answer.body == "there and back", "it came back as {:?}", answer.body);
    Ok(answer.pod().unwrap_or_default().to_owned())
}
