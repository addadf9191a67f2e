//! Blobs on disk: one file each, named by its content.
//!
//! `DIR/sha256/<hex>` are whole blobs, `DIR/temporary/` holds those on their way in and is emptied at start.
//! A file appears under its name only after its bytes were hashed, found right and synced to disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use tempfile::TempPath;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedMutexGuard;
use tokio_util::io::ReaderStream;
use wk_base::body::{Body, full};

use crate::digest::{Digest, Hasher};
use crate::error::BlobError;

/// A sender that is silent for this long is gone or malicious; the mesh notices a dead peer in 3 seconds.
const FRAME_DEADLINE: Duration = Duration::from_secs(30);
/// Blobs leave in pieces of this size: a good match for HTTP/2 frames and the page cache alike.
const PIECE_BYTES: usize = 64 * 1024;

/// The blobs of one node. Clones share them.
#[derive(Clone)]
pub struct Blobs {
    shared: Arc<Shared>,
}

struct Shared {
    whole: PathBuf,
    temporary: PathBuf,
    /// Blobs whose content this process has seen to be right: written by it, or hashed once since it started.
    /// Never more than there are files.
    checked: Mutex<BTreeSet<Digest>>,
    /// Who is fetching what, so that many pods of one image fetch it once. Entries end with their last holder.
    fetching: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

/// An open blob.
#[derive(Debug)]
pub struct Blob {
    size: u64,
    file: tokio::fs::File,
}

impl Blobs {
    /// Opens or creates the store in `dir`, and removes what an earlier process did not finish.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let dir = dir.into();
        let shared = Shared {
            whole: dir.join("sha256"),
            temporary: dir.join("temporary"),
            checked: Mutex::default(),
            fetching: Mutex::default(),
        };
        for path in [&shared.whole, &shared.temporary] {
            fs::create_dir_all(path).map_err(|source| disk("create directory", path, source))?;
        }
        let listing = |source| disk("list directory", &shared.temporary, source);
        for entry in fs::read_dir(&shared.temporary).map_err(listing)? {
            let path = entry.map_err(listing)?.path();
            fs::remove_file(&path).map_err(|source| disk("remove", &path, source))?;
        }
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Keeps what `body` brings under the name `expected`, if that is its name. Returns its size.
    ///
    /// More than `limit` bytes, other content, or a body that fails leave nothing behind. A blob that is here already
    /// is not received again.
    pub async fn put(&self, expected: &Digest, body: Body, limit: u64) -> Result<u64, BlobError> {
        if let Some(path) = self.checked(expected).await? {
            return size_of(&path);
        }
        let too_large = || BlobError::TooLarge { digest: *expected, limit };
        if body.size_hint().lower() > limit {
            return Err(too_large());
        }
        let (mut file, path) = self.temporary().await?;
        let mut hasher = Hasher::new();
        let mut size = 0_u64;
        let mut body = body;
        while let Some(frame) = tokio::time::timeout(FRAME_DEADLINE, body.frame())
            .await
            .map_err(|_| BlobError::Stalled { digest: *expected, after: FRAME_DEADLINE })?
        {
            let frame = frame.map_err(|source| BlobError::Receive { digest: *expected, source })?;
            let Ok(bytes) = frame.into_data() else { continue };
            size += bytes.len() as u64;
            if size > limit {
                return Err(too_large());
            }
            hasher.update(&bytes);
            file.write_all(&bytes).await.map_err(|source| disk("write", &path, source))?;
        }
        let found = hasher.finish();
        if found != *expected {
            return Err(BlobError::Mismatch { expected: *expected, found });
        }
        file.flush().await.map_err(|source| disk("write", &path, source))?;
        file.sync_all().await.map_err(|source| disk("sync", &path, source))?;
        drop(file);
        self.finish(*expected, path).await?;
        Ok(size)
    }

    /// Keeps these bytes and returns their name.
    pub async fn put_bytes(&self, bytes: impl Into<Bytes>) -> Result<Digest, BlobError> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        self.put(&digest, full(bytes), size).await?;
        Ok(digest)
    }

    /// Opens a blob, or nothing if it is not here.
    pub async fn get(&self, digest: &Digest) -> Result<Option<Blob>, BlobError> {
        let Some(path) = self.checked(digest).await? else { return Ok(None) };
        let file = match tokio::fs::File::open(&path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(disk("open", &path, source)),
        };
        let size = file.metadata().await.map_err(|source| disk("read", &path, source))?.len();
        Ok(Some(Blob { size, file }))
    }

