//! A small HTTPS client for what is somebody else's: the keys of an OpenID Connect provider, a webhook.
//!
//! One request, one connection, no redirects, no proxies. Not for nodes: those are [`crate::Mesh`]'s.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wk_base::body::{Body, empty, full};

use crate::identity::provider;
use crate::own_root::ChainOrRoot;

/// Where systems keep the authorities that they trust.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a document could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not an https address.
    #[error("{0} is no https address")]
    Address(String),
    /// No authority to verify the server with.
    #[error("no certificates to verify the server with")]
    Roots,
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Config(#[source] rustls::Error),
    /// No verifier can be made.
    #[error("set up the verification of certificates")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// It cannot be reached, or is not who it should be.
    #[error("connect")]
    Connect(#[source] io::Error),
    /// HTTP failed.
    #[error("ask")]
    Http(#[source] hyper::Error),
    /// The answer cannot be read, or is too long.
    #[error("read the answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answers something else.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
}

/// Fetches documents from servers that these authorities vouch for. Clones share everything.
#[derive(Clone)]
pub struct Https {
    tls: TlsConnector,
}

impl Https {
    /// Trusts the certificates of a PEM text; those of the system without one.
    pub fn new(roots: Option<&str>) -> Result<Self, FetchError> {
        let system = || SYSTEM_BUNDLES.iter().find_map(|path| std::fs::read_to_string(path).ok());
        let text = roots.map(str::to_owned).or_else(system).ok_or(FetchError::Roots)?;
        let roots: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        if store.is_empty() {
            return Err(FetchError::Roots);
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider()).build();
        let verifier = ChainOrRoot { chain: chain.map_err(FetchError::Verifier)?, roots };
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(FetchError::Config)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// GETs a document of at most `limit` bytes.
    pub async fn get(&self, url: &str, limit: usize, deadline: Duration) -> Result<Bytes, FetchError> {
        let fetch = self.fetch(url, limit);
        tokio::time::timeout(deadline, fetch).await.map_err(|_| FetchError::Deadline(deadline))?
    }

    /// POSTs JSON, and answers the status and at most `limit` bytes.
    pub async fn post(
        &self,
        url: &str,
        json: Bytes,
        limit: usize,
        deadline: Duration,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let builder = Request::builder().method(Method::POST).header(header::CONTENT_TYPE, "application/json");
        let send = self.send(url, builder, full(json), limit);
        tokio::time::timeout(deadline, send).await.map_err(|_| FetchError::Deadline(deadline))?
    }

    async fn fetch(&self, url: &str, limit: usize) -> Result<Bytes, FetchError> {
        match self.send(url, Request::builder(), empty(), limit).await? {
            (status, body) if status.is_success() => Ok(body),
            (status, _) => Err(FetchError::Status(status)),
        }
    }

    async fn send(
        &self,
        url: &str,
        builder: http::request::Builder,
        body: Body,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let wrong = || FetchError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(wrong)?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| wrong())?;
        let address = (host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(443));
        let stream = TcpStream::connect(address).await.map_err(FetchError::Connect)?;
        let stream = self.tls.connect(name, stream).await.map_err(FetchError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(FetchError::Http)?;
        let connection = tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let request = builder.uri(path).header(header::HOST, authority).header(header::ACCEPT, "application/json");
        let request = request.body(body).map_err(|_| wrong())?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(FetchError::Http)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), limit).collect().await.map_err(FetchError::Body)?;
            Ok((status, body.to_bytes()))
        };
        let answered = answered.await;
        connection.abort();
        answered
    }
}
