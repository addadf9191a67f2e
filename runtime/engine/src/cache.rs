//! Compiled code on disk, so that a node that starts again compiles nothing again.
//!
//! The name of a file says which module, which engine settings and which processor features it is for; its first
//! bytes are a checksum over that name and the code. The checksum is against damage and mix-ups (a file renamed, cut
//! short, of another disk), not against an attacker: who can write here can replace the node's key as well.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::target::Settings;

const SUM_BYTES: usize = 32;

/// The directory.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Room for all files together, in bytes.
    budget: u64,
}

impl Cache {
    pub(crate) fn open(dir: &Path, budget: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self { dir: dir.to_owned(), budget })
    }

    /// That of a process which is handed its code.
    pub(crate) fn none() -> Self {
        // Nothing is found at the empty path.
        Self { dir: PathBuf::new(), budget: 0 }
    }

    /// The code stored for `digest`, if it is there and whole.
    pub(crate) fn get(&self, settings: &Settings, digest: &str) -> Option<Vec<u8>> {
        let path = self.path(settings, digest);
        let code = whole(settings, digest, fs::read(&path).ok()?);
        if code.is_none() {
            tracing::warn!(path = %path.display(), "compiled code is damaged, compiling again");
            self.forget(settings, digest);
            return None;
        }
        touch(&path);
        code
    }

    /// The file with the code for `digest`, for another process.
    pub(crate) fn file(&self, settings: &Settings, digest: &str) -> io::Result<File> {
        File::open(self.path(settings, digest))
    }

    /// Stores the code for `digest`: on disk whole or not at all. The files that `in_use` names stay, whatever their age.
    pub(crate) fn put(&self, settings: &Settings, digest: &str, code: &[u8], in_use: &[String]) -> io::Result<()> {
        let stored = StoredCode::new(settings, digest, code);
        self.make_room(stored.bytes.len() as u64, &in_use.iter().map(|name| self.dir.join(name)).collect())?;
        let path = self.dir.join(stored.file_name);
        let temporary = path.with_extension(format!("{}.part", wk_base::id::suffix(8)));
        let written = write(&temporary, &stored.bytes).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        File::open(&self.dir)?.sync_all()
    }

    /// Removes what is stored for `digest`.
    pub(crate) fn forget(&self, settings: &Settings, digest: &str) {
        let _ = fs::remove_file(self.path(settings, digest));
    }

    fn path(&self, settings: &Settings, digest: &str) -> PathBuf {
        self.dir.join(file_name(settings, digest))
    }

    /// Removes the least recently used files, and what an interrupted write left, until `bytes` more fit.
    fn make_room(&self, bytes: u64, in_use: &BTreeSet<PathBuf>) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()));
            }
        }
        files.sort_unstable();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total.saturating_add(bytes) <= self.budget {
                break;
            }
            if in_use.contains(&path) {
                // Used as long as a pod holds it, not only when it was read.
                touch(&path);
                continue;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        if total.saturating_add(bytes) > self.budget {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("the {} bytes for compiled code are in use", self.budget),
            ));
        }
        Ok(())
    }
}

/// The code in the bytes of a file, if they are all there and those of this module.
pub(crate) fn whole(settings: &Settings, digest: &str, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    if bytes.len() < SUM_BYTES || bytes[..SUM_BYTES] != sum(settings, digest, &bytes[SUM_BYTES..]) {
        return None;
    }
    bytes.drain(..SUM_BYTES);
    Some(bytes)
}

/// The name of the file that code is kept in.
pub(crate) fn file_name(settings: &Settings, digest: &str) -> String {
    let mut name = Sha256::new();
    name.update(settings.sum);
    name.update(digest);
    format!("{}.cwasm", hex::encode(name.finalize()))
}

/// Code as a node keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCode {
    /// The name of its file in the directory of compiled code.
    pub file_name: String,
    /// What is in the file: a checksum and the code.
    pub bytes: Vec<u8>,
}

impl StoredCode {
    /// The code of a module.
    pub fn new(settings: &Settings, digest: &str, code: &[u8]) -> Self {
        let bytes = [&sum(settings, digest, code)[..], code].concat();
        Self { file_name: file_name(settings, digest), bytes }
    }
}

