//! Being woken when objects of some kinds change. The wake-up carries no news: whoever wakes looks for himself.

use std::time::Duration;

use tokio::sync::mpsc;
use wk_api::Kind;
use wk_base::backoff::Backoff;
use wk_base::tasks::Tasks;
use wk_cluster::Cluster;

/// A watch that ended (history too old after a snapshot) is opened again, at first at once and at most this slowly.
const REOPEN_MAX: Duration = Duration::from_secs(1);

/// Sends `()` after changes of any of `kinds`; many changes may share one. The first comes at once.
pub fn follow(cluster: &Cluster, kinds: &'static [&'static Kind], tasks: &Tasks) -> mpsc::Receiver<()> {
    // One slot: a waiting wake-up already says everything a second one would.
    let (wake, woken) = mpsc::channel(1);
    let _ = wake.try_send(());
    for kind in kinds {
        let (cluster, wake) = (cluster.clone(), wake.clone());
        tasks.spawn_until_stop("follow", async move {
            let mut backoff = Backoff::new(Duration::from_millis(10), REOPEN_MAX);
            loop {
                let seen = cluster.store().view().revision();
                let _ = wake.try_send(());
                let Ok(mut watch) = cluster.watch(kind, None, seen) else {
                    tokio::time::sleep(backoff.next_delay()).await;
                    continue;
                };
                while watch.next().await.is_ok() {
                    backoff.reset();
                    let _ = wake.try_send(());
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        });
    }
    woken
}
