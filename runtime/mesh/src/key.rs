//! A node's private key, which never leaves the node, and the request made with it.

use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, CertificateSigningRequestParams, DistinguishedName, KeyPair, PublicKey};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use crate::pem::{KeyPem, PemError};

/// A request of ours is about 400 bytes. The rest is room for clients that add extensions.
pub(crate) const CSR_BYTES_MAX: usize = 16 * 1024;

/// An uncompressed point of P-256: `04`, x, y (SEC 1, section 2.3.3).
const P256_POINT_BYTES: usize = 65;

/// The private key of a node (ECDSA P-256).
#[derive(Clone)]
pub struct NodeKey(Arc<KeyPair>);

/// Why a node key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The generator failed.
    #[error("generate a private key")]
    Generate(#[source] rcgen::Error),
    /// Not a PEM text.
    #[error("read a private key")]
    Pem(#[from] PemError),
    /// PEM, but not a key of the kind we use.
    #[error("read a private key: not an ECDSA P-256 key in PKCS #8")]
    Kind(#[source] rcgen::Error),
    /// The request could not be made.
    #[error("make a certificate request")]
    Request(#[source] rcgen::Error),
}

/// A certificate signing request, PEM encoded (PKCS #10).
///
/// It may come from a stranger. Whoever signs takes nothing from it but the public key, and that only if the request
/// proves possession of the private one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Csr(String);

/// Why a signing request is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Longer than any request of ours.
    #[error("certificate request of {size} bytes is longer than {CSR_BYTES_MAX}")]
    TooLong {
        /// Its size in bytes.
        size: usize,
    },
    /// Not a request, or not signed with the key it names.
    #[error("read the certificate request")]
    Parse(#[source] rcgen::Error),
    /// A key of a kind that nodes do not have.
    #[error("the certificate request's key is not ECDSA P-256")]
    Kind,
}

impl NodeKey {
    /// A new key from the operating system's generator.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(KeyError::Generate)
    }

    /// Reads what [`NodeKey::to_pem`] wrote.
    pub fn from_pem(pem: &KeyPem) -> Result<Self, KeyError> {
        let der = pem.der()?;
        let pkcs8 = PrivatePkcs8KeyDer::from(der.secret_der());
        KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(|pair| Self(Arc::new(pair)))
            .map_err(KeyError::Kind)
    }

    /// The key as PKCS #8 in PEM, for the node's own disk.
    pub fn to_pem(&self) -> KeyPem {
        KeyPem::new(self.0.serialize_pem())
    }

    /// A request for a certificate over this key. It names nobody: the authority decides who the key belongs to.
    pub fn csr(&self) -> Result<Csr, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&*self.0).map_err(KeyError::Request)?;
        request.pem().map(Csr).map_err(KeyError::Request)
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeKey").finish_non_exhaustive()
    }
}

impl Csr {
    /// Takes a text as it is; it is checked when it is signed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The public key, once the request has proved possession of the private one. All else in it is ignored.
    pub(crate) fn public_key(&self) -> Result<PublicKey, CsrError> {
        if self.0.len() > CSR_BYTES_MAX {
            return Err(CsrError::TooLong { size: self.0.len() });
        }
        let request = CertificateSigningRequestParams::from_pem(&self.0).map_err(CsrError::Parse)?;
        let key = request.public_key;
        // The parser takes the key's algorithm from the signature's: the point's length says whether they agree.
        let point = rcgen::PublicKeyData::der_bytes(&key);
        if key.algorithm() != &rcgen::PKCS_ECDSA_P256_SHA256 || point.len() != P256_POINT_BYTES || point[0] != 4 {
            return Err(CsrError::Kind);
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem_file() {
        let key = NodeKey::generate().expect("a key");
        let again = NodeKey::from_pem(&key.to_pem()).expect("the same key");
        assert_eq!(key.pair().public_key_raw(), again.pair().public_key_raw());
        assert!(!format!("{key:?} {:?}", key.to_pem()).contains("PRIVATE"));
    }

    #[test]
    fn a_request_that_is_garbage_huge_forged_or_of_another_kind_of_key_is_refused() {
        assert!(matches!(Csr::new("garbage").public_key(), Err(CsrError::Parse(_))));
        assert!(matches!(Csr::new("x".repeat(CSR_BYTES_MAX + 1)).public_key(), Err(CsrError::TooLong { .. })));

        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a P-384 key");
        let request = CertificateParams::default().serialize_request(&other).expect("a request");
        assert!(matches!(Csr::new(request.pem().expect("PEM")).public_key(), Err(CsrError::Kind)));

        let honest = NodeKey::generate().expect("a key").csr().expect("a request");
        assert!(honest.public_key().is_ok());
        let mut forged = honest.as_str().lines().map(str::to_owned).collect::<Vec<_>>();
        let line = &mut forged[2];
        let swapped = if line.starts_with('A') { "B" } else { "A" };
        line.replace_range(0..1, swapped);
        assert!(Csr::new(forged.join("\n")).public_key().is_err());
    }
}
