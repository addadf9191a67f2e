//! The node's `MemoryPressure` condition, from what the machine has left.
//!
//! Not here: doing something about it. A guest cannot take more than its own limit, and that refuses it first.

use std::time::Duration;

use serde_json::json;
use wk_api::kinds;
use wk_base::error::Chain;
use wk_base::time::Timestamp;
use wk_cluster::{Cluster, Subresource};

use crate::status::rfc3339;
use crate::usage::{Memory, machine_memory};

/// Between two looks. The kubelet's `housekeeping-interval`.
const INTERVAL: Duration = Duration::from_secs(10);
/// Pressure begins when less is available. The kubelet's default eviction threshold, `memory.available<100Mi`.
const AVAILABLE_MIN: u64 = 100 << 20;
/// On a small machine a twentieth is enough: a board with 512 MiB would be under pressure from the start else.
const AVAILABLE_MIN_PART: u64 = 20;

/// Keeps the condition true to the machine until it is dropped.
pub async fn watch(cluster: Cluster, node: String) {
    let mut said = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let holds = is_short(machine_memory());
        if holds == said {
            continue;
        }
        tracing::info!(node, holds, "memory pressure");
        match say(&cluster, &node, holds).await {
            Ok(()) => said = holds,
            Err(error) => tracing::debug!(error = %Chain(&error), "memory pressure not told"),
        }
    }
}

fn is_short(memory: Memory) -> bool {
    memory.available < AVAILABLE_MIN.min(memory.total / AVAILABLE_MIN_PART)
}

async fn say(cluster: &Cluster, node: &str, holds: bool) -> Result<(), wk_api::Status> {
    let now: Timestamp = cluster.clock().now();
    let change = |old: &wk_api::Object| {
        let mut new = old.0.clone();
        for condition in new["status"]["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] == "MemoryPressure" {
                let (status, reason, message) = if holds {
                    ("True", "KubeletHasInsufficientMemory", "the machine has little memory available")
                } else {
                    ("False", "KubeletHasSufficientMemory", "the machine has sufficient memory available")
                };
                condition["status"] = json!(status);
                condition["reason"] = json!(reason);
                condition["message"] = json!(message);
                condition["lastTransitionTime"] = json!(rfc3339(now));
            }
        }
        Ok(new)
    };
    cluster.modify(&kinds::NODE, None, node, Subresource::Status, change).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_begins_at_the_kubelets_threshold_and_lower_on_small_machines() {
        let mebibytes = |total: u64, available: u64| Memory { total: total << 20, available: available << 20 };
        assert!(is_short(mebibytes(16_000, 99)));
        assert!(!is_short(mebibytes(16_000, 101)));
        assert!(!is_short(mebibytes(512, 30)));
        assert!(is_short(mebibytes(512, 20)));
    }
}
