//! Gives memory back while nothing happens: what the store keeps for those who may ask again soon, and what the heap keeps for
//! the next burst.

use wk_base::tasks::Tasks;
use wk_store::Store;

use crate::heap;

/// Has `store` let go of what is old, until the tasks stop.
pub(super) fn start(store: &Store, tasks: &Tasks) {
    let store = store.clone();
    tasks.spawn_until_stop("age", async move {
        loop {
            tokio::time::sleep(Store::AGE_EVERY).await;
            let aged = store.clone();
            // Thousands of objects are taken apart.
            let work = tokio::task::spawn_blocking(move || {
                aged.age();
                heap::give_back();
            });
            // One that panicked is told of by its thread, and the next is no worse for it.
            let _ = work.await;
        }
    });
}
