//! emptyDir of `medium: Memory`: a directory of the machine's own memory file system, so that nothing of it meets a disk.
//!
//! It counts against its own limit and not against the container's memory, which is the guest's alone.

use std::fs::{self, DirBuilder};
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Where Linux has a memory file system that everybody may write to.
const SHARED_MEMORY: &str = "/dev/shm";
/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: u64 = 0x0102_1994;

/// The directory that is for the node whose volumes are at `root`.
pub(super) fn place(root: &Path) -> PathBuf {
    let mut hasher = std::hash::DefaultHasher::new();
    root.hash(&mut hasher);
    Path::new(SHARED_MEMORY).join(format!("wk-{:016x}", hasher.finish()))
}

/// Makes the directory of a volume, two levels below `place`.
pub(super) fn make(place: &Path, dir: &Path) -> Result<(), String> {
    let kind = rustix::fs::statfs(SHARED_MEMORY).map(|it| u64::try_from(it.f_type).unwrap_or(0));
    if !kind.is_ok_and(|kind| kind == TMPFS) {
        return Err(format!("medium Memory: this node has no memory file system at {SHARED_MEMORY}"));
    }
    let make = || {
        match DirBuilder::new().mode(0o700).create(place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Anybody can make a directory there before us, or a link.
        let found = fs::symlink_metadata(place)?;
        let ours = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw();
        if !ours || found.permissions().mode() & 0o077 != 0 {
            return Err(io::Error::other(format!("{} is not this node's own", place.display())));
        }
        super::empty_dir::make(dir)
    };
    make().map_err(|error| format!("medium Memory: {error}"))
}
