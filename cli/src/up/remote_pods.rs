//! What runs on nodes, for the API server: logs, requests, what a node says of itself; here or over the mesh.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, StatusCode, Uri};
use wk_api::Status;
use wk_apiserver::{LogOptions, NodeUsage, Pods};
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_base::time::Timestamp;
use wk_ingress::{Endpoint, Upstream as _};
use wk_mesh::{Mesh, NodeName};
use wk_node::ledger::Ledger;
use wk_node::log_stream::{self, LogQuery};
use wk_node::logs::Logs;
use wk_node::streams::Streams;
use wk_node::traffic::Traffic;
use wk_node::usage::Meters;
use wk_streams::relay::Wanted;

use super::hearing::Hearing;
use super::metrics::Metrics;
use super::usage;

/// Where logs are on the mesh: `GET /logs/<pod uid>/<container>?<LogQuery as JSON, percent-encoded>`.
pub(crate) const PREFIX: &str = "/logs/";
/// Where a node says on the mesh what `nodes/proxy` asks of it: `GET /node/healthz`.
pub(crate) const NODE_PREFIX: &str = "/node";
/// Below it, what the node tells of the pod with a uid.
const DEBUG_PREFIX: &str = "/debug/";
/// Where streams are opened on the mesh: `POST /streams/<pod uid>?<Wanted>`.
pub(crate) const STREAMS_PREFIX: &str = "/streams/";
/// The longest reason of a node that opens no stream.
const REFUSAL_BYTES_MAX: usize = 4096;
/// The node's time to begin its answer.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// Logs of all nodes.
pub(crate) struct RemotePods {
    /// This node.
    pub(crate) name: NodeName,
    /// The way to the others.
    pub(crate) mesh: Mesh,
    /// This node's own.
    pub(crate) logs: Logs,
    /// The way to pods.
    pub(crate) traffic: Traffic,
    /// Streams to this node's own pods.
    pub(crate) streams: Streams,
    /// What this node counts.
    pub(crate) metrics: Metrics,
    /// What runs here uses.
    pub(crate) meters: Meters,
    /// What it tells of its own pods to whoever looks into one.
    pub(crate) ledger: Ledger,
    /// Whom the leader heard.
    pub(crate) hearing: Hearing,
}

impl RemotePods {
    /// Asks another node.
    async fn ask(&self, node: &str, path: String) -> Result<Response<Body>, String> {
        let name: NodeName = node.parse().map_err(|error| Chain(&error).to_string())?;
        let request = Request::get(path).body(body::empty()).map_err(|error| error.to_string())?;
        self.mesh.request(&name, request, HEAD_DEADLINE).await.map_err(|error| Chain(&error).to_string())
    }
}

#[async_trait]
impl Pods for RemotePods {
    async fn logs(&self, node: &str, pod: &str, container: &str, options: &LogOptions) -> Result<Body, Status> {
        let query = LogQuery {
            previous: options.previous,
            follow: options.follow,
            tail: options.tail_lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
            since: options.since,
            timestamps: options.timestamps,
            limit_bytes: options.limit_bytes,
            level: options.level.clone(),
        };
        if node == self.name.as_str() {
            let stream = log_stream::stream(&self.logs, pod, container, &query).await;
            return stream.map_err(|error| explain(&error, container));
        }
        let unreachable = |why: String| Status::unavailable(format!("node {node} cannot be asked for the log: {why}"));
        let text = serde_json::to_string(&query).expect("a query of plain fields");
        let text = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
        let response = self.ask(node, format!("{PREFIX}{pod}/{container}?{text}")).await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            StatusCode::NOT_FOUND => Err(explain(&io::ErrorKind::NotFound.into(), container)),
            status => Err(unreachable(status.to_string())),
        }
    }

    async fn call(&self, node: &str, pod: &str, port: u16, request: Request<Body>) -> Result<Response<Body>, Status> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).to_string();
        let endpoint = Endpoint { pod: pod.into(), node: node.into(), address, local: node == self.name.as_str() };
        self.traffic
            .call(&endpoint, request)
            .await
            .map_err(|error| Status::unavailable(format!("error trying to reach service: {}", Chain(&error))))
    }

    async fn open(&self, node: &str, pod: &str, wanted: &Wanted, input: Body) -> Result<Body, Status> {
        if node == self.name.as_str() {
            return self.streams.open(pod, wanted.clone(), input).map_err(|error| refused(&error.to_string()));
        }
        let unreachable = |why: String| Status::unavailable(format!("node {node} cannot be reached: {why}"));
        let name: NodeName = node.parse().map_err(|error| unreachable(Chain(&error).to_string()))?;
        let request = Request::post(format!("{STREAMS_PREFIX}{pod}?{}", wanted.to_query())).body(input);
        let request = request.map_err(|error| Status::bad_request(error.to_string()))?;
        let response = self.mesh.request(&name, request, HEAD_DEADLINE).await;
        let response = response.map_err(|error| unreachable(Chain(&error).to_string()))?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => {
                let why = body::collect(response.into_body(), REFUSAL_BYTES_MAX).await.unwrap_or_default();
                let why = String::from_utf8_lossy(&why).into_owned();
                Err(if status == StatusCode::CONFLICT {
                    refused(&why)
                } else {
                    unreachable(format!("{status}: {why}"))
                })
            }
        }
    }

    async fn node(&self, node: &str, path: &str) -> Result<Response<Body>, Status> {
        if node == self.name.as_str() {
            return Ok(tell(&self.metrics, &self.ledger, path));
        }
        let answer = self.ask(node, format!("{NODE_PREFIX}{path}")).await;
        answer.map_err(|why| Status::unavailable(format!("error trying to reach service: node {node}: {why}")))
    }

    async fn heard(&self) -> BTreeMap<String, Timestamp> {
        self.hearing.heard().await
    }

    async fn usage(&self, node: &str) -> Result<NodeUsage, Status> {
        if node == self.name.as_str() {
            return Ok(usage::usage(self.meters.report()));
        }
        usage::ask(&self.mesh, node).await
    }
}

