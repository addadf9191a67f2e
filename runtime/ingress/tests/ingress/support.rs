//! An ingress that listens, endpoints that do what a test says, and plain clients.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body};
use wk_ingress::{Backend, Endpoint, HostRule, Ingress, Limits, PathRule, Route, Routes, Upstream, UpstreamError};

pub(crate) type Reply = Result<Response<Body>, UpstreamError>;
type Act = dyn Fn(Endpoint, Request<Body>) -> BoxFuture<'static, Reply> + Send + Sync;

/// Endpoints that do what a test says.
pub(crate) struct Fake {
    act: Box<Act>,
    calls: Mutex<Vec<String>>,
}

impl Fake {
    /// The pods called so far, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("lock").clone()
    }
}

#[async_trait]
impl Upstream for Fake {
    async fn call(&self, endpoint: &Endpoint, request: Request<Body>) -> Reply {
        self.calls.lock().expect("lock").push(endpoint.pod.to_string());
        (self.act)(endpoint.clone(), request).await
    }
}

/// An ingress for `web.localhost`, which listens in plain text.
pub(crate) struct Door {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) routes: Arc<ArcSwap<Routes>>,
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: JoinHandle<()>,
}

pub(crate) const THREE: &[(&str, &str)] = &[("a", "n1"), ("b", "n2"), ("c", "n3")];

/// A table that leads `web.localhost` to these pods, each given with its node.
pub(crate) fn table(pods: &[(&str, &str)]) -> Routes {
    let endpoint = |&(pod, node): &(&str, &str)| Endpoint {
        pod: pod.into(),
        node: node.into(),
        address: "10.128.0.1:8080".into(),
        local: false,
    };
    let endpoints = pods.iter().map(endpoint).collect();
    Routes::new(vec![Route {
        host: HostRule::Exact("web.localhost".into()),
        path: PathRule::Prefix("/".into()),
        backend: Arc::new(Backend { name: "default/web:80".into(), endpoints, lacks: None }),
    }])
}

impl Door {
    pub(crate) async fn open<F, R>(pods: &[(&str, &str)], limits: Limits, act: F) -> Self
    where
        F: Fn(Endpoint, Request<Body>) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        let act: Box<Act> = Box::new(move |endpoint, request| Box::pin(act(endpoint, request)));
        let fake = Arc::new(Fake { act, calls: Mutex::default() });
        let routes = Arc::new(ArcSwap::from_pointee(table(pods)));
        let ingress = Ingress::new(Arc::clone(&routes), Arc::clone(&fake) as Arc<dyn Upstream>, limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(Arc::clone(&ingress).serve(listener, shutdown.clone()));
        Self { ingress, routes, fake, address, shutdown, server }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    /// Sends this text and reads until the ingress closes.
    pub(crate) async fn raw(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.expect("write");
        rest(&mut stream).await
    }

    /// A request on a connection of its own: status and body.
    pub(crate) async fn send(&self, request: Request<Body>) -> (u16, String) {
        let mut client = h1(self.connect().await).await;
        collect(within(client.send_request(request)).await.expect("a response")).await
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        self.send(request("GET", path, body::empty())).await
    }
}

/// A request for `web.localhost`.
pub(crate) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "web.localhost").body(body).expect("a request")
}

#[expect(clippy::unnecessary_wraps, reason = "it is what an endpoint returns")]
pub(crate) fn ok(text: impl Into<Bytes>) -> Reply {
    Ok(Response::new(body::full(text)))
}

pub(crate) fn not_sent() -> UpstreamError {
    UpstreamError::NotSent("connection refused".into())
}

pub(crate) fn broken() -> UpstreamError {
    UpstreamError::Broken("connection reset".into())
}

pub(crate) async fn collect<B>(response: Response<B>) -> (u16, String)
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    let status = response.status().as_u16();
    let bytes = within(response.into_body().collect()).await.expect("a whole body").to_bytes();
    (status, String::from_utf8(bytes.to_vec()).expect("text"))
}

/// Everything until the other side closes. A reset counts as closing.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut out = Vec::new();
    let _ = within(stream.read_to_end(&mut out)).await;
    String::from_utf8(out).expect("text")
}

/// What is next on the connection, up to and including `end`.
pub(crate) async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut out = Vec::new();
    while !out.ends_with(end.as_bytes()) {
        out.push(within(stream.read_u8()).await.expect("more"));
    }
    String::from_utf8(out).expect("text")
}

/// An HTTP/1 client on this connection.
pub(crate) async fn h1<I>(io: I) -> http1::SendRequest<Body>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = http1::handshake(TokioIo::new(io)).await.expect("handshake");
    tokio::spawn(connection);
    client
}

/// An HTTP/2 client on this connection, by prior knowledge, and the connection's end.
pub(crate) async fn h2<I>(io: I) -> (http2::SendRequest<Body>, JoinHandle<hyper::Result<()>>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("handshake");
    (client, tokio::spawn(connection))
}

/// So that a test that waits in vain says so.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
