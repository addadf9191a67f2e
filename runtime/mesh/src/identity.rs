//! What a node presents to others.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;

use crate::key::NodeKey;
use crate::name::NodeName;
use crate::pem::{CertPem, PemError};

/// A node's name, its certificate, the key of it and the authority it trusts.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node's name.
    pub name: NodeName,
    /// Its certificate, from [`crate::Authority::issue_node`].
    pub cert: CertPem,
    /// The key of the certificate.
    pub key: NodeKey,
    /// The cluster's authority.
    pub ca: CertPem,
}

/// Why the parts of an identity do not make one.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The node's certificate is not readable.
    #[error("read the node's certificate")]
    Cert(#[source] PemError),
    /// The authority's certificate is not readable.
    #[error("read the cluster authority's certificate")]
    Ca(#[source] PemError),
    /// The authority's certificate is readable but cannot be trusted as one.
    #[error("trust the cluster authority")]
    Trust(#[source] rustls::Error),
}

/// The parsed parts, as TLS wants them.
pub(crate) struct Parsed {
    /// Leaf and authority: a joining node looks for the authority in the chain.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) roots: Arc<RootCertStore>,
}

impl Identity {
    pub(crate) fn parse(&self) -> Result<Parsed, IdentityError> {
        let leaf = self.cert.der().map_err(IdentityError::Cert)?;
        let ca = self.ca.der().map_err(IdentityError::Ca)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(IdentityError::Trust)?;
        Ok(Parsed { chain: vec![leaf, ca], roots: Arc::new(roots) })
    }
}

/// The one cryptography provider of this crate, named here so that nothing depends on a process-wide default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
