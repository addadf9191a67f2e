//! The data directory: who uses it, who this node is, and where everything else lies.
//!
//! The identity is made in a directory of its own and moved into place whole, so that a start that fails or dies
//! half-way leaves either a node or nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use wk_mesh::join::Member;
use wk_mesh::{Authority, CertPem, Csr, KeyPem, NodeKey, NodeName};

use crate::exit::{Code, ExitError};

/// The layout of the directory that this version writes. A higher one was written by a newer `wk`.
const VERSION: u32 = 1;

/// A start waits so long for another process to let go of the directory: several times what a killed one takes on a
/// loaded machine.
const LOCK_MAX: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The key of a node that is asking to join.
const JOINING: &str = "joining.json";

/// The mark of a node that the cluster removed.
const REMOVED: &str = "identity/removed";
/// A node that is being restored, and one that is but for the names of its directories.
const FOUNDING: &str = "restoring";
const FOUNDED: &str = "restored";

/// What `node.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeFile {
    /// Layout of the directory.
    pub(crate) version: u32,
    /// The cluster's id.
    pub(crate) cluster: String,
    /// This node's member id in the store.
    pub(crate) member: u64,
    /// This node's name.
    pub(crate) name: NodeName,
    /// Whether this node began the cluster.
    pub(crate) first: bool,
    /// Whether it is a witness: a directory is a witness' or a node's for ever, since only one of them holds the data.
    #[serde(default)]
    pub(crate) witness: bool,
    /// The members known when this node joined: where it looks for the others until its store knows better.
    pub(crate) seeds: Vec<Member>,
}

/// Who this node is.
pub(crate) struct Identity {
    /// `node.json`.
    pub(crate) file: NodeFile,
    /// The cluster's authority.
    pub(crate) authority: Authority,
    /// This node's key.
    pub(crate) key: NodeKey,
}

fn is_in_use(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ExitError>().is_some_and(|error| error.code == Code::DataDirInUse)
}

/// Whether `file` is what lies at `path`.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
}

/// A data directory that is ours as long as this lives.
pub(crate) struct DataDir {
    root: PathBuf,
    /// Whether the directory was made by this start.
    made: bool,
    _lock: File,
}

impl Drop for DataDir {
    /// A start that came to nothing leaves nothing: the lock goes while it is still held, and the directory with it if
    /// it was made for this start and holds nothing else.
    fn drop(&mut self) {
        if [FOUNDED, "identity"].iter().any(|name| self.root.join(name).exists()) || self.root.join(JOINING).exists() {
            return;
        }
        let _ = fs::remove_file(self.root.join("lock"));
        if self.made {
            let _ = fs::remove_dir(&self.root);
        }
    }
}

impl DataDir {
    /// Makes the directory if it is not there and takes hold of it. Waits for a process that had it and is on its way out:
    /// the kernel takes a second or more to take down one that was killed, and what starts a node again does so at once.
    pub(crate) async fn open(root: &Path) -> anyhow::Result<Self> {
        let deadline = Instant::now() + LOCK_MAX;
        loop {
            match Self::try_open(root) {
                Err(error) if is_in_use(&error) && Instant::now() < deadline => tokio::time::sleep(LOCK_PAUSE).await,
                opened => return opened,
            }
        }
    }

    /// The same without waiting.
    pub(super) fn try_open(root: &Path) -> anyhow::Result<Self> {
        let made = !root.exists();
        let make = || fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        make().with_context(|| format!("make data directory {}", root.display()))?;
        let path = root.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.with_context(|| format!("open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let message = format!(
                    "data directory {} is in use by another `wk up`; stop it, or give this one its own --data-dir",
                    root.display()
                );
                return Err(ExitError::new(Code::DataDirInUse, message).into());
            }
            Err(fs::TryLockError::Error(error)) => return Err(error).context(format!("lock {}", path.display())),
        }
        if !is_at(&lock, &path) {
            // Who had it took the file away with it, between our opening it and our having it.
            return Self::try_open(root);
        }
        let dir = Self { root: root.to_owned(), made, _lock: lock };
        // A start or a restore that did not come to its end, and one that came to it but for the last names.
        remove_dir(&dir.staging())?;
        remove_dir(&dir.join(FOUNDING))?;
        dir.take_founded()?;
        Ok(dir)
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A place inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn staging(&self) -> PathBuf {
        self.root.join("identity.new")
    }

