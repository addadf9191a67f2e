//! Where the directories of pods' volumes lie. A worker process is given folders when it starts and nothing after that
//! (the kernel's Landlock knows no way to give more), so what the pods of one worker write lies in one folder, what is
//! written for them in another, and a pod that comes later finds its worker able to open its volumes.
//!
//! `pods/<folder>/<uid>/…` is written by the node alone, and read by workers. `written/<folder>/<uid>.<volume>` is a
//! directory of the guest's own; its name has one part, so that who has broken into a worker, and may swap such names
//! for links, leads nobody along: the last part of a path is opened without following a link.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{empty_dir, memory, remove};
use crate::place::worker::Class;

/// The folder of pods that run in the node's process.
const SHARED: &str = "shared";
/// What other folders begin with.
const OF_NAMESPACE: &str = "ns-";
const OF_POD: &str = "pod-";

/// The folder of a class, or of this process.
pub(crate) fn folder(class: Option<&Class>) -> String {
    match class {
        None => SHARED.to_owned(),
        Some(Class::Namespace(name)) => format!("{OF_NAMESPACE}{name}"),
        Some(Class::Pod { uid, .. }) => format!("{OF_POD}{uid}"),
    }
}

/// Whether an entry is a folder, and no pod's own directory as earlier versions had them.
pub(super) fn is_folder(name: &str) -> bool {
    name == SHARED || name.starts_with(OF_NAMESPACE) || name.starts_with(OF_POD)
}

/// Whether a folder is one pod's alone.
pub(super) fn is_of_pod(name: &str) -> bool {
    name.starts_with(OF_POD)
}

/// The uid of the pod that an entry is of: a folder of its own, its directory, or one of its volumes.
pub(super) fn uid_of(entry: &str) -> &str {
    let entry = entry.strip_prefix(OF_POD).unwrap_or(entry);
    entry.split_once('.').map_or(entry, |(uid, _)| uid)
}

/// What the node writes for a pod.
pub(super) fn pod(root: &Path, folder: &str, uid: &str) -> PathBuf {
    root.join("pods").join(folder).join(uid)
}

/// A directory that a pod writes.
pub(super) fn written(root: &Path, folder: &str, uid: &str, volume: &str) -> PathBuf {
    root.join("written").join(folder).join(format!("{uid}.{volume}"))
}

/// What its containers say at their end. No volume has this name: those are said in small letters.
pub(super) fn messages(root: &Path, folder: &str, uid: &str) -> PathBuf {
    written(root, folder, uid, "MESSAGES")
}

/// The same as [`written`], in memory.
pub(super) fn in_memory(root: &Path, folder: &str, uid: &str, volume: &str) -> PathBuf {
    memory::place(root).join(folder).join(format!("{uid}.{volume}"))
}

/// The volume of a claim.
pub(super) struct Claimed {
    /// The claim's namespace.
    pub(super) namespace: String,
    /// The volume's own name.
    pub(super) handle: String,
}

impl Claimed {
    pub(super) fn dir(&self, root: &Path) -> PathBuf {
        root.join("claimed").join(&self.namespace).join(&self.handle)
    }
}

/// What a worker may open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folders {
    /// What it may write.
    pub(crate) written: Vec<PathBuf>,
    /// What it may read.
    pub(crate) read: Vec<PathBuf>,
}

/// The folders of a class, which are made: a rule is about what is there. Blocks shortly.
pub(crate) fn folders(root: &Path, class: &Class) -> Folders {
    let name = folder(Some(class));
    let mut written = vec![root.join("written").join(&name)];
    if let Class::Namespace(namespace) = class {
        written.push(root.join("claimed").join(namespace));
    }
    let mut read = vec![root.join("pods").join(&name)];
    for dir in written.iter().chain(&read) {
        if let Err(error) = empty_dir::make(dir) {
            tracing::warn!(dir = %dir.display(), %error, "a worker will have no such folder");
        }
    }
    let in_memory = memory::place(root).join(&name);
    // A machine without memory file system refuses such volumes by name.
    if memory::make(&memory::place(root), &in_memory).is_ok() {
        written.push(in_memory);
    }
    if let Class::Pod { directories, .. } = class {
        for (dir, read_only) in directories {
            if *read_only { read.push(dir.clone()) } else { written.push(dir.clone()) }
        }
    }
    Folders { written, read }
}

/// Moves what a pod that ran here before has in another folder into the one it has now. `volumes` are its emptyDirs on
/// disk. Only where the node alone writes is looked for it: what workers have made says nothing of who it belongs to.
pub(super) fn settle(root: &Path, folder: &str, namespace: &str, uid: &str, volumes: &[String]) -> io::Result<()> {
    // Where it may have been. An earlier version had a directory of its own for each.
    let (of_namespace, of_pod) = (format!("{OF_NAMESPACE}{namespace}"), format!("{OF_POD}{uid}"));
    for name in [uid, SHARED, &of_namespace, &of_pod] {
        let earlier = name == uid;
        let top = root.join("pods").join(name);
        let before = if earlier { top } else { top.join(uid) };
        if name == folder || !fs::symlink_metadata(&before).is_ok_and(|it| it.is_dir()) {
            continue;
        }
        for volume in volumes {
            let from = if earlier { before.join(volume) } else { written(root, name, uid, volume) };
            move_to(&from, &written(root, folder, uid, volume))?;
        }
        // Its other files are made anew.
        remove::remove(&before);
    }
    Ok(())
}

/// Moves what is there.
pub(super) fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        empty_dir::make(parent)?;
    }
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the folders that a pod had alone, once they are empty.
pub(super) fn tidy(root: &Path, folder: &str) {
    if is_of_pod(folder) {
        for top in [root.join("pods"), root.join("written"), memory::place(root)] {
            let _ = fs::remove_dir(top.join(folder));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_wrote_goes_with_it_to_another_folder_and_nobody_elses_does() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path();
        for (folder, uid) in [("shared", "u1"), ("ns-shop", "u2"), ("pod-u5", "u5")] {
            fs::create_dir_all(pod(root, folder, uid)).unwrap();
            fs::create_dir_all(written(root, folder, uid, "own")).unwrap();
            fs::write(written(root, folder, uid, "own").join("file"), uid).unwrap();
        }
        // Of an earlier version.
        fs::create_dir_all(root.join("pods/u3/own")).unwrap();
        fs::write(root.join("pods/u3/own/file"), "u3").unwrap();
        // What only a worker can have made, in the name of another namespace's pod.
        fs::create_dir_all(written(root, "ns-evil", "u4", "own")).unwrap();

        for uid in ["u1", "u2", "u3", "u4", "u5"] {
            settle(root, "ns-shop", "shop", uid, &["own".to_owned()]).unwrap();
        }
        for uid in ["u1", "u2", "u3", "u5"] {
            assert_eq!(fs::read_to_string(written(root, "ns-shop", uid, "own").join("file")).unwrap(), uid);
        }
        assert!(!written(root, "ns-shop", "u4", "own").exists());
        assert!(!root.join("pods/u3").exists() && !pod(root, "shared", "u1").exists());
    }

    #[test]
    fn names_of_entries_tell_whose_they_are() {
        for entry in ["u1", "u1.own", "pod-u1"] {
            assert_eq!(uid_of(entry), "u1");
        }
        assert!(is_folder("ns-shop") && is_folder("pod-u1") && is_folder("shared") && !is_folder("u1"));
    }
}
