//! Events: written behind the work they tell of ([`Cluster::record`] counts up the one that is there already).
//!
//! **Guarantees.** Recording never waits. Equal events that come together are written once.
//! **Not guaranteed.** That every event is kept: under a flood, and when this peer stops leading, the rest is dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::mpsc;
use wk_api::{Object, Reason, Status};
use wk_cluster::{Cluster, Note, Severity};
use wk_plan::{Event, EventType};

/// Events that wait to be written. A rollout of some hundred pods fits; what is beyond would be read by nobody.
const QUEUE_MAX: usize = 2048;

/// How long events are collected before they are written: equal ones become one, and the writes that they tell of go
/// first.
const LINGER: Duration = Duration::from_millis(100);

/// Event writes under way at once: few, since nobody waits for them.
const WRITES_MAX: usize = 16;

/// Takes events. Clones feed the same queue.
#[derive(Clone)]
pub(crate) struct Recorder(mpsc::Sender<Event>);

impl Recorder {
    /// A recorder and the task that writes for it.
    pub(crate) fn new(cluster: Cluster) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        (Self(sender), write_all(cluster, queue))
    }

    /// Records `event` soon, or never when the queue is full.
    pub(crate) fn record(&self, event: Event) {
        if let Err(error) = self.0.try_send(event) {
            tracing::debug!(%error, "an event is dropped");
        }
    }
}

async fn write_all(cluster: Cluster, mut queue: mpsc::Receiver<Event>) {
    while let Some(first) = queue.recv().await {
        tokio::time::sleep(LINGER).await;
        let mut batch = BTreeMap::new();
        let mut next = Some(first);
        while let Some(event) = next.take() {
            let key = (event.regarding.uid.clone(), event.reason, event.message.clone(), event.component);
            batch.insert(key, event);
            next = if batch.len() < QUEUE_MAX { queue.try_recv().ok() } else { None };
        }
        let writes = batch.into_values().map(|event| write(&cluster, event));
        futures::stream::iter(writes).buffer_unordered(WRITES_MAX).collect::<()>().await;
    }
}

async fn write(cluster: &Cluster, event: Event) {
    let Event { regarding, kind, reason, message, component } = event;
    let about = Object::new(json!({
        "apiVersion": regarding.kind.api_version(),
        "kind": regarding.kind.kind,
        "metadata": {"name": regarding.name, "namespace": regarding.namespace, "uid": regarding.uid},
    }));
    let severity = match kind {
        EventType::Normal => Severity::Normal,
        EventType::Warning => Severity::Warning,
    };
    let note = Note { severity, reason: reason.to_owned(), message, at: cluster.clock().now() };
    match cluster.record(&about, &note, component, "").await {
        // Refused as its namespace goes, or somebody else was faster: nothing is lost that anybody would miss.
        Ok(()) | Err(Status { reason: Reason::NotFound | Reason::Forbidden | Reason::AlreadyExists, .. }) => {}
        Err(status) => {
            tracing::warn!(event = reason, object = about.name(), "an event could not be recorded: {status}");
        }
    }
}
