//! The volumes of one pod.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use wk_api::Object;
use wk_base::backoff::Backoff;
use wk_cluster::object;
use wk_engine::Mount;
use wk_store::Stored;

use crate::spec::{MountSpec, PodSpec, Projection, VolumeSource, VolumeSpec};

use super::image::Unpacked;
use super::told::Told;
use super::{Parts, claim, empty_dir, host_path, layout, memory, projected, remove, sub_path};

/// Between two tries to make a volume, when nothing has told that it may work now: the kubelet's figures.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(122);

pub(super) struct PodVolumes {
    /// What the node writes for it: `pods/<folder>/<uid>` of the root.
    dir: PathBuf,
    specs: Arc<[VolumeSpec]>,
    /// Of each volume whether all containers only read it.
    read_only: Box<[bool]>,
    /// Whether it may have run here before this process did.
    is_old: bool,
    /// The pod's object as it was last: not decoded, for that takes several times what all of this does.
    stored: std::sync::Mutex<Arc<Stored>>,
    state: Mutex<State>,
    /// Held by who makes them, which may take minutes: of an image that is fetched, a claim that is bound.
    making: Mutex<()>,
    /// Whether the pod is gone: the data goes with the last that holds this.
    condemned: AtomicBool,
}

struct State {
    /// Of each volume what is there of it, in the order of the specs.
    ready: Vec<Option<Ready>>,
    /// What was last said to people about those that cannot be made.
    told: Told,
}

/// A volume that is there.
enum Ready {
    /// At its own place below the pod's directory.
    Own,
    /// So is this; its files are written when somebody looks.
    Projected(Option<Box<projected::Written>>),
    Elsewhere(Elsewhere),
    Image(Arc<Unpacked>),
}

/// A volume that is not the pod's own.
#[derive(Clone)]
struct Elsewhere {
    root: PathBuf,
    below: PathBuf,
    limit: Option<u64>,
    /// The name of the persistent volume, if it is one.
    volume: Option<String>,
}

impl PodVolumes {
    pub(super) fn new(root: &Path, stored: Arc<Stored>, pod: &PodSpec, is_old: bool) -> Self {
        let dir = layout::pod(root, &layout::folder(pod.class().as_ref()), &pod.uid);
        let specs = Arc::clone(&pod.volumes);
        let writes = |spec: &VolumeSpec| {
            let mut mounts = pod.containers.iter().flat_map(|container| &container.mounts);
            mounts.any(|mount| mount.volume == spec.name && !mount.read_only)
        };
        let read_only = specs.iter().map(|spec| !writes(spec)).collect();
        let state = State { ready: specs.iter().map(|_| None).collect(), told: Told::default() };
        let (stored, condemned) = (std::sync::Mutex::new(stored), AtomicBool::new(false));
        let (state, making) = (Mutex::new(state), Mutex::new(()));
        Self { dir, specs, read_only, is_old, stored, state, making, condemned }
    }

    /// The pod's object.
    pub(super) fn object(&self) -> Arc<Object> {
        let stored = Arc::clone(&self.stored.lock().unwrap_or_else(PoisonError::into_inner));
        object(&stored)
    }

    /// Waits until all volumes are there.
    pub(super) async fn wait(&self, parts: &Parts) {
        let mut changed = parts.changed.subscribe();
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        loop {
            changed.borrow_and_update();
            if self.make(parts).await {
                return;
            }
            let _ = tokio::time::timeout(backoff.next_delay(), changed.changed()).await;
        }
    }

    /// Makes what is missing; false when something still is.
    async fn make(&self, parts: &Parts) -> bool {
        let _making = self.making.lock().await;
        let object = self.object();
        let is_first = self.state.lock().await.ready.iter().all(Option::is_none);
        if self.is_old
            && is_first
            && let Err(why) = self.settle(object.namespace()).await
        {
            self.state.lock().await.tell(parts, &object, "", &why);
            return false;
        }
        for (index, spec) in self.specs.iter().enumerate() {
            if self.state.lock().await.ready[index].is_some() {
                continue;
            }
            // Without that lock: whoever keeps files up to date goes from pod to pod.
            let made = self.make_one(parts, &object, spec).await;
            let mut state = self.state.lock().await;
            match made {
                Ok(ready) => {
                    state.ready[index] = Some(ready);
                    state.told.forget(&spec.name);
                }
                Err(why) => {
                    state.tell(parts, &object, &spec.name, &why);
                    return false;
                }
            }
        }
        true
    }

