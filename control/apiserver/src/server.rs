//! One request from first to last: who asks, what for, may they, answer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::header::{CACHE_CONTROL, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;
use wk_api::Status;
use wk_base::body::Body;
use wk_base::id;
use wk_cluster::{Cluster, Freshness};
use wk_image::Blobs;
use wk_mesh::{Handler, Peer, RemoteAddress};

use crate::access::{Access, Ask, Caller, Security, User, authn, certificates, issuer, people, signing_keys};
use crate::audit::{Notes, Trail};
use crate::body;
use crate::flight::{Flight, Flow, Held};
use crate::modules;
use crate::negotiate::{self, Encoding};
use crate::openapi::{self, Documents};
use crate::paging::Pages;
use crate::query::Query;
use crate::requests::{Requests, What};
use crate::respond::{self, Reply, respond, text};
use crate::route::{Route, route};
use crate::seams::{Pods, Replicate};
use crate::verbs::{self, Call, Ends, NoRight};
use crate::{compress, discovery, health, old_watch};

/// From the request to the head of its answer, as in Kubernetes (`--request-timeout`). Watches and logs answer their
/// head at once and go on in their body.
const REQUEST_DEADLINE: Duration = Duration::from_mins(1);

/// An upload of the largest module over a connection of 4 Mbit/s.
const UPLOAD_DEADLINE: Duration = Duration::from_mins(10);

/// The longest that a pod may be given for a request, and a moment: it keeps its own deadline.
const PROXY_DEADLINE: Duration = Duration::from_secs(3610);

/// What the server needs besides the objects.
pub struct Dependencies {
    /// Running pods, for their logs.
    pub pods: Arc<dyn Pods>,
    /// This node's modules.
    pub blobs: Blobs,
    /// Copies of uploaded modules at other peers.
    pub replicate: Arc<dyn Replicate>,
    /// Who is let in.
    pub security: Security,
    /// Ends watches and followed logs when it fires, so that connections can close.
    pub shutdown: CancellationToken,
    /// Where requests are counted.
    pub requests: Requests,
}

/// The API server of one peer. Every peer has one, and they answer alike.
pub struct ApiServer {
    pub(crate) cluster: Cluster,
    pub(crate) pods: Arc<dyn Pods>,
    pub(crate) blobs: Blobs,
    pub(crate) replicate: Arc<dyn Replicate>,
    pub(crate) access: Arc<Access>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) pages: Pages,
    pub(crate) flight: Flight,
    pub(crate) documents: Documents,
    requests: Requests,
}

impl ApiServer {
    /// A server of `cluster`'s objects. Hand it to `wk_mesh::serve`.
    pub fn new(cluster: Cluster, dependencies: Dependencies) -> Self {
        let Dependencies { pods, blobs, replicate, security, shutdown, requests } = dependencies;
        let access = Arc::new(Access::new(security));
        let (pages, flight, documents) = (Pages::default(), Flight::default(), Documents::default());
        Self { cluster, pods, blobs, replicate, access, shutdown, pages, flight, documents, requests }
    }

    /// Who sends a request with these headers, if they may do `verb` at `path`, which is no resource of Kubernetes.
    pub async fn may(&self, peer: &Peer, headers: &HeaderMap, verb: &str, path: &str) -> Result<User, Status> {
        // What is ours alone comes by `attend`, which has looked at the certificate.
        let Caller { user, .. } = authn::caller(self, peer, headers, &Extensions::new()).await?;
        self.authorize(&user, &Ask::Path { verb, path }).await?;
        Ok(user)
    }

