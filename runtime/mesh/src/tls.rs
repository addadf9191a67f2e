//! TLS at both ends: it proves who this node is, and finds out who the other is.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::identity::{Identity, IdentityError, provider};
use crate::metrics::ServeMetrics;
use crate::peer::{Peer, PeerError};

/// HTTP/2 in TLS' protocol negotiation (RFC 9113, section 3.1).
pub(crate) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// An accepted connection.
pub type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Which protocols a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2 over TLS 1.3 and nothing else: between nodes.
    Mesh,
    /// HTTP/2 or HTTP/1.1 over TLS 1.2 or 1.3: the Kubernetes API and its many clients.
    Api,
}

/// Accepts TLS connections. Clones share everything.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    alpn: Alpn,
    metrics: Arc<ServeMetrics>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The identity is not whole.
    #[error("use the node's identity")]
    Identity(#[from] IdentityError),
    /// TLS refuses the identity, for instance because key and certificate do not belong together.
    #[error("set up TLS with the node's identity")]
    Config(#[source] rustls::Error),
    /// No verifier of certificates can be made of the authority.
    #[error("set up the verification of certificates")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake took too long.
    #[error("TLS handshake not done within {0:?}")]
    Deadline(Duration),
    /// The handshake failed: another authority, another protocol, or the other side left.
    #[error("TLS handshake")]
    Handshake(#[source] std::io::Error),
    /// The certificate verifies and yet names nobody.
    #[error("identify the client")]
    Peer(#[from] PeerError),
    /// The client did not agree to a protocol that is spoken here.
    #[error("the client did not offer HTTP/2")]
    Protocol,
}

impl Tls {
    /// A server with this identity. It presents its certificate and the authority's, and asks for a client certificate:
    /// whoever presents one must have it from the cluster's authority; whoever presents none is [`Peer::Anonymous`].
    pub fn server(identity: &Identity, alpn: Alpn) -> Result<Self, TlsError> {
        let parsed = identity.parse()?;
        let verifier = WebPkiClientVerifier::builder_with_provider(parsed.roots, provider())
            .allow_unauthenticated()
            .build()
            .map_err(TlsError::Verifier)?;
        let versions: &[&rustls::SupportedProtocolVersion] = match alpn {
            Alpn::Mesh => &[&rustls::version::TLS13],
            Alpn::Api => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(parsed.chain, identity.key.der())
            .map_err(TlsError::Config)?;
        config.alpn_protocols = match alpn {
            Alpn::Mesh => vec![H2.to_vec()],
            Alpn::Api => vec![H2.to_vec(), HTTP_1_1.to_vec()],
        };
        if alpn == Alpn::Mesh {
            // Connections between nodes are few and last: each proves its identity afresh.
            config.send_tls13_tickets = 0;
        }
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), alpn, metrics: Arc::default() })
    }

    /// Shakes hands, within `deadline`.
    pub async fn accept(&self, stream: TcpStream, deadline: Duration) -> Result<(TlsStream, Peer), AcceptError> {
        let stream = tokio::time::timeout(deadline, self.acceptor.accept(stream))
            .await
            .map_err(|_| AcceptError::Deadline(deadline))?
            .map_err(AcceptError::Handshake)?;
        let (_, session) = stream.get_ref();
        if self.alpn == Alpn::Mesh && session.alpn_protocol() != Some(H2) {
            return Err(AcceptError::Protocol);
        }
        let peer = match session.peer_certificates() {
            // The first one is the holder's own; TLS has verified it against the authority.
            Some([leaf, ..]) => Peer::from_verified(leaf)?,
            Some([]) | None => Peer::Anonymous,
        };
        Ok((stream, peer))
    }

    /// What servers with this have counted.
    pub fn metrics(&self) -> &Arc<ServeMetrics> {
        &self.metrics
    }

    /// The protocols it speaks.
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }
}

/// The calling end: it shows this node's certificate, and takes only servers that the authority calls by the name meant.
pub(crate) fn connector(identity: &Identity) -> Result<TlsConnector, TlsError> {
    let parsed = identity.parse()?;
    let verifier =
        WebPkiServerVerifier::builder_with_provider(parsed.roots, provider()).build().map_err(TlsError::Verifier)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Config)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(parsed.chain, identity.key.der())
        .map_err(TlsError::Config)?;
    config.alpn_protocols = vec![H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}