    /// Fetches what it has where an earlier run of the node put it.
    async fn settle(&self, namespace: &str) -> Result<(), String> {
        let Some((root, folder, uid)) = place_of(&self.dir) else { return Ok(()) };
        let (root, folder, uid) = (root.to_owned(), folder.to_owned(), uid.to_owned());
        let namespace = namespace.to_owned();
        let on_disk = |spec: &&VolumeSpec| matches!(spec.source, VolumeSource::EmptyDir { memory: false, .. });
        let volumes: Vec<String> = self.specs.iter().filter(on_disk).map(|spec| spec.name.clone()).collect();
        blocking(move || layout::settle(&root, &folder, &namespace, &uid, &volumes)).await
    }

    async fn make_one(&self, parts: &Parts, object: &Arc<Object>, spec: &VolumeSpec) -> Result<Ready, String> {
        let dir = self.place(spec);
        match &spec.source {
            VolumeSource::EmptyDir { memory: true, .. } => {
                let place = memory::place(&parts.root);
                blocking_text(move || memory::make(&place, &dir)).await?;
                Ok(Ready::Own)
            }
            VolumeSource::EmptyDir { memory: false, .. } => {
                // Its own directory says to later runs of the node in which folder it is.
                let pod = self.dir.clone();
                blocking(move || empty_dir::make(&pod).and_then(|()| empty_dir::make(&dir))).await?;
                Ok(Ready::Own)
            }
            VolumeSource::Projected { sources, mode } => {
                let origin = parts.origin(object);
                let gathered = projected::gather(&origin, sources)?;
                projected::check(&origin, sources, *mode, &gathered)?;
                Ok(Ready::Projected(None))
            }
            VolumeSource::HostPath { path, kind } => {
                let (path, kind, allowed) = (path.clone(), *kind, parts.host_paths.clone());
                let (root, below) = blocking_text(move || host_path::make(&path, kind, &allowed)).await?;
                Ok(Ready::Elsewhere(Elsewhere { root, below, limit: None, volume: None }))
            }
            VolumeSource::Image { reference, never_pull } => {
                Ok(Ready::Image(parts.images.have(object.namespace(), reference, *never_pull).await?))
            }
            VolumeSource::Claim { name, ephemeral, .. } => {
                let owner = ephemeral.then_some(&**object);
                let made =
                    claim::make(&parts.cluster, &parts.node, &parts.root, object.namespace(), name, owner).await?;
                let claim::Bound { dir, limit, volume } = made;
                Ok(Ready::Elsewhere(Elsewhere { root: dir, below: PathBuf::new(), limit, volume: Some(volume) }))
            }
        }
    }

    /// Writes the files of the volume at `root`, if nobody has looked into it yet.
    pub(super) async fn fill(&self, parts: &Parts, root: &Path) -> Result<(), String> {
        let Some(index) = self.specs.iter().position(|spec| self.place(spec) == root) else { return Ok(()) };
        let mut state = self.state.lock().await;
        if matches!(state.ready[index], Some(Ready::Projected(None))) {
            self.bring_up(parts, &mut state, index).await?;
        }
        Ok(())
    }

    /// Brings files up to date with what they are made of, where they were written.
    pub(super) async fn refresh(&self, parts: &Parts) {
        let mut state = self.state.lock().await;
        for (index, spec) in self.specs.iter().enumerate() {
            // The pod keeps what it has, as with the kubelet.
            if matches!(state.ready[index], Some(Ready::Projected(Some(_))))
                && let Err(why) = self.bring_up(parts, &mut state, index).await
            {
                state.tell(parts, &self.object(), &spec.name, &why);
            }
        }
    }

