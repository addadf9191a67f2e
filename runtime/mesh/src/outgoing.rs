//! TLS of pods' own requests: it finds out that a server is who the guest asked for.
//!
//! Not for nodes: those are [`crate::Mesh`]'s. No client certificates: a guest that has one opens sockets.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
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
    /// Made when first needed: few nodes have pods that call out, and the machine's authorities are some hundred.
    public: OnceCell<TlsConnector>,
    cluster: OnceCell<TlsConnector>,
}

impl ClientTls {
    /// TLS that believes the machine's authorities, and where asked to the cluster's `authority`.
    pub fn new(authority: CertPem) -> Self {
        Self { shared: Arc::new(Shared { authority, public: OnceCell::new(), cluster: OnceCell::new() }) }
    }

    /// Shakes hands with `host`, a name or an address, over `stream`.
    pub async fn connect<S>(
        &self,
        trust: Trust,
        host: &str,
        stream: S,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<S>, TrustError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TrustError::Name(host.to_owned()))?;
        let connector = match trust {
            Trust::Public => self.shared.public.get_or_try_init(|| connector(None)).await?,
            Trust::Cluster => {
                let authority = Some(self.shared.authority.clone());
                self.shared.cluster.get_or_try_init(|| connector(authority)).await?
            }
        };
        connector.connect(name, stream).await.map_err(|error| {
            let why = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
            match why {
                Some(rustls::Error::InvalidCertificate(why)) => TrustError::Certificate(why.to_string()),
                _ => TrustError::Handshake(error),
            }
        })
    }
}

async fn connector(authority: Option<CertPem>) -> Result<TlsConnector, TrustError> {
    // Reads some hundred files of the machine.
    let roots = tokio::task::spawn_blocking(move || roots(authority.as_ref()));
    let roots = roots.await.unwrap_or_else(|_| RootCertStore::empty());
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

fn roots(authority: Option<&CertPem>) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a trusted certificate of the machine cannot be read");
    }
    store.add_parsable_certificates(found.certs);
    if let Some(authority) = authority {
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
