//! Objects created through the Kubernetes API of three nodes: TLS, JSON, defaults, validation, the store, its disk.
//!
//! Its rate beside that of `bench store` says what all of that costs over the store alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode, header};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::store::load::{self, Window};
use super::table::{Table, median, range};
use super::{Bench, progress};
use crate::nodes::{self, Node};

const API_PORT: u16 = 6443;
const CLIENTS: usize = 64;
/// As in `bench store`.
const CONNECTIONS: usize = 4;
/// What makes an object of about 1 KiB.
const TEXT_BYTES: usize = 900;
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Client {
    sender: SendRequest<Bytes>,
    uri: String,
}

pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let nodes = bench.nodes("api", 3).await?;
    let mut clients = Vec::new();
    for node in std::iter::repeat_n(&nodes, CONNECTIONS).flatten() {
        clients.push(connect(node).await.context("connect to the API")?);
    }
    let pids: Vec<u32> = nodes.iter().map(|node| node.pid).collect();
    let window = Window { warm_up: WARM_UP, measured: Duration::from_secs(bench.arguments.seconds.into()) };
    let (mut rates, mut medians, mut p99s, mut cpus) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds() {
        progress(&format!("API, round {round} of {}", bench.rounds()));
        let create = move |client: Client, worker, repetition| async move {
            client.create(&format!("bench-{round}-{worker}-{repetition}")).await
        };
        let seen = load::run(&clients, CLIENTS, window, &pids, || {}, create).await?;
        rates.push(seen.per_second);
        medians.push(seen.latency.median);
        p99s.push(seen.latency.p99);
        cpus.push(seen.cpu);
    }
    drop(clients);
    nodes::stop_all(nodes).await?;
    let mut table = Table::new(
        &format!(
            "ConfigMaps of 1 KiB created by {CLIENTS} clients in one process, over {CONNECTIONS} connections to the API \
             of each of three nodes (HTTP/2 with TLS and JSON):"
        ),
        &["", "median", "range"],
    );
    let rows =
        [("created a second", rates, 0), ("p50 ms", medians, 2), ("p99 ms", p99s, 2), ("CPU µs of nodes", cpus, 0)];
    for (what, figures, digits) in rows {
        let (low, high) = range(&figures);
        let middle = median(&figures);
        table.row(&[what.to_owned(), format!("{middle:.digits$}"), format!("{low:.digits$} to {high:.digits$}")]);
    }
    Ok(table.finish())
}

/// Connects as the node's administrator.
async fn connect(node: &Node) -> Result<Client> {
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
    let (sender, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(Client { sender, uri: format!("https://{address}:{API_PORT}/api/v1/namespaces/default/configmaps") })
}

/// What the kubeconfig says of `name`, whether it is YAML or JSON.
fn pem(kubeconfig: &str, name: &str) -> Result<Vec<u8>> {
    let (_, rest) = kubeconfig.split_once(name).with_context(|| format!("the kubeconfig has no {name}"))?;
    let is_base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
    let rest = rest.trim_start_matches(|letter: char| !is_base64(letter));
    let end = rest.find(|letter: char| !is_base64(letter)).unwrap_or(rest.len());
    STANDARD.decode(&rest[..end]).with_context(|| format!("{name} is not base64"))
}

impl Client {
    async fn create(&self, name: &str) -> Result<()> {
        let data = serde_json::json!({"text": "x".repeat(TEXT_BYTES)});
        let object =
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let request = Request::post(&self.uri).header(header::CONTENT_TYPE, "application/json").body(())?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(request, false)?;
        body.send_data(object.to_string().into(), true)?;
        let response = response.await?;
        let status = response.status();
        let (mut body, mut answer) = (response.into_body(), Vec::new());
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            answer.extend_from_slice(&data);
        }
        ensure!(status == StatusCode::CREATED, "{status}: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
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
