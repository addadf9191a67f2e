//! Asks the nodes what their pods use, for the autoscaler: while this peer leads and there is an autoscaler at all.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use wk_api::kinds;
use wk_apiserver::NodeUsage;
use wk_base::tasks::Tasks;
use wk_cluster::Cluster;
use wk_controllers::Measured;
use wk_mesh::{Mesh, NodeName};
use wk_node::usage::Meters;

use super::usage;

/// Between two rounds. Kubernetes' `--horizontal-pod-autoscaler-sync-period`.
const INTERVAL: Duration = Duration::from_secs(15);

/// Nodes that are asked at the same time.
const ASKED_AT_ONCE: usize = 64;

/// Who asks.
pub(crate) struct Rounds {
    pub(crate) name: NodeName,
    pub(crate) cluster: Cluster,
    pub(crate) mesh: Mesh,
    /// This node's own.
    pub(crate) meters: Option<Meters>,
    pub(crate) measured: Arc<Measured>,
}

impl Rounds {
    /// Asks until the tasks stop.
    pub(crate) fn start(self, mut leading: watch::Receiver<bool>, tasks: &Tasks) {
        tasks.spawn_until_stop("measure", async move {
            while leading.wait_for(|leads| *leads).await.is_ok() {
                if !self.cluster.local(&kinds::HORIZONTALPODAUTOSCALER, None).items.is_empty() {
                    self.round().await;
                }
                tokio::time::sleep(INTERVAL).await;
            }
        });
    }

    async fn round(&self) {
        let nodes = self.cluster.local(&kinds::NODE, None).items;
        let asked: Vec<_> = nodes.iter().map(|node| self.ask(node.name().to_owned())).collect();
        let answers: Vec<NodeUsage> =
            futures::stream::iter(asked).buffer_unordered(ASKED_AT_ONCE).filter_map(std::future::ready).collect().await;
        let pods = answers.into_iter().flat_map(|usage| usage.pods);
        let usages = pods.map(|(uid, (_window, containers))| (uid, containers)).collect();
        self.measured.set(self.cluster.clock().now(), usages);
    }

    /// What one node says; one that does not answer has no metrics this time.
    async fn ask(&self, node: String) -> Option<NodeUsage> {
        match &self.meters {
            Some(meters) if node == self.name.as_str() => Some(usage::usage(meters.report())),
            _ => usage::ask(&self.mesh, &node).await.inspect_err(|error| tracing::debug!(%error, "not measured")).ok(),
        }
    }
}
