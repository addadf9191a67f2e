//! image: what an image of the cluster's registry holds, read-only (KEP-4639). Pods of this node share one copy of each, which
//! stays until other images need its room.
//!
//! Not here: layers (`wk-image`). A reference always names a digest, so there is nothing newer to pull: `Always` and
//! `IfNotPresent` mean the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use wk_base::body::{Body, BoxError};
use wk_base::error::Chain;
use wk_base::id;
use wk_base::turns::{Turn, Turns};
use wk_engine::leave_reserve;
use wk_image::{Digest, FILES, Layer, Peers, Reference, pull_layers, unpack};

use super::{Registry, pod, remove};

/// The part of the disk that the files of images may take, and the most of a large one: they are copies of what the node has
/// as layers already.
const DISK_PART: u64 = 10;
const BYTES_MAX: u64 = 10 << 30;

/// An image whose files could not be had is not unpacked again for so long: each try writes up to a gibibyte to the disk that
/// the cluster's log is on, and pods try again whenever any object changes that a volume may be made of.
const FAILED_FIRST: Duration = Duration::from_secs(10);
const FAILED_MAX: Duration = Duration::from_mins(10);
/// So many of them are remembered; of more, the one that comes first again is tried.
const FAILED_COUNT_MAX: usize = 256;

/// Images that are unpacked at once, and one more of a namespace of which none is: it is the disk that takes the time.
const UNPACKED_AT_ONCE: usize = 1;

/// The images of a node. Clones share them.
#[derive(Clone)]
pub(super) struct Images(Arc<Inner>);

struct Inner {
    root: PathBuf,
    /// Of this process alone: what an earlier one has left is told by its name.
    process: String,
    count: AtomicU64,
    registry: Registry,
    turns: Turns,
    kept: Mutex<Kept>,
    failed: Mutex<Failed>,
}

/// Images that could not be unpacked.
#[derive(Default)]
struct Failed(BTreeMap<Digest, Failure>);

struct Failure {
    again: Instant,
    pause: Duration,
    why: String,
}

impl Failed {
    /// Why the image is not tried now: the same words each time, since other words are another event.
    fn known(&self, digest: &Digest, now: Instant) -> Option<String> {
        self.0.get(digest).filter(|failure| now < failure.again).map(|failure| failure.why.clone())
    }

    fn note(&mut self, digest: Digest, why: &str, now: Instant) {
        let pause = self.0.get(&digest).map_or(FAILED_FIRST, |before| (before.pause * 2).min(FAILED_MAX));
        tracing::debug!(%digest, why, ?pause, "image not unpacked; it is tried again after a pause");
        if self.0.len() >= FAILED_COUNT_MAX
            && let Some(first) = self.0.iter().min_by_key(|(_, failure)| failure.again).map(|(digest, _)| *digest)
        {
            self.0.remove(&first);
        }
        self.0.insert(digest, Failure { again: now + pause, pause, why: why.to_owned() });
    }
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
        remove::soon(move || remove::remove(&dir));
    }
}

/// Images that are laid out, those that were used last at the end. They stay when no pod has them any more, until others need
/// the room.
#[derive(Default)]
struct Kept(Vec<(Digest, u64, Arc<Unpacked>)>);

impl Kept {
    /// The image, which is used now.
    fn find(&mut self, digest: &Digest) -> Option<Arc<Unpacked>> {
        let at = self.0.iter().position(|(known, _, _)| known == digest)?;
        let image = self.0.remove(at);
        self.0.push(image);
        self.0.last().map(|(_, _, image)| Arc::clone(image))
    }

    /// Takes one more, of so many bytes, unless another namespace has unpacked the same meanwhile. Lets those go that nobody has
    /// until all are within `max`; if that cannot be, it says how much is in use.
    fn add(&mut self, digest: Digest, bytes: u64, image: Arc<Unpacked>, max: u64) -> Result<Arc<Unpacked>, u64> {
        if let Some(there) = self.find(&digest) {
            return Ok(there);
        }
        let mut total: u64 = self.0.iter().map(|(_, bytes, _)| bytes).sum::<u64>().saturating_add(bytes);
        self.0.retain(|(_, bytes, image)| {
            let goes = total > max && Arc::strong_count(image) == 1;
            total -= if goes { *bytes } else { 0 };
            !goes
        });
        if total > max {
            return Err(total - bytes);
        }
        self.0.push((digest, bytes, Arc::clone(&image)));
        Ok(image)
    }
}