    /// Who this node was when it last ran; `None` in a fresh directory.
    pub(crate) fn identity(&self) -> anyhow::Result<Option<Identity>> {
        let dir = self.root.join("identity");
        let path = dir.join("node.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.refuse_leftovers(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        self.refuse_newer(&path, &text)?;
        let file: NodeFile = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        let authority = Authority::from_pem(&CertPem::new(read("ca.pem")?), &KeyPem::new(read("ca.key")?))
            .with_context(|| format!("the cluster's authority in {}", dir.display()))?;
        let key = NodeKey::from_pem(&KeyPem::new(read("node.key")?))
            .with_context(|| format!("the node's key in {}", dir.display()))?;
        Ok(Some(Identity { file, authority, key }))
    }

    /// Looks at the version before anything else: a newer `wk` may have changed the rest of the file.
    fn refuse_newer(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let found: Version = serde_json::from_str(text).with_context(|| format!("read {}", path.display()))?;
        if found.version > VERSION {
            let message = format!(
                "data directory {} was written by a newer wk (layout {}, this one knows {VERSION}); start it with that version",
                self.root.display(),
                found.version
            );
            return Err(ExitError::new(Code::DataDirNewer, message).into());
        }
        Ok(())
    }

    /// A store without an identity is somebody's data: better no start than the wrong one.
    fn refuse_leftovers(&self) -> anyhow::Result<Option<Identity>> {
        let store = self.root.join("store");
        if store.exists() {
            anyhow::bail!(
                "{} is there but {} is not: restore it from a backup, or give another --data-dir",
                store.display(),
                self.root.join("identity").display()
            );
        }
        Ok(None)
    }

    /// Whether the store's directory holds anything.
    pub(crate) fn has_log(&self) -> bool {
        fs::read_dir(self.root.join("store")).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Whether this node's store was open once.
    pub(crate) fn has_begun(&self) -> bool {
        self.root.join("identity/begun").exists()
    }

    /// Notes that this node's store is open: it has a log from now on.
    pub(crate) fn note_begun(&self) -> anyhow::Result<()> {
        if self.has_begun() { Ok(()) } else { self.write("identity/begun", "").map(|_| ()) }
    }

    /// Whether the cluster told this node that it was removed.
    pub(crate) fn is_removed(&self) -> bool {
        self.root.join(REMOVED).exists()
    }

    /// Notes that the cluster removed this node: it does not ask again at every start.
    pub(crate) fn note_removed(&self) {
        if let Err(error) = self.write(REMOVED, "") {
            tracing::warn!("{error:#}");
        }
    }

    /// The key and certificate request of a node that asks to join: those of an earlier try, if it was interrupted.
    pub(crate) fn newcomer(&self) -> anyhow::Result<(NodeKey, Csr)> {
        let path = self.root.join(JOINING);
        if let Ok(text) = fs::read_to_string(&path)
            && let Ok((key, csr)) = serde_json::from_str::<(String, String)>(&text)
            && let Ok(key) = NodeKey::from_pem(&KeyPem::new(key))
        {
            return Ok((key, Csr::new(csr)));
        }
        let key = NodeKey::generate().context("make the node's key")?;
        let csr = key.csr().context("make the certificate request")?;
        self.write(JOINING, &serde_json::to_string(&(key.to_pem().as_str(), csr.as_str()))?)?;
        Ok((key, csr))
    }

    /// Forgets the key of a node that has joined, or will not.
    pub(crate) fn forget_newcomer(&self) {
        let _ = fs::remove_file(self.root.join(JOINING));
    }

    /// Keeps the identity of a new node, whole or not at all.
    pub(crate) fn keep(&self, identity: &Identity) -> anyhow::Result<()> {
        let staging = self.staging();
        let write = || -> io::Result<()> {
            write_identity(&staging, identity)?;
            fs::rename(&staging, self.root.join("identity"))?;
            File::open(&self.root)?.sync_all()
        };
        write().with_context(|| format!("keep the node's identity in {}", self.root.display()))
    }

    /// Writes a small file that only this user may read, whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let (path, new) = (self.root.join(name), self.root.join(format!("{name}.new")));
        let write = || {
            let _ = fs::remove_file(&new);
            write_private(&new, text)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// A node that is being restored: what is in its directory is not there until it is finished.
pub(crate) struct Founding<'a> {
    dir: &'a DataDir,
    is_finished: bool,
}

impl DataDir {
    /// Begins to make a node that has a store already. The directory must be empty.
    pub(crate) fn found(&self) -> anyhow::Result<Founding<'_>> {
        let items = fs::read_dir(&self.root).with_context(|| format!("list {}", self.root.display()))?;
        if let Some(item) = items.filter_map(Result::ok).find(|item| item.file_name() != "lock") {
            let message = format!(
                "data directory {} is not empty, it holds {}: give another --data-dir",
                self.root.display(),
                item.file_name().display()
            );
            return Err(ExitError::new(Code::Conflict, message).into());
        }
        let staging = self.join(FOUNDING);
        let made = fs::DirBuilder::new().mode(0o700).create(&staging);
        made.with_context(|| format!("make {}", staging.display()))?;
        Ok(Founding { dir: self, is_finished: false })
    }

    /// Gives what was founded its names, which may have been done in part before.
    fn take_founded(&self) -> anyhow::Result<()> {
        let founded = self.join(FOUNDED);
        if !founded.exists() {
            return Ok(());
        }
        let take = || {
            for name in ["blobs", "store", "identity"] {
                if founded.join(name).exists() {
                    fs::rename(founded.join(name), self.join(name))?;
                }
            }
            fs::remove_dir(&founded)?;
            File::open(&self.root)?.sync_all()
        };
        take().with_context(|| format!("take over {}", founded.display()))
    }
}

impl Founding<'_> {
    /// A place inside.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.join(FOUNDING).join(name)
    }