    /// Where a blob is, whether it is here or not. Only to be read, and only after it was found.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.shared.whole.join(digest.hex())
    }

    /// True if the blob is here.
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// All blobs that are here, with their sizes in bytes.
    pub fn list(&self) -> Result<BTreeMap<Digest, u64>, BlobError> {
        let listing = |source| disk("list directory", &self.shared.whole, source);
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.shared.whole).map_err(listing)? {
            let entry = entry.map_err(listing)?;
            // A file with another name is not ours to judge.
            let name = entry.file_name().to_str().map(|hex| format!("sha256:{hex}"));
            if let Some(Ok(digest)) = name.map(|name| name.parse()) {
                found.insert(digest, entry.metadata().map_err(listing)?.len());
            }
        }
        Ok(found)
    }

    /// Removes a blob. True if it was here.
    pub fn remove(&self, digest: &Digest) -> Result<bool, BlobError> {
        lock(&self.shared.checked).remove(digest);
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(disk("remove", &path, source)),
        }
    }

    /// The path of a blob that is here and right. A file that this process did not write is hashed once; one that has
    /// rotted is removed, so that it can be fetched again.
    pub(crate) async fn checked(&self, digest: &Digest) -> Result<Option<PathBuf>, BlobError> {
        let path = self.path(digest);
        if !path.is_file() {
            lock(&self.shared.checked).remove(digest);
            return Ok(None);
        }
        if lock(&self.shared.checked).contains(digest) {
            return Ok(Some(path));
        }
        let found = {
            let path = path.clone();
            blocking(move || hash_file(&path)).await?
        };
        if found == Some(*digest) {
            lock(&self.shared.checked).insert(*digest);
            return Ok(Some(path));
        }
        if let Some(found) = found {
            tracing::error!(%digest, %found, "blob on disk has rotted, removing it");
            self.remove(digest)?;
        }
        Ok(None)
    }

    /// Waits for the right to fetch this blob; whoever had it before may have brought it.
    pub(crate) async fn fetching(&self, digest: &Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut fetching = lock(&self.shared.fetching);
            fetching.retain(|_, turn| turn.strong_count() > 0);
            let known = fetching.get(digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                fetching.insert(*digest, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }

    async fn temporary(&self) -> Result<(tokio::fs::File, TempPath), BlobError> {
        let dir = self.shared.temporary.clone();
        let (file, path) = blocking(move || {
            tempfile::NamedTempFile::new_in(&dir)
                .map(tempfile::NamedTempFile::into_parts)
                .map_err(|source| disk("create a file in", &dir, source))
        })
        .await?;
        Ok((tokio::fs::File::from_std(file), path))
    }

    /// Gives a finished file its name. Others may do so at the same time with the same content: the last one stays.
    async fn finish(&self, digest: Digest, temporary: TempPath) -> Result<(), BlobError> {
        let path = self.path(&digest);
        let dir = self.shared.whole.clone();
        blocking(move || {
            temporary.persist(&path).map_err(|error| disk("rename a blob to", &path, error.error))?;
            // The name itself survives a power cut only once its directory is synced.
            File::open(&dir).and_then(|dir| dir.sync_all()).map_err(|source| disk("sync directory", &dir, source))
        })
        .await?;
        lock(&self.shared.checked).insert(digest);
        Ok(())
    }
}

impl Blob {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes as a body, read as they are sent.
    pub fn into_body(self) -> Body {
        let pieces = ReaderStream::with_capacity(self.file.take(self.size), PIECE_BYTES);
        wk_base::body::boxed(StreamBody::new(pieces.map_ok(Frame::data)))
    }

    /// All its bytes, for small ones: nothing if there are more than `limit`.
    pub async fn bytes(mut self, limit: u64) -> io::Result<Option<Bytes>> {
        if self.size > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.file.read_to_end(&mut bytes).await?;
        Ok(Some(bytes.into()))
    }
}

fn hash_file(path: &Path) -> Result<Option<Digest>, BlobError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(disk("open", path, source)),
    };
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(Some(hasher.finish())),
            Ok(count) => hasher.update(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(disk("read", path, source)),
        }
    }
}

fn size_of(path: &Path) -> Result<u64, BlobError> {
    fs::metadata(path).map(|metadata| metadata.len()).map_err(|source| disk("read", path, source))
}

/// Runs disk work off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(disk("work on", Path::new("blobs"), io::Error::other(error))),
    }
}

fn disk(act: &'static str, path: &Path, source: io::Error) -> BlobError {
    BlobError::Disk { act, path: path.to_owned(), source }
}

/// A lock of ours is held for a few map operations that cannot panic halfway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
