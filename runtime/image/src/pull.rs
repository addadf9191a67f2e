//! Making an image be on this node: what is not on its disk comes from peers, and nobody's word is taken for it.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use wk_base::body::{Body, BoxError};
use wk_base::error::Chain;

use crate::blobs::Blobs;
use crate::digest::Digest;
use crate::error::{BlobError, PullError};
use crate::manifest::{Content, Descriptor, Manifest};
use crate::reference::Reference;

/// Largest manifest (the OCI distribution specification asks registries to take 4 MiB).
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest module: compiling one takes memory of many times its size, and this is already far past what compiles.
pub const LAYER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Peers asked for one blob. A blob is on the nodes that ran it; if this many do not have it, the next will not either.
const ATTEMPTS_MAX: u32 = 64;
/// One peer's time for one blob: the largest one at 1 MB/s takes 270 seconds.
const ATTEMPT_DEADLINE: Duration = Duration::from_mins(5);

/// The nodes that may have a blob.
#[async_trait]
pub trait Peers: Send + Sync {
    /// Asks a peer for a blob. `attempt` counts from 0 for one blob: each asks the next peer, because the one before
    /// failed, or sent something else.
    ///
    /// `Ok(None)` when there is no further peer that has it; an error when this peer failed and the next may be tried.
    async fn fetch(&self, digest: &Digest, attempt: u32) -> Result<Option<Body>, BoxError>;
}

/// A module on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wasm {
    /// The digest of the module itself.
    pub digest: Digest,
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// Makes sure that the module of an image is on this node's disk.
pub async fn pull(blobs: &Blobs, image: &Reference, peers: &dyn Peers) -> Result<Wasm, PullError> {
    let (digest, manifest) = manifest_of(blobs, image, peers).await?;
    let descriptor = manifest.wasm().map_err(|source| PullError::Manifest { digest, source })?;
    layer(blobs, descriptor, peers).await
}

/// As [`pull`], but the module of the image that has this title, if there is one.
pub async fn pull_titled(
    blobs: &Blobs,
    image: &Reference,
    title: &str,
    peers: &dyn Peers,
) -> Result<Option<Wasm>, PullError> {
    let (_, manifest) = manifest_of(blobs, image, peers).await?;
    match manifest.titled(title) {
        Some(descriptor) => layer(blobs, descriptor, peers).await.map(Some),
        None => Ok(None),
    }
}

/// A layer on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// What it is as files.
    pub content: Content,
    /// Where it is.
    pub path: PathBuf,
}

/// Makes sure that all layers of an image are on this node's disk, and says what they are as files.
pub async fn pull_layers(blobs: &Blobs, image: &Reference, peers: &dyn Peers) -> Result<Vec<Layer>, PullError> {
    let (digest, manifest) = manifest_of(blobs, image, peers).await?;
    let contents = manifest.contents().map_err(|source| PullError::Manifest { digest, source })?;
    let mut layers = Vec::with_capacity(contents.len());
    for (descriptor, content) in contents {
        let path = layer(blobs, descriptor, peers).await?.path;
        layers.push(Layer { content, path });
    }
    Ok(layers)
}

async fn manifest_of(blobs: &Blobs, image: &Reference, peers: &dyn Peers) -> Result<(Digest, Manifest), PullError> {
    if !image.is_local() {
        return Err(PullError::UnsupportedHost { host: image.host().to_owned() });
    }
    let Some(manifest_digest) = image.digest() else {
        return Err(PullError::NoDigest { image: image.to_string() });
    };
    Ok((*manifest_digest, manifest(blobs, manifest_digest, peers).await?))
}

async fn layer(blobs: &Blobs, layer: &Descriptor, peers: &dyn Peers) -> Result<Wasm, PullError> {
    let wrong = |size, why| PullError::Layer { digest: layer.digest, size, why };
    if layer.size > LAYER_BYTES_MAX {
        return Err(wrong(layer.size, format!("more than {LAYER_BYTES_MAX}")));
    }
    let path = ensure(blobs, &layer.digest, layer.size, peers).await?;
    let size = tokio::fs::metadata(&path)
        .await
        .map_err(|source| BlobError::Disk { act: "read", path: path.clone(), source })?
        .len();
    if size != layer.size {
        return Err(wrong(size, format!("but the manifest says {}", layer.size)));
    }
    Ok(Wasm { digest: layer.digest, path, size })
}

async fn manifest(blobs: &Blobs, digest: &Digest, peers: &dyn Peers) -> Result<Manifest, PullError> {
    let path = ensure(blobs, digest, MANIFEST_BYTES_MAX, peers).await?;
    let blob = blobs.get(digest).await?.ok_or(PullError::Missing { digest: *digest, tried: 0, source: None })?;
    let bytes = blob
        .bytes(MANIFEST_BYTES_MAX)
        .await
        .map_err(|source| BlobError::Disk { act: "read", path, source })?
        .ok_or(BlobError::TooLarge { digest: *digest, limit: MANIFEST_BYTES_MAX })?;
    Manifest::parse(&bytes).map_err(|source| PullError::Manifest { digest: *digest, source })
}

/// The path of a blob that is on disk now, fetched if it was not.
async fn ensure(blobs: &Blobs, digest: &Digest, limit: u64, peers: &dyn Peers) -> Result<PathBuf, PullError> {
    if let Some(path) = blobs.checked(digest).await? {
        return Ok(path);
    }
    let _turn = blobs.fetching(digest).await;
    if let Some(path) = blobs.checked(digest).await? {
        return Ok(path);
    }
    let mut last = None;
    let mut tried = 0;
    while tried < ATTEMPTS_MAX {
        let attempt = tokio::time::timeout(ATTEMPT_DEADLINE, from_peer(blobs, digest, limit, peers, tried));
        match attempt.await {
            Ok(Ok(true)) => return Ok(blobs.path(digest)),
            Ok(Ok(false)) => break,
            // This node's own disk: another peer would not help.
            Ok(Err(Failed::Here(error))) => return Err(error.into()),
            Ok(Err(Failed::There(error))) => {
                tracing::warn!(%digest, attempt = tried, error = %Chain(&*error), "a peer did not bring a blob");
                last = Some(error);
            }
            Err(_) => last = Some(format!("not done within {ATTEMPT_DEADLINE:?}").into()),
        }
        tried += 1;
    }
    Err(PullError::Missing { digest: *digest, tried, source: last })
}

enum Failed {
    Here(BlobError),
    There(BoxError),
}

/// False when no further peer has it.
async fn from_peer(
    blobs: &Blobs,
    digest: &Digest,
    limit: u64,
    peers: &dyn Peers,
    attempt: u32,
) -> Result<bool, Failed> {
    let Some(body) = peers.fetch(digest, attempt).await.map_err(Failed::There)? else {
        return Ok(false);
    };
    match blobs.put(digest, body, limit).await {
        Ok(_) => Ok(true),
        Err(error @ BlobError::Disk { .. }) => Err(Failed::Here(error)),
        Err(
            error @ (BlobError::Mismatch { .. }
            | BlobError::TooLarge { .. }
            | BlobError::Receive { .. }
            | BlobError::Stalled { .. }),
        ) => Err(Failed::There(error.into())),
    }
}

#[cfg(test)]
mod tests;
