//! What a guest in a worker asks for and the node answers, which has the sockets and the settings and knows what the pod
//! may reach.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;
use wk_base::body::{self, Body, BoxError};
use wk_engine::{
    Config, Connection, Datagrams, Fill, Listener, Mount, Network, NetworkError, Next, Patience, open_directory,
};

use crate::worker::asked::{
    ADDRESSES_BYTES_MAX, ANSWERED, ASKED, Answered, Asked, Came, KEY_BYTES_MAX, SETTINGS_BYTES_MAX, datagram,
    read_datagram,
};
use crate::worker::wire::{self, CONNECTION_WINDOW, GUEST, HEADER_BYTES_MAX, STREAM_WINDOW, STREAMS_MAX};

/// Bytes of a connection that wait for the guest, or for the node: a socket's buffer.
const PIPE_BYTES: usize = 64 << 10;
/// Datagrams that wait for the node; more are lost, as on networks.
const DATAGRAMS_MAX: usize = 64;

/// Makes ready to ask over this socket.
pub(super) async fn connect(socket: UnixStream) -> hyper::Result<SendRequest<Body>> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS_MAX as usize)
        .max_header_list_size(HEADER_BYTES_MAX)
        .handshake::<_, Body>(TokioIo::new(socket))
        .await?;
    // It ends with the node.
    tokio::spawn(connection.map(drop));
    Ok(sender)
}

/// Addresses that a UDP port remembers; it asks about more of them again.
const KNOWN_MAX: usize = 1024;

/// Asks the node in the name of one container.
#[derive(Clone)]
pub(super) struct Node {
    sender: SendRequest<Body>,
    number: u64,
    gives_sockets: bool,
}

impl Node {
    pub(super) fn new(sender: SendRequest<Body>, number: u64, gives_sockets: bool) -> Self {
        Self { sender, number, gives_sockets }
    }

    /// Asks; the request's own head and body go along.
    async fn ask(&self, asked: &Asked, mut request: Request<Body>) -> Result<(Answered, Response<Incoming>), String> {
        let headers = request.headers_mut();
        headers.insert(GUEST, self.number.into());
        let asked = http::HeaderValue::from_maybe_shared(wire::encode(asked));
        headers.insert(ASKED, asked.map_err(|_| "a name that no header can carry".to_owned())?);
        let answer = self.sender.clone().send_request(request).await;
        let mut answer = answer.map_err(|error| format!("ask the node: {error}"))?;
        let told = answer.headers_mut().remove(ANSWERED);
        let told = told.and_then(|told| serde_json::from_slice(told.as_bytes()).ok());
        let told = told.ok_or_else(|| "the node's answer is none".to_owned())?;
        Ok((told, answer))
    }

    /// Asks what has no body.
    pub(super) async fn told(&self, asked: Asked) -> Option<Answered> {
        self.ask(&asked, question(body::empty())).await.ok().map(|(answered, _)| answered)
    }

    async fn ask_network(&self, asked: Asked, body: Body) -> Result<(Answered, Incoming), NetworkError> {
        match self.ask(&asked, question(body)).await.map_err(NetworkError::Failed)? {
            (Answered::Refused(refusal), _) => Err(refusal),
            (answered, response) => Ok((answered, response.into_body())),
        }
    }

