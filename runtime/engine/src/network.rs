//! The seam to the network: what a guest's sockets, names and outgoing requests are answered from.
//!
//! Not here: who may reach what, names, addresses, any socket of the host. Whoever implements [`Network`] decides; the
//! engine only translates between it and `wasi:sockets` and `wasi:http`. A guest without one is refused everything.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use wk_base::body::Body;

/// Bytes both ways. Shutting down the writing half tells the other side that no more comes; dropping it ends both.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that is up.
pub struct Connection {
    /// The bytes.
    pub stream: Box<dyn Duplex>,
    /// This end, as the guest may see it.
    pub local: SocketAddr,
    /// The other end, as the guest may see it.
    pub remote: SocketAddr,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({} -> {})", self.local, self.remote)
    }
}

/// Why the network did not do what a guest asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NetworkError {
    /// The pod was not given it.
    #[error("this pod may not reach that")]
    Denied,
    /// There is no such name.
    #[error("no such name")]
    NoName,
    /// The name could not be looked up now.
    #[error("the name cannot be looked up now")]
    NameFailed,
    /// Nobody serves there.
    #[error("connection refused")]
    Refused,
    /// There is no way there.
    #[error("no way there")]
    Unreachable,
    /// It took too long to get a connection.
    #[error("no connection in time")]
    ConnectTimeout,
    /// The other side let us wait too long for its answer.
    #[error("no answer in time")]
    ReadTimeout,
    /// Somebody in this pod has that port.
    #[error("the port is taken")]
    InUse,
    /// The address is none of this pod's.
    #[error("the address is none of this pod's")]
    NotHere,
    /// A limit of the pod; the text names it.
    #[error("too many: {0}")]
    TooMany(Cow<'static, str>),
    /// The connection broke.
    #[error("the connection broke")]
    Reset,
    /// The other side's certificate is not to be trusted.
    #[error("the server's certificate cannot be verified: {0}")]
    Certificate(String),
    /// TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// What was asked for, or what came back, is not HTTP as it should be.
    #[error("not the HTTP that was expected: {0}")]
    Protocol(String),
    /// The other application failed.
    #[error("the application failed: {0}")]
    Failed(String),
}

/// How long a guest waits for the parts of a response. Each is within what the engine allows at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// For a connection, name and TLS included.
    pub connect: Duration,
    /// For the head of the response, once the request is sent.
    pub first_byte: Duration,
    /// Between two pieces of the body.
    pub between_bytes: Duration,
}

/// Accepts connections at one port.
pub trait Listener: Send + 'static {
    /// The next connection.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Connection>;

    /// Where it listens.
    fn local(&self) -> SocketAddr;
}

/// One UDP socket.
pub trait Datagrams: Send + 'static {
    /// Takes the next one that came, of at most 64 KiB.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Vec<u8>, SocketAddr), NetworkError>>;

    /// Sends one, or loses it where there is no room, as networks do.
    fn send(&mut self, data: Vec<u8>, to: SocketAddr) -> Result<(), NetworkError>;

    /// Where it is bound.
    fn local(&self) -> SocketAddr;
}

/// The network as one container sees it. Called while the guest waits; each call is the guest's right to make, and
/// each answer says itself what this guest may have.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Whether a guest may have sockets at all. If not, it cannot even make one.
    fn gives_sockets(&self) -> bool {
        true
    }

    /// The addresses that a name stands for; never none.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NetworkError>;

    /// Connects to an address.
    async fn connect(&self, to: SocketAddr) -> Result<Connection, NetworkError>;

    /// Takes a port of the pod, any free one for port 0, at all addresses of the pod or one of them.
    fn listen(&self, at: SocketAddr) -> Result<Box<dyn Listener>, NetworkError>;

    /// Takes a UDP port of the pod, as [`Network::listen`] does.
    fn datagrams(&self, at: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError>;

    /// Whether datagrams may go to an address that has sent none, which [`Datagrams::send`] says too: for whoever hands them
    /// on and does not wait.
    fn may_send(&self, to: SocketAddr) -> Result<(), NetworkError> {
        let _ = to;
        Ok(())
    }

    /// Sends a request, whose URI has scheme and authority; returns with the head of the response. A body that breaks
    /// off ends with an error, a [`NetworkError`] where there is a reason.
    async fn request(&self, request: Request<Body>, patience: Patience) -> Result<Response<Body>, NetworkError>;
}

/// The network of a guest that was given none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNetwork;

#[async_trait]
impl Network for NoNetwork {
    fn gives_sockets(&self) -> bool {
        false
    }

    async fn resolve(&self, _name: &str) -> Result<Vec<IpAddr>, NetworkError> {
        Err(NetworkError::Denied)
    }

    async fn connect(&self, _to: SocketAddr) -> Result<Connection, NetworkError> {
        Err(NetworkError::Denied)
    }

    fn listen(&self, _at: SocketAddr) -> Result<Box<dyn Listener>, NetworkError> {
        Err(NetworkError::Denied)
    }

    fn datagrams(&self, _at: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
        Err(NetworkError::Denied)
    }

    fn may_send(&self, _to: SocketAddr) -> Result<(), NetworkError> {
        Err(NetworkError::Denied)
    }

    async fn request(&self, _request: Request<Body>, _patience: Patience) -> Result<Response<Body>, NetworkError> {
        Err(NetworkError::Denied)
    }
}
