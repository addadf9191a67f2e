//! Removing what guests have made: any depth, any names, links not followed.
//!
//! The standard library's function calls itself once for each level, and a guest can make a hundred thousand of them.
//! Here each directory that is met is moved to the top first, so that nothing is ever deeper than one level.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Removals at once: thousands of pods may go together, and threads that wait for the disk are for all.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Does `work` when it is its turn, on a thread that may wait. Where no runtime is, the next start of the node does it.
pub(super) fn soon(work: impl FnOnce() + Send + 'static) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let _turn = TURNS.acquire().await;
        let _ = tokio::task::spawn_blocking(work).await;
    });
}

/// Removes `path` and all below it. What cannot be removed is named in the log and tried again at the next start.
pub(super) fn remove(path: &Path) {
    if let Err(error) = try_remove(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "not removed");
    }
}

fn try_remove(path: &Path) -> io::Result<()> {
    let dir = match wk_engine::open_directory(path) {
        Ok(dir) => Dir::from_std_file(dir),
        // A file, or a link, which is not followed.
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTDIR | Errno::LOOP)) => {
            return std::fs::remove_file(path);
        }
        Err(error) => return Err(error),
    };
    let mut moved = 0_u64;
    loop {
        let mut empty = true;
        for entry in dir.entries()? {
            empty = false;
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                flatten(&dir, &name, &mut moved)?;
                dir.remove_dir(&name)?;
            } else {
                dir.remove_file(&name)?;
            }
        }
        if empty {
            break;
        }
    }
    std::fs::remove_dir(path)
}

/// Empties the directory `name` of `top`: files go, directories move to `top` under a number.
fn flatten(top: &Dir, name: &std::ffi::OsStr, moved: &mut u64) -> io::Result<()> {
    let dir = top.open_dir(name)?;
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        if !entry.file_type()?.is_dir() {
            dir.remove_file(&name)?;
            continue;
        }
        loop {
            *moved += 1;
            // Three dots at the start: nothing here is called that, and if a guest did, the next number is free.
            let free = format!("...{moved}");
            match dir.rename(&name, top, &free) {
                Ok(()) => break,
                Err(error) if matches!(error.raw_os_error(), Some(17 | 20 | 39)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    #[test]
    fn a_link_in_place_of_a_volume_goes_and_not_what_it_leads_to() {
        let top = tempfile::tempdir().unwrap();
        let kept = tempfile::tempdir().unwrap();
        std::fs::write(kept.path().join("kept"), "x").unwrap();
        let volume = top.path().join("volume");
        std::os::unix::fs::symlink(kept.path(), &volume).unwrap();
        remove(&volume);
        assert!(kept.path().join("kept").exists() && std::fs::symlink_metadata(&volume).is_err());
    }

    #[test]
    fn a_tree_deeper_than_any_path_goes_and_links_are_not_followed() {
        let top = tempfile::tempdir().unwrap();
        let kept = tempfile::tempdir().unwrap();
        std::fs::write(kept.path().join("kept"), "x").unwrap();
        let volume = top.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink(kept.path(), volume.join("link")).unwrap();
        std::fs::create_dir(volume.join("...1")).unwrap();
        std::fs::write(volume.join("...1/full"), "x").unwrap();
        let mut dir = Dir::open_ambient_dir(&volume, ambient_authority()).unwrap();
        // Longer than a path may be, and more levels than a process has descriptors by default.
        for _ in 0..2_100 {
            dir.create_dir("d").unwrap();
            dir = dir.open_dir("d").unwrap();
        }
        dir.write("deep", "x").unwrap();
        remove(&volume);
        assert!(!volume.exists());
        assert!(kept.path().join("kept").exists());
    }
}
