//! A client of one node's API: HTTP/2 over TLS, with the certificate of its administrator. It knows paths and bytes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Method, Request, StatusCode, header};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::nodes::Node;

const API_PORT: u16 = 6443;
/// How often a request is sent, and how long a client waits that is told to come later: what `Retry-After` says.
const TRIES: usize = 5;
const COME_AGAIN: Duration = Duration::from_secs(1);
/// What Go's client lets a server send ahead: of one answer, and of all on a connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;
/// Of an answer, what is kept: the head of a list, with its columns, is in there.
const KEPT_BYTES: usize = 16 << 10;

pub(super) const JSON: &str = "application/json";
pub(super) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub(super) const MERGE: &str = "application/merge-patch+json";

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Client {
    sender: SendRequest<Bytes>,
    address: Ipv4Addr,
}

/// What was answered.
pub(super) struct Answer {
    /// The beginning of the body.
    pub(super) begin: Vec<u8>,
    /// Bytes of the whole body, as they came.
    pub(super) bytes: usize,
}

/// `number` connections to each of the nodes, those to one node not beside each other.
pub(super) async fn connect(nodes: &[Node], number: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for node in std::iter::repeat_n(nodes, number).flatten() {
        clients.push(Client::connect(node).await.context("connect to the API")?);
    }
    Ok(clients)
}

impl Client {
    async fn connect(node: &Node) -> Result<Self> {
        let kubeconfig = std::fs::read_to_string(node.kubeconfig()).context("read the kubeconfig")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem(&kubeconfig, "certificate-authority-data")?)?)?;
        let certificate = CertificateDer::from_pem_slice(&pem(&kubeconfig, "client-certificate-data")?)?;
        let key = PrivateKeyDer::from_pem_slice(&pem(&kubeconfig, "client-key-data")?)?;
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let address = node.plan.address;
        let stream = TcpStream::connect((address, API_PORT)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(std::net::IpAddr::from(address).into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { sender, address })
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        read(self.open(Method::GET, path, headers, None, StatusCode::OK).await?).await
    }

    pub(super) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        let headers = [(header::CONTENT_TYPE.as_str(), JSON)];
        read(self.open(Method::POST, path, &headers, Some(body), StatusCode::CREATED).await?).await
    }

    pub(super) async fn merge(&self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        let headers = [(header::CONTENT_TYPE.as_str(), MERGE)];
        read(self.open(Method::PATCH, path, &headers, Some(body), StatusCode::OK).await?).await
    }

    /// A watch that has begun.
    pub(super) async fn watch(&self, path: &str) -> Result<RecvStream> {
        self.open(Method::GET, path, &[], None, StatusCode::OK).await
    }

    /// The body of an answer with the status that is `wanted`. Who is told to come later does, and it counts as waiting.
    async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&serde_json::Value>,
        wanted: StatusCode,
    ) -> Result<RecvStream> {
        for _ in 1..TRIES {
            match self.try_open(method.clone(), path, headers, body).await? {
                (StatusCode::TOO_MANY_REQUESTS, _) => tokio::time::sleep(COME_AGAIN).await,
                // A write that was not confirmed in time, and was made.
                (StatusCode::CONFLICT, body) if method == Method::POST => return Ok(body),
                (StatusCode::GATEWAY_TIMEOUT, _) if method == Method::POST => {}
                (status, body) if status == wanted => return Ok(body),
                (status, body) => {
                    let answer = read(body).await?;
                    bail!("{path}: {status}: {}", String::from_utf8_lossy(&answer.begin));
                }
            }
        }
        bail!("{path}: told to come later {TRIES} times")
    }

    async fn try_open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, RecvStream)> {
        let mut request = Request::builder().method(method).uri(format!("https://{}:{API_PORT}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut sending) = sender.send_request(request.body(())?, body.is_none())?;
        if let Some(body) = body {
            sending.send_data(body.to_string().into(), true)?;
        }
        let response = response.await?;
        Ok((response.status(), response.into_body()))
    }
}

async fn read(mut body: RecvStream) -> Result<Answer> {
    let (mut begin, mut bytes) = (Vec::new(), 0);
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        begin.extend_from_slice(&data[..data.len().min(KEPT_BYTES.saturating_sub(begin.len()))]);
        bytes += data.len();
    }
    Ok(Answer { begin, bytes })
}

/// What the kubeconfig says of `name`, whether it is YAML or JSON.
fn pem(kubeconfig: &str, name: &str) -> Result<Vec<u8>> {
    let (_, rest) = kubeconfig.split_once(name).with_context(|| format!("the kubeconfig has no {name}"))?;
    let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
    let rest = rest.trim_start_matches(|letter: char| !is_base64(letter));
    let end = rest.find(|letter: char| !is_base64(letter)).unwrap_or(rest.len());
    STANDARD.decode(&rest[..end]).with_context(|| format!("{name} is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_in_both_forms_of_a_kubeconfig() {
        assert_eq!(pem("a: b\n  client-key-data: S0VZ\nc: d", "client-key-data").expect("is there"), b"KEY");
        assert_eq!(pem(r#"{"client-key-data":"S0VZ","a":"b"}"#, "client-key-data").expect("is there"), b"KEY");
    }
}
