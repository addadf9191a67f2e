//! Being woken when objects of some kinds change. The wake-up carries no news: whoever wakes looks for himself.

use std::time::Duration;

use tokio::sync::mpsc;
use wk_api::Kind;
use wk_api::selector::{Fields, Labels};
use wk_base::backoff::Backoff;
use wk_base::tasks::Tasks;
use wk_cluster::Cluster;

/// A watch that ended (history too old after a snapshot) is opened again, at first at once and at most this slowly.
const REOPEN_MAX: Duration = Duration::from_secs(1);

/// What to be woken by: objects of a kind that have a field of one value before or after a change.
pub struct Followed {
    kind: &'static Kind,
    fields: Fields,
}

impl Followed {
    /// All objects of `kind`.
    pub fn all(kind: &'static Kind) -> Self {
        Self { kind, fields: Fields::default() }
    }

    /// The objects of `kind` that the field selector `selector` lets through. A selector that cannot be read lets all
    /// through: one wake-up too many does no harm.
    pub fn selected(kind: &'static Kind, selector: &str) -> Self {
        Self { kind, fields: Fields::parse(kind, selector).unwrap_or_default() }
    }
}

/// Sends `()` after changes of any of `objects`; many changes may share one. The first comes at once.
pub fn follow(cluster: &Cluster, objects: impl IntoIterator<Item = Followed>, tasks: &Tasks) -> mpsc::Receiver<()> {
    // One slot: a waiting wake-up already says everything a second one would.
    let (wake, woken) = mpsc::channel(1);
    let _ = wake.try_send(());
    for Followed { kind, fields } in objects {
        let (cluster, wake) = (cluster.clone(), wake.clone());
        tasks.spawn_until_stop("follow", async move {
            let mut backoff = Backoff::new(Duration::from_millis(10), REOPEN_MAX);
            loop {
                let seen = cluster.store().view().revision();
                let _ = wake.try_send(());
                let Ok(mut watch) = cluster.watch_selected(kind, None, &Labels::default(), &fields, seen) else {
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
