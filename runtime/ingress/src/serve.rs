//! Listening: accepting connections within the limits, and ending them in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificates::Resolver;
use crate::connection::{Connection, Look, Security, Watch};
use crate::{Ingress, Limits, Metrics, proxy};

/// Whether a listener speaks TLS.
#[derive(Clone)]
pub(crate) enum Guarded {
    No,
    Tls(Arc<Resolver>, TlsAcceptor),
}

/// What the connections of one listener share.
struct Listener {
    ingress: Arc<Ingress>,
    http: auto::Builder<TokioExecutor>,
    guarded: Guarded,
    /// Stop accepting; let connections finish.
    shutdown: CancellationToken,
    /// Finish now.
    cut: CancellationToken,
}

/// How long accepting rests after an error: it is mostly a lack of file descriptors, which trying at once only worsens.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// When this listener ends, a connection over which nothing was asked has so long for its first request: one that is on its
/// way would find the connection reset.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// And one over which requests came has so long for the next, whose answer says that it is the last (RFC 9112, 9.6): a
/// client that asks again and again learns of the end by that, and not by a request that is lost.
const LAST_REQUEST: Duration = Duration::from_secs(1);

/// Bytes of request bodies one stream, and one connection, may have on the way to us: a transfer of 20 MB/s over 50 ms.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Bytes of responses one stream may have waiting in our memory for a slow client.
const STREAM_SEND_BUFFER: usize = 128 * 1024;

/// A silent HTTP/2 connection is asked this often whether it is still there, and has this long to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) async fn run(ingress: Arc<Ingress>, listener: TcpListener, guarded: Guarded, shutdown: CancellationToken) {
    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let tasks = TaskTracker::new();
    let http = protocols(&ingress.limits);
    let shared = Arc::new(Listener { ingress, http, guarded, shutdown, cut: cut.clone() });

    while let Some(accepted) = shared.shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, client)) => {
                if let Some(permit) = admit(&shared, &stream) {
                    tasks.spawn(connection(Arc::clone(&shared), stream, client, permit));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                shared.shutdown.run_until_cancelled(tokio::time::sleep(ACCEPT_REST)).await;
            }
        }
    }

    drop(listener);
    tasks.close();
    let drain = shared.ingress.limits.drain;
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), ?drain, "requests did not finish in time and are cut");
        cut.cancel();
        tasks.wait().await;
    }
}

/// HTTP/1 and HTTP/2 as we serve them. hyper reads at most 100 headers in HTTP/1 by itself.
fn protocols(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // The watch over the connection does what hyper's own timer would.
    http.http1().header_read_timeout(None).max_buf_size(limits.head_bytes as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.head_bytes)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

/// Step one of every request: there is room for its connection.
fn admit(shared: &Listener, stream: &TcpStream) -> Option<OwnedSemaphorePermit> {
    let metrics = shared.ingress.metrics();
    metrics.connections.up();
    if let Ok(permit) = Arc::clone(&shared.ingress.connections).try_acquire_owned() {
        return Some(permit);
    }
    metrics.connections_over_limit.up();
    if matches!(shared.guarded, Guarded::No) {
        // It fits the socket's empty buffer; if it does not, the client sees the connection closed.
        let _ = stream.try_write(
            b"HTTP/1.1 503 Service Unavailable\r\nserver: wk\r\ncontent-type: text/plain; charset=utf-8\r\n\
              retry-after: 1\r\nconnection: close\r\ncontent-length: 65\r\n\r\n\
              503 connections: this node has as many as it allows; retry later\n",
        );
    }
    None
}

async fn connection(shared: Arc<Listener>, stream: TcpStream, client: SocketAddr, permit: OwnedSemaphorePermit) {
    // Small responses are not to wait for more. An error here will show at the first read.
    let _ = stream.set_nodelay(true);
    let metrics = shared.ingress.metrics();
    let _open = OpenConnection::new(metrics, permit);
    let client = client.ip();
    match &shared.guarded {
        Guarded::No => {
            let connection = Connection::new(Arc::clone(&shared.ingress), client, Security::Plain);
            drive(&shared, connection, stream).await;
        }
        Guarded::Tls(certificates, acceptor) => {
            let handshake = tokio::time::timeout(shared.ingress.limits.head_read, acceptor.accept(stream));
            match shared.cut.run_until_cancelled(handshake).await {
                Some(Ok(Ok(stream))) => {
                    let sni = stream.get_ref().1.server_name().map(str::to_owned);
                    let security = Security::Tls { sni, certificates: Arc::clone(certificates) };
                    let connection = Connection::new(Arc::clone(&shared.ingress), client, security);
                    drive(&shared, connection, stream).await;
                }
                Some(Ok(Err(error))) => {
                    metrics.handshakes_failed.up();
                    tracing::debug!(%error, %client, "a TLS handshake failed");
                }
                Some(Err(_elapsed)) => metrics.connections_timed_out.up(),
                None => {}
            }
        }
    }
}

/// A connection that is open; it counts until this is dropped, however it ends.
struct OpenConnection<'a> {
    metrics: &'a Metrics,
    _permit: OwnedSemaphorePermit,
}

impl<'a> OpenConnection<'a> {
    fn new(metrics: &'a Metrics, permit: OwnedSemaphorePermit) -> Self {
        metrics.connections_open.up();
        Self { metrics, _permit: permit }
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.metrics.connections_open.down();
    }
}

/// Serves the requests of a connection until it ends, does nothing, or has to.
async fn drive<I>(shared: &Listener, connection: Connection, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.ingress.limits;
    let connection = Arc::new(connection);
    let service = service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move {
            let version = request.version();
            let mut response = proxy::handle(Arc::clone(&connection), request).await;
            connection.announce(&mut response, version);
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = pin!(shared.http.serve_connection(TokioIo::new(io), service));
    let mut watch = Watch::new();
    let mut next_look = pin!(tokio::time::sleep(limits.head_read));
    let mut finish = pin!(tokio::time::sleep(FIRST_REQUEST));
    let (mut shutting_down, mut finishing) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error = error.as_ref(), "a connection ended with an error");
                }
                return;
            }
            () = shared.cut.cancelled() => return,
            () = shared.shutdown.cancelled(), if !shutting_down => {
                shutting_down = true;
                // A request may be on its way over a connection that has just been opened, or is used.
                connection.leave();
                let grace = if connection.is_fresh() { FIRST_REQUEST } else { LAST_REQUEST };
                finish.as_mut().reset(Instant::now() + grace);
            }
            () = finish.as_mut(), if shutting_down && !finishing => {
                finishing = true;
                http.as_mut().graceful_shutdown();
            }
            () = next_look.as_mut() => {
                match watch.look(&connection, limits) {
                    Look::Fine => {}
                    Look::Finish => http.as_mut().graceful_shutdown(),
                    Look::Cut => {
                        shared.ingress.metrics().connections_timed_out.up();
                        return;
                    }
                }
                next_look.as_mut().reset(Instant::now() + limits.connection_idle);
            }
        }
    }
}
