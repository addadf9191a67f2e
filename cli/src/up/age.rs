//! Gives memory back while nothing happens: what the store keeps for those who may ask again soon.

use wk_base::tasks::Tasks;
use wk_store::Store;

/// Has `store` let go of what is old, until the tasks stop.
pub(super) fn start(store: &Store, tasks: &Tasks) {
    let store = store.clone();
    tasks.spawn_until_stop("age", async move {
        loop {
            tokio::time::sleep(Store::AGE_EVERY).await;
            let store = store.clone();
            // Thousands of objects are taken apart.
            let _ = tokio::task::spawn_blocking(move || store.age()).await;
        }
    });
}
