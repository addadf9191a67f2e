//! image: what an image of the cluster's registry holds, read-only (KEP-4639). Pods of this node share one copy of each.
//!
//! Not here: layers (`wk-image`). A reference always names a digest, so there is nothing newer to pull: `Always` and
//! `IfNotPresent` mean the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use tokio::sync::Mutex;
use wk_base::body::{Body, BoxError};
use wk_base::error::Chain;
use wk_base::id;
use wk_engine::leave_reserve;
use wk_image::{Digest, FILES, Peers, Reference, pull_layers, unpack};

use super::{Registry, pod, remove};

/// The images of a node. Clones share them.
#[derive(Clone)]
pub(super) struct Images(Arc<Inner>);

struct Inner {
    root: PathBuf,
    /// Of this process alone: what an earlier one has left is told by its name.
    process: String,
    count: AtomicU64,
    registry: Registry,
    unpacked: Mutex<BTreeMap<Digest, Weak<Unpacked>>>,
}

/// The files of an image; they go with the last who has this.
pub(super) struct Unpacked {
    whole: PathBuf,
    files: PathBuf,
}

impl Unpacked {
    /// Where they are.
    pub(super) fn dir(&self) -> &Path {
        &self.files
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let dir = std::mem::take(&mut self.whole);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || remove::remove(&dir));
        }
    }
}

impl Images {
    pub(super) fn new(root: &Path, registry: Registry) -> Self {
        let (root, process) = (root.join("images"), id::suffix(8));
        Self(Arc::new(Inner { root, process, count: AtomicU64::new(0), registry, unpacked: Mutex::default() }))
    }

    /// The files of the image `reference`, fetched unless that may not be.
    pub(super) async fn have(&self, reference: &str, never_pull: bool) -> Result<Arc<Unpacked>, String> {
        let image: Reference = reference.parse().map_err(|error| format!("{reference:?}: {}", Chain(&error)))?;
        let Inner { root, process, count, registry, unpacked } = &*self.0;
        let peers: &dyn Peers = if never_pull { &Nobody } else { &*registry.peers };
        let layers = pull_layers(&registry.blobs, &image, peers).await.map_err(|error| {
            let why = Chain(&error);
            if never_pull {
                format!("image {reference:?} is not present with pull policy of Never: {why}")
            } else {
                format!("pull image {reference:?}: {why}")
            }
        })?;
        let digest = *image.digest().ok_or_else(|| format!("image {reference:?} has no digest"))?;
        // One at a time: it is the disk that takes the time.
        let mut known = unpacked.lock().await;
        if let Some(there) = known.get(&digest).and_then(Weak::upgrade) {
            return Ok(there);
        }
        known.retain(|_, image| image.strong_count() > 0);
        let dir = root.join(format!("{process}-{}", count.fetch_add(1, Ordering::Relaxed)));
        let made = Arc::new(Unpacked { files: dir.join(FILES), whole: dir.clone() });
        let root = root.clone();
        let unpack = move || {
            let has_room = |bytes| leave_reserve(&root, bytes);
            unpack(&layers, &dir, &has_room).map_err(|error| Chain(&error).to_string())
        };
        pod::blocking_text(unpack).await?;
        known.insert(digest, Arc::downgrade(&made));
        Ok(made)
    }

    /// Removes what an earlier process has left. Blocks.
    pub(super) fn remove_old(&self) {
        for entry in std::fs::read_dir(&self.0.root).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(&self.0.process) {
                remove::remove(&entry.path());
            }
        }
    }
}

/// No other node is asked.
struct Nobody;

#[async_trait]
impl Peers for Nobody {
    async fn fetch(&self, _digest: &Digest, _attempt: u32) -> Result<Option<Body>, BoxError> {
        Ok(None)
    }
}
