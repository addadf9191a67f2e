//! Gives memory back while nothing happens: what the store keeps for those who may ask again soon, and what the heap keeps for
//! the next burst.

use wk_base::tasks::Tasks;
use wk_store::{Revision, Store};

use super::heap;

/// Has `store` let go of what is old, until the tasks stop.
pub(super) fn start(store: &Store, tasks: &Tasks) {
    let store = store.clone();
    tasks.spawn_until_stop("age", async move {
        let (mut last, mut loose) = (Revision::default(), true);
        loop {
            tokio::time::sleep(Store::AGE_EVERY).await;
            let now = store.view().revision();
            let quiet = std::mem::replace(&mut last, now) == now;
            let aged = store.clone();
            // Thousands of objects are taken apart.
            let work = tokio::task::spawn_blocking(move || {
                loose |= aged.age() || !quiet;
                // Once after each burst, and after each part of it that grew old: who writes on would only ask for it again.
                if loose && quiet {
                    heap::trim();
                    loose = false;
                }
                loose
            });
            loose = work.await.unwrap_or(true);
        }
    });
}
