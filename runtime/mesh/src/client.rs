//! The calling side: one multiplexed connection to each node, made when first needed and again when it breaks.

use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use rustls::pki_types::ServerName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use wk_base::body::{Body, BoxError, boxed};

use crate::error::MeshError;
use crate::identity::Identity;
use crate::link::{DialError, Link, dial};
use crate::metrics::MeshMetrics;
use crate::name::NodeName;
use crate::tls::{TlsError, connector};

/// Requests and streamed bodies that one node may be given at once. More would only wait there, where nobody can take
/// them elsewhere any more. [`crate::Limits::mesh`] allows more streams, so that [`Lane::Control`] always gets through.
pub(crate) const BULK_REQUESTS_MAX: usize = 4096;
/// How often a request that came back unsent is tried again: once, on a fresh connection.
const RESENDS_MAX: u32 = 1;
/// After a failed attempt, the next one waits as long as that took, within these bounds: a refusing node costs at most
/// fifty attempts a second, a silent one keeps nobody waiting more than half of the time.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Calls other nodes. Clones share the connections.
///
/// **Assumptions.** It is used within a Tokio runtime; somebody keeps the addresses current.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<SharedState>,
}

/// What kind of request it is: set as an extension of the request. [`Lane::Bulk`] when absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Work for users; refused (as not sent) when the node has too much of it already.
    Bulk,
    /// What keeps the cluster together, such as Raft and heartbeats; few, small, and never kept out by bulk.
    Control,
}

struct SharedState {
    name: NodeName,
    tls: TlsConnector,
    nodes: DashMap<NodeName, Arc<Node>>,
    metrics: MeshMetrics,
}

/// One node at one address. A changed address makes a new one.
struct Node {
    name: NodeName,
    address: SocketAddr,
    authority: Authority,
    server_name: ServerName<'static>,
    state: Mutex<State>,
    bulk: Arc<Semaphore>,
    closed: CancellationToken,
}

enum State {
    Idle,
    Dialing(Dial),
    Up(Link),
    Failed { until: Instant, error: Arc<DialError> },
}

type Dial = Shared<BoxFuture<'static, Result<Link, Arc<DialError>>>>;

impl Mesh {
    /// The calling side of the node with this identity.
    pub fn new(identity: Identity) -> Result<Self, TlsError> {
        let tls = connector(&identity)?;
        let (nodes, metrics) = (DashMap::new(), MeshMetrics::default());
        Ok(Self { shared: Arc::new(SharedState { name: identity.name, tls, nodes, metrics }) })
    }

    /// The node that is calling.
    pub fn name(&self) -> &NodeName {
        &self.shared.name
    }

    /// Says where a node is. If that is news, the connection to the old place is closed with all that is on it.
    pub fn set_address(&self, node: &NodeName, address: SocketAddr) {
        let mut entry = self.shared.nodes.entry(node.clone()).or_insert_with(|| Arc::new(Node::new(node, address)));
        if entry.address != address {
            entry.closed.cancel();
            *entry = Arc::new(Node::new(node, address));
        }
    }

    /// Forgets a node and closes the connection to it.
    pub fn forget(&self, node: &NodeName) {
        if let Some((_, node)) = self.shared.nodes.remove(node) {
            node.closed.cancel();
        }
    }

    /// Where a node is, if that is known.
    pub fn address(&self, node: &NodeName) -> Option<SocketAddr> {
        self.shared.nodes.get(node).map(|entry| entry.address)
    }

    /// True while there is a connection to the node that is not known to be broken.
    pub fn is_connected(&self, node: &NodeName) -> bool {
        let node = self.shared.nodes.get(node).map(|entry| Arc::clone(&entry));
        node.is_some_and(|node| matches!(&*node.state(), State::Up(link) if !link.is_closed()))
    }

    /// What this side has counted.
    pub fn metrics(&self) -> &MeshMetrics {
        &self.shared.metrics
    }

    /// Sends a request to a node and waits for the head of its response, `deadline` at most, connecting included.
    /// The bodies of both may still be on their way then; they end with an error if the connection breaks.
    ///
    /// Of the URI, path and query are sent; host and scheme are the node's. A `host` header is sent as it is. Dropping
    /// the future, or the response's body, cancels the request on the other side.
    pub async fn request(
        &self,
        node: &NodeName,
        request: Request<Body>,
        deadline: Duration,
    ) -> Result<Response<Body>, MeshError> {
        self.shared.metrics.requests.add_one();
        let result = tokio::time::timeout(deadline, self.send(node, request))
            .await
            .unwrap_or_else(|_| Err(MeshError::Deadline { node: node.clone(), after: deadline }));
        let metrics = &self.shared.metrics;
        match &result {
            Ok(_) => {}
            Err(MeshError::Unknown { .. } | MeshError::Connect { .. } | MeshError::NotSent { .. }) => {
                metrics.not_sent.add_one();
            }
            Err(MeshError::Broken { .. }) => metrics.broken.add_one(),
            Err(MeshError::Deadline { .. }) => metrics.deadlines.add_one(),
        }
        result
    }

