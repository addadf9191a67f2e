//! Requests to pods: the HTTP guests that run here, called in-process by this node's ingress and over the mesh by the
//! others'; and programs that listen at a port, to which a request goes by HTTP/1.1.
//!
//! Not here: routes and balancing (`wk-ingress`).

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dashmap::DashMap;
use http::header::HOST;
use http::{HeaderValue, Request, Response, StatusCode, Uri, uri};
use wk_base::body::{self, Body};
use wk_engine::{Duplex, Failure};
use wk_ingress::{Endpoint, Upstream, UpstreamError};
use wk_mesh::{Mesh, NodeName};

use crate::net::{Caller, Pod, Pods, Refused, serve};

mod app;

pub use app::{App, PortTaken};

/// The first path segment of a request to a pod over the mesh: `/pods/<uid>/<port>/<the request's own path>`.
pub const MESH_PREFIX: &str = "/pods/";
/// Set on a mesh response that is ours and not the guest's: what went wrong.
const ERROR_HEADER: &str = "wk-mesh-error";
/// A bound of last resort on a mesh request: the caller's ingress has its own, shorter one.
const MESH_DEADLINE: Duration = Duration::from_hours(1);

/// A request that a pod did not answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No such pod runs here (any more): the guest has seen nothing of the request.
    #[error("no pod {0} serves here")]
    Gone(String),
    /// It runs here, and nothing of it serves this port.
    #[error("connect: connection refused: nothing in the pod serves port {0}")]
    Refused(u16),
    /// The pod was ended while it worked on the request.
    #[error("the pod was stopped")]
    Cut,
    /// The guest failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The rest of a pod's chain of HTTP containers, as a middleware in front of it sees it.
pub struct After {
    apps: Apps,
    pod: Arc<str>,
    index: usize,
}

#[async_trait]
impl wk_engine::Next for After {
    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        let next = self.apps.of(&self.pod).into_iter().find(|app| app.index > self.index);
        let Some(next) = next else { return Err("no HTTP container of this pod comes after this one".to_owned()) };
        next.call(request).await.map_err(|error| error.to_string())
    }
}

/// What serves on this node, by pod: HTTP containers, and beside them the ports that programs listen at. Clones share
/// the table.
#[derive(Clone, Default)]
pub struct Apps {
    http: Arc<DashMap<Arc<str>, Vec<Arc<App>>>>,
    pods: Pods,
}

impl Apps {
    /// Adds a container to its pod, unless a port of it is taken there.
    pub fn insert(&self, pod: &Arc<str>, app: &Arc<App>) -> Result<(), PortTaken> {
        let mut apps = self.http.entry(Arc::clone(pod)).or_default();
        if let Some(taken) = apps.iter().find_map(|other| other.in_the_way_of(app)) {
            return Err(taken);
        }
        // In the pod's order, whichever was ready first.
        let at = apps.partition_point(|other| other.index <= app.index);
        apps.reserve_exact(1);
        apps.insert(at, Arc::clone(app));
        Ok(())
    }

    /// Takes a container out: requests to it are told "gone" from now on.
    pub fn remove(&self, pod: &str, app: &Arc<App>) {
        self.http.remove_if_mut(pod, |_, apps| {
            apps.retain(|other| !Arc::ptr_eq(other, app));
            apps.is_empty()
        });
    }

    /// Where the pod's container `index` passes requests on: the first HTTP container after it.
    pub fn after(&self, pod: &Arc<str>, index: usize) -> After {
        After { apps: self.clone(), pod: Arc::clone(pod), index }
    }

    /// The containers of a pod that serve.
    pub fn of(&self, pod: &str) -> Vec<Arc<App>> {
        self.http.get(pod).map(|apps| apps.clone()).unwrap_or_default()
    }

    /// The pods that have a network here.
    pub(crate) fn pods(&self) -> &Pods {
        &self.pods
    }

    /// Connects to `port` of `pod`, as `caller`: to the program that listens there, or to an HTTP guest by HTTP/1.1.
    pub fn connect(&self, pod: &str, port: u16, caller: Caller) -> Result<Box<dyn Duplex>, Refused> {
        if let Some(pod) = self.program(pod, port, caller) {
            return pod.connect(port, caller);
        }
        if !self.listens(pod, port) {
            return Err(Refused::Nobody);
        }
        // A pod that is about to go has no network any more, and answers the last of its requests.
        let place = self.pods.by_uid(pod).map(|pod| pod.socket()).transpose().map_err(|_| Refused::Full)?;
        Ok(serve::connect(self, pod, port, place))
    }

