//! The volumes of this node's pods: made before a pod's containers run, kept up to date while they do, and removed when
//! the pod is gone.
//!
//! Below the root, `pods/<folder>/<uid>/…` is what the node writes for a pod (of it `.files/…` holds single files that are
//! mounted alone), `written/<folder>/<uid>.<volume>` what guests write (`<uid>.messages` what they say at their end),
//! `claimed/<namespace>/…` the volumes that outlive
//! pods, and `images/…` what images hold; [`layout`] says what the folders are for. Files that are made of
//! objects, a token among them, are written when somebody first looks into their volume: idle pods have none. What a guest gets is a list of [`Mount`]s, plain data: whoever runs it opens them.
//!
//! Not here: what the pod's spec says (`spec::volumes`) and how a guest's calls are answered (`wk-engine`). A source of
//! volumes is a file here; start at [`pod`].

mod claim;
mod empty_dir;
mod full;
mod host_path;
mod image;
pub(crate) mod layout;
mod memory;
mod pod;
mod projected;
mod remove;
mod sub_path;
#[cfg(test)]
mod tests;
mod told;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirEntry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::Notify;
use wk_access::tokens::Keyring;
use wk_api::{Kind, Object, kinds};
use wk_base::tasks::Tasks;
use wk_cluster::{Cluster, brief};
use wk_engine::{Fill, Mount};
use wk_image::{Blobs, Peers};
use wk_store::Stored;

use crate::events::Recorder;
use crate::follow::{self, Followed};
use crate::place::worker::Class;
use crate::sources::Sources;
use crate::spec::{MountSpec, PodSpec};

use image::Images;
use pod::PodVolumes;

/// Changes of objects that come within this time are followed together.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);

/// Between looks without a change: a token is made anew this much late at most, of the fifth of its life that is left.
const RESYNC: Duration = Duration::from_secs(20);

/// The volumes of a node. Clones share them.
#[derive(Clone)]
pub struct Volumes(Arc<Inner>);

struct Inner {
    parts: Parts,
    /// Fires when a pod's own object changed that one of its volumes shows.
    learnt: Notify,
    pods: Mutex<BTreeMap<Arc<str>, Arc<PodVolumes>>>,
    /// Claims that were told to be full a short time ago.
    full: full::Told,
}

/// What making volumes needs.
#[derive(Clone)]
struct Parts {
    root: PathBuf,
    node: String,
    host_paths: Vec<PathBuf>,
    keys: Keyring,
    cluster: Cluster,
    sources: Sources,
    images: Images,
    recorder: Recorder,
    tasks: Tasks,
    /// Told after objects changed that a volume may be made of.
    changed: tokio::sync::watch::Sender<u64>,
}

impl Parts {
    fn origin<'a>(&'a self, pod: &'a Arc<Object>) -> projected::Origin<'a> {
        projected::Origin { sources: &self.sources, keys: &self.keys, pod, now: self.cluster.clock().now() }
    }
}

/// What the volumes of a node are given.
pub struct Options {
    /// Where they go; made as needed.
    pub root: PathBuf,
    /// Directories of this machine that pods may have by `hostPath`, and all below them.
    pub host_paths: Vec<PathBuf>,
    /// Sign service accounts' tokens.
    pub keys: Keyring,
}

/// Where the images of `image` volumes come from.
pub struct Registry {
    /// Blobs on this disk.
    pub blobs: Blobs,
    /// Blobs on other nodes.
    pub peers: Arc<dyn Peers>,
}

/// Whether nothing was made in a directory, or with it, since `begun`.
pub(crate) fn is_older(entry: &DirEntry, begun: SystemTime) -> bool {
    entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified < begun)
}

/// A container's mounts. The volumes are not removed before what fills them is dropped.
pub struct Held {
    /// For the guest.
    pub mounts: Vec<Mount>,
    /// Makes those of them that are late.
    pub fill: Option<Arc<dyn Fill>>,
}

/// Makes the files of one pod's volumes when somebody looks into them. The volumes are not removed before this is dropped.
struct Filler {
    volumes: Volumes,
    pod: Arc<PodVolumes>,
}

#[async_trait]
impl Fill for Filler {
    async fn fill(&self, mount: &Mount) -> io::Result<()> {
        let (volumes, pod, root) = (self.volumes.clone(), Arc::clone(&self.pod), mount.root.clone());
        // In a task, and to its end: whoever keeps files up to date waits for it, and the guest that looks may have used up
        // its time, or go.
        let filled = tokio::spawn(async move { pod.fill(&volumes.0.parts, &root).await }).await;
        filled.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}

/// The volumes of a container cannot be had, and waiting would not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MountFailed(pub String);

impl Volumes {
    /// The volumes of the node `node`.
    pub fn new(options: Options, registry: Registry, cluster: Cluster, node: &str, tasks: &Tasks) -> Self {
        let recorder = Recorder::new(cluster.clone(), node.to_owned());
        let Options { root, host_paths, keys } = options;
        // Workers have another working directory.
        let root = std::path::absolute(&root).unwrap_or(root);
        let (node, tasks) = (node.to_owned(), tasks.clone());
        let changed = tokio::sync::watch::Sender::new(0);
        let (sources, images) = (Sources::new(cluster.clone()), Images::new(&root, registry));
        let parts = Parts { root, node, host_paths, keys, cluster, sources, images, recorder, tasks, changed };
        Self(Arc::new(Inner { parts, learnt: Notify::new(), pods: Mutex::default(), full: full::Told::default() }))
    }