impl Images {
    pub(super) fn new(root: &Path, registry: Registry) -> Self {
        let (root, process) = (root.join("images"), id::suffix(8));
        Self(Arc::new(Inner {
            root,
            process,
            count: AtomicU64::new(0),
            registry,
            turns: Turns::new(UNPACKED_AT_ONCE),
            kept: Mutex::default(),
            failed: Mutex::default(),
        }))
    }

    /// The files of the image `reference` for a pod of `namespace`, fetched unless that may not be.
    pub(super) async fn have(
        &self,
        namespace: &str,
        reference: &str,
        never_pull: bool,
    ) -> Result<Arc<Unpacked>, String> {
        let image: Reference = reference.parse().map_err(|error| format!("{reference:?}: {}", Chain(&error)))?;
        let digest = *image.digest().ok_or_else(|| format!("image {reference:?} has no digest"))?;
        if let Some(why) = self.failed().known(&digest, Instant::now()) {
            return Err(why);
        }
        let registry = &self.0.registry;
        let peers: &dyn Peers = if never_pull { &Nobody } else { &*registry.peers };
        let layers = pull_layers(&registry.blobs, &image, peers).await.map_err(|error| {
            let why = Chain(&error);
            if never_pull {
                format!("image {reference:?} is not present with pull policy of Never: {why}")
            } else {
                format!("pull image {reference:?}: {why}")
            }
        })?;
        if let Some(there) = self.kept().find(&digest) {
            return Ok(there);
        }
        let turn = self.0.turns.take(namespace).await;
        if let Some(there) = self.kept().find(&digest) {
            return Ok(there);
        }
        // Others may have tried it meanwhile.
        if let Some(why) = self.failed().known(&digest, Instant::now()) {
            return Err(why);
        }
        self.clone().lay_out(turn, reference.to_owned(), digest, layers).await
    }

