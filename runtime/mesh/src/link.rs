//! One HTTP/2 connection to one node: making it and keeping it honest.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use wk_base::body::Body;
use wk_base::error::Chain;

use crate::tls::H2;

/// A node within reach answers within milliseconds; a packet lost once is sent again after a second.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// TLS and HTTP/2 take two round trips and a signature: this much means a stuck process.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(2);
/// A silent peer is asked whether it lives after this long …
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// … and is dead when it has not answered for this long: so requests to a lost machine break within three seconds.
const PING_DEADLINE: Duration = Duration::from_secs(2);

/// What one streamed body may have in flight: 10 Gbit/s at a round trip of 0.8 ms.
pub(crate) const STREAM_WINDOW: u32 = 1024 * 1024;
/// What all bodies of a connection together may have in flight. Much more than one body's, so that dozens of readers
/// who stopped reading do not stop the others. (An adaptive window is the same for a stream and its connection: there,
/// one stalled reader stops all.)
pub(crate) const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;
/// Header names and values of one message together: what common servers take (nginx 32 KiB, Envoy 60 KiB).
pub(crate) const HEADER_BYTES_MAX: u32 = 64 * 1024;

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Refused, no route, and so on.
    #[error("open a TCP connection")]
    Connect(#[source] io::Error),
    /// Nobody answers at the address.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It answers, but is not the node meant, or is no node.
    #[error("verify the other side")]
    Tls(#[source] io::Error),
    /// It does not speak our protocol.
    #[error("the other side does not speak HTTP/2")]
    Protocol,
    /// HTTP/2 did not start.
    #[error("start HTTP/2")]
    Http(#[source] hyper::Error),
    /// The node was forgotten, or its address changed, while the connection was being made.
    #[error("the node's address changed meanwhile")]
    Superseded,
    /// The attempt ended with the process.
    #[error("the attempt was given up")]
    Abandoned,
}

/// An open connection. Clones share it; it closes when the last one and all of its streams are gone.
#[derive(Clone)]
pub(crate) struct Link {
    sender: SendRequest<Body>,
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// The sender of one request.
    pub(crate) fn sender(&self) -> SendRequest<Body> {
        self.sender.clone()
    }
}

/// Connects to `address` and goes on only if a server with the identity `name` answers. The connection also ends,
/// with all its streams, when `closed` fires.
pub(crate) async fn dial(
    tls: &TlsConnector,
    name: ServerName<'static>,
    address: SocketAddr,
    closed: CancellationToken,
) -> Result<Link, DialError> {
    let stream = tokio::time::timeout(CONNECT_DEADLINE, TcpStream::connect(address))
        .await
        .map_err(|_| DialError::Silent(CONNECT_DEADLINE))?
        .map_err(DialError::Connect)?;
    // Small requests must not wait for the acknowledgement of the one before.
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    tokio::time::timeout(HANDSHAKE_DEADLINE, handshake(tls, name, stream, closed))
        .await
        .map_err(|_| DialError::Silent(HANDSHAKE_DEADLINE))?
}

async fn handshake(
    tls: &TlsConnector,
    name: ServerName<'static>,
    stream: TcpStream,
    closed: CancellationToken,
) -> Result<Link, DialError> {
    let stream = tls.connect(name, stream).await.map_err(DialError::Tls)?;
    if stream.get_ref().1.alpn_protocol() != Some(H2) {
        return Err(DialError::Protocol);
    }
    let (sender, connection) = http2::Builder::new(UntilClosed(closed.clone()))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(DialError::Http)?;
    let logged = connection.map(|ended| {
        if let Err(error) = ended {
            tracing::debug!(error = %Chain(&error), "connection to a node ended");
        }
    });
    tokio::spawn(closed.run_until_cancelled_owned(logged));
    Ok(Link { sender })
}

/// Runs the tasks of a connection. The one that owns the socket outlives the connection's own future while streams are
/// open, so closing has to reach it here.
#[derive(Clone)]
struct UntilClosed(CancellationToken);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for UntilClosed {
    fn execute(&self, task: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(task));
    }
}