    /// Follows the objects that volumes are made of, until the tasks stop.
    pub fn follow(&self, tasks: &Tasks) {
        let kinds: [&'static Kind; 4] =
            [&kinds::CONFIGMAP, &kinds::SECRET, &kinds::PERSISTENTVOLUMECLAIM, &kinds::PERSISTENTVOLUME];
        let mut woken = follow::follow(&self.0.parts.cluster, kinds.map(Followed::all), tasks);
        let this = self.clone();
        tasks.spawn_until_stop("volumes", async move {
            loop {
                let learnt = this.0.learnt.notified();
                let woken = async {
                    tokio::select! { woken = woken.recv() => woken.is_some(), () = learnt => true }
                };
                // Without a change too: tokens grow old.
                if tokio::time::timeout(RESYNC, woken).await == Ok(false) {
                    return;
                }
                this.0.parts.changed.send_modify(|count| *count += 1);
                this.refresh().await;
                tokio::time::sleep(FOLLOW_PAUSE).await;
            }
        });
    }

    async fn refresh(&self) {
        let pods: Vec<_> = self.pods().values().cloned().collect();
        let mut used = Vec::new();
        for pod in &pods {
            pod.refresh(&self.0.parts).await;
            used.extend(pod.persistent().await);
        }
        let Parts { cluster, node, root, .. } = &self.0.parts;
        claim::sweep(cluster, node, root, &used).await;
    }

    /// A pod's object has changed: what its volumes say of it follows.
    pub fn learn(&self, stored: &Arc<Stored>) {
        let Some(pod) = self.pods().get(brief(stored).uid()).cloned() else { return };
        pod.learn(stored);
        if pod.shows_itself() {
            self.0.learnt.notify_one();
        }
    }

    /// Takes on a pod that begins here, or did so before this process (`is_old`).
    pub fn adopt(&self, stored: &Arc<Stored>, spec: &PodSpec, is_old: bool) {
        let pod = PodVolumes::new(&self.0.parts.root, Arc::clone(stored), spec, is_old);
        self.pods().insert(Arc::clone(&spec.uid), Arc::new(pod));
    }

    /// The mounts of a container, once the pod's volumes are there: waits for what they are made of. `expand` replaces
    /// the container's variables in a text.
    pub async fn hold(
        &self,
        uid: &str,
        container: &str,
        wanted: &[MountSpec],
        expand: &(dyn Fn(&str) -> String + Send + Sync),
    ) -> Result<Held, MountFailed> {
        let pod = self.pods().get(uid).cloned();
        let Some(pod) = pod else { return Ok(Held { mounts: Vec::new(), fill: None }) };
        pod.wait(&self.0.parts).await;
        let mounts = pod.mounts(&self.0.parts, container, wanted, expand).await.map_err(MountFailed)?;
        Ok(Held { mounts, fill: Some(Arc::new(Filler { volumes: self.clone(), pod })) })
    }

    /// Directories of a pod that its worker is not given by its class, and whether they are only read. Its volumes are
    /// there.
    pub async fn outside(&self, uid: &str) -> Vec<(PathBuf, bool)> {
        let pod = self.pods().get(uid).cloned();
        match pod {
            Some(pod) => pod.outside().await,
            None => Vec::new(),
        }
    }

    /// The directory for what a pod's containers say at their end, where those of `class` run; nobody makes it here.
    pub fn message_dir(&self, uid: &str, class: Option<&Class>) -> PathBuf {
        layout::messages(&self.0.parts.root, &layout::folder(class), uid)
    }

    /// Forgets a pod that is gone; its data is removed as soon as none of its containers runs.
    pub fn remove(&self, uid: &str) {
        let pod = self.pods().remove(uid);
        if let Some(pod) = pod {
            pod.condemn();
        }
    }

    /// Removes what pods have left that are not in `known`, but for what was made since `begun`. Blocks.
    pub fn keep_only(&self, known: &BTreeSet<String>, begun: SystemTime) {
        self.0.parts.images.remove_old();
        let root = &self.0.parts.root;
        for top in [root.join("pods"), root.join("written"), memory::place(root)] {
            for entry in entries(&top) {
                if layout::is_folder(&entry.1) && !layout::is_of_pod(&entry.1) {
                    for it in &entries(&entry.0.path()) {
                        remove_unknown(it, known, begun);
                    }
                } else {
                    remove_unknown(&entry, known, begun);
                }
            }
        }
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<PodVolumes>>> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entries(dir: &Path) -> Vec<(DirEntry, String)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named = |entry: DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (entry, name)
    };
    entries.map(named).collect()
}

fn remove_unknown((entry, name): &(DirEntry, String), known: &BTreeSet<String>, begun: SystemTime) {
    if !known.contains(layout::uid_of(name)) && is_older(entry, begun) {
        remove::remove(&entry.path());
    }
}
