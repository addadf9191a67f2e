//! What runs on nodes, for the API server: logs, from here or over the mesh.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, StatusCode, Uri};
use wk_api::Status;
use wk_apiserver::{LogOptions, Pods};
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_mesh::{Mesh, NodeName};
use wk_node::log_stream::{self, LogQuery};
use wk_node::logs::Logs;

/// Where logs are on the mesh: `GET /logs/<pod uid>/<container>?<LogQuery as JSON, percent-encoded>`.
pub(crate) const PREFIX: &str = "/logs/";
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
        };
        if node == self.name.as_str() {
            return log_stream::stream(&self.logs, pod, container, query).map_err(|error| explain(&error, container));
        }
        let unreachable = |why: String| Status::unavailable(format!("node {node} cannot be asked for the log: {why}"));
        let name: NodeName = node.parse().map_err(|error| unreachable(Chain(&error).to_string()))?;
        let text = serde_json::to_string(&query).expect("a query of plain fields");
        let text = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
        let request = Request::get(format!("{PREFIX}{pod}/{container}?{text}")).body(body::empty());
        let request = request.map_err(|error| Status::bad_request(error.to_string()))?;
        let response = self.mesh.request(&name, request, HEAD_DEADLINE).await;
        let response = response.map_err(|error| unreachable(Chain(&error).to_string()))?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            StatusCode::NOT_FOUND => Err(explain(&io::ErrorKind::NotFound.into(), container)),
            status => Err(unreachable(status.to_string())),
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
pub(crate) fn answer(logs: &Logs, uri: &Uri) -> Response<Body> {
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
    match log_stream::stream(logs, pod, container, query) {
        Ok(body) => Response::new(body),
        Err(error) if error.kind() == io::ErrorKind::NotFound => plain(StatusCode::NOT_FOUND, error.to_string()),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
