//! Tests over real sockets on the loopback address, and what they share.

mod authority;
mod calls;
mod failures;
mod hostile;
mod joining;
mod outgoing;
mod serving;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wk_base::body::{Body, full};

use crate::metrics::ServeMetrics;
use crate::{Alpn, Authority, Handler, Identity, Limits, Mesh, NodeKey, NodeName, Peer, Tls, serve};

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Far longer than anything takes; a test that reaches it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) fn name(text: &str) -> NodeName {
    text.parse().expect("a node name")
}

pub(crate) fn identity(authority: &Authority, node: &str) -> Identity {
    let key = NodeKey::generate().expect("a key");
    let csr = key.csr().expect("a request");
    let cert = authority.issue_node(&name(node), LOOPBACK, &csr).expect("a certificate");
    Identity { name: name(node), cert, key, ca: authority.cert_pem().clone() }
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A handler from a closure.
struct Answers<F>(F);

#[async_trait]
impl<F: Fn(Peer, Request<Body>) -> Answering + Send + Sync + 'static> Handler for Answers<F> {
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        (self.0)(peer, request).await
    }
}

pub(crate) fn answers<F>(answer: F) -> Arc<dyn Handler>
where
    F: Fn(Peer, Request<Body>) -> Answering + Send + Sync + 'static,
{
    Arc::new(Answers(answer))
}

/// Answers with the name of whoever asks.
pub(crate) fn who_are_you() -> Arc<dyn Handler> {
    answers(|peer, _| Box::pin(async move { Response::new(full(peer.to_string())) }))
}

/// Sends back what it receives, as it comes.
pub(crate) fn echo() -> Arc<dyn Handler> {
    answers(|_, request| Box::pin(async move { Response::new(request.into_body()) }))
}

/// Never answers.
pub(crate) fn mute() -> Arc<dyn Handler> {
    answers(|_, _| Box::pin(std::future::pending()))
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) done: JoinHandle<()>,
    pub(crate) metrics: Arc<ServeMetrics>,
}

impl Server {
    pub(crate) async fn start(identity: &Identity, handler: Arc<dyn Handler>) -> Self {
        Self::start_with(identity, Alpn::Mesh, handler, SocketAddr::new(LOOPBACK, 0), Limits::mesh()).await
    }

    pub(crate) async fn start_with(
        identity: &Identity,
        alpn: Alpn,
        handler: Arc<dyn Handler>,
        address: SocketAddr,
        limits: Limits,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let tls = Tls::server(identity, alpn).expect("a server identity");
        let (shutdown, metrics) = (CancellationToken::new(), Arc::clone(tls.metrics()));
        let done = tokio::spawn(serve(listener, tls, handler, limits, shutdown.clone()));
        Self { address, shutdown, done, metrics }
    }

    /// Ends it without a word to those connected, as SIGKILL would. It must have been started with `abrupt()`.
    pub(crate) async fn kill(self) {
        self.shutdown.cancel();
        self.done.await.expect("the server ends");
    }

    pub(crate) fn count(&self, metric: &str) -> u64 {
        self.metrics.read().iter().find(|(name, _)| *name == metric).expect("a metric").1
    }
}

pub(crate) fn abrupt() -> Limits {
    Limits { drain: Duration::ZERO, ..Limits::mesh() }
}

/// A calling side that knows one node.
pub(crate) fn mesh(identity: &Identity, node: &str, address: SocketAddr) -> Mesh {
    let mesh = Mesh::new(identity.clone()).expect("a client identity");
    mesh.set_address(&name(node), address);
    mesh
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(wk_base::body::empty()).expect("a request")
}

pub(crate) async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while !condition() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(LONG, poll).await.unwrap_or_else(|_| panic!("never: {what}"));
}
