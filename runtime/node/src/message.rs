//! `terminationMessagePath`: the file in which a container says why it ended, read when it has.
//!
//! A path below one of the container's volumes is a file of that. For any other one the guest gets the directory that it is
//! in, with the file in it, empty at each start. Not here: the end of the log in its place (`run`).

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, renameat, unlinkat};
use rustix::io::Errno;
use wk_base::id;
use wk_engine::{Mount, open_directory};

/// Where Kubernetes' defaults put it.
pub(crate) const DEFAULT_PATH: &str = "/dev/termination-log";

/// The most of it that is told, from its end: the kubelet's figure.
const BYTES_MAX: u64 = 4096;

/// What the directory may hold that a guest gets for it alone: the message, and what a guest writes beside it by mistake.
const DIRECTORY_BYTES_MAX: u64 = 64 << 10;

/// Directory and name of the file.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(split) => split,
        None => ("/", path),
    }
}

/// The mount that `path` is below, and the rest of it.
fn within<'a>(mounts: &'a [Mount], path: &'a str) -> Option<(&'a Mount, &'a Path)> {
    let path = Path::new(path);
    let found = mounts.iter().filter_map(|mount| Some((mount, path.strip_prefix(&mount.path).ok()?)));
    found.max_by_key(|(mount, _)| mount.path.len())
}

/// The mount that a message of `container` at `path` needs besides `mounts`, in the pod's `dir`; none where a volume is
/// there.
pub(crate) fn mount(mounts: &[Mount], path: &str, dir: PathBuf, container: &str) -> Option<Mount> {
    within(mounts, path).is_none().then(|| Mount {
        path: split(path).0.to_owned(),
        root: dir,
        below: container.into(),
        read_only: false,
        limit: Some(DIRECTORY_BYTES_MAX),
        late: false,
    })
}

/// Makes the directory of `mount` with an empty file for a message at `path`, whatever a run before has left there. Blocks.
///
/// Who has broken into a worker may put links anywhere in it: none is followed.
pub(crate) fn prepare(mount: &Mount, path: &str) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(&mount.root)?;
    match mkdirat(open_directory(&mount.root)?, &mount.below, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = mount.open().map_err(|error| error.source)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let (name, mode) = (split(path).1, Mode::from_raw_mode(0o600));
    if openat(&dir, name, flags, mode).is_err() {
        // A run before has put something else there, and whoever did that could never start again.
        put_aside(&dir, name)?;
        openat(&dir, name, flags, mode)?;
    }
    Ok(())
}

/// Takes away what is no file; a directory that is not empty gets another name, and goes with the pod.
fn put_aside(dir: &File, name: &str) -> rustix::io::Result<()> {
    let removed = unlinkat(dir, name, AtFlags::empty()).or_else(|_| unlinkat(dir, name, AtFlags::REMOVEDIR));
    removed.or_else(|_| renameat(dir, name, dir, format!("{name}.{}", id::suffix(8))))
}

/// What the guest has written at `path`; nothing if that is no file, or empty. Blocks.
pub(crate) fn read(mounts: &[Mount], path: &str) -> String {
    let Some((mount, rest)) = within(mounts, path) else { return String::new() };
    let Ok(dir) = mount.open() else { return String::new() };
    // No link leads out, and a pipe makes nobody wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = openat2(&dir, rest, flags, Mode::empty(), within).map(File::from);
    let read = opened.map_err(std::io::Error::from).and_then(|mut file| {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(Vec::new());
        }
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    String::from_utf8_lossy(&read.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount_at(path: &str, root: &Path) -> Mount {
        Mount {
            path: path.into(),
            root: root.into(),
            below: PathBuf::new(),
            read_only: false,
            limit: None,
            late: false,
        }
    }

    #[test]
    fn message_is_the_end_of_the_file_in_a_directory_of_its_own_or_in_a_volume() {
        let (own, volume) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let volumes = [mount_at("/data", volume.path())];
        assert_eq!(mount(&volumes, "/data/why", own.path().into(), "app"), None);
        std::fs::write(volume.path().join("why"), "in the volume").unwrap();
        assert_eq!(read(&volumes, "/data/why"), "in the volume");

        let dir = own.path().join("messages");
        let added = mount(&volumes, DEFAULT_PATH, dir.clone(), "app").unwrap();
        assert_eq!((added.path.as_str(), added.read_only), ("/dev", false));
        prepare(&added, DEFAULT_PATH).unwrap();
        std::fs::write(dir.join("app/termination-log"), "x".repeat(5000) + "end").unwrap();
        let told = read(std::slice::from_ref(&added), DEFAULT_PATH);
        assert!(told.len() == 4096 && told.ends_with("xend"), "{}", told.len());
        prepare(&added, DEFAULT_PATH).unwrap();
        assert_eq!(read(std::slice::from_ref(&added), DEFAULT_PATH), "", "the next run begins with nothing");

        let victim = volume.path().join("why");
        std::fs::remove_file(dir.join("app/termination-log")).unwrap();
        std::os::unix::fs::symlink(&victim, dir.join("app/termination-log")).unwrap();
        prepare(&added, DEFAULT_PATH).unwrap();
        assert!(std::fs::symlink_metadata(dir.join("app/termination-log")).unwrap().is_file());
        std::fs::remove_file(dir.join("app/termination-log")).unwrap();
        std::fs::create_dir_all(dir.join("app/termination-log/full")).unwrap();
        prepare(&added, DEFAULT_PATH).unwrap();
        assert!(std::fs::symlink_metadata(dir.join("app/termination-log")).unwrap().is_file());
        std::fs::remove_dir_all(&dir).unwrap();
        std::os::unix::fs::symlink(volume.path(), &dir).unwrap();
        assert!(prepare(&added, DEFAULT_PATH).is_err());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "in the volume");
    }

    #[test]
    fn links_out_of_the_directory_and_what_is_no_file_are_no_message() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("directory")).unwrap();
        let mounts = [mount_at("/dev", dir.path())];
        for path in ["/dev/link", "/dev/directory", "/dev/none", "/elsewhere/file"] {
            assert_eq!(read(&mounts, path), "", "{path}");
        }
    }
}
