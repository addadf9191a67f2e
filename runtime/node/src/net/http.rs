//! Outgoing requests: to an HTTP guest without a connection, to anything else by HTTP/1.1 over one.
//!
//! Not here: a guest's own words for what goes wrong (`wk-engine`), and the ingress' balancing.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::header::HOST;
use ::http::uri::{PathAndQuery, Scheme};
use ::http::{HeaderValue, Method, Request, Response, Uri};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use wk_base::body::{self, Body, BoxError, boxed};
use wk_base::error::Chain;
use wk_engine::{Duplex, NetworkError, Patience};
use wk_ingress::{Endpoint, Upstream as _, UpstreamError};
use wk_mesh::{Trust, TrustError};
use wk_network::{Lead, ServicePort};

use super::guest::GuestNetwork;
use super::idle::{Idle, Link};
use crate::sources::SourceError;

/// The head of a response: what the ingress takes from clients, doubled.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// What a certificate in PEM begins with (RFC 7468).
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// Endpoints of a service that are asked in turn while each is surely untouched by the request.
const ENDPOINTS_MAX: usize = 4;

/// Where a request goes, read from its URI.
struct Target {
    https: bool,
    host: String,
    port: u16,
}

impl Target {
    fn of(request: &Request<Body>) -> Result<Self, NetworkError> {
        let wrong = |why: &str| NetworkError::Protocol(why.to_owned());
        if request.method() == Method::CONNECT {
            return Err(wrong("a guest opens sockets instead of asking for tunnels"));
        }
        let uri = request.uri();
        let https = uri.scheme() == Some(&Scheme::HTTPS);
        let host = uri.host().ok_or_else(|| wrong("the request names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { https, host, port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }) })
    }

    fn key(&self) -> String {
        format!("{}://{}:{}", if self.https { "https" } else { "http" }, self.host, self.port)
    }
}

impl GuestNetwork {
    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        patience: Patience,
    ) -> Result<Response<Body>, NetworkError> {
        // In this order: what is denied keeps nobody's place while it waits.
        self.pod.begin_request().await;
        let place = self.pod.request().map_err(|error| self.voice.told(error))?;
        let target = Target::of(&request)?;
        let authority = request.uri().authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
        if let (false, Some(authority)) = (request.headers().contains_key(HOST), authority) {
            request.headers_mut().insert(HOST, authority);
        }
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);

        let (response, kept) = match self.pod.idle().take(&target.key()) {
            Some(link) => match Box::pin(over(link, request, patience)).await {
                Ok(answer) => answer,
                // The server closed it just then; nothing of the request was sent.
                Err(Unsent::Request(request)) => self.afresh(&target, *request, patience).await?,
                Err(Unsent::Failed(error)) => return Err(error),
            },
            None => self.afresh(&target, request, patience).await?,
        };
        let idle = kept.map(|link| (target.key(), link, Arc::clone(self.pod.idle())));
        Ok(response.map(|body| boxed(Timed::new(body, patience, place, idle))))
    }

    async fn afresh(
        &self,
        target: &Target,
        request: Request<Body>,
        patience: Patience,
    ) -> Result<(Response<Body>, Option<Link>), NetworkError> {
        let connect = self.way(target, patience);
        let connected = tokio::time::timeout(patience.connect, connect).await;
        match connected.map_err(|_| NetworkError::ConnectTimeout)?? {
            Way::Endpoints(endpoints) => {
                let asked = self.ask(endpoints, request);
                let answered = tokio::time::timeout(patience.first_byte, asked).await;
                answered.map_err(|_| NetworkError::ReadTimeout)?.map(|response| (response, None))
            }
            Way::Stream(stream, place, lasting) => {
                let sender = handshake(stream).await?;
                match over(Link { sender, _place: place }, request, patience).await {
                    Ok((response, link)) => Ok((response, link.filter(|_| lasting == Lasting::Yes))),
                    Err(Unsent::Request(_)) => Err(NetworkError::Reset),
                    Err(Unsent::Failed(error)) => Err(error),
                }
            }
        }
    }

