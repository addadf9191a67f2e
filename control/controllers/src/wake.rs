//! Wake-ups: that something of a kind changed. Many that come together are one, and none says what it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::Notify;
use wk_api::{Kind, kinds};
use wk_store::{Store, WatchError};

/// Who is woken by which kind.
#[derive(Default)]
pub(crate) struct Wakes {
    kinds: BTreeMap<&'static Kind, Vec<Arc<Notify>>>,
    /// Woken by objects of any custom kind.
    custom: Vec<Arc<Notify>>,
}

impl Wakes {
    /// A wake-up for changes of any of `kinds`, and of the custom ones too. It holds one permit at most: that is the coalescing.
    pub(crate) fn subscribe(&mut self, kinds: &[&'static Kind], custom: bool) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        for kind in kinds {
            self.kinds.entry(kind).or_default().push(Arc::clone(&wake));
        }
        if custom {
            self.custom.push(Arc::clone(&wake));
        }
        wake
    }

    pub(crate) fn into_kinds(self) -> impl Iterator<Item = (&'static Kind, Vec<Arc<Notify>>)> {
        self.kinds.into_iter()
    }

    pub(crate) fn custom(&self) -> Vec<Arc<Notify>> {
        self.custom.clone()
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

/// As [`follow`], for the objects of every custom kind: which there are is looked up again when a definition changes.
pub(crate) async fn follow_custom(store: Store, subscribers: Vec<Arc<Notify>>) {
    let wake = || subscribers.iter().for_each(|subscriber| subscriber.notify_one());
    loop {
        let view = store.view();
        wake();
        let kinds = wk_cluster::stored_kinds_in(&view);
        let custom = kinds.iter().filter(|kind| kind.custom.is_some()).map(|kind| kind.collection());
        let watches = custom.map(|collection| store.watch(collection, view.revision())).collect::<Result<Vec<_>, _>>();
        let definitions = store.watch(kinds::CRD.collection(), view.revision());
        let (Ok(watches), Ok(mut definitions)) = (watches, definitions) else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut changes = stream::select_all(watches.into_iter().map(|watch| Box::pin(changes(watch))));
        loop {
            let ended = tokio::select! {
                change = changes.next(), if !changes.is_empty() => change.and_then(Result::err),
                change = definitions.next() => match change {
                    Ok(_) => break,
                    Err(error) => Some(error),
                },
            };
            match ended {
                None => wake(),
                Some(WatchError::Compacted(_)) => break,
                Some(WatchError::Stopped) => std::future::pending::<()>().await,
            }
        }
    }
}

/// That something changed, again and again; ends after an error.
fn changes(watch: wk_store::Watch) -> impl Stream<Item = Result<(), WatchError>> {
    stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        let change = watch.next().await.map(|_| ());
        Some((change, change.is_ok().then_some(watch)))
    })
}
