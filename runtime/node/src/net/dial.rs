//! Connections: to a port of a pod of this node in this process, to one of another node's over the mesh, and out of the
//! cluster by a socket of the host.
//!
//! Not here: whether the pod may ([`super::judge`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use futures::TryStreamExt as _;
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::{ReaderStream, StreamReader};
use wk_base::body::{self, Body, boxed};
use wk_base::error::Chain;
use wk_engine::{Duplex, NetworkError, Place, Usage};
use wk_mesh::{Mesh, NodeName};

use super::Node;
use super::ports::{Caller, PIPE_BYTES, Refused};
use crate::traffic::Apps;

/// The first path segment of a connection to a pod's port over the mesh: `/connect/<uid or address>/<port>?<from>`.
pub const MESH_PREFIX: &str = "/connect/";
/// The other node answers a connection at once: it only looks whether somebody listens.
const MESH_HEAD_MAX: Duration = Duration::from_secs(5);
/// The longest that a socket of the host may take to connect: Linux's own limit is two minutes.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(30);

/// A request over the mesh that is no connection to a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TunnelError {
    /// Not a path of ours.
    #[error("not a pod's port")]
    Path,
    /// The pod does not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// A stream that holds a place until it ends.
pub(super) struct Held<P> {
    stream: Box<dyn Duplex>,
    _place: P,
}

impl<P> Held<P> {
    pub(super) fn new(stream: Box<dyn Duplex>, place: P) -> Self {
        Self { stream, _place: place }
    }
}

impl<P: Unpin> AsyncRead for Held<P> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<P: Unpin> AsyncWrite for Held<P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connects to a port of the pod `pod` (a uid, or an address) on `node`.
pub(super) async fn pod(
    of: &Node,
    node: &str,
    pod: &str,
    port: u16,
    from: SocketAddr,
) -> Result<Box<dyn Duplex>, NetworkError> {
    if node == of.name {
        return here(&of.apps, pod, port, Caller::Outside(from)).map_err(|error| match error {
            Refused::Nobody | Refused::Full => NetworkError::Refused,
        });
    }
    over_mesh(&of.mesh, node, pod, port, from).await
}

/// Connects to a port of a pod that runs here.
fn here(apps: &Apps, pod: &str, port: u16, caller: Caller) -> Result<Box<dyn Duplex>, Refused> {
    match pod.parse::<IpAddr>() {
        Ok(address) => {
            let pod = apps.pods().by_address(address).ok_or(Refused::Nobody)?;
            apps.connect(&pod.uid, port, caller)
        }
        Err(_) => apps.connect(pod, port, caller),
    }
}

async fn over_mesh(
    mesh: &Mesh,
    node: &str,
    pod: &str,
    port: u16,
    from: SocketAddr,
) -> Result<Box<dyn Duplex>, NetworkError> {
    let name = NodeName::from_str(node).map_err(|_| NetworkError::Unreachable)?;
    let (writer, sent) = tokio::io::duplex(PIPE_BYTES);
    let request = Request::post(format!("{MESH_PREFIX}{pod}/{port}?{from}"));
    let request = request.body(streamed(sent)).map_err(|_| NetworkError::Unreachable)?;
    let response = mesh.request(&name, request, MESH_HEAD_MAX).await.map_err(|error| {
        tracing::debug!(node, pod, port, error = %Chain(&error), "connection over the mesh failed");
        NetworkError::Unreachable
    })?;
    match response.status() {
        StatusCode::OK => Ok(Box::new(tokio::io::join(reader(response.into_body()), writer))),
        StatusCode::CONFLICT => Err(NetworkError::Refused),
        _ => Err(NetworkError::Unreachable),
    }
}

/// Opens a connection that another node asks for at [`MESH_PREFIX`].
pub(crate) fn tunnel(apps: &Apps, request: Request<Body>) -> Response<Body> {
    let answer = |code: StatusCode, body: Body| {
        let mut response = Response::new(body);
        *response.status_mut() = code;
        response
    };
    let (parts, input) = request.into_parts();
    match accept(apps, &parts.uri, input) {
        Ok(output) => answer(StatusCode::OK, output),
        Err(error @ TunnelError::Path) => answer(StatusCode::BAD_REQUEST, body::full(error.to_string())),
        Err(error @ TunnelError::Refused(_)) => answer(StatusCode::CONFLICT, body::full(error.to_string())),
    }
}

fn accept(apps: &Apps, uri: &::http::Uri, input: Body) -> Result<Body, TunnelError> {
    let place = uri.path().strip_prefix(MESH_PREFIX).and_then(|place| place.split_once('/'));
    let (pod, port) = place.ok_or(TunnelError::Path)?;
    let port = port.parse().map_err(|_| TunnelError::Path)?;
    let from = uri.query().unwrap_or_default().parse().map_err(|_| TunnelError::Path)?;
    let mut stream = here(apps, pod, port, Caller::Outside(from))?;
    let (output, mut near) = tokio::io::duplex(PIPE_BYTES);
    tokio::spawn(async move {
        let mut far = tokio::io::join(reader(input), &mut near);
        // Either side's error ends both, and the other learns of it by the end of its bytes.
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut far, PIPE_BYTES, PIPE_BYTES).await;
    });
    Ok(streamed(output))
}

/// A body's bytes.
pub(crate) fn reader(body: Body) -> impl AsyncRead + Send + Unpin + 'static {
    let pieces = BodyStream::new(body).map_err(io::Error::other);
    StreamReader::new(Box::pin(pieces.try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())))))
}

/// Bytes as a body.
pub(crate) fn streamed(bytes: impl AsyncRead + Send + 'static) -> Body {
    boxed(StreamBody::new(ReaderStream::with_capacity(bytes, PIPE_BYTES).map_ok(Frame::data)))
}

/// Connects out of the cluster, by a socket of this process for the container.
pub(super) async fn outside(
    usage: &Arc<Usage>,
    to: SocketAddr,
    patience: Duration,
) -> Result<Box<dyn Duplex>, NetworkError> {
    let place = descriptor(usage)?;
    let connected = tokio::time::timeout(patience.min(CONNECT_MAX), TcpStream::connect(to)).await;
    let stream = connected.map_err(|_| NetworkError::ConnectTimeout)?.map_err(|error| connect_error(&error))?;
    // Guests write what they mean to send; waiting for more helps nobody.
    let _ = stream.set_nodelay(true);
    Ok(Box::new(Held::new(Box::new(stream), place)))
}

/// A place for a socket of the container among what guests have open here. That there is none is counted with it.
pub(super) fn descriptor(usage: &Arc<Usage>) -> Result<Place, NetworkError> {
    Place::take(usage).map_err(|_| NetworkError::TooMany("files and sockets are open".into()))
}

/// Whether an address is one of this machine's: the kernel goes there from the very same address. Nothing is sent.
pub(super) fn is_this_host(to: SocketAddr) -> bool {
    let any = match to.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let probe = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(to).and_then(|()| socket.local_addr()));
    probe.is_ok_and(|from| from.ip() == to.ip())
}

fn connect_error(error: &io::Error) -> NetworkError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NetworkError::Refused,
        io::ErrorKind::TimedOut => NetworkError::ConnectTimeout,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => NetworkError::Reset,
        _ => NetworkError::Unreachable,
    }
}
