//! Compiled code on disk, so that a node that starts again compiles nothing again.
//!
//! The name of a file says which module, which engine settings and which processor features it is for; its first
//! bytes are a checksum over that name and the code. The checksum is against damage and mix-ups (a file renamed, cut
//! short, of another disk), not against an attacker: who can write here can replace the node's key as well.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

/// Room for all compiled code of a node: some thousand components of the usual size. The least recently used go first.
const DISK_BYTES_MAX: u64 = 2 << 30;

const SUM_BYTES: usize = 32;

/// The directory.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// Hash of everything outside the module that compiled code depends on.
    settings: [u8; SUM_BYTES],
}

impl Cache {
    pub(crate) fn open(dir: &Path, engine: &wasmtime::Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let mut hasher = Sha256Hasher(Sha256::new());
        // Version, target, processor features, tunables and wasm features.
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.write(std::env::consts::ARCH.as_bytes());
        Ok(Self { dir: dir.to_owned(), settings: hasher.0.finalize().into() })
    }

    /// The code stored for `digest`, if it is there and whole.
    pub(crate) fn get(&self, digest: &str) -> Option<Vec<u8>> {
        let path = self.path(digest);
        let bytes = fs::read(&path).ok()?;
        if bytes.len() < SUM_BYTES || bytes[..SUM_BYTES] != self.sum(digest, &bytes[SUM_BYTES..]) {
            tracing::warn!(path = %path.display(), "compiled code is damaged, compiling again");
            self.forget(digest);
            return None;
        }
        if let Ok(file) = File::options().append(true).open(&path) {
            // For `make_room`; a file system that keeps no times loses the order and nothing else.
            let _ = file.set_modified(SystemTime::now());
        }
        let mut code = bytes;
        code.drain(..SUM_BYTES);
        Some(code)
    }

    /// Stores the code for `digest`: on disk whole or not at all.
    pub(crate) fn put(&self, digest: &str, code: &[u8]) -> io::Result<()> {
        self.make_room(code.len() as u64)?;
        let path = self.path(digest);
        let temporary = path.with_extension(format!("{}.part", wk_base::id::suffix(8)));
        let written = self.write(&temporary, digest, code).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        File::open(&self.dir)?.sync_all()
    }

    /// Removes what is stored for `digest`.
    pub(crate) fn forget(&self, digest: &str) {
        let _ = fs::remove_file(self.path(digest));
    }

    fn write(&self, path: &Path, digest: &str, code: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&self.sum(digest, code))?;
        file.write_all(code)?;
        file.sync_all()
    }

    fn path(&self, digest: &str) -> PathBuf {
        let mut name = Sha256::new();
        name.update(self.settings);
        name.update(digest);
        self.dir.join(hex::encode(name.finalize())).with_extension("cwasm")
    }

    fn sum(&self, digest: &str, code: &[u8]) -> [u8; SUM_BYTES] {
        let mut sum = Sha256::new();
        sum.update(b"wk compiled code 1\0");
        sum.update(self.settings);
        sum.update((digest.len() as u64).to_le_bytes());
        sum.update(digest);
        sum.update(code);
        sum.finalize().into()
    }

    /// Removes the least recently used files, and what an interrupted write left, until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
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
            if total.saturating_add(bytes) <= DISK_BYTES_MAX {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }
}

/// Feeds what is hashed to SHA-256: the standard hasher has 64 bits, too few to name code that will be run.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let sum = self.0.clone().finalize();
        u64::from_le_bytes(sum[..8].try_into().expect("a SHA-256 sum has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn cache(dir: &Path) -> Cache {
        Cache::open(dir, &wasmtime::Engine::default()).expect("opens")
    }

    #[test]
    fn code_comes_back_as_it_was_stored_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let cache = cache(&dir.path().join("compiled"));
        assert_eq!(cache.get("sha256:a"), None);
        cache.put("sha256:a", b"code").expect("stores");
        assert_eq!(cache.get("sha256:a").as_deref(), Some(&b"code"[..]));
        assert_eq!(cache.get("sha256:b"), None);
        let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!(mode(&cache.path("sha256:a")), 0o600);
        assert_eq!(mode(&cache.dir), 0o700);
    }

    #[test]
    fn damaged_renamed_and_truncated_code_is_not_used() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let cache = cache(dir.path());
        cache.put("sha256:a", b"code").expect("stores");
        fs::copy(cache.path("sha256:a"), cache.path("sha256:b")).expect("copies");
        assert_eq!(cache.get("sha256:b"), None, "code of another module");

        let mut bytes = fs::read(cache.path("sha256:a")).expect("reads");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(cache.path("sha256:a"), &bytes).expect("writes");
        assert_eq!(cache.get("sha256:a"), None, "one bit flipped");
        assert!(!cache.path("sha256:a").exists(), "damaged code stays on disk");

        fs::write(cache.path("sha256:a"), &bytes[..10]).expect("writes");
        assert_eq!(cache.get("sha256:a"), None, "cut short");
    }
}