fn sum(settings: &Settings, digest: &str, code: &[u8]) -> [u8; SUM_BYTES] {
    let mut sum = Sha256::new();
    sum.update(b"wk compiled code 1\0");
    sum.update(settings.sum);
    sum.update((digest.len() as u64).to_le_bytes());
    sum.update(digest);
    sum.update(code);
    sum.finalize().into()
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a file the most recently used; a file system that keeps no times loses the order and nothing else.
fn touch(path: &Path) {
    if let Ok(file) = File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;
    use crate::target::Profile;

    struct Kit {
        cache: Cache,
        settings: Settings,
        _dir: tempfile::TempDir,
    }

    impl Kit {
        fn new(budget: u64) -> Self {
            let dir = tempfile::tempdir().expect("temporary directory");
            let cache = Cache::open(&dir.path().join("compiled"), budget).expect("opens");
            Self { cache, settings: Profile::default().settings().expect("is known"), _dir: dir }
        }

        fn get(&self, digest: &str) -> Option<Vec<u8>> {
            self.cache.get(&self.settings, digest)
        }

        fn put(&self, digest: &str, code: &[u8]) {
            self.cache.put(&self.settings, digest, code, &[]).expect("stores");
        }

        fn path(&self, digest: &str) -> PathBuf {
            self.cache.path(&self.settings, digest)
        }

        /// As if it had been used so many seconds ago.
        fn used(&self, digest: &str, ago: u64) {
            let file = File::options().append(true).open(self.path(digest)).expect("opens");
            file.set_modified(SystemTime::now() - Duration::from_secs(ago)).expect("is dated");
        }
    }

    #[test]
    fn code_comes_back_as_it_was_stored_and_only_its_owner_may_read_it() {
        let kit = Kit::new(1000);
        assert_eq!(kit.get("sha256:a"), None);
        kit.put("sha256:a", b"code");
        assert_eq!(kit.get("sha256:a").as_deref(), Some(&b"code"[..]));
        assert_eq!(kit.get("sha256:b"), None);
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&kit.path("sha256:a")), 0o600);
        assert_eq!(mode(&kit.cache.dir), 0o700);
    }

    #[test]
    fn damaged_renamed_and_truncated_code_is_not_used() {
        let kit = Kit::new(1000);
        kit.put("sha256:a", b"code");
        fs::copy(kit.path("sha256:a"), kit.path("sha256:b")).expect("copies");
        assert_eq!(kit.get("sha256:b"), None, "code of another module");

        let mut bytes = fs::read(kit.path("sha256:a")).expect("reads");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(kit.path("sha256:a"), &bytes).expect("writes");
        assert_eq!(kit.get("sha256:a"), None, "one bit flipped");
        assert!(!kit.path("sha256:a").exists(), "damaged code stays on disk");

        fs::write(kit.path("sha256:a"), &bytes[..10]).expect("writes");
        assert_eq!(kit.get("sha256:a"), None, "cut short");
    }

    #[test]
    fn code_of_other_settings_is_not_used() {
        let kit = Kit::new(1000);
        kit.put("sha256:a", b"code");
        let other = Settings { sum: [7; 32], ..kit.settings.clone() };
        assert_eq!(kit.cache.get(&other, "sha256:a"), None);
        fs::copy(kit.path("sha256:a"), kit.cache.path(&other, "sha256:a")).expect("copies");
        assert_eq!(kit.cache.get(&other, "sha256:a"), None, "under the name of other settings");
    }

    #[test]
    fn the_least_recently_used_makes_room_and_what_is_in_use_stays() {
        let kit = Kit::new(260);
        for (digest, ago) in [("a", 50), ("b", 40), ("c", 30)] {
            kit.put(digest, &[0; 50]);
            kit.used(digest, ago);
        }
        // Reading is using: now b is the oldest that nobody holds, though it was not stored first.
        assert!(kit.get("a").is_some());
        kit.used("c", 60);
        kit.cache.put(&kit.settings, "d", &[0; 50], &[file_name(&kit.settings, "c")]).expect("stores");
        assert!(kit.get("b").is_none(), "the least recently used is there still");
        assert!(kit.get("a").is_some() && kit.get("c").is_some() && kit.get("d").is_some());
    }

    #[test]
    fn the_budget_holds_even_if_everything_is_in_use() {
        let kit = Kit::new(100);
        kit.put("a", &[0; 50]);
        let full = kit
            .cache
            .put(&kit.settings, "b", &[0; 50], &[file_name(&kit.settings, "a")])
            .expect_err("there is no room");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(kit.get("a").is_some());
    }
}
