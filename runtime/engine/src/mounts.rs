//! The directories that a guest gets, and where it sees them.
//!
//! A [`Mount`] is plain data: it can be handed to another process, and opening it is that process' business. Nothing is
//! kept open for a guest that does not run: ten thousand idle pods would hold as many descriptors.
//!
//! Not here: how a guest's calls are answered (`capabilities/filesystem.rs`).

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};

use crate::disk::Room;

/// A directory that a guest gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mount {
    /// Where the guest sees it, from `/`.
    pub path: String,
    /// A directory of this machine which no path and no link below leads out of. No guest chooses any part of it; it is no
    /// link itself, for who has broken into a worker might have put one in its place.
    pub root: PathBuf,
    /// The directory below the root that is meant, empty for the root. Guests that share the root may have made it, and
    /// may have made a link of it: it is resolved within the root each time.
    pub below: PathBuf,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Bytes that the root may hold, if it has a limit.
    pub limit: Option<u64>,
    /// Whether its content is made when somebody first looks into it ([`Fill`]); until then it may not be there at all.
    pub late: bool,
}

/// Makes the content of late mounts: an idle pod has files that it never looks at, a token among them.
#[async_trait]
pub trait Fill: Send + Sync + 'static {
    /// Makes it, if it is not there. The guest waits meanwhile; after an error it may ask again.
    async fn fill(&self, mount: &Mount) -> io::Result<()>;

    /// Makes the directory itself, before it is opened. Blocks shortly.
    fn begin(&self, mount: &Mount) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&mount.root)
    }
}

/// Opens a directory; a link in its place is an error.
pub fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

/// A mount that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("open {} for {path}", .dir.display())]
pub struct MountError {
    /// Where the guest would see it.
    pub path: String,
    /// The directory.
    pub dir: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Mount {
    /// Opens the directory.
    pub fn open(&self) -> Result<File, MountError> {
        let open = || {
            if self.late {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
            }
            let root = open_directory(&self.root)?;
            if self.below.as_os_str().is_empty() {
                return Ok(root);
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            // The kernel resolves it, so that no guest can swap a directory for a link between a look and the opening.
            let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            let below = openat2(&root, &self.below, flags, Mode::empty(), within)?;
            Ok(File::from(below))
        };
        open().map_err(|source: io::Error| self.error(source))
    }

    fn error(&self, source: io::Error) -> MountError {
        MountError { path: self.path.clone(), dir: self.root.join(&self.below), source }
    }
}

impl Mount {
    /// The room that is left in it, if it has a limit.
    pub fn room(&self) -> Result<Option<Arc<Room>>, MountError> {
        let room = self.limit.filter(|_| !self.read_only).map(|limit| Room::of(&self.root, limit)).transpose();
        room.map_err(|source| MountError { path: self.path.clone(), dir: self.root.clone(), source })
    }
}

/// All directories of a guest. Clones share them.
#[derive(Clone, Default)]
pub struct Mounts(Arc<Inner>);

#[derive(Default)]
struct Inner {
    mounts: Vec<Mount>,
    /// The room of each, kept while the container runs even if no instance does.
    rooms: Vec<Option<Arc<Room>>>,
    late: Option<Arc<dyn Fill>>,
    opened: Mutex<Weak<Vec<Opened>>>,
}

/// A mount as running instances share it.
pub(crate) struct Opened {
    pub(crate) path: String,
    pub(crate) dir: Arc<File>,
    pub(crate) read_only: bool,
    /// What is left of the limit.
    pub(crate) room: Option<Arc<Room>>,
    /// What makes its content, if that is made late.
    pub(crate) late: Option<Arc<Late>>,
}

/// The content of a late mount, as long as an instance has it open.
pub(crate) struct Late {
    fill: Arc<dyn Fill>,
    mount: Mount,
    filled: tokio::sync::OnceCell<()>,
}

impl Late {
    /// Waits until the content is there.
    pub(crate) async fn look(&self) -> io::Result<()> {
        self.filled.get_or_try_init(|| self.fill.fill(&self.mount)).await.copied()
    }
}

impl Mounts {
    /// These directories, none of them late. They are opened once here, so that what is wrong with one is known before
    /// the guest runs.
    pub fn new(mounts: Vec<Mount>) -> Result<Self, MountError> {
        Self::with_late(mounts, None)
    }

    /// These directories, of which `fill` makes the late ones. Blocks shortly, if any is not late.
    pub fn with_late(mounts: Vec<Mount>, fill: Option<Arc<dyn Fill>>) -> Result<Self, MountError> {
        let rooms = mounts.iter().map(Mount::room).collect::<Result<_, _>>()?;
        mounts.iter().filter(|mount| !mount.late).try_for_each(|mount| mount.open().map(drop))?;
        Ok(Self(Arc::new(Inner { mounts, rooms, late: fill, opened: Mutex::default() })))
    }

    /// What they are. The late ones may be empty: whoever hands the list on has them filled first.
    pub fn list(&self) -> &[Mount] {
        &self.0.mounts
    }

    /// Makes the content of those that are late, for whoever opens them by the list.
    pub async fn fill(&self) -> io::Result<()> {
        let Some(fill) = &self.0.late else { return Ok(()) };
        for mount in self.0.mounts.iter().filter(|mount| mount.late) {
            fill.fill(mount).await?;
        }
        Ok(())
    }

    /// Makes the content of one, if it is late: of that one there is nothing else to be had.
    pub async fn fill_one(&self, index: usize) -> io::Result<()> {
        let late = self.0.mounts.get(index).filter(|mount| mount.late);
        match late.zip(self.0.late.as_ref()) {
            Some((mount, fill)) => {
                fill.begin(mount)?;
                fill.fill(mount).await
            }
            None => Ok(()),
        }
    }

    /// The directories, open for as long as anybody keeps them.
    pub(crate) fn open(&self) -> Result<Arc<Vec<Opened>>, MountError> {
        let shared = || self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = shared().upgrade() {
            return Ok(opened);
        }
        // Another process may be asked for it, which must not happen under the lock that all threads of this one may want.
        for mount in self.0.mounts.iter().filter(|mount| mount.late) {
            self.0.late.as_ref().map_or(Ok(()), |fill| fill.begin(mount)).map_err(|source| mount.error(source))?;
        }
        let mut shared = shared();
        if let Some(opened) = shared.upgrade() {
            return Ok(opened);
        }
        let open = |(mount, room): (&Mount, &Option<Arc<Room>>)| {
            let fill = self.0.late.as_ref().filter(|_| mount.late);
            let dir = Arc::new(mount.open()?);
            let late = |fill: &Arc<dyn Fill>| {
                Arc::new(Late { fill: Arc::clone(fill), mount: mount.clone(), filled: tokio::sync::OnceCell::new() })
            };
            let (path, room) = (mount.path.clone(), room.clone());
            Ok(Opened { path, dir, read_only: mount.read_only, room, late: fill.map(late) })
        };
        let opened = Arc::new(self.0.mounts.iter().zip(&self.0.rooms).map(open).collect::<Result<_, _>>()?);
        *shared = Arc::downgrade(&opened);
        Ok(opened)
    }
}

impl std::fmt::Debug for Mounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.0.mounts).finish()
    }
}
