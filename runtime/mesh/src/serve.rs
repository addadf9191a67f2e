//! The accepting side: an HTTP server over TLS that tells its handler who is asking. The mesh and the API server use it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wk_base::body::{Body, boxed, full};
use wk_base::error::Chain;

use crate::client::BULK_REQUESTS_MAX;
use crate::link::{CONNECTION_WINDOW, HEADER_BYTES_MAX, STREAM_WINDOW};
use crate::peer::{ClientCertificate, Peer};
use crate::tls::{Alpn, H2, Tls, TlsStream};

/// Accepting fails when the process is out of file descriptors; after this long, one may be free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is dropped after the drain is gone at once, unless a handler blocks its thread; that is not waited for longer.
const DROP_DEADLINE: Duration = Duration::from_secs(1);

/// Answers requests of one server.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. `peer` is proven; whether they may do this is to be decided here.
    ///
    /// The request carries its [`RemoteAddress`] as an extension, and a user's their [`ClientCertificate`]. It is dropped where it waits when the other side
    /// gives up.
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body>;
}

/// Where a request came from: an extension of each request. For logs; an address proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress(pub SocketAddr);

/// What one server takes on at most.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; more are closed at once, so that the caller learns it instead of waiting.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of an HTTP/1.1 request may take, and how long such a connection may idle.
    pub head: Duration,
    /// HTTP/2 streams of one connection at once.
    pub streams: u32,
    /// The same for a caller without a certificate.
    pub anonymous_streams: u32,
    /// How long a caller without a certificate may stay connected.
    pub anonymous_life: Option<Duration>,
    /// Names and values of all headers of a request together, in bytes.
    pub header_bytes: u32,
    /// How long a connection may be silent before it is asked whether it lives.
    pub ping_interval: Duration,
    /// How long it may take to answer that.
    pub ping_deadline: Duration,
    /// How long requests in flight may go on after the shutdown signal.
    pub drain: Duration,
}

impl Limits {
    /// For the traffic between nodes.
    pub fn mesh() -> Self {
        Self {
            // One for each other node; newcomers and strangers share what is left.
            connections: 1024,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            // What a caller sends at most, and half as much again for `Lane::Control`.
            streams: (BULK_REQUESTS_MAX + BULK_REQUESTS_MAX / 2) as u32,
            // All that strangers may do is join: one request, which waits for a membership change.
            anonymous_streams: 4,
            anonymous_life: Some(Duration::from_mins(1)),
            header_bytes: HEADER_BYTES_MAX,
            ping_interval: Duration::from_secs(5),
            ping_deadline: Duration::from_secs(5),
            drain: Duration::from_secs(10),
        }
    }

    /// For the Kubernetes API.
    pub fn api() -> Self {
        Self {
            // A client keeps one or two; each costs some 50 KiB while it idles.
            connections: 2048,
            // Informers of a large controller hold a watch each on one connection: some hundreds.
            streams: 1000,
            // Whoever brings a bearer token is anonymous to TLS and as good as anybody to the API.
            anonymous_streams: 1000,
            anonymous_life: None,
            // A busy client far away, as Kubernetes waits for the head of a request.
            handshake: Duration::from_secs(32),
            // Idle HTTP/1.1 connections: as long as client-go's own default (90 s), so that it closes first.
            head: Duration::from_secs(100),
            // Clients far away, on slow links, with 30 s pings of their own.
            ping_interval: Duration::from_secs(30),
            ping_deadline: Duration::from_secs(15),
            ..Self::mesh()
        }
    }
}

/// How long a handshake may go on after the shutdown signal: some turns between machines far from each other.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

