//! Parts of volumes: `subPath` and `subPathExpr`, a directory or a single file.
//!
//! Guests have directories only, so a file that is mounted alone lies in a directory of its own, which the guest sees in
//! place of the file's parent. Nothing leads out of the volume: each part is resolved within it.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wk_engine::Mount;

use crate::spec::SubPath;

use super::remove;

/// Directories in one another that are copied.
const DEPTH_MAX: usize = 32;

/// A mount that is asked for.
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) volume: String,
    pub(super) root: PathBuf,
    pub(super) below: Option<PathBuf>,
    pub(super) read_only: bool,
    pub(super) limit: Option<u64>,
    /// Whether a part is copied: it stays as it is when the volume changes, as in Kubernetes.
    pub(super) copied: bool,
}

impl Asked {
    /// All of the volume.
    pub(super) fn whole(&self) -> Mount {
        Mount {
            path: self.path.clone(),
            root: self.root.clone(),
            below: PathBuf::new(),
            read_only: self.read_only,
            limit: self.limit,
            late: self.copied && self.below.is_none(),
        }
    }
}

/// What a `subPath` says, relative and without `..`.
pub(super) fn resolve(below: &SubPath, expand: &(dyn Fn(&str) -> String + Send + Sync)) -> Result<PathBuf, String> {
    let text = match below {
        SubPath::Plain(text) => text.clone(),
        SubPath::Expression(text) => expand(text),
    };
    let parts = Path::new(&text).components().filter(|part| !matches!(part, Component::CurDir));
    let clean: Option<PathBuf> =
        parts.map(|part| if let Component::Normal(name) = part { Some(name) } else { None }).collect();
    clean.ok_or_else(|| format!("subPath {text:?} must be relative and must not contain '..'"))
}

/// The mounts of a container; single files go below `files`.
pub(super) fn mounts(asked: &[Asked], files: &Path) -> Result<Vec<Mount>, String> {
    remove::remove(files);
    let mut mounts = Vec::with_capacity(asked.len());
    let mut alone: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (index, asked) in asked.iter().enumerate() {
        let whole = asked.whole();
        let Some(below) = asked.below.as_ref().filter(|below| !below.as_os_str().is_empty()) else {
            mounts.push(whole);
            continue;
        };
        let fail = |error: io::Error| {
            format!("failed to prepare subPath for volumeMount {:?}: {}: {error}", asked.volume, below.display())
        };
        let root = Dir::from_std_file(wk_engine::open_directory(&asked.root).map_err(fail)?);
        if let Some(name) = find(&root, below, asked.read_only).map_err(fail)? {
            let (parent, seen) = parent(&asked.path)?;
            if !asked.read_only {
                let why = "a single file can only be mounted read-only: set readOnly, or mount its directory";
                return Err(fail(io::Error::other(why)));
            }
            let dir = alone.entry(parent).or_insert_with(|| files.join(index.to_string()));
            make(dir).map_err(fail)?;
            let link = || {
                let into = Dir::open_ambient_dir(&*dir, ambient_authority())?;
                // A file of another disk cannot be linked.
                if asked.copied {
                    root.copy(&name, &into, &seen).map(drop)
                } else {
                    root.hard_link(&name, &into, &seen)
                }
            };
            link().map_err(fail)?;
        } else if asked.copied {
            let dir = files.join(index.to_string());
            make(&dir).map_err(fail)?;
            let copied = Dir::open_ambient_dir(&dir, ambient_authority())
                .and_then(|into| copy(&root.open_dir(below)?, &into, 0));
            copied.map_err(fail)?;
            mounts.push(Mount { root: dir, ..whole });
        } else {
            mounts.push(Mount { below: below.clone(), ..whole });
        }
    }
    for (parent, root) in alone {
        let path = parent.to_string_lossy().into_owned();
        if mounts.iter().any(|mount| mount.path == path) {
            return Err(format!("{path} is mounted, so no single file can be mounted in it: mount its directory"));
        }
        mounts.push(Mount { path, root, below: PathBuf::new(), read_only: true, limit: None, late: false });
    }
    Ok(mounts)
}

/// The file that `below` leads to, with links followed within the root; None for a directory, which is made if nothing
/// is there and something may be.
fn find(root: &Dir, below: &Path, read_only: bool) -> io::Result<Option<PathBuf>> {
    match root.metadata(below) {
        Ok(metadata) if metadata.is_dir() => Ok(None),
        Ok(metadata) if metadata.is_file() => root.canonicalize(below).map(Some),
        Ok(_) => Err(io::Error::other("neither a file nor a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !read_only => {
            root.create_dir_all(below).map(|()| None)
        }
        Err(error) => Err(error),
    }
}

fn parent(path: &str) -> Result<(PathBuf, PathBuf), String> {
    let path = Path::new(path);
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_owned(), name.into())),
        _ => Err("a single file cannot be mounted at /".to_owned()),
    }
}

fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Copies what is below a directory; links to files become files.
fn copy(from: &Dir, into: &Dir, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("too many directories in one another"));
    }
    for entry in from.entries()? {
        let name = entry?.file_name();
        let metadata = from.metadata(&name)?;
        if metadata.is_dir() {
            into.create_dir(&name)?;
            copy(&from.open_dir(&name)?, &into.open_dir(&name)?, depth + 1)?;
        } else {
            from.copy(&name, into, &name)?;
        }
    }
    Ok(())
}