    /// A connection whose bytes are the two bodies of a request.
    async fn connected(&self, asked: Asked) -> Result<Connection, NetworkError> {
        let (guests, ours) = tokio::io::duplex(PIPE_BYTES);
        let (from_guest, mut to_guest) = tokio::io::split(ours);
        let pieces = ReaderStream::new(from_guest).map(|it| it.map(http_body::Frame::data).map_err(BoxError::from));
        let (answered, mut bytes) = self.ask_network(asked, body::boxed(StreamBody::new(pieces))).await?;
        let Answered::Connected(local, remote) = answered else { return Err(unexpected()) };
        tokio::spawn(async move {
            while let Some(Ok(frame)) = bytes.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                if to_guest.write_all(&data).await.is_err() {
                    return;
                }
            }
            let _ = to_guest.shutdown().await;
        });
        Ok(Connection { stream: Box::new(guests), local, remote })
    }

    /// Waits for the node where the guest's call cannot: other guests of this thread go on meanwhile. Ports are taken
    /// rarely, and the node answers from a table.
    fn now<T>(answer: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(answer))
    }

    async fn settings<T: serde::de::DeserializeOwned>(&self, key: Option<&str>) -> Result<T, String> {
        let asked = Asked::Settings(key.map(str::to_owned));
        let (answered, response) = self.ask(&asked, question(body::empty())).await?;
        let Answered::Response = answered else { return Err(UNEXPECTED.to_owned()) };
        let body = body::boxed(response.into_body());
        let bytes = body::collect(body, SETTINGS_BYTES_MAX).await.map_err(|error| error.to_string())?;
        wire::decode::<Result<T, String>>(&bytes).map_err(|error| error.to_string())?
    }
}

/// A question that is no request of the guest's.
fn question(body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("http://node/");
    request
}

const UNEXPECTED: &str = "the node's answer does not fit";

fn unexpected() -> NetworkError {
    NetworkError::Failed(UNEXPECTED.to_owned())
}

impl Config for Node {
    fn get(&self, key: &str) -> Result<Option<String>, String> {
        // Nothing has a longer name, and a header would not carry any name.
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        Self::now(self.settings(Some(key)))
    }

    fn all(&self) -> Result<Vec<(String, String)>, String> {
        Self::now(self.settings(None))
    }
}

#[async_trait]
impl Next for Node {
    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        match self.ask(&Asked::Next, request).await? {
            (Answered::Response, response) => Ok(response.map(body::boxed)),
            (Answered::NoNext(why), _) => Err(why),
            _ => Err(UNEXPECTED.to_owned()),
        }
    }
}

#[async_trait]
impl Network for Node {
    fn gives_sockets(&self) -> bool {
        self.gives_sockets
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, NetworkError> {
        let (Answered::Addresses, incoming) = self.ask_network(Asked::Resolve(name.to_owned()), body::empty()).await?
        else {
            return Err(unexpected());
        };
        let addresses = body::collect(body::boxed(incoming), ADDRESSES_BYTES_MAX).await;
        addresses.ok().and_then(|bytes| wire::decode(&bytes).ok()).ok_or_else(unexpected)
    }

    async fn connect(&self, to: SocketAddr) -> Result<Connection, NetworkError> {
        self.connected(Asked::Connect(to)).await
    }

    fn listen(&self, at: SocketAddr) -> Result<Box<dyn Listener>, NetworkError> {
        let (answered, coming) = Self::now(self.ask_network(Asked::Listen(at), body::empty()))?;
        let Answered::Bound(local) = answered else { return Err(unexpected()) };
        let (node, behind) = (self.clone(), BytesMut::new());
        Ok(Box::new(Port { node, local, coming, behind, taking: None }))
    }

    fn datagrams(&self, at: SocketAddr) -> Result<Box<dyn Datagrams>, NetworkError> {
        let (send, mut queue) = mpsc::channel::<bytes::Bytes>(DATAGRAMS_MAX);
        let queued = futures::stream::poll_fn(move |cx| queue.poll_recv(cx));
        let queued = queued.map(|it| Ok::<_, BoxError>(http_body::Frame::data(it)));
        let (answered, coming) =
            Self::now(self.ask_network(Asked::Datagrams(at), body::boxed(StreamBody::new(queued))))?;
        let Answered::Bound(local) = answered else { return Err(unexpected()) };
        Ok(Box::new(Udp { node: self.clone(), local, send, coming, behind: BytesMut::new(), known: HashSet::new() }))
    }

    async fn request(&self, request: Request<Body>, patience: Patience) -> Result<Response<Body>, NetworkError> {
        match self.ask(&Asked::Request(patience), request).await.map_err(NetworkError::Failed)? {
            (Answered::Response, response) => Ok(response.map(body::boxed)),
            (Answered::Refused(refusal), _) => Err(refusal),
            _ => Err(unexpected()),
        }
    }
}

/// Has the node make what mounts hold when a guest looks. What was made stays up to date by itself.
pub(super) struct Filler {
    node: Node,
    mounts: Vec<Mount>,
    filled: Box<[AtomicBool]>,
}

impl Filler {
    pub(super) fn new(node: Node, mounts: Vec<Mount>) -> Self {
        let filled = mounts.iter().map(|_| AtomicBool::new(false)).collect();
        Self { node, mounts, filled }
    }
}

#[async_trait]
impl Fill for Filler {
    async fn fill(&self, mount: &Mount) -> io::Result<()> {
        let number = self.mounts.iter().position(|it| it == mount).ok_or(io::ErrorKind::NotFound)?;
        if self.filled[number].load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.node.told(Asked::Fill(number)).await {
            Some(Answered::Filled) => {
                self.filled[number].store(true, Ordering::Relaxed);
                Ok(())
            }
            Some(Answered::NotFilled(why)) => Err(io::Error::other(why)),
            _ => Err(io::Error::other(UNEXPECTED)),
        }
    }