/// Serves until `shutdown` fires; then lets requests in flight finish, [`Limits::drain`] at most, and returns.
///
/// Connections that were upgraded to another protocol belong to whoever upgraded them and are not waited for.
pub async fn serve(
    listener: TcpListener,
    tls: Tls,
    handler: Arc<dyn Handler>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let drain = limits.drain;
    let server = Arc::new(Server {
        tls,
        handler,
        limits,
        shutdown: shutdown.clone(),
        tasks: Tasks { tracker: TaskTracker::new(), dropped: CancellationToken::new() },
        full: AtomicBool::new(false),
    });
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, remote)) => {
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                    server.refuse(remote);
                    continue;
                };
                server.full.store(false, Ordering::Relaxed);
                let connection = Arc::clone(&server);
                server.tasks.spawn(async move {
                    connection.connection(stream, remote).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    server.tasks.finish(drain).await;
}

struct Server {
    tls: Tls,
    handler: Arc<dyn Handler>,
    limits: Limits,
    shutdown: CancellationToken,
    tasks: Tasks,
    /// So that a full server is logged once, not for every refused connection.
    full: AtomicBool,
}

impl Server {
    fn refuse(&self, remote: SocketAddr) {
        self.tls.metrics().refused.add_one();
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(%remote, limit = self.limits.connections, "too many connections, refusing more");
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, remote: SocketAddr) {
        self.tls.metrics().accepted.add_one();
        // Small responses must not wait for the acknowledgement of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%remote, error = %Chain(&error), "set TCP_NODELAY");
        }
        let accepting = self.tls.accept(stream, self.limits.handshake);
        // Who was accepted just before the signal is served too: the next process of this node will not hear of it.
        let late = async {
            self.shutdown.cancelled().await;
            tokio::time::sleep(LAST_HANDSHAKE).await;
        };
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            () = late => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.tls.metrics().handshakes_failed.add_one();
                tracing::debug!(%remote, error = %Chain(&error), "connection not accepted");
                return;
            }
        };
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        let served = if is_h2 || self.tls.alpn() == Alpn::Mesh {
            self.http2(stream, peer, remote).await
        } else {
            self.http1(stream, peer, remote).await
        };
        if let Err(error) = served {
            tracing::debug!(%remote, error = %Chain(&error), "connection ended");
        }
    }

    async fn http2(self: &Arc<Self>, stream: TlsStream, peer: Peer, remote: SocketAddr) -> hyper::Result<()> {
        let limits = &self.limits;
        let streams = if peer == Peer::Anonymous { limits.anonymous_streams } else { limits.streams };
        let closing = self.closing(&peer);
        let server = Arc::clone(self);
        let from = (remote, certificate(&stream, &peer));
        let service = service_fn(move |request| Arc::clone(&server).answer(peer.clone(), from.clone(), request));
        let connection = http2::Builder::new(self.tasks.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .max_header_list_size(limits.header_bytes)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_deadline)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = closing => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn http1(self: &Arc<Self>, stream: TlsStream, peer: Peer, remote: SocketAddr) -> hyper::Result<()> {
        let closing = self.closing(&peer);
        let server = Arc::clone(self);
        let from = (remote, certificate(&stream, &peer));
        let service = service_fn(move |request| Arc::clone(&server).answer(peer.clone(), from.clone(), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(self.limits.header_bytes as usize)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = closing => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    /// Ends when a connection of this peer is to take no further request.
    fn closing(&self, peer: &Peer) -> impl Future<Output = ()> + Send + 'static {
        let shutdown = self.shutdown.clone();
        let life = if *peer == Peer::Anonymous { self.limits.anonymous_life } else { None };
        async move {
            match life {
                Some(life) => drop(tokio::time::timeout(life, shutdown.cancelled()).await),
                None => shutdown.cancelled().await,
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        peer: Peer,
        (remote, certificate): (SocketAddr, Option<ClientCertificate>),
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        self.tls.metrics().requests.add_one();
        if let Some((status, why)) = fault(&request) {
            let mut response = Response::new(full(why));
            *response.status_mut() = status;
            // Where the request ends is not to be relied on.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        let mut request = request.map(boxed);
        request.extensions_mut().insert(RemoteAddress(remote));
        if let Some(certificate) = certificate {
            request.extensions_mut().insert(certificate);
        }
        Ok(self.handler.handle(peer, request).await)
    }
}

/// What is wrong with the head of a request over HTTP/1.1: which host it means is to be said once, and of transfer codings
/// there is one (RFC 9112, 3.2 and 6.1).
fn fault(request: &Request<Incoming>) -> Option<(StatusCode, &'static str)> {
    if request.version() != Version::HTTP_11 {
        return None;
    }
    let headers = request.headers();
    let codings: Vec<_> = headers.get_all(header::TRANSFER_ENCODING).iter().collect();
    if codings.len() > 1 || !codings.iter().all(|it| it.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Some((StatusCode::NOT_IMPLEMENTED, "501 Not Implemented: unsupported transfer encoding"));
    }
    let hosts: Vec<_> = headers.get_all(header::HOST).iter().collect();
    match hosts[..] {
        [] => Some((StatusCode::BAD_REQUEST, "400 Bad Request: missing required Host header")),
        [host] if !is_host(host) => Some((StatusCode::BAD_REQUEST, "400 Bad Request: malformed Host header")),
        [_] => None,
        _ => Some((StatusCode::BAD_REQUEST, "400 Bad Request: too many Host headers")),
    }
}

/// A host with or without a port, or nothing, where a URL has none.
fn is_host(value: &HeaderValue) -> bool {
    let text = value.as_bytes();
    text.is_empty() || Authority::try_from(text).is_ok() && !text.contains(&b'@')
}

/// The certificate that a user showed. Nodes are known by their names.
fn certificate(stream: &TlsStream, peer: &Peer) -> Option<ClientCertificate> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates()?.first()?;
    matches!(peer, Peer::User { .. }).then(|| ClientCertificate::from_der(leaf)).flatten()
}

/// Connections, and the handlers that HTTP/2 runs apart from them.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    dropped: CancellationToken,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let dropped = self.dropped.clone();
        self.tracker.spawn(async move {
            dropped.run_until_cancelled(task).await;
        });
    }

    async fn finish(&self, drain: Duration) {
        self.tracker.close();
        if tokio::time::timeout(drain, self.tracker.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(left = self.tracker.len(), ?drain, "requests did not finish in time, dropping them");
        self.dropped.cancel();
        if tokio::time::timeout(DROP_DEADLINE, self.tracker.wait()).await.is_err() {
            tracing::warn!(left = self.tracker.len(), "handlers block their threads, leaving them behind");
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