    /// Answers what is no path of this server's as every other request: who asks is known, put on record, and waits for
    /// their turn. What they may is `answer`'s to ask; None from it is nothing that is there.
    pub async fn attend<F>(
        &self,
        peer: &Peer,
        request: Request<Body>,
        answer: impl FnOnce(Request<Body>) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Option<Response<Body>>>,
    {
        let (parts, body) = request.into_parts();
        let (query, id) = (Query::parse(parts.uri.query()), id::uid());
        let (caller, refused) = match authn::caller(self, peer, &parts.headers, &parts.extensions).await {
            Ok(caller) => (Some(caller), None),
            Err(status) => (None, Some(status)),
        };
        let nobody = User::default();
        let user = caller.as_ref().map_or(&nobody, |caller| &caller.user);
        let behind = caller.as_ref().and_then(|caller| caller.behind.as_ref());
        let trail = self.trail((user, behind), &Route::Nowhere, &parts, &query, &id);
        let response = match refused {
            Some(status) => respond(Err(status), Encoding::Json),
            None => match self.flight.admit(&Route::Nowhere, &parts.method, flow(user, &parts)).await {
                Ok(_held) => answer(Request::from_parts(parts, body)).await.unwrap_or_else(nothing_here),
                Err(status) => respond(Err(status), Encoding::Json),
            },
        };
        match trail {
            Some(trail) => trail.response(response),
            None => response,
        }
    }

    async fn answer(&self, peer: &Peer, parts: &Parts, body: Body, id: &str) -> Response<Body> {
        let began = Instant::now();
        let query = Query::parse(parts.uri.query());
        let json = if negotiate::wants_pretty(&parts.headers, &query) { Encoding::PrettyJson } else { Encoding::Json };
        let caller = authn::caller(self, peer, &parts.headers, &parts.extensions).await;
        let Caller { user, behind, person, certificate } = match caller {
            Ok(caller) => caller,
            Err(status) => {
                // Who could not say who they are is on record as nobody.
                let route = route(parts.uri.path(), &self.cluster.store().view());
                let trail = self.trail((&User::default(), None), &route, parts, &query, id);
                let response = respond(Err(status), json);
                self.requests.refused(response.status().as_u16());
                return match trail {
                    Some(trail) => trail.response(response),
                    None => response,
                };
            }
        };
        let route = route(parts.uri.path(), &self.cluster.store().view());
        let trail = self.trail((&user, behind.as_ref()), &route, parts, &query, id);
        let notes = trail.as_ref().map(Trail::notes).unwrap_or_default();
        let body = match &trail {
            Some(trail) => trail.request(body),
            None => body,
        };
        let what = What::of(&route, parts, &query);
        let under_way = self.requests.begin(&parts.method);
        let mut response = self.admitted(route, (&user, notes), parts, query, body, json).await;
        drop(under_way);
        self.count(what, &response, began);
        let store = self.cluster.store();
        response = match (person, certificate) {
            (Some(person), _) => until_revoked(response, people::revoked(store, person)),
            (None, Some((own, of_master))) => until_revoked(response, certificates::revoked(store, own, of_master)),
            (None, None) => response,
        };
        match trail {
            Some(trail) => trail.response(response),
            None => response,
        }
    }

    fn count(&self, what: Option<What>, response: &Response<Body>, began: Instant) {
        let Some(what) = what else { return };
        let code = response.status().as_u16();
        match response.extensions().get::<NoRight>() {
            Some(NoRight) => self.requests.refused(code),
            None => self.requests.ended(what, code, began.elapsed()),
        }
    }

    /// The record of a request, if there is to be one.
    fn trail(
        &self,
        caller: (&User, Option<&User>),
        route: &Route,
        parts: &Parts,
        query: &Query,
        id: &str,
    ) -> Option<Trail> {
        let audit = self.access.security.audit.as_ref()?;
        let verb = parts.method.as_str().to_lowercase();
        let ask = match route {
            Route::Resource(target) => verbs::ask(target, &parts.method, query),
            _ => Ask::Path { verb: &verb, path: parts.uri.path() },
        };
        audit.begin(self.cluster.clock(), id, parts, caller, &ask)
    }

    /// Answers somebody who is known, when there is room for it.
    async fn admitted(
        &self,
        route: Route,
        (user, notes): (&User, Notes),
        parts: &Parts,
        query: Query,
        body: Body,
        json: Encoding,
    ) -> Response<Body> {
        self.pages.forget_old(Instant::now());
        let flow = flow(user, parts);
        let held = match self.flight.admit(&route, &parts.method, flow.clone()).await {
            Ok(held) => held,
            Err(status) => return respond(Err(status), json),
        };
        let deadline = match deadline(&route, &query) {
            Ok(deadline) => deadline,
            Err(status) => return respond(Err(status), json),
        };
        let answer = async {
            let route = self.second_look(route, parts).await;
            self.at(route, &Asker { user, held, notes }, parts, query, body, json).await
        };
        let answer = self.flight.turns.steps(flow, answer);
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
        asker: &Asker<'_>,
        parts: &Parts,
        query: Query,
        body: Body,
        json: Encoding,
    ) -> Response<Body> {
        let user = asker.user;
        if let Route::Resource(target) = route {
            let call = Call::new(target, parts, query, asker);
            return verbs::answer(self, user, call, body, json).await;
        }
        if let Route::People(name) = &route {
            return respond(people::answer(self, user, parts, name.as_deref(), body).await, json);
        }
        if let Route::Certificates(serial) = &route {
            return respond(certificates::answer(self, user, parts, serial.as_deref()).await, json);
        }
        if let Route::SigningKeys(id) = &route {
            return respond(signing_keys::answer(self, user, parts, id.as_deref(), body).await, json);
        }
        let verb = parts.method.as_str().to_lowercase();
        let path = Ask::Path { verb: &verb, path: parts.uri.path() };
        if let Err(status) = self.authorize_noted(user, &path, &asker.notes).await {
            return respond(Err(status), json);
        }
        if let Route::Modules(rest) = route {
            return modules::answer(self, &parts.method, &rest, &query, body).await;
        }
        if parts.method != Method::GET && !matches!(route, Route::Nowhere | Route::NoSuchResource) {
            return respond(Err(not_allowed()), json);
        }
        match route {
            Route::Health(probe, check) => {
                health::answer(&self.cluster, probe, check, query.get("verbose").is_some()).await
            }
            Route::OpenIdConfiguration => issuer::configuration(),
            Route::OpenIdKeys => issuer::keys(self),
            Route::Version => respond(Ok(Reply::ok(wk_api::discovery::version())), json),
            Route::Root => respond(Ok(Reply::ok(wk_api::discovery::paths(&self.cluster.kinds()))), json),
            Route::Discovery(document) => {
                discovery::answer(&self.cluster.kinds(), &document, &parts.headers, &query).unwrap_or_else(nothing_here)
            }
            Route::OpenApi(place) => openapi::answer(self, &place, &parts.headers, &query).await,
            Route::NoSuchResource => respond(Err(Status::no_such_resource()), json),
            Route::Nowhere
            | Route::Resource(_)
            | Route::Modules(_)
            | Route::People(_)
            | Route::Certificates(_)
            | Route::SigningKeys(_) => nothing_here(),
        }
    }
}

/// The same answer, which ends with what `revoked` waits for.
fn until_revoked(response: Response<Body>, revoked: impl Future<Output = ()> + Send + 'static) -> Response<Body> {
    if let Some(Ends(end)) = response.extensions().get().cloned() {
        tokio::spawn(async move {
            tokio::select! {
                () = revoked => end.cancel(),
                () = end.cancelled() => {}
            }
        });
        response
    } else if response.body().size_hint().lower() == 0 && !response.body().is_end_stream() {
        // What has so many bytes at least ends by itself: a list.
        response.map(|body| body::until(body, revoked))
    } else {
        response
    }
}

/// Who asks, and what their request has while it is worked on.
pub(crate) struct Asker<'a> {
    pub user: &'a User,
    pub held: Held,
    pub notes: Notes,
}