    /// Unpacks an image. A pod that is deleted meanwhile does not stop that: what a thread is writing has to be counted, or
    /// removed when it is done, and the next image waits for it.
    async fn lay_out(
        self,
        turn: Turn,
        reference: String,
        digest: Digest,
        layers: Vec<Layer>,
    ) -> Result<Arc<Unpacked>, String> {
        let task = tokio::spawn(async move {
            let unpacked = self.unpack(&reference, digest, layers).await;
            match &unpacked {
                Ok(_) => drop(self.failed().0.remove(&digest)),
                Err(why) => self.failed().note(digest, why, Instant::now()),
            }
            drop(turn);
            unpacked
        });
        task.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn unpack(&self, reference: &str, digest: Digest, layers: Vec<Layer>) -> Result<Arc<Unpacked>, String> {
        let Inner { root, process, count, .. } = &*self.0;
        let dir = root.join(format!("{process}-{}", count.fetch_add(1, Ordering::Relaxed)));
        let made = Arc::new(Unpacked { files: dir.join(FILES), whole: dir.clone() });
        let root = root.clone();
        let unpack = move || {
            let has_room = |bytes| leave_reserve(&root, bytes);
            let bytes = unpack(&layers, &dir, &has_room).map_err(|error| Chain(&error).to_string())?;
            Ok((bytes, room(&dir)))
        };
        let (bytes, max) = pod::blocking_text(unpack).await?;
        self.kept().add(digest, bytes, made, max).map_err(|used| {
            let mebibytes = |bytes: u64| bytes >> 20;
            format!(
                "image {reference:?} has {} MiB of files, those of other image volumes in use {} MiB, and together they \
                 may take {} MiB of this node's disk",
                mebibytes(bytes),
                mebibytes(used),
                mebibytes(max)
            )
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, Failed> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What images may take of the disk that `dir` is on.
fn room(dir: &Path) -> u64 {
    let disk = rustix::fs::statvfs(dir);
    disk.map_or(BYTES_MAX, |disk| (disk.f_blocks.saturating_mul(disk.f_frsize) / DISK_PART).min(BYTES_MAX))
}

/// No other node is asked.
struct Nobody;

#[async_trait]
impl Peers for Nobody {
    async fn fetch(&self, _digest: &Digest, _attempt: u32) -> Result<Option<Body>, BoxError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use wk_image::{Blobs, Content};

    use super::*;

    #[test]
    fn image_that_cannot_be_unpacked_is_left_alone_for_longer_each_time() {
        let (mut failed, start) = (Failed::default(), Instant::now());
        let (image, other) = (Digest::of(b"image"), Digest::of(b"other"));
        failed.note(image, "no room", start);
        for later in [Duration::ZERO, Duration::from_secs(7)] {
            assert_eq!(failed.known(&image, start + later).as_deref(), Some("no room"), "whenever it is asked");
        }
        assert!(failed.known(&other, start).is_none() && failed.known(&image, start + FAILED_FIRST).is_none());
        failed.note(image, "no room", start + FAILED_FIRST);
        assert!(failed.known(&image, start + 2 * FAILED_FIRST).is_some());
        for number in 0..2 * FAILED_COUNT_MAX {
            failed.note(Digest::of(number.to_string().as_bytes()), "x", start + FAILED_FIRST);
        }
        assert!(failed.0.len() <= FAILED_COUNT_MAX && failed.known(&image, start + 2 * FAILED_FIRST).is_some());
    }

    #[test]
    fn image_of_a_pod_that_goes_while_it_is_unpacked_is_counted_and_others_of_its_namespace_wait() {
        let top = tempfile::tempdir().unwrap();
        let (root, blob) = (top.path().join("volumes"), top.path().join("blob"));
        std::fs::write(&blob, "a layer").unwrap();
        let layers = vec![Layer { content: Content::File("site/index.html".into()), path: blob }];
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let blobs = Blobs::open(top.path().join("blobs")).unwrap();
            let images = Images::new(&root, Registry { blobs, peers: Arc::new(Nobody) });
            // The disk is busy with something else.
            let (done, busy) = std::sync::mpsc::sync_channel::<()>(1);
            let busy = tokio::task::spawn_blocking(move || busy.recv());
            let digest = Digest::of(b"image");
            let turn = images.0.turns.take("default").await;
            let asked = tokio::spawn(images.clone().lay_out(turn, "x".into(), digest, layers));
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            asked.abort();
            assert!(asked.await.is_err_and(|error| error.is_cancelled()));
            assert!(images.0.turns.take("default").now_or_never().is_none());
            assert!(images.0.turns.take("other").now_or_never().is_some(), "another namespace need not wait");
            drop(done);
            let _ = busy.await.unwrap();
            drop(images.0.turns.take("default").await);
            let there = images.kept().find(&digest).expect("it is counted");
            assert_eq!(std::fs::read_to_string(there.dir().join("site/index.html")).unwrap(), "a layer");
        });
    }

    #[test]
    fn images_that_nobody_has_make_room_those_first_that_were_used_longest_ago() {
        let mut kept = Kept::default();
        let image = |name: &str| {
            (Digest::of(name.as_bytes()), Arc::new(Unpacked { files: PathBuf::from(name), whole: PathBuf::from(name) }))
        };
        let add = |kept: &mut Kept, name: &str, bytes: u64| {
            let (digest, image) = image(name);
            kept.add(digest, bytes, image, 100)
        };
        let one = add(&mut kept, "one", 40).unwrap();
        for name in ["two", "three"] {
            add(&mut kept, name, 20).unwrap();
        }
        let names = |kept: &Kept| kept.0.iter().map(|it| it.2.dir().display().to_string()).collect::<Vec<_>>();
        assert!(kept.find(&Digest::of(b"two")).is_some());
        add(&mut kept, "four", 40).unwrap();
        assert_eq!(names(&kept), ["one", "two", "four"], "three was used longest ago, and one is in use");
        assert_eq!(add(&mut kept, "five", 70).err(), Some(40), "what is in use stays");
        drop(one);
        add(&mut kept, "six", 100).unwrap();
        assert_eq!(names(&kept), ["six"]);
    }
}