    /// Writes the files of a volume, unless they are what they should be.
    async fn bring_up(&self, parts: &Parts, state: &mut State, index: usize) -> Result<(), String> {
        let (spec, ready) = (&self.specs[index], &mut state.ready[index]);
        let (VolumeSource::Projected { sources, mode }, Some(Ready::Projected(written))) = (&spec.source, ready) else {
            return Ok(());
        };
        let object = self.object();
        let origin = parts.origin(&object);
        let gathered = projected::gather(&origin, sources)?;
        if !written.as_ref().is_some_and(|written| written.is_of(&gathered, origin.keys, origin.now)) {
            let dir = self.place(spec);
            let fresh = projected::write(&origin, dir, sources, *mode, gathered, written.as_deref()).await?;
            *written = Some(Box::new(fresh));
        }
        Ok(())
    }

    /// What a container sees of the volumes, which are there.
    pub(super) async fn mounts(
        &self,
        parts: &Parts,
        container: &str,
        wanted: &[MountSpec],
        expand: &(dyn Fn(&str) -> String + Send + Sync),
    ) -> Result<Vec<Mount>, String> {
        let mut asked = Vec::with_capacity(wanted.len());
        for mount in wanted {
            let Some(spec) = self.specs.iter().find(|spec| spec.name == mount.volume) else { continue };
            let copied = matches!(spec.source, VolumeSource::Projected { .. });
            let own = || Elsewhere { root: self.place(spec), below: PathBuf::new(), limit: spec.limit(), volume: None };
            let place = self.elsewhere(&mount.volume).await.unwrap_or_else(own);
            let mut below = mount.below.as_ref().map(|below| sub_path::resolve(below, expand)).transpose()?;
            if !place.below.as_os_str().is_empty() {
                if below.is_some() {
                    return Err(format!(
                        "volume {:?}: a hostPath has no subPath here: name the path itself",
                        spec.name
                    ));
                }
                below = Some(place.below);
            }
            if copied && below.is_some() {
                self.fill(parts, &place.root).await?;
            }
            asked.push(sub_path::Asked {
                path: mount.path.clone(),
                volume: mount.volume.clone(),
                root: place.root,
                below,
                read_only: mount.read_only,
                limit: place.limit,
                copied,
            });
        }
        if asked.iter().all(|asked| asked.below.is_none()) {
            return Ok(asked.into_iter().map(|asked| asked.whole()).collect());
        }
        let files = self.dir.join(".files").join(container);
        blocking_text(move || sub_path::mounts(&asked, &files)).await
    }

    /// The directory of a volume of its own.
    fn place(&self, spec: &VolumeSpec) -> PathBuf {
        match (&spec.source, place_of(&self.dir)) {
            (VolumeSource::EmptyDir { memory, .. }, Some((root, folder, uid))) => {
                let place = if *memory { layout::in_memory } else { layout::written };
                place(root, folder, uid, &spec.name)
            }
            _ => self.dir.join(&spec.name),
        }
    }

    /// Its directories that lie outside of its folder, and whether they are only read. They are there once all volumes
    /// are.
    pub(super) async fn outside(&self) -> Vec<(PathBuf, bool)> {
        let state = self.state.lock().await;
        let places = state.ready.iter().zip(&self.read_only).filter_map(|(ready, read_only)| match ready {
            Some(Ready::Elsewhere(place)) => Some((place.root.clone(), *read_only)),
            Some(Ready::Image(image)) => Some((image.dir().to_owned(), true)),
            Some(Ready::Own | Ready::Projected(_)) | None => None,
        });
        places.collect()
    }

    async fn elsewhere(&self, volume: &str) -> Option<Elsewhere> {
        let index = self.specs.iter().position(|spec| spec.name == volume)?;
        match &self.state.lock().await.ready[index] {
            Some(Ready::Elsewhere(place)) => Some(place.clone()),
            Some(Ready::Image(image)) => {
                Some(Elsewhere { root: image.dir().to_owned(), below: PathBuf::new(), limit: None, volume: None })
            }
            Some(Ready::Own | Ready::Projected(_)) | None => None,
        }
    }