/// Whose request it is, for their turn.
fn flow(user: &User, parts: &Parts) -> Flow {
    let agent = parts.headers.get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned());
    let address = parts.extensions.get::<RemoteAddress>().map(|remote| remote.0.ip());
    Flow::new(&user.name, address, agent.unwrap_or_default())
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
        let (mut parts, body) = request.into_parts();
        if let Some(uri) = old_watch::newer(&parts.uri).filter(|_| parts.method == Method::GET) {
            parts.uri = uri;
        }
        let audit = id::uid();
        let mut response = self.answer(&peer, &parts, body, &audit).await;
        tracing::debug!(
            %audit, user = %peer, method = %parts.method, uri = %parts.uri,
            code = response.status().as_u16(), took = ?began.elapsed(), "request"
        );
        response = compress::answer(response, &parts.headers);
        if parts.method == Method::HEAD {
            response = respond::without_body(response);
        }
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

/// How long an answer may take until its head: less when the client asks for it (`timeout=10s`) and nothing goes on in the
/// body.
fn deadline(route: &Route, query: &Query) -> Result<Duration, Status> {
    let Route::Resource(target) = route else {
        return Ok(if matches!(route, Route::Modules(_)) { UPLOAD_DEADLINE } else { REQUEST_DEADLINE });
    };
    if route.is_proxy() {
        return Ok(PROXY_DEADLINE);
    }
    let goes_on = matches!(target.subresource.as_deref(), Some("log" | "exec" | "attach" | "portforward"));
    let asked = query.text("timeout");
    if asked.is_empty() || goes_on || query.flag("watch") {
        return Ok(REQUEST_DEADLINE);
    }
    let asked = wk_api::duration(asked).ok_or_else(|| {
        let why = format!("time: invalid duration {asked:?}");
        Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
    })?;
    Ok(if asked.is_positive() { REQUEST_DEADLINE.min(asked.unsigned_abs()) } else { REQUEST_DEADLINE })
}
