//! Files that change all at once: they lie in a directory of their own, `..data` leads to it, and each name in the
//! volume leads through `..data`. Moving that one link swaps them all.
//!
//! The layout is the kubelet's (`pkg/volume/util/atomic_writer.go`), so that what watches `..data` works here too.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicU64, Ordering};

use wk_base::time::Timestamp;

use super::{File, Files};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `files` the content of the volume at `dir`, which is made if it is not there.
pub(super) fn write(dir: &Path, files: &Files) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let fresh = stamp();
    let target = dir.join(&fresh);
    DirBuilder::new().mode(0o755).create(&target)?;
    let mut names = BTreeSet::new();
    for (path, file) in files {
        names.insert(put(&target, path, file)?);
    }
    let swap = dir.join(DATA_NEW);
    match fs::remove_file(&swap) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&fresh, &swap)?;
    fs::rename(&swap, dir.join(DATA))?;
    for name in &names {
        match symlink(Path::new(DATA).join(name), dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    // What is there no more, and what earlier writes have left.
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == DATA || name == fresh || names.contains(&name) {
            continue;
        }
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}

/// Writes one file below `target` and answers the first part of its path.
fn put(target: &Path, path: &str, file: &File) -> io::Result<String> {
    let parts: Vec<_> = Path::new(path).components().collect();
    // The API refuses such paths; what came here another way goes no further.
    let Some(Component::Normal(first)) = parts.first().filter(|_| parts.iter().all(is_name)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} leads out of the volume")));
    };
    let full = target.join(path);
    if let Some(parent) = full.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full)?;
    opened.write_all(&file.bytes)?;
    // The node reads it for the guest, whatever the mode says of others.
    opened.set_permissions(fs::Permissions::from_mode(file.mode | 0o400))?;
    Ok(first.to_string_lossy().into_owned())
}

fn is_name(part: &Component<'_>) -> bool {
    matches!(part, Component::Normal(_))
}

/// A name that was not used before, as the kubelet's: `..2026_11_21_20_25_03.0000000001`.
fn stamp() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = Timestamp::now();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("..{}.{:09}{count}", now.strftime("%Y_%m_%d_%H_%M_%S"), now.subsec_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> Files {
        of.iter()
            .map(|(path, text)| ((*path).to_owned(), File { bytes: text.as_bytes().to_vec(), mode: 0o644 }))
            .collect()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with("..2"));
        names.sort();
        names
    }

    #[test]
    fn files_are_swapped_all_at_once_and_old_ones_go() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("volume");
        write(&dir, &files(&[("a", "1"), ("deep/er/b", "2")])).unwrap();
        assert_eq!(names(&dir), ["..data", "a", "deep"]);
        assert_eq!(fs::read_to_string(dir.join("deep/er/b")).unwrap(), "2");
        let open = fs::canonicalize(dir.join("..data")).unwrap();
        write(&dir, &files(&[("a", "3"), ("c", "4")])).unwrap();
        assert_eq!(names(&dir), ["..data", "a", "c"]);
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!open.exists());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 4);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        let top = tempfile::tempdir().unwrap();
        for path in ["../a", "/a", "a/../../b", ""] {
            let error = write(&top.path().join("volume"), &files(&[(path, "x")])).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
    }
}
