//! Wake-ups: that something of a kind changed. Many that come together are one, and none says what it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use wk_api::Kind;
use wk_store::{Store, WatchError};

/// Who is woken by which kind.
#[derive(Default)]
pub(crate) struct Wakes(BTreeMap<&'static Kind, Vec<Arc<Notify>>>);

impl Wakes {
    /// A wake-up for changes of any of `kinds`. It holds one permit at most: that is the coalescing.
    pub(crate) fn subscribe(&mut self, kinds: &[&'static Kind]) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        for kind in kinds {
            self.0.entry(kind).or_default().push(Arc::clone(&wake));
        }
        wake
    }

    pub(crate) fn into_kinds(self) -> impl Iterator<Item = (&'static Kind, Vec<Arc<Notify>>)> {
        self.0.into_iter()
    }
}

/// Wakes `subscribers` whenever an object of `kind` changes, until the store stops.
pub(crate) async fn follow(store: Store, kind: &'static Kind, subscribers: Vec<Arc<Notify>>) {
    let wake = || subscribers.iter().for_each(|subscriber| subscriber.notify_one());
    loop {
        // Whoever is woken now looks at a view that is as new as this one or newer, so nothing before it is missed.
        let after = store.view().revision();
        wake();
        let Ok(mut watch) = store.watch(kind.collection(), after) else {
            // The history moved on between the two lines above; the next view is inside of it.
            tokio::task::yield_now().await;
            continue;
        };
        loop {
            match watch.next().await {
                Ok(_) => wake(),
                Err(WatchError::Compacted(_)) => break,
                Err(WatchError::Stopped) => {
                    // The process is about to end; ending here would look like a failure and restart the shells.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}