    async fn send(&self, name: &NodeName, request: Request<Body>) -> Result<Response<Body>, MeshError> {
        let found = self.shared.nodes.get(name).map(|entry| Arc::clone(&entry));
        let Some(node) = found else {
            return Err(MeshError::Unknown { node: name.clone() });
        };
        let permit = self.admit(&node, &request)?;
        let mut request = node.addressed(request);
        let mut resends = 0;
        loop {
            let link = node.link(&self.shared).await?;
            let mut error = match link.sender().try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| boxed(Permitted { body, _permit: permit }))),
                Err(error) => error,
            };
            match error.take_message() {
                // Nothing of it left this process, so the node cannot have seen it.
                Some(unsent) if resends < RESENDS_MAX => {
                    resends += 1;
                    request = unsent;
                }
                Some(_) => return Err(MeshError::NotSent { node: name.clone(), source: error.into_error().into() }),
                None => return Err(after_sending(name, error.into_error())),
            }
        }
    }

    /// Bulk requests hold a place until their response's body is done.
    fn admit(&self, node: &Node, request: &Request<Body>) -> Result<Option<OwnedSemaphorePermit>, MeshError> {
        if request.extensions().get() == Some(&Lane::Control) {
            return Ok(None);
        }
        Arc::clone(&node.bulk).try_acquire_owned().map(Some).map_err(|_| {
            self.shared.metrics.busy.add_one();
            let source = format!("{BULK_REQUESTS_MAX} requests are on their way to it already").into();
            MeshError::NotSent { node: node.name.clone(), source }
        })
    }
}

impl Node {
    fn new(name: &NodeName, address: SocketAddr) -> Self {
        let dns = name.dns();
        Self {
            name: name.clone(),
            address,
            authority: dns.parse().expect("a DNS name is an authority"),
            server_name: ServerName::try_from(dns).expect("a DNS label under a domain is a DNS name"),
            state: Mutex::new(State::Idle),
            bulk: Arc::new(Semaphore::new(BULK_REQUESTS_MAX)),
            closed: CancellationToken::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is held for single assignments, which cannot panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection; everybody who finds none shares one attempt to make it.
    async fn link(self: &Arc<Self>, shared: &Arc<SharedState>) -> Result<Link, MeshError> {
        let dial = {
            let mut state = self.state();
            match &*state {
                State::Up(link) if !link.is_closed() => return Ok(link.clone()),
                State::Failed { until, error } if Instant::now() < *until => {
                    return Err(self.unreachable(Arc::clone(error)));
                }
                State::Dialing(dial) => dial.clone(),
                State::Idle | State::Up(_) | State::Failed { .. } => {
                    let dial = self.start_dial(Arc::clone(shared));
                    *state = State::Dialing(dial.clone());
                    dial
                }
            }
        };
        dial.await.map_err(|error| self.unreachable(error))
    }

    /// Runs as a task of its own, so that it ends whoever of those that wait for it gives up.
    fn start_dial(self: &Arc<Self>, shared: Arc<SharedState>) -> Dial {
        let node = Arc::clone(self);
        let task = tokio::spawn(async move {
            shared.metrics.dials.add_one();
            let started = Instant::now();
            let dialing = dial(&shared.tls, node.server_name.clone(), node.address, node.closed.clone());
            let result = node.closed.run_until_cancelled(dialing).await;
            let result = result.unwrap_or(Err(DialError::Superseded)).map_err(Arc::new);
            *node.state() = match &result {
                Ok(link) => State::Up(link.clone()),
                Err(error) => {
                    shared.metrics.dials_failed.add_one();
                    let pause = started.elapsed().clamp(PAUSE_MIN, PAUSE_MAX);
                    State::Failed { until: Instant::now() + pause, error: Arc::clone(error) }
                }
            };
            result
        });
        let node = Arc::downgrade(self);
        async move {
            task.await.unwrap_or_else(|_| {
                if let Some(node) = node.upgrade() {
                    *node.state() = State::Idle;
                }
                Err(Arc::new(DialError::Abandoned))
            })
        }
        .boxed()
        .shared()
    }

    fn unreachable(&self, source: Arc<DialError>) -> MeshError {
        MeshError::Connect { node: self.name.clone(), address: self.address, source }
    }

    fn addressed(&self, mut request: Request<Body>) -> Request<Body> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        let path = request.uri().path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts).expect("scheme, authority and path make a URI");
        *request.version_mut() = Version::HTTP_2;
        request
    }
}

/// HTTP/2 says for some streams that they were not processed (RFC 9113, section 8.7); of others we cannot know.
fn after_sending(node: &NodeName, error: hyper::Error) -> MeshError {
    let refused = error.source().and_then(|source| source.downcast_ref::<h2::Error>()).is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let going_away = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (refused || going_away)
    });
    let (node, source) = (node.clone(), error.into());
    if refused { MeshError::NotSent { node, source } } else { MeshError::Broken { node, source } }
}

/// A response's body that holds its request's place until it is done.
struct Permitted {
    body: Incoming,
    _permit: Option<OwnedSemaphorePermit>,
}

impl http_body::Body for Permitted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
