//! The directories that a guest gets, and where it sees them.
//!
//! A [`Mount`] is plain data: it can be handed to another process, and opening it is that process' business. Nothing is
//! kept open for a guest that does not run: ten thousand idle pods would hold as many descriptors.
//!
//! Not here: how a guest's calls are answered (`capabilities/filesystem.rs`).

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use serde::{Deserialize, Serialize};

use crate::disk::Room;

/// A directory that a guest gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mount {
    /// Where the guest sees it, from `/`.
    pub path: String,
    /// A directory of this machine which no path and no link below leads out of. No guest chooses any part of it.
    pub root: PathBuf,
    /// The directory below the root that is meant, empty for the root. Guests that share the root may have made it, and
    /// may have made a link of it: it is resolved within the root each time.
    pub below: PathBuf,
    /// Whether nothing may be changed.
    pub read_only: bool,
    /// Bytes that the root may hold, if it has a limit.
    pub limit: Option<u64>,
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
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(CWD, &self.root, flags, Mode::empty())?;
            if self.below.as_os_str().is_empty() {
                return Ok(File::from(root));
            }
            // The kernel resolves it, so that no guest can swap a directory for a link between a look and the opening.
            let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            let below = openat2(&root, &self.below, flags, Mode::empty(), within)?;
            Ok(File::from(below))
        };
        open().map_err(|source: io::Error| MountError {
            path: self.path.clone(),
            dir: self.root.join(&self.below),
            source,
        })
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
    opened: Mutex<Weak<Vec<Opened>>>,
}

/// A mount as running instances share it.
pub(crate) struct Opened {
    pub(crate) path: String,
    pub(crate) dir: Arc<File>,
    pub(crate) read_only: bool,
    /// What is left of the limit.
    pub(crate) room: Option<Arc<Room>>,
}

impl Mounts {
    /// These directories. They are opened once here, so that what is wrong with one is known before the guest runs.
    pub fn new(mounts: Vec<Mount>) -> Result<Self, MountError> {
        let rooms = mounts.iter().map(Mount::room).collect::<Result<_, _>>()?;
        let all = Self(Arc::new(Inner { mounts, rooms, opened: Mutex::default() }));
        all.open()?;
        Ok(all)
    }

    /// What they are.
    pub fn list(&self) -> &[Mount] {
        &self.0.mounts
    }

    /// The directories, open for as long as anybody keeps them.
    pub(crate) fn open(&self) -> Result<Arc<Vec<Opened>>, MountError> {
        let mut shared = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opened) = shared.upgrade() {
            return Ok(opened);
        }
        let open = |(mount, room): (&Mount, &Option<Arc<Room>>)| {
            let dir = Arc::new(mount.open()?);
            Ok(Opened { path: mount.path.clone(), dir, read_only: mount.read_only, room: room.clone() })
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
