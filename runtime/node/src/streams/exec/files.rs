//! The files of a container: directories of this node, at the paths where the guest sees them.
//!
//! Nothing outside of them can be named: each is opened as a capability, and paths, `..` and links are resolved within
//! it. A pod without volumes has none.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::fs::Dir;
use wk_engine::{MountError, Mounts, Room};

/// A directory and where the guest sees it.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Absolute, without `.` and `..`.
    pub path: PathBuf,
    /// The directory.
    pub dir: Arc<Dir>,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// What is left of its limit, if it has one.
    pub room: Option<Arc<Room>>,
}

/// All of a container's files.
#[derive(Debug, Clone, Default)]
pub struct Files(Vec<Mount>);

/// Where a path leads.
#[derive(Debug)]
pub enum Place<'a> {
    /// Into a mount: a path relative to it, `.` for the mount itself.
    In(&'a Mount, PathBuf),
    /// To a directory above mounts, which has only these names in it.
    Above(Vec<String>),
}

impl Files {
    /// Files of these mounts.
    pub fn new(mounts: Vec<Mount>) -> Self {
        Self(mounts)
    }

    /// The files of a container that has these directories.
    pub fn open(mounts: &Mounts) -> Result<Self, MountError> {
        let open = |mount: &wk_engine::Mount| {
            let dir = Arc::new(Dir::from_std_file(mount.open()?));
            let room = mount.room()?;
            Ok(Mount { path: PathBuf::from(&mount.path), dir, read_only: mount.read_only, room })
        };
        mounts.list().iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Counts anew what the directories with limits hold: guests of another process may have written there.
    pub fn recount(&self) {
        self.0.iter().filter_map(|mount| mount.room.as_ref()).for_each(|room| room.recount());
    }

    /// Where `path` leads from the directory `from`; "no such file" when that is nowhere.
    pub fn find(&self, from: &Path, path: &Path) -> io::Result<Place<'_>> {
        let path = absolute(from, path);
        let within = self.0.iter().filter_map(|mount| Some((mount, path.strip_prefix(&mount.path).ok()?)));
        // The innermost of two, one in the other.
        if let Some((mount, rest)) = within.min_by_key(|(_, rest)| rest.components().count()) {
            let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
            return Ok(Place::In(mount, rest.to_owned()));
        }
        let mut names: Vec<String> = self.0.iter().filter_map(|mount| below(&path, &mount.path)).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() && path != Path::new("/") {
            return Err(self.nowhere());
        }
        Ok(Place::Above(names))
    }

    /// The error for a path that leads nowhere.
    pub fn nowhere(&self) -> io::Error {
        let why = if self.0.is_empty() {
            "No such file or directory: this pod has no volumes"
        } else {
            "No such file or directory"
        };
        io::Error::new(io::ErrorKind::NotFound, why)
    }
}

/// The name under `path` that leads to the mount at `mount`.
fn below(path: &Path, mount: &Path) -> Option<String> {
    let next = mount.strip_prefix(path).ok()?.components().next()?;
    Some(next.as_os_str().to_string_lossy().into_owned())
}

/// Without `.` and `..`; nothing is above the root.
pub(super) fn absolute(from: &Path, path: &Path) -> PathBuf {
    let mut result = PathBuf::from("/");
    for part in from.join(path).components() {
        match part {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => drop(result.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    result
}
