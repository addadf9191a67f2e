//! Why a blob could not be kept, and why an image could not be had.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use wk_base::body::BoxError;

use crate::digest::Digest;
use crate::manifest::ManifestError;
use crate::reference::LOCAL_HOST;

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The content is not what its name says.
    #[error("content of blob {expected} is really {found}")]
    Mismatch {
        /// The name it was sent under.
        expected: Digest,
        /// The name of what was sent.
        found: Digest,
    },
    /// More bytes than allowed.
    #[error("blob {digest} is larger than {limit} bytes")]
    TooLarge {
        /// Its name.
        digest: Digest,
        /// The limit in bytes.
        limit: u64,
    },
    /// The sender stopped or failed.
    #[error("receive blob {digest}")]
    Receive {
        /// Its name.
        digest: Digest,
        /// What ended it.
        source: BoxError,
    },
    /// The sender fell silent.
    #[error("receive blob {digest}: nothing came for {after:?}")]
    Stalled {
        /// Its name.
        digest: Digest,
        /// How long it was waited for.
        after: Duration,
    },
    /// The disk failed or is full.
    #[error("{act} {}", path.display())]
    Disk {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A registry outside the cluster.
    #[error(
        "registry {host} is not supported yet: only images uploaded to the cluster ({LOCAL_HOST}/NAME@DIGEST) are; upload one with `wk deploy FILE.wasm`"
    )]
    UnsupportedHost {
        /// The host.
        host: String,
    },
    /// A reference to the cluster's own store without a digest.
    #[error("image {image} has no digest: write {LOCAL_HOST}/NAME@sha256:…")]
    NoDigest {
        /// The reference.
        image: String,
    },
    /// Neither this node nor a peer has it.
    #[error("blob {digest} is on no node that answers ({tried} peers tried)")]
    Missing {
        /// The blob that is missing.
        digest: Digest,
        /// How many peers were tried.
        tried: u32,
        /// Why the last one that failed did, if one failed.
        source: Option<BoxError>,
    },
    /// The manifest is not one of a WebAssembly image.
    #[error("use the image manifest {digest}")]
    Manifest {
        /// The manifest's digest.
        digest: Digest,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The manifest is wrong about its layer, or the layer is too large.
    #[error("layer {digest} has {size} bytes, {why}")]
    Layer {
        /// The layer.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// What is wrong with that.
        why: String,
    },
    /// This node could not keep it.
    #[error("keep the image on this node")]
    Blob(#[from] BlobError),
}
