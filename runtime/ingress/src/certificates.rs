//! Which certificate a TLS client is shown.
//!
//! Not here: where certificates come from and when they are renewed; [`Certificates`] is asked at every handshake.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};

/// A certificate chain and its private key, as PEM text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pem {
    /// The chain, end entity first.
    pub certificate: String,
    /// The private key (PKCS#8, SEC1 or PKCS#1).
    pub key: String,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

impl Pem {
    /// Whether a server can use them: both are PEM, and the key is that of the first certificate.
    pub fn check(&self) -> Result<(), PemError> {
        parse(self, &ring::default_provider()).map(|_| ())
    }
}

/// Where the ingress finds certificates. Asked once a TLS handshake, so it must answer from memory.
pub trait Certificates: Send + Sync + 'static {
    /// The certificate for a server name (lower case), or `None` when it has none of its own.
    fn certificate(&self, server_name: &str) -> Option<Arc<Pem>>;

    /// The certificate for every other name, and for clients that name none.
    fn fallback(&self) -> Option<Arc<Pem>>;
}

/// Parsed certificates kept; beyond it all are parsed anew, at about 100 µs each.
const PARSED_MAX: usize = 1024;

/// Parsed keys by their text; `None` for text that cannot be used, so that it is reported once.
type Parsed = HashMap<Arc<Pem>, Option<Arc<CertifiedKey>>>;

/// Finds and parses certificates for handshakes.
pub(crate) struct Resolver {
    source: Arc<dyn Certificates>,
    provider: Arc<CryptoProvider>,
    parsed: Mutex<Parsed>,
}

impl Resolver {
    /// A resolver, and the TLS set-up that uses it: TLS 1.2 and 1.3, HTTP/2 preferred.
    pub(crate) fn new(source: Arc<dyn Certificates>) -> (Arc<Self>, Arc<ServerConfig>) {
        let provider = Arc::new(ring::default_provider());
        let resolver = Arc::new(Self { source, provider: Arc::clone(&provider), parsed: Mutex::default() });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        (resolver, Arc::new(config))
    }

    /// Whether two names are shown the same certificate.
    pub(crate) fn same(&self, one: &str, other: &str) -> bool {
        match (self.source.certificate(one), self.source.certificate(other)) {
            (None, None) => true,
            (Some(one), Some(other)) => one == other,
            (Some(own), None) | (None, Some(own)) => self.source.fallback().is_some_and(|fallback| fallback == own),
        }
    }

    fn key(&self, pem: Arc<Pem>) -> Option<Arc<CertifiedKey>> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = parsed.get(&pem) {
            return key.clone();
        }
        let key = match parse(&pem, &self.provider) {
            Ok(key) => Some(Arc::new(key)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a certificate cannot be used");
                None
            }
        };
        if parsed.len() >= PARSED_MAX {
            parsed.clear();
        }
        parsed.insert(pem, key.clone());
        key
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands the name over in lower case.
        let own = hello.server_name().and_then(|name| self.source.certificate(name));
        own.and_then(|pem| self.key(pem)).or_else(|| self.key(self.source.fallback()?))
    }
}

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The chain has no certificate.
    #[error("there is no certificate")]
    NoChain,
    /// The chain is no PEM.
    #[error("read the certificate chain")]
    Chain(#[source] rustls::pki_types::pem::Error),
    /// The key is no PEM.
    #[error("read the private key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// The key is that of another certificate.
    #[error("the private key is not that of the certificate")]
    Other,
    /// They are of a sort that no server uses.
    #[error("use the private key with the certificate")]
    Use(#[source] rustls::Error),
}

fn parse(pem: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, PemError> {
    let chain = CertificateDer::pem_slice_iter(pem.certificate.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(PemError::Chain)?;
    if chain.is_empty() {
        return Err(PemError::NoChain);
    }
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes()).map_err(PemError::Key)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => PemError::Other,
        error => PemError::Use(error),
    })
}