    /// Calls the container of `pod` that serves `port`.
    pub async fn call(&self, pod: &str, port: u16, request: Request<Body>) -> Result<Response<Body>, CallError> {
        if let Some(program) = self.program(pod, port, Caller::TRAFFIC) {
            return serve::call_program(&program, port, Caller::TRAFFIC, request).await;
        }
        self.app(pod, port)?.call(request).await
    }

    /// Asks the container of `pod` that serves `port` on this node's own behalf: no traffic of anybody, which a pod that
    /// is drained does not wait for, and whose failures are the asker's to tell.
    pub async fn ask(&self, pod: &str, port: u16, request: Request<Body>) -> Result<Response<Body>, CallError> {
        if let Some(program) = self.program(pod, port, Caller::NODE) {
            return serve::call_program(&program, port, Caller::NODE, request).await;
        }
        self.app(pod, port)?.ask(request).await
    }

    /// Whether a program of `pod`, and no HTTP container, answers this node at `port`.
    pub fn is_program(&self, pod: &str, port: u16) -> bool {
        self.program(pod, port, Caller::NODE).is_some()
    }

    /// The pod, if a program of it listens at `port` and no HTTP container declares that port.
    fn program(&self, pod: &str, port: u16, caller: Caller) -> Option<Arc<Pod>> {
        // Not by the lock of programs where most requests go.
        if self.http.get(pod).is_some_and(|apps| apps.iter().any(|app| app.spec.ports.contains(&port))) {
            return None;
        }
        self.pods.by_uid(pod).filter(|pod| pod.listens(port, caller))
    }

    /// Whether an HTTP container of `pod` serves `port`.
    pub fn listens(&self, pod: &str, port: u16) -> bool {
        self.app(pod, port).is_ok()
    }

    /// The HTTP container of `pod` that serves `port`.
    fn app(&self, pod: &str, port: u16) -> Result<Arc<App>, CallError> {
        match self.http.get(pod) {
            Some(apps) => serving(&apps, port).cloned().ok_or(CallError::Refused(port)),
            None if self.pods.by_uid(pod).is_some() => Err(CallError::Refused(port)),
            None => Err(CallError::Gone(pod.to_owned())),
        }
    }

    /// Answers a request that came over the mesh, at [`MESH_PREFIX`].
    pub async fn serve(&self, mut request: Request<Body>) -> Response<Body> {
        let Some((pod, port, uri)) = parse_mesh_uri(request.uri(), request.headers().get(HOST)) else {
            return mesh_error(StatusCode::BAD_REQUEST, "gone", "not a pod's path");
        };
        *request.uri_mut() = uri;
        match self.call(&pod, port, request).await {
            Ok(mut response) => {
                response.headers_mut().remove(ERROR_HEADER);
                response
            }
            Err(gone @ (CallError::Gone(_) | CallError::Refused(_))) => {
                mesh_error(StatusCode::MISDIRECTED_REQUEST, "gone", &gone.to_string())
            }
            Err(CallError::Cut) => mesh_error(StatusCode::BAD_GATEWAY, "cut", "the pod was stopped"),
            Err(CallError::Failed(Failure::Crashed(message))) => mesh_error(StatusCode::BAD_GATEWAY, "cut", &message),
            Err(CallError::Failed(failure @ (Failure::Busy { .. } | Failure::Crowded { .. }))) => {
                mesh_error(StatusCode::SERVICE_UNAVAILABLE, "gone", &failure.to_string())
            }
            Err(CallError::Failed(Failure::Deadline(after))) => {
                mesh_error(StatusCode::GATEWAY_TIMEOUT, "deadline", &after.as_millis().to_string())
            }
            Err(CallError::Failed(failure)) => mesh_error(StatusCode::BAD_GATEWAY, "failed", &failure.to_string()),
        }
    }
}

/// The container that serves `port`: the one that declares it, else one that declares none. Such a one has no port of its
/// own, and serves where it is asked.
fn serving(apps: &[Arc<App>], port: u16) -> Option<&Arc<App>> {
    let declares = apps.iter().find(|app| app.spec.ports.contains(&port));
    declares.or_else(|| apps.iter().find(|app| app.spec.ports.is_empty()))
}

/// Answers another node's request where no pod runs yet, or ever: no guest has seen it, and it may go to another pod.
pub fn nothing_runs() -> Response<Body> {
    mesh_error(StatusCode::SERVICE_UNAVAILABLE, "gone", "nothing runs here: it is a witness, or has only begun")
}