/// The pod cannot be streamed with, for a reason that is not the server's.
fn refused(why: &str) -> Status {
    Status::bad_request(why)
}

/// Opens streams to this node's pods for the others.
pub(crate) fn open(streams: &Streams, request: Request<Body>) -> Response<Body> {
    let (parts, input) = request.into_parts();
    let pod = parts.uri.path().strip_prefix(STREAMS_PREFIX).unwrap_or_default();
    let wanted = Wanted::parse(parts.uri.query().unwrap_or_default());
    let (code, body) = match wanted.map(|wanted| streams.open(pod, wanted, input)) {
        Some(Ok(output)) => return Response::new(output),
        Some(Err(error)) => (StatusCode::CONFLICT, error.to_string()),
        None => (StatusCode::BAD_REQUEST, "not a stream that this version knows".to_owned()),
    };
    let mut response = Response::new(body::full(body));
    *response.status_mut() = code;
    response
}

/// What this node says of itself: that it lives, what it counts, and what its pods did last.
pub(crate) fn tell(metrics: &Metrics, ledger: &Ledger, path: &str) -> Response<Body> {
    let pod = path.strip_prefix(DEBUG_PREFIX).and_then(|pod| ledger.tell(pod));
    match (path, pod) {
        ("/healthz", _) => Response::new(body::full("ok")),
        ("/metrics", _) => metrics.answer(),
        (_, Some(pod)) => Response::new(body::full(pod.to_string())),
        _ => {
            let mut response = Response::new(body::full("404 page not found\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

fn explain(error: &io::Error, container: &str) -> Status {
    if error.kind() == io::ErrorKind::NotFound {
        return Status::bad_request(format!(
            "container {container:?} has no such log: it has not run yet, or not that often"
        ));
    }
    Status::internal(format!("read the log of container {container:?}: {error}"))
}

/// Serves this node's logs to the others.
pub(crate) async fn answer(logs: &Logs, uri: &Uri) -> Response<Body> {
    let plain = |status: StatusCode, text: String| {
        let mut response = Response::new(body::full(text));
        *response.status_mut() = status;
        response
    };
    let place = uri.path().strip_prefix(PREFIX).and_then(|place| place.split_once('/'));
    let query = uri.query().unwrap_or_default();
    let query = percent_encoding::percent_decode_str(query).decode_utf8_lossy();
    let (Some((pod, container)), Ok(query)) = (place, serde_json::from_str(&query)) else {
        return plain(StatusCode::BAD_REQUEST, "not a log's path".to_owned());
    };
    // Both become parts of a file's path.
    if [pod, container].iter().any(|part| !part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')) {
        return plain(StatusCode::BAD_REQUEST, "not a log's path".to_owned());
    }
    match log_stream::stream(logs, pod, container, &query).await {
        Ok(body) => Response::new(body),
        Err(error) if error.kind() == io::ErrorKind::NotFound => plain(StatusCode::NOT_FOUND, error.to_string()),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