    /// The persistent volumes that it has.
    pub(super) async fn persistent(&self) -> Vec<String> {
        let state = self.state.lock().await;
        let volumes = state.ready.iter().flatten().filter_map(|ready| match ready {
            Ready::Elsewhere(place) => place.volume.clone(),
            Ready::Own | Ready::Projected(_) | Ready::Image(_) => None,
        });
        volumes.collect()
    }

    /// The pod's object has changed.
    pub(super) fn learn(&self, stored: &Arc<Stored>) {
        let old =
            std::mem::replace(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner), Arc::clone(stored));
        drop(old);
    }

    /// Whether any of its files follow changes of the pod's own object.
    pub(super) fn shows_itself(&self) -> bool {
        self.specs.iter().any(|spec| match &spec.source {
            VolumeSource::Projected { sources, .. } => sources.iter().any(Projection::may_show_changes),
            VolumeSource::EmptyDir { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::Claim { .. }
            | VolumeSource::Image { .. } => false,
        })
    }

    pub(super) fn has_claims(&self) -> bool {
        self.specs.iter().any(|spec| matches!(spec.source, VolumeSource::Claim { .. }))
    }

    /// The claims whose volumes it has: the volume's name, the claim's, and the directory. None while one is being made.
    pub(super) fn claims(&self) -> Vec<(String, String, PathBuf)> {
        let Ok(state) = self.state.try_lock() else { return Vec::new() };
        let claims = self.specs.iter().zip(&state.ready).filter_map(|(spec, ready)| match (&spec.source, ready) {
            (VolumeSource::Claim { name, .. }, Some(Ready::Elsewhere(place))) => {
                Some((spec.name.clone(), name.clone(), place.root.clone()))
            }
            _ => None,
        });
        claims.collect()
    }

    /// Its emptyDirs: name, directory and limit.
    pub(super) fn limited(&self) -> impl Iterator<Item = (&str, PathBuf, u64)> {
        self.specs.iter().filter_map(|spec| match spec.source {
            VolumeSource::EmptyDir { limit, .. } => Some((spec.name.as_str(), self.place(spec), limit)),
            VolumeSource::Projected { .. }
            | VolumeSource::HostPath { .. }
            | VolumeSource::Claim { .. }
            | VolumeSource::Image { .. } => None,
        })
    }

    /// The pod is gone.
    pub(super) fn condemn(&self) {
        self.condemned.store(true, Ordering::Release);
    }
}

/// The root, the folder and the uid that a pod's directory is named by.
fn place_of(dir: &Path) -> Option<(&Path, &str, &str)> {
    let (uid, folder) = (dir.file_name()?.to_str()?, dir.parent()?.file_name()?.to_str()?);
    Some((dir.ancestors().nth(3)?, folder, uid))
}

impl State {
    fn tell(&mut self, parts: &Parts, pod: &Arc<Object>, volume: &str, why: &str) {
        let message = format!("MountVolume.SetUp failed for volume {volume:?} : {why}");
        if self.told.is_new(volume, &message) {
            parts.recorder.warn(pod, "FailedMount", &message, &parts.tasks);
        }
    }
}

impl Drop for PodVolumes {
    fn drop(&mut self) {
        if self.condemned.load(Ordering::Acquire) {
            let written: Vec<PathBuf> = self.limited().map(|(_, place, _)| place).collect();
            let dir = std::mem::take(&mut self.dir);
            remove::soon(move || {
                for dir in &written {
                    remove::remove(dir);
                }
                remove::remove(&dir);
                if let Some((root, folder, uid)) = place_of(&dir) {
                    remove::remove(&layout::messages(root, folder, uid));
                    layout::tidy(root, folder);
                }
            });
        }
    }
}

/// Runs what waits for the disk on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    blocking_text(move || work().map_err(|error| error.to_string())).await
}

pub(super) async fn blocking_text<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}