fn mesh_error(status: StatusCode, what: &'static str, message: &str) -> Response<Body> {
    let mut response = Response::new(body::full(message.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(what));
    response
}

/// `/pods/<uid>/<port>/path?query` -> pod, port, and the URI that the guest shall see, with the host of the request.
fn parse_mesh_uri(uri: &Uri, host: Option<&HeaderValue>) -> Option<(String, u16, Uri)> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(MESH_PREFIX)?;
    let (pod, rest) = rest.split_once('/')?;
    let (port, path) = rest.split_at(rest.find('/')?);
    let uri = Uri::builder().scheme("http").authority(host?.as_bytes()).path_and_query(path).build().ok()?;
    Some((pod.to_owned(), port.parse().ok()?, uri))
}

/// The path of a request to a pod over the mesh.
fn mesh_path(pod: &str, port: u16, uri: &Uri) -> Result<Uri, http::Error> {
    let path = uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    Uri::builder().path_and_query(format!("{MESH_PREFIX}{pod}/{port}{path}")).build()
}

/// The host of a request, as the header that the mesh passes on.
fn host_header(request: &Request<Body>) -> HeaderValue {
    let host = request.headers().get(HOST).cloned();
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    authority.or(host).unwrap_or_else(|| HeaderValue::from_static("localhost"))
}

/// The ingress' way to pods: in-process when they run here, over the mesh when they do not.
pub struct Traffic {
    apps: Apps,
    mesh: Mesh,
}

impl Traffic {
    /// Calls `apps` here, and other nodes through `mesh`.
    pub fn new(apps: Apps, mesh: Mesh) -> Self {
        Self { apps, mesh }
    }

    async fn remote(
        &self,
        endpoint: &Endpoint,
        port: u16,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        let node = NodeName::from_str(&endpoint.node).map_err(|error| UpstreamError::NotSent(error.into()))?;
        let host = host_header(&request);
        *request.uri_mut() =
            mesh_path(&endpoint.pod, port, request.uri()).map_err(|error| UpstreamError::NotSent(error.into()))?;
        *request.version_mut() = http::Version::HTTP_2;
        request.headers_mut().insert(HOST, host);
        let response = self.mesh.request(&node, request, MESH_DEADLINE).await.map_err(|error| {
            if error.nothing_was_sent() {
                UpstreamError::NotSent(error.into())
            } else {
                UpstreamError::Broken(error.into())
            }
        })?;
        let Some(what) = response.headers().get(ERROR_HEADER).map(|what| what.as_bytes().to_vec()) else {
            return Ok(response);
        };
        let message = short_text(response.into_body()).await;
        Err(match &*what {
            b"gone" => UpstreamError::NotSent(message.into()),
            b"cut" => UpstreamError::Broken(message.into()),
            b"deadline" => UpstreamError::Deadline(Duration::from_millis(message.parse().unwrap_or(0))),
            _ => UpstreamError::Failed(message),
        })
    }
}

/// The start of a body of ours, which is short by construction.
async fn short_text(body: Body) -> String {
    const BYTES_MAX: usize = 4096;
    let bytes = body::collect(body, BYTES_MAX).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[async_trait]
impl Upstream for Traffic {
    async fn call(&self, endpoint: &Endpoint, request: Request<Body>) -> Result<Response<Body>, UpstreamError> {
        let port = endpoint.address.parse::<SocketAddr>().map_or(0, |address| address.port());
        if !endpoint.local {
            return self.remote(endpoint, port, request).await;
        }
        self.apps.call(&endpoint.pod, port, request).await.map_err(|error| match error {
            CallError::Gone(_)
            | CallError::Refused(_)
            | CallError::Failed(Failure::Busy { .. } | Failure::Crowded { .. }) => UpstreamError::NotSent(error.into()),
            CallError::Cut | CallError::Failed(Failure::Crashed(_)) => UpstreamError::Broken(error.into()),
            CallError::Failed(Failure::Deadline(after)) => UpstreamError::Deadline(after),
            CallError::Failed(failure) => UpstreamError::Failed(failure.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_to_a_pod_keeps_its_host_path_and_query_over_the_mesh() {
        let request = Request::get("http://web.localhost/a/b?c=d").body(body::empty()).unwrap();
        let there = mesh_path("u-1", 8080, request.uri()).unwrap();
        assert_eq!(there, "/pods/u-1/8080/a/b?c=d");
        let (pod, port, uri) = parse_mesh_uri(&there, Some(&host_header(&request))).unwrap();
        assert_eq!((pod.as_str(), port), ("u-1", 8080));
        assert_eq!(uri, "http://web.localhost/a/b?c=d");
    }

    #[test]
    fn paths_that_are_no_pods_are_refused() {
        let host = HeaderValue::from_static("web.localhost");
        for path in ["/", "/pods/", "/pods/u", "/pods/u/80", "/pods/u/x/", "/pods/u/99999/"] {
            assert!(parse_mesh_uri(&path.parse().unwrap(), Some(&host)).is_none(), "{path}");
        }
    }
}