    /// The way to the target: endpoints to hand the request to, or a connection.
    async fn way(&self, target: &Target, patience: Patience) -> Result<Way, NetworkError> {
        let addresses = self.look_up(&target.host).await?;
        let mut last = NetworkError::Unreachable;
        for address in addresses {
            let to = SocketAddr::new(address, target.port);
            match self.way_to(target, to, patience).await {
                Ok(way) => return Ok(way),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn way_to(&self, target: &Target, to: SocketAddr, patience: Patience) -> Result<Way, NetworkError> {
        let lead = self.allowed(to)?;
        if let (false, Some(port)) = (target.https, lead.as_ref().and_then(Lead::port)) {
            let endpoints = self.endpoints(port);
            if !endpoints.is_empty() {
                return Ok(Way::Endpoints(endpoints));
            }
        }
        let place = self.pod.socket().map_err(|error| self.voice.told(error))?;
        let (trust, lasting) = match lead {
            Some(Lead::Outside) => (Trust::Public, Lasting::Yes),
            Some(Lead::Service(..) | Lead::Pod(_) | Lead::Nobody) | None => (Trust::Cluster, Lasting::No),
        };
        let stream = self.open(to, lead, patience.connect).await?;
        let stream: Box<dyn Duplex> = if target.https {
            let private = self.authorities().map_err(|error| self.voice.no_authorities(&error))?;
            let connected = self.node.tls.connect(trust, &private, &target.host, stream).await;
            Box::new(connected.map_err(|error| match error {
                TrustError::Certificate(_) | TrustError::UnknownIssuer | TrustError::NoAuthority => {
                    self.voice.untrusted(&target.key(), &error)
                }
                error => NetworkError::Tls(Chain(&error).to_string()),
            })?)
        } else {
            stream
        };
        Ok(Way::Stream(stream, place, lasting))
    }

    /// The certificates, in PEM, of the authorities that the pod trusts of itself.
    fn authorities(&self) -> Result<String, SourceError> {
        let mut pem = String::new();
        for source in &self.pod.spec.authorities {
            let data = self.node.sources.find(source.kind, &self.pod.spec.namespace, &source.name)?;
            // Beside a certificate a Secret may have its key, which is nobody's to read here.
            for text in data.all_text()?.values().filter(|text| text.contains(CERTIFICATE)) {
                pem.push_str(text);
                pem.push('\n');
            }
        }
        Ok(pem)
    }

    /// The endpoints of a service's port, in an order that begins somewhere else each time.
    fn endpoints(&self, port: &ServicePort) -> Vec<Endpoint> {
        let mut usable: Vec<Endpoint> = port
            .usable()
            .map(|endpoint| Endpoint {
                pod: Arc::clone(&endpoint.pod),
                node: Arc::clone(&endpoint.node),
                address: SocketAddr::new(endpoint.address, endpoint.port).to_string(),
                local: *endpoint.node == *self.node.name,
            })
            .collect();
        if !usable.is_empty() {
            let first = usize::from(self.pod.port()) % usable.len();
            usable.rotate_left(first);
        }
        usable
    }

    /// Asks one endpoint after another until one may have seen the request.
    async fn ask(&self, endpoints: Vec<Endpoint>, request: Request<Body>) -> Result<Response<Body>, NetworkError> {
        let (head, given) = request.into_parts();
        let replays = given.is_end_stream();
        let mut given = Some(given);
        let mut error = NetworkError::Refused;
        for endpoint in endpoints.into_iter().take(ENDPOINTS_MAX) {
            let body = match given.take() {
                Some(body) => body,
                None if replays => body::empty(),
                None => break,
            };
            match self.node.traffic.call(&endpoint, Request::from_parts(head.clone(), body)).await {
                Ok(response) => return Ok(response),
                Err(UpstreamError::NotSent(why)) => {
                    tracing::debug!(pod = %endpoint.pod, why, "endpoint not reached");
                    error = NetworkError::Refused;
                }
                Err(UpstreamError::Broken(_)) => return Err(NetworkError::Reset),
                Err(UpstreamError::Failed(message)) => return Err(NetworkError::Failed(message)),
                Err(UpstreamError::Deadline(_)) => return Err(NetworkError::ReadTimeout),
            }
        }
        Err(error)
    }
}

enum Way {
    Endpoints(Vec<Endpoint>),
    Stream(Box<dyn Duplex>, OwnedSemaphorePermit, Lasting),
}

/// Whether a connection is worth keeping: one in this process or over the mesh is made in no time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Yes,
    No,
}

/// Why a request got no response.
enum Unsent {
    /// Surely nothing of it was sent: here it is again.
    Request(Box<Request<Body>>),
    Failed(NetworkError),
}

/// One request over a connection.
async fn over(
    mut link: Link,
    request: Request<Body>,
    patience: Patience,
) -> Result<(Response<Body>, Option<Link>), Unsent> {
    let answered = tokio::time::timeout(patience.first_byte, link.sender.try_send_request(request)).await;
    match answered {
        Err(_) => Err(Unsent::Failed(NetworkError::ReadTimeout)),
        Ok(Ok(response)) => Ok((response.map(|body: Incoming| boxed(body)), Some(link))),
        Ok(Err(mut error)) => Err(match error.take_message() {
            Some(request) => Unsent::Request(Box::new(request)),
            None => Unsent::Failed(sending_error(&error.into_error())),
        }),
    }
}

fn sending_error(error: &hyper::Error) -> NetworkError {
    if error.is_parse() || error.is_user() {
        NetworkError::Protocol(Chain(error).to_string())
    } else {
        NetworkError::Reset
    }
}

/// HTTP/1.1 over a stream, in a task that ends with it.
pub(crate) async fn handshake(stream: Box<dyn Duplex>) -> Result<http1::SendRequest<Body>, NetworkError> {
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| sending_error(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %Chain(&error), "outgoing connection ended");
        }
    });
    Ok(sender)
}

/// A response's body that gives up when nothing comes, holds its request's place, and gives its connection back.
struct Timed {
    body: Body,
    patience: Patience,
    idle_since: Option<Pin<Box<Sleep>>>,
    held: Option<Hold>,
}

struct Hold {
    _place: OwnedSemaphorePermit,
    back: Option<(String, Link, Arc<Idle>)>,
}

impl Timed {
    fn new(
        body: Body,
        patience: Patience,
        place: OwnedSemaphorePermit,
        back: Option<(String, Link, Arc<Idle>)>,
    ) -> Self {
        Self { body, patience, idle_since: None, held: Some(Hold { _place: place, back }) }
    }

    fn complete(&mut self) {
        if let Some((key, link, idle)) = self.held.take().and_then(|held| held.back) {
            idle.put(key, link);
        }
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.idle_since = None;
                if self.body.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.held = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let until = Instant::now() + self.patience.between_bytes;
                let idle = self.idle_since.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
                std::task::ready!(idle.as_mut().poll(cx));
                self.held = None;
                Poll::Ready(Some(Err(NetworkError::ReadTimeout.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