    /// Makes the directory that node's: the rename is the one step, and what follows it is made up for at the next start.
    pub(crate) fn finish(mut self, identity: &Identity) -> anyhow::Result<()> {
        let dir = self.join("identity");
        let write = || {
            write_identity(&dir, identity)?;
            // It has a log: without one it must not start.
            write_private(&dir.join("begun"), "")?;
            File::open(self.dir.join(FOUNDING))?.sync_all()?;
            fs::rename(self.dir.join(FOUNDING), self.dir.join(FOUNDED))?;
            File::open(self.dir.root())?.sync_all()
        };
        write().with_context(|| format!("keep the node's identity in {}", self.dir.root().display()))?;
        self.is_finished = true;
        self.dir.take_founded()
    }
}

impl Drop for Founding<'_> {
    /// A restore that failed leaves nothing.
    fn drop(&mut self) {
        if !self.is_finished {
            let _ = fs::remove_dir_all(self.dir.join(FOUNDING));
        }
    }
}

fn write_identity(dir: &Path, identity: &Identity) -> io::Result<()> {
    let (ca, ca_key) = identity.authority.to_pem();
    fs::DirBuilder::new().mode(0o700).create(dir)?;
    write_private(&dir.join("ca.pem"), ca.as_str())?;
    write_private(&dir.join("ca.key"), ca_key.as_str())?;
    write_private(&dir.join("node.key"), identity.key.to_pem().as_str())?;
    write_private(&dir.join("node.json"), &serde_json::to_string_pretty(&identity.file)?)?;
    File::open(dir)?.sync_all()
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn remove_dir(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    fn identity() -> Identity {
        let name: NodeName = "n1".parse().unwrap();
        let file = NodeFile {
            version: VERSION,
            cluster: "c".into(),
            member: 1,
            name,
            first: true,
            witness: false,
            seeds: Vec::new(),
        };
        Identity { file, authority: Authority::create("c").unwrap(), key: NodeKey::generate().unwrap() }
    }

    #[test]
    fn identity_comes_back_and_a_second_user_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        assert!(dir.identity().unwrap().is_none());
        let kept = identity();
        dir.keep(&kept).unwrap();
        let found = dir.identity().unwrap().unwrap();
        assert_eq!(found.authority.fingerprint(), kept.authority.fingerprint());
        let error = DataDir::try_open(root.path()).err().unwrap();
        assert_eq!(code_of(&error), Code::DataDirInUse);
        drop(dir);
        assert!(DataDir::try_open(root.path()).is_ok());
    }

    #[tokio::test]
    async fn start_waits_for_a_process_that_is_on_its_way_out() {
        let root = tempfile::tempdir().unwrap();
        let before = DataDir::try_open(root.path()).unwrap();
        let next = tokio::spawn({
            let root = root.path().to_owned();
            async move { DataDir::open(&root).await }
        });
        tokio::task::yield_now().await;
        // It leaves nothing: its lock goes with it, and the next one makes its own.
        drop(before);
        let next = next.await.unwrap().unwrap();
        assert_eq!(code_of(&DataDir::try_open(root.path()).err().unwrap()), Code::DataDirInUse);
        drop(next);
    }

    #[test]
    fn directory_of_a_newer_version_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        fs::create_dir(root.path().join("identity")).unwrap();
        fs::write(root.path().join("identity/node.json"), r#"{"version": 99, "shape": "unknown"}"#).unwrap();
        assert_eq!(code_of(&dir.identity().err().unwrap()), Code::DataDirNewer);
    }

    #[test]
    fn start_that_died_half_way_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("identity.new")).unwrap();
        fs::write(root.path().join("identity.new/ca.key"), "half").unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        assert!(dir.identity().unwrap().is_none());
        assert!(!root.path().join("identity.new").exists());
        drop(dir);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn interrupted_newcomer_asks_again_with_the_same_request() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        let (_, first) = dir.newcomer().unwrap();
        drop(dir);
        let dir = DataDir::try_open(root.path()).unwrap();
        assert_eq!(dir.newcomer().unwrap().1.as_str(), first.as_str());
        dir.forget_newcomer();
        assert_ne!(dir.newcomer().unwrap().1.as_str(), first.as_str());
    }

    #[test]
    fn directory_made_for_a_start_that_failed_goes_again() {
        let root = tempfile::tempdir().unwrap();
        let made = root.path().join("made");
        drop(DataDir::try_open(&made).unwrap());
        assert!(!made.exists());
    }

    #[test]
    fn restored_node_is_there_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        let founding = dir.found().unwrap();
        fs::create_dir(founding.join("store")).unwrap();
        drop(founding);
        drop(dir);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "a restore that failed leaves nothing");
        let dir = DataDir::try_open(root.path()).unwrap();
        let founding = dir.found().unwrap();
        fs::create_dir(founding.join("store")).unwrap();
        founding.finish(&identity()).unwrap();
        assert!(dir.identity().unwrap().is_some() && dir.has_begun() && dir.join("store").is_dir());
        let error = dir.found().err().unwrap();
        assert_eq!(code_of(&error), Code::Conflict);
    }

    #[test]
    fn restore_that_died_after_its_one_step_is_finished_by_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        let founding = dir.found().unwrap();
        fs::create_dir(founding.join("store")).unwrap();
        founding.finish(&identity()).unwrap();
        drop(dir);
        fs::create_dir(root.path().join(FOUNDED)).unwrap();
        fs::rename(root.path().join("identity"), root.path().join(FOUNDED).join("identity")).unwrap();
        let dir = DataDir::try_open(root.path()).unwrap();
        assert!(dir.identity().unwrap().is_some() && dir.join("store").is_dir() && !dir.join(FOUNDED).exists());
    }
}