    /// A worker makes no directory there, so the node does. What it cannot fill yet is empty, and asked for again.
    fn begin(&self, mount: &Mount) -> io::Result<()> {
        Node::now(self.fill(mount)).or_else(|error| open_directory(&mount.root).map(drop).map_err(|_| error))
    }
}

type Taking = std::pin::Pin<Box<dyn Future<Output = Result<Connection, NetworkError>> + Send>>;

/// A port of the pod.
struct Port {
    node: Node,
    local: SocketAddr,
    coming: Incoming,
    behind: BytesMut,
    taking: Option<Taking>,
}

impl Listener for Port {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Connection> {
        loop {
            if let Some(taking) = &mut self.taking {
                let taken = ready!(taking.as_mut().poll(cx));
                self.taking = None;
                // One that is gone again is nobody's loss.
                let Ok(connection) = taken else { continue };
                return Poll::Ready(connection);
            }
            if let Some(Came(number)) = Came::read(&mut self.behind) {
                let node = self.node.clone();
                self.taking = Some(Box::pin(async move { node.connected(Asked::Take(number)).await }));
                continue;
            }
            match ready!(std::pin::Pin::new(&mut self.coming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.behind.extend_from_slice(&data);
                    }
                }
                // The node has closed the port; nothing comes any more.
                Some(Err(_)) | None => return Poll::Pending,
            }
        }
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

/// A UDP port of the pod.
struct Udp {
    node: Node,
    local: SocketAddr,
    send: mpsc::Sender<bytes::Bytes>,
    coming: Incoming,
    behind: BytesMut,
    /// Where it may send: to those it has asked the node about, and to those it has heard from.
    known: HashSet<SocketAddr>,
}

impl Udp {
    fn knows(&mut self, address: SocketAddr) {
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(address);
    }
}

impl Datagrams for Udp {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Vec<u8>, SocketAddr), NetworkError>> {
        loop {
            match read_datagram(&mut self.behind) {
                Ok(Some((data, from))) => {
                    self.knows(from);
                    return Poll::Ready(Ok((data, from)));
                }
                Ok(None) => {}
                Err(()) => return Poll::Ready(Err(NetworkError::Reset)),
            }
            match ready!(std::pin::Pin::new(&mut self.coming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.behind.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) | None => return Poll::Ready(Err(NetworkError::Reset)),
            }
        }
    }

    fn send(&mut self, data: Vec<u8>, to: SocketAddr) -> Result<(), NetworkError> {
        if !self.known.contains(&to) {
            let asked = self.node.ask_network(Asked::MaySend(to), body::empty());
            drop(Node::now(asked)?);
            self.knows(to);
        }
        match self.send.try_send(datagram(&data, to)) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(NetworkError::Reset),
        }
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}
