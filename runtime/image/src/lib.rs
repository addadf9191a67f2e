//! Images: content-addressed blobs on this node's disk, the OCI shapes that name them, and fetching them from peers.
//!
//! Start at [`pull`], or at [`Blobs`] for what is on disk. Not here: registries beyond the cluster's own (the host
//! [`LOCAL_HOST`]), HTTP routes, and anything that looks inside a module.
//!
//! **Guarantees.** A blob that [`Blobs`] hands out has the content its digest says, whoever sent it; a blob that was not
//! received whole and right leaves nothing behind.
//!
//! ```
//! use wk_image::{Digest, Manifest, Reference};
//!
//! let wasm = b"\0asm".as_slice();
//! let config = wk_image::wasm_config(&Digest::of(wasm), wk_image::WasmOs::Wasip2);
//! let manifest = Manifest::for_wasm(Digest::of(wasm), 4, Digest::of(&config), config.len() as u64).to_bytes();
//! let image = Reference::local("hello", Digest::of(&manifest)).expect("a name");
//! assert!(image.to_string().starts_with("wk.local/hello@sha256:"));
//! ```

mod blobs;
mod digest;
mod error;
mod manifest;
mod pull;
mod reference;
mod unpack;

pub use blobs::{Blob, Blobs};
pub use digest::{Digest, DigestError, Hasher};
pub use error::{BlobError, PullError};
pub use manifest::{Content, Descriptor, Manifest, ManifestError, WasmOs, media_type, wasm_config};
pub use pull::{LAYER_BYTES_MAX, Layer, MANIFEST_BYTES_MAX, Peers, Wasm, pull, pull_layers, pull_titled};
pub use reference::{LOCAL_HOST, Reference, ReferenceError};
pub use unpack::{FILES, UnpackError, unpack};
