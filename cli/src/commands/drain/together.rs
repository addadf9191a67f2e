//! Pods that go side by side: each is asked to until it may, and one that a budget holds keeps no other waiting.
//!
//! Not here: which pods (`choose`), and pods that go one by one (`super`).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::choose::Pod;
use super::{How, LOOK_PAUSE, go};
use crate::args::DrainArgs;
use crate::client::{Client, Query, Resource};
use crate::exit::{Code, ExitError};
use crate::render::Ui;

/// Requests under way at a time: a node may have thousands of pods, and the API has others to answer.
const REQUESTS_MAX: usize = 16;

/// Who tells the person, and how many requests there are, for pods that go at the same time.
pub(super) struct Turns<'a> {
    ui: Mutex<&'a mut Ui>,
    requests: Semaphore,
}

impl<'a> Turns<'a> {
    pub(super) fn new(ui: &'a mut Ui) -> Self {
        Self { ui: Mutex::new(ui), requests: Semaphore::new(REQUESTS_MAX) }
    }

    /// Tells the person something.
    pub(super) fn tell(&self, how: impl FnOnce(&mut Ui)) {
        how(&mut self.ui.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Makes one request in its turn. Whoever waits for a budget has none.
    pub(super) async fn request<T>(&self, request: impl Future<Output = T>) -> T {
        let _turn = self.requests.acquire().await.expect("nobody closes it");
        request.await
    }
}

/// Makes all of them go and waits until they have. Those that cannot are told together, once the others are gone. They stay
/// among those of `on_node` until they are gone, also if their labels change.
pub(super) async fn leave(
    client: &Client,
    args: &DrainArgs,
    pods: Vec<Pod>,
    on_node: Query,
    how: How,
    deadline: Option<Instant>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let turns = Turns::new(ui);
    let asked = pods.iter().map(|pod| {
        turns.tell(|ui| ui.note(&format!("evicting pod {}/{}", pod.namespace, pod.name)));
        go(client, args, pod, how, deadline, &turns)
    });
    let (mut going, mut failed) = (Vec::new(), Vec::new());
    for (pod, asked) in pods.iter().zip(futures::future::join_all(asked).await) {
        match asked {
            Ok(()) => going.push(pod),
            Err(error) => failed.push(error),
        }
    }
    failed.extend(all_gone(client, &going, &on_node, deadline, ui).await.err());
    ui.settle();
    one(failed)
}

/// Waits until none of these is there any more. One look for all of them.
async fn all_gone(
    client: &Client,
    going: &[&Pod],
    on_node: &Query,
    deadline: Option<Instant>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let mut left: Vec<&Pod> = going.to_vec();
    while !left.is_empty() {
        let there: BTreeSet<String> = match &*left {
            [pod] => client.find(&Resource::pods().object(&pod.namespace, &pod.name)).await?.iter().map(uid).collect(),
            _ => client.list(&Resource::pods().collection(None), on_node.clone()).await?.iter().map(uid).collect(),
        };
        left.retain(|pod| there.contains(&pod.uid));
        let Some(first) = left.first() else { return Ok(()) };
        let named: Vec<_> = left.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let message = format!("not stopped in time: pod {}", named.join(", pod "));
            return Err(ExitError::new(Code::TimedOut, message).into());
        }
        let more = if left.len() > 1 { format!(" and {} more", left.len() - 1) } else { String::new() };
        ui.progress(&format!("waiting for pod {}/{}{more} to stop", first.namespace, first.name));
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

fn uid(pod: &Value) -> String {
    pod.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What went wrong, as one error with the exit code of the first.
fn one(mut failed: Vec<anyhow::Error>) -> anyhow::Result<()> {
    if failed.len() < 2 {
        return failed.pop().map_or(Ok(()), Err);
    }
    let code =
        failed.iter().find_map(|error| error.downcast_ref::<ExitError>()).map_or(Code::General, |error| error.code);
    let all: Vec<_> = failed.iter().map(|error| format!("{error:#}")).collect();
    Err(ExitError::new(code, format!("{} pods are left:\n  {}", all.len(), all.join("\n  "))).into())
}
