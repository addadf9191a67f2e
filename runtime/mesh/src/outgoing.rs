//! TLS of pods' own requests: it finds out that a server is who the guest asked for.
//!
//! Not for nodes: those are [`crate::Mesh`]'s. No client certificates: a guest that has one opens sockets.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use crate::identity::provider;
use crate::pem::CertPem;

/// Whom to believe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of the machine.
    Public,
    /// Those, and the cluster's own: for servers that the cluster's services lead to.
    Cluster,
}

/// Why there is no TLS with a server.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The server's certificate is none to believe, or not this server's.
    #[error("the server's certificate: {0}")]
    Certificate(String),
    /// The server's certificate comes from an authority that nobody named.
    #[error("the server's certificate is by an authority that is not trusted")]
    UnknownIssuer,
    /// What should be certificates is none.
    #[error("there is no certificate in PEM in what is to be trusted besides")]
    NoAuthority,
    /// It is no name that a certificate could be for.
    #[error("{0:?} is no name of a server")]
    Name(String),
    /// TLS cannot be set up here.
    #[error("set up TLS")]
    Config(#[source] rustls::Error),
    /// No verifier can be made.
    #[error("set up the verification of certificates")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// The handshake failed otherwise.
    #[error("shake hands")]
    Handshake(#[source] std::io::Error),
}

/// The calling end of TLS for pods. Clones share everything.
#[derive(Clone)]
pub struct ClientTls {
    shared: Arc<Shared>,
}

struct Shared {
    authority: CertPem,
    /// The machine's own authorities, of some hundred files, read once: else whoever names one set more than are kept would
    /// have them read for each connection.
    machine: OnceCell<Arc<Vec<CertificateDer<'static>>>>,
    /// Made when first needed: few nodes have pods that call out, and the machine's authorities are some hundred.
    public: OnceCell<TlsConnector>,
    cluster: OnceCell<TlsConnector>,
    /// Those that believe authorities of pods' own as well, the last used at the end.
    private: Mutex<Vec<(Private, TlsConnector)>>,
}

/// Whom else, and beside whom.
type Private = (Trust, String);

/// Sets of private authorities that are kept: each holds some hundred public ones too, 100 KiB together. Pods of one
/// application share theirs; past this many a set is read again for a connection.
const PRIVATE_MAX: usize = 16;

impl ClientTls {
    /// TLS that believes the machine's authorities, and where asked to the cluster's `authority`.
    pub fn new(authority: CertPem) -> Self {
        let (machine, public, cluster) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let shared = Shared { authority, machine, public, cluster, private: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Shakes hands with `host`, a name or an address, over `stream`. Authorities in `private`, in PEM, are believed too.
    pub async fn connect<S>(
        &self,
        trust: Trust,
        private: &str,
        host: &str,
        stream: S,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<S>, TrustError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TrustError::Name(host.to_owned()))?;
        let connector =
            if private.is_empty() { self.usual(trust).await? } else { self.private(trust, private).await? };
        connector.connect(name, stream).await.map_err(|error| {
            let why = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
            match why {
                Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => TrustError::UnknownIssuer,
                Some(rustls::Error::InvalidCertificate(why)) => TrustError::Certificate(why.to_string()),
                _ => TrustError::Handshake(error),
            }
        })
    }

    async fn usual(&self, trust: Trust) -> Result<TlsConnector, TrustError> {
        let cell = match trust {
            Trust::Public => &self.shared.public,
            Trust::Cluster => &self.shared.cluster,
        };
        cell.get_or_try_init(|| self.connector(self.own(trust))).await.cloned()
    }

    async fn private(&self, trust: Trust, pem: &str) -> Result<TlsConnector, TrustError> {
        let wanted = (trust, pem.to_owned());
        {
            let mut kept = self.shared.private.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = kept.iter().position(|(known, _)| *known == wanted) {
                let found = kept.remove(at);
                kept.push(found.clone());
                return Ok(found.1);
            }
        }
        if CertificateDer::pem_slice_iter(pem.as_bytes()).find_map(Result::ok).is_none() {
            return Err(TrustError::NoAuthority);
        }
        let mut authorities = self.own(trust);
        authorities.push(CertPem::new(pem));
        let made = self.connector(authorities).await?;
        let mut kept = self.shared.private.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= PRIVATE_MAX {
            kept.remove(0);
        }
        kept.push((wanted, made.clone()));
        Ok(made)
    }

    /// A connector that believes the machine's authorities and these.
    async fn connector(&self, authorities: Vec<CertPem>) -> Result<TlsConnector, TrustError> {
        let read = || async { Arc::new(tokio::task::spawn_blocking(machine).await.unwrap_or_default()) };
        let machine = Arc::clone(self.shared.machine.get_or_init(read).await);
        // A set may be of some thousand certificates.
        let roots = tokio::task::spawn_blocking(move || roots(&machine, &authorities));
        connector(roots.await.unwrap_or_else(|_| RootCertStore::empty()))
    }

    /// The cluster's authority, where it is to be believed.
    fn own(&self, trust: Trust) -> Vec<CertPem> {
        match trust {
            Trust::Public => Vec::new(),
            Trust::Cluster => vec![self.shared.authority.clone()],
        }
    }
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, TrustError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(TrustError::Verifier)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Config)?
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The machine's authorities. Blocks.
fn machine() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a trusted certificate of the machine cannot be read");
    }
    found.certs
}

fn roots(machine: &[CertificateDer<'static>], authorities: &[CertPem]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(machine.iter().cloned());
    for authority in authorities {
        let own = CertificateDer::pem_slice_iter(authority.as_str().as_bytes()).filter_map(Result::ok);
        store.add_parsable_certificates(own);
    }
    store
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}
