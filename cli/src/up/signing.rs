//! The keys that sign service accounts' tokens: the first leader makes one, every member reads it from the store.
//!
//! There it is sealed with the authority's key, so that neither the API nor a backup shows it: who may sign tokens is who
//! may sign certificates. A restored cluster has another authority, cannot open the old record, and makes a key of its own.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use wk_access::tokens::Keyring;
use wk_base::error::Chain;
use wk_base::tasks::Tasks;
use wk_mesh::Authority;
use wk_store::{Change, Expect, Key, Op, Status, Store, Txn, Value};

/// Where the record is. Not a kind: no API path leads there.
const COLLECTION: &str = "wk.dev/signing-keys";
const NAME: &str = "service-accounts";
/// What it is sealed for.
const PURPOSE: &str = "wk signing keys v1";
/// Between two looks while there is none.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two looks while there is one: it changes when somebody turns it, and old ones verify until then.
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps `keys` what the store says, for as long as the tasks run.
pub(crate) fn follow(store: &Store, authority: &Authority, keys: &Keyring, tasks: &Tasks) {
    let (store, authority, keys) = (store.clone(), authority.clone(), keys.clone());
    tasks.spawn_until_stop("signing-keys", async move {
        let mut status = store.status();
        let mut known = None;
        loop {
            let found = store.view().get(&key());
            let revision = found.as_ref().map(|stored| stored.revision());
            let opened = match &found {
                Some(_) if revision == known => true,
                Some(stored) => take(&authority, stored.bytes(), &keys),
                None => false,
            };
            if opened {
                known = revision;
            } else if leads(&mut status) {
                let expect = revision.map_or(Expect::Absent, Expect::Revision);
                if let Err(error) = make(&store, &authority, expect).await {
                    tracing::debug!("no key for tokens yet: {error:#}");
                }
            }
            tokio::time::sleep(if opened { INTERVAL } else { PAUSE }).await;
        }
    });
}

fn key() -> Key {
    Key::new(COLLECTION, NAME)
}

fn leads(status: &mut watch::Receiver<Status>) -> bool {
    status.borrow_and_update().is_leader()
}

/// Takes the keys of a record; whether it is of this cluster.
fn take(authority: &Authority, sealed: &[u8], keys: &Keyring) -> bool {
    let Some(plain) = authority.unseal(PURPOSE, sealed) else { return false };
    let Ok(found) = serde_json::from_slice::<Vec<Vec<u8>>>(&plain) else { return false };
    match keys.set(&found) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!("the keys for tokens cannot be used: {}", Chain(&error));
            false
        }
    }
}

async fn make(store: &Store, authority: &Authority, expect: Expect) -> anyhow::Result<()> {
    // What another leader wrote and this peer has not seen refuses the write.
    store.read().await?;
    let plain = serde_json::to_vec(&[Keyring::generate()?])?;
    let bytes = Bytes::from(authority.seal(PURPOSE, &plain)?);
    let change = Change::Put(Value { bytes, stamp: None });
    store.write(Txn { ops: vec![Op { key: key(), expect, change }] }).await?;
    Ok(())
}
