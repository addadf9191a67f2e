//! The node's `MemoryPressure` and `DiskPressure` conditions, from what the machine and its disk have left.
//!
//! Not here: doing something about it. A guest cannot take more than its own limit, and that refuses it first.

use std::path::{Path, PathBuf};
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

/// Pressure begins when less of the disk is free, or less than a twentieth of it: twice what guests leave free of it, so
/// that somebody hears of it before anything is refused.
const FREE_MIN: u64 = 2 << 30;
const FREE_MIN_PART: u64 = 20;

/// Something that a node can be short of.
#[derive(Debug, Clone, Copy)]
struct Kind {
    condition: &'static str,
    /// Reason and message while there is enough, and while there is not.
    enough: (&'static str, &'static str),
    short: (&'static str, &'static str),
}

const MEMORY: Kind = Kind {
    condition: "MemoryPressure",
    enough: ("KubeletHasSufficientMemory", "the machine has sufficient memory available"),
    short: ("KubeletHasInsufficientMemory", "the machine has little memory available"),
};

const DISK: Kind = Kind {
    condition: "DiskPressure",
    enough: ("KubeletHasNoDiskPressure", "the disk of the node's data directory has room"),
    short: ("KubeletHasDiskPressure", "the disk of the node's data directory is nearly full"),
};

/// Keeps the conditions true to the machine, and to the disk that `dir` is on, until it is dropped.
pub async fn watch(cluster: Cluster, node: String, dir: PathBuf) {
    let mut said = [false; 2];
    loop {
        tokio::time::sleep(INTERVAL).await;
        let holds = [is_short(machine_memory()), disk(&dir).unwrap_or(said[1])];
        for ((kind, holds), said) in [MEMORY, DISK].iter().zip(holds).zip(&mut said) {
            if holds == *said {
                continue;
            }
            tracing::warn!(node, holds, condition = kind.condition, "pressure changed");
            match say(&cluster, &node, kind, holds).await {
                Ok(()) => *said = holds,
                Err(error) => tracing::debug!(error = %Chain(&error), "pressure not told"),
            }
        }
    }
}

fn is_short(memory: Memory) -> bool {
    memory.available < AVAILABLE_MIN.min(memory.total / AVAILABLE_MIN_PART)
}

/// Whether the disk is short of room; none if it does not say.
fn disk(dir: &Path) -> Option<bool> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some(is_nearly_full(bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

fn is_nearly_full(free: u64, total: u64) -> bool {
    free < FREE_MIN.min(total / FREE_MIN_PART)
}

async fn say(cluster: &Cluster, node: &str, kind: &Kind, holds: bool) -> Result<(), wk_api::Status> {
    let now: Timestamp = cluster.clock().now();
    let change = |old: &wk_api::Object| {
        let mut new = old.0.clone();
        for condition in new["status"]["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] == kind.condition {
                let (reason, message) = if holds { kind.short } else { kind.enough };
                condition["status"] = json!(if holds { "True" } else { "False" });
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

    #[test]
    fn disk_is_nearly_full_before_guests_are_refused_and_a_large_one_at_two_gibibytes() {
        let mebibytes = |free: u64, total: u64| is_nearly_full(free << 20, total << 20);
        assert!(mebibytes(1, 24) && !mebibytes(2, 24));
        assert!(mebibytes(2047, 1 << 20) && !mebibytes(2049, 1 << 20));
    }
}
