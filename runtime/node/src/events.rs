//! What happens to pods, told to people as Kubernetes Events.
//!
//! Not here: what is worth telling (`agent`). An event that cannot be written is lost: it is news, not state.

use std::sync::Arc;

use wk_api::Object;
use wk_base::tasks::Tasks;
use wk_cluster::{Cluster, Note, Severity};

/// Writes events about pods in this node's name.
#[derive(Clone)]
pub struct Recorder {
    cluster: Cluster,
    node: Arc<str>,
}

impl Recorder {
    /// Events of the component `wk-node` on `node`.
    pub fn new(cluster: Cluster, node: String) -> Self {
        Self { cluster, node: node.into() }
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
        let note = Note { severity, reason: reason.to_owned(), message: message.to_owned() };
        let (recorder, about) = (self.clone(), Arc::clone(about));
        tasks.spawn_until_stop("event", async move {
            if let Err(error) = recorder.cluster.record(&about, &note, "wk-node", &recorder.node).await {
                tracing::debug!(%error, pod = about.name(), "event lost");
            }
        });
    }
}
