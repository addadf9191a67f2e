//! One request from first to last: who asks, what for, may they, answer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::header::{CACHE_CONTROL, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use wk_api::Status;
use wk_base::body::Body;
use wk_base::id;
use wk_cluster::{Cluster, Freshness};
use wk_image::Blobs;
use wk_mesh::{Handler, Peer, RemoteAddress};

use crate::access::{self, Attributes, User, authorize};
use crate::flight::{Flight, Flow};
use crate::modules;
use crate::negotiate::{self, Encoding};
use crate::openapi::{self, Documents};
use crate::paging::Pages;
use crate::query::Query;
use crate::respond::{Reply, respond, text};
use crate::route::{Route, route};
use crate::seams::{Pods, Replicate};
use crate::verbs::{self, Call};
use crate::{compress, discovery, health};

/// From the request to the head of its answer, as in Kubernetes (`--request-timeout`). Watches and logs answer their
/// head at once and go on in their body.
const REQUEST_DEADLINE: Duration = Duration::from_mins(1);

/// An upload of the largest module over a connection of 4 Mbit/s.
const UPLOAD_DEADLINE: Duration = Duration::from_mins(10);

/// What the server needs besides the objects.
pub struct Dependencies {
    /// Running pods, for their logs.
    pub pods: Arc<dyn Pods>,
    /// This node's modules.
    pub blobs: Blobs,
    /// Copies of uploaded modules at other peers.
    pub replicate: Arc<dyn Replicate>,
    /// Ends watches and followed logs when it fires, so that connections can close.
    pub shutdown: CancellationToken,
}

/// The API server of one peer. Every peer has one, and they answer alike.
pub struct ApiServer {
    pub(crate) cluster: Cluster,
    pub(crate) pods: Arc<dyn Pods>,
    pub(crate) blobs: Blobs,
    pub(crate) replicate: Arc<dyn Replicate>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) pages: Pages,
    pub(crate) flight: Flight,
    pub(crate) documents: Documents,
}

impl ApiServer {
    /// A server of `cluster`'s objects. Hand it to `wk_mesh::serve`.
    pub fn new(cluster: Cluster, dependencies: Dependencies) -> Self {
        let Dependencies { pods, blobs, replicate, shutdown } = dependencies;
        let (pages, flight, documents) = (Pages::default(), Flight::default(), Documents::default());
        Self { cluster, pods, blobs, replicate, shutdown, pages, flight, documents }
    }

    async fn answer(&self, peer: &Peer, parts: &Parts, body: Body) -> Response<Body> {
        let query = Query::parse(parts.uri.query());
        let json = if negotiate::wants_pretty(&parts.headers, &query) { Encoding::PrettyJson } else { Encoding::Json };
        let user = match access::authenticate(peer, &parts.headers) {
            Ok(user) => user,
            Err(status) => return respond(Err(status), json),
        };
        let route = route(parts.uri.path(), &self.cluster.store().view());
        self.pages.forget_old(Instant::now());
        let _seat = match self.flight.admit(&route, &parts.method, &flow(&user, parts)).await {
            Ok(seat) => seat,
            Err(status) => return respond(Err(status), json),
        };
        let deadline = if matches!(route, Route::Modules(_)) { UPLOAD_DEADLINE } else { REQUEST_DEADLINE };
        let answer = async {
            let route = self.second_look(route, parts).await;
            self.at(route, &user, parts, query, body, json).await
        };
        tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| {
            let why = format!(
                "request did not complete within the allotted timeout of {deadline:?}; a write may have happened: read \
                 the object before trying again"
            );
            respond(Err(Status::timeout(why, 1)), json)
        })
    }

    /// A kind may have been defined at another peer a moment ago: before a path is said to lead nowhere, the latest
    /// definitions are asked for.
    async fn second_look(&self, found: Route, parts: &Parts) -> Route {
        let path = parts.uri.path();
        if !matches!(found, Route::Nowhere | Route::NoSuchResource) || !path.starts_with("/apis/") {
            return found;
        }
        match self.cluster.view(Freshness::Linearizable).await {
            Ok(view) => route(path, &view),
            Err(_) => found,
        }
    }

    async fn at(
        &self,
        route: Route,
        user: &User,
        parts: &Parts,
        query: Query,
        body: Body,
        json: Encoding,
    ) -> Response<Body> {
        if let Route::Resource(target) = route {
            return verbs::answer(self, user, Call::new(target, parts, query), body, json).await;
        }
        let verb = access::path_verb(&parts.method);
        let path = Attributes::Path { verb: &verb, path: parts.uri.path() };
        if let Err(status) = authorize(user, &path) {
            return respond(Err(status), json);
        }
        if let Route::Modules(rest) = route {
            return modules::answer(self, &parts.method, &rest, &query, body).await;
        }
        if parts.method != Method::GET && route != Route::Nowhere {
            return respond(Err(not_allowed()), json);
        }
        match route {
            Route::Health(probe) => health::answer(&self.cluster, probe).await,
            Route::Version => respond(Ok(Reply::ok(wk_api::discovery::version())), json),
            Route::Discovery(document) => {
                discovery::answer(&self.cluster.kinds(), &document, &parts.headers, &query).unwrap_or_else(nothing_here)
            }
            Route::OpenApi(place) => openapi::answer(self, &place, &parts.headers, &query).await,
            Route::NoSuchResource => respond(Err(Status::no_such_resource()), json),
            Route::Nowhere | Route::Resource(_) | Route::Modules(_) => nothing_here(),
        }
    }
}

/// Whose request it is, for their turn.
fn flow(user: &User, parts: &Parts) -> Flow {
    let agent = parts.headers.get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
    let address = parts.extensions.get::<RemoteAddress>().map(|remote| remote.0.ip());
    Flow { user: user.name.clone(), address, agent: agent.unwrap_or_default() }
}

/// 405 for a path that is no resource.
fn not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status::new(405, wk_api::Reason::MethodNotAllowed, message)
}

/// What Kubernetes says of paths that it does not know: text, not a `Status`.
fn nothing_here() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

#[async_trait]
impl Handler for ApiServer {
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let audit = id::uid();
        let mut response = self.answer(&peer, &parts, body).await;
        tracing::debug!(
            %audit, user = %peer, method = %parts.method, uri = %parts.uri,
            code = response.status().as_u16(), took = ?began.elapsed(), "request"
        );
        response = compress::answer(response, &parts.headers);
        let headers = response.headers_mut();
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        if let Ok(audit) = HeaderValue::from_str(&audit) {
            headers.insert(HeaderName::from_static("audit-id"), audit);
        }
        response
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").field("pages", &self.pages).finish_non_exhaustive()
    }
}
