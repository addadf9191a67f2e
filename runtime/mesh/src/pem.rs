//! PEM texts with their meaning as a type: a certificate may be shown, a key may not.

use std::fmt;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

/// A certificate of ours is under 2 KiB; a chain of a few fits too. More is not parsed.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// One certificate, PEM encoded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertPem(String);

/// A private key, PEM encoded (PKCS #8). `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyPem(String);

/// Why a PEM text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// Longer than any certificate or key of ours.
    #[error("PEM text of {size} bytes is longer than {PEM_BYTES_MAX}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
    },
    /// Not PEM, or without the section looked for.
    #[error("read {what} from PEM")]
    Parse {
        /// What was looked for.
        what: &'static str,
        /// What the parser says.
        source: rustls::pki_types::pem::Error,
    },
}

impl CertPem {
    /// Takes a text as it is; it is parsed where it is used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn der(&self) -> Result<CertificateDer<'static>, PemError> {
        check_size(&self.0)?;
        CertificateDer::from_pem_slice(self.0.as_bytes())
            .map_err(|source| PemError::Parse { what: "a certificate", source })
    }
}

impl KeyPem {
    /// Takes a text as it is; it is parsed where it is used.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. It is a secret.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn der(&self) -> Result<PrivateKeyDer<'static>, PemError> {
        check_size(&self.0)?;
        PrivateKeyDer::from_pem_slice(self.0.as_bytes())
            .map_err(|source| PemError::Parse { what: "a private key", source })
    }
}

impl fmt::Display for CertPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CertPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertPem").finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPem").finish_non_exhaustive()
    }
}

fn check_size(text: &str) -> Result<(), PemError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(PemError::TooLong { size: text.len() });
    }
    Ok(())
}
