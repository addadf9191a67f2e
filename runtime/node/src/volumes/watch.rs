//! Watching how full emptyDirs are: a pod that is past a limit, or was refused a write by it, is evicted.
//!
//! Guests of this process are stopped at the write (`wk-engine` counts), so this only has to see it. What else grows a
//! directory (`kubectl cp`, a guest in another process) is found by looking it through, as often as the kubelet does.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use wk_base::tasks::Tasks;
use wk_engine::{DiskUse, disk_use, measure};

use crate::{agent, pod};

use super::Volumes;

/// Between looks at the counts.
const LOOK: Duration = Duration::from_millis(500);
/// Every so many looks the directories themselves are looked through: ten seconds, the kubelet's figure.
const MEASURE_EVERY: u32 = 20;

impl Volumes {
    /// Has the agent evict pods that are past the limit of an emptyDir.
    pub fn watch(&self, agent: mpsc::Sender<agent::Event>, tasks: &Tasks) {
        let this = self.clone();
        tasks.spawn_until_stop("volumes-watch", async move {
            let mut looks: u32 = 0;
            loop {
                tokio::time::sleep(LOOK).await;
                looks = looks.wrapping_add(1);
                this.tell_full(None);
                for (uid, message) in this.past_limits(looks.is_multiple_of(MEASURE_EVERY)).await {
                    let event = pod::Event::Evict(message);
                    let _ = agent.send(agent::Event::Pod { uid, event }).await;
                }
            }
        });
    }

    /// What to tell of a pod whose running containers were refused a write by the limit of an emptyDir.
    pub fn refused(&self, uid: &str) -> Option<String> {
        let pod = self.pods().get(uid).cloned()?;
        pod.limited()
            .find_map(|(name, dir, limit)| past_limit((uid.to_owned(), name.to_owned(), dir, limit), false))
            .map(|(_, message)| message)
    }

    /// Pods that are past a limit, and what to tell of them.
    async fn past_limits(&self, measured: bool) -> Vec<(String, String)> {
        let mut limited = Vec::new();
        for (uid, pod) in self.pods().iter() {
            limited.extend(pod.limited().map(|(name, dir, limit)| (uid.to_string(), name.to_owned(), dir, limit)));
        }
        let look = move || limited.into_iter().filter_map(|it| past_limit(it, measured)).collect();
        if measured { tokio::task::spawn_blocking(look).await.unwrap_or_default() } else { look() }
    }
}

fn past_limit((uid, name, dir, limit): (String, String, PathBuf, u64), measured: bool) -> Option<(String, String)> {
    let counted = disk_use(&dir);
    let refused = counted.filter(|disk| disk.refused);
    let grown = || {
        let used = if measured { measure(&dir).ok() } else { None };
        used.filter(|used| *used > limit).map(|used| DiskUse { used, limit, refused: false })
    };
    let disk = refused.or_else(grown)?;
    let limit = binary(limit);
    let more = if disk.refused { ", and more was refused" } else { "" };
    // The first sentence is the kubelet's.
    let message =
        format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. It holds {} bytes{more}.", disk.used);
    Some((uid, message))
}

/// As Kubernetes writes amounts: `1Mi`, `1536Ki`, `1000`.
pub(super) fn binary(bytes: u64) -> String {
    for (shift, unit) in [(30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}
