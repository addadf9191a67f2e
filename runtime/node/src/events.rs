//! What happens to pods, told to people as Kubernetes Events.
//!
//! Not here: what is worth telling (`agent`). An event is news, not state: while the cluster has no leader it waits, and is
//! lost if that takes minutes, or too many wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use wk_api::{Object, Reason};
use wk_base::tasks::Tasks;
use wk_cluster::{Cluster, Note, Severity};

/// An event that the cluster does not take for now is tried so often, with so long between. Figures of client-go's recorder.
const TRIES_MAX: u32 = 12;
const RETRY_PAUSE: Duration = Duration::from_secs(10);
/// So many wait to be tried again: the newest of a node in trouble are like those before.
const WAITING_MAX: usize = 256;

/// Writes events about pods in this node's name.
#[derive(Clone)]
pub struct Recorder {
    cluster: Cluster,
    node: Arc<str>,
    waiting: Arc<Semaphore>,
}

impl Recorder {
    /// Events of the component `wk-node` on `node`.
    pub fn new(cluster: Cluster, node: String) -> Self {
        Self { cluster, node: node.into(), waiting: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    /// Something ordinary.
    pub fn note(&self, about: &Arc<Object>, reason: &str, message: &str, tasks: &Tasks) {
        self.tell(about, Severity::Normal, reason, message, tasks);
    }

    /// Something that a person may have to act on.
    pub fn warn(&self, about: &Arc<Object>, reason: &str, message: &str, tasks: &Tasks) {
        self.tell(about, Severity::Warning, reason, message, tasks);
    }

    /// Something of this severity.
    pub fn tell(&self, about: &Arc<Object>, severity: Severity, reason: &str, message: &str, tasks: &Tasks) {
        let at = self.cluster.clock().now();
        let note = Note { severity, reason: reason.to_owned(), message: message.to_owned(), at };
        let (recorder, about) = (self.clone(), Arc::clone(about));
        tasks.spawn_until_stop("event", async move { recorder.write(&about, &note).await });
    }

    async fn write(&self, about: &Object, note: &Note) {
        let (mut tries, mut place) = (1, None);
        while let Err(status) = self.cluster.record(about, note, "wk-node", &self.node).await {
            place = place.or_else(|| self.waiting.try_acquire().ok());
            if place.is_none() || tries == TRIES_MAX || !is_for_now(status.reason) {
                tracing::debug!(%status, pod = about.name(), reason = note.reason, "event lost");
                return;
            }
            tries += 1;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}

/// Whether a write that was refused for this may succeed later.
fn is_for_now(reason: Reason) -> bool {
    matches!(reason, Reason::ServiceUnavailable | Reason::Timeout | Reason::ServerTimeout | Reason::TooManyRequests)
}
