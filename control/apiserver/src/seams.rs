//! What the API server needs from the rest of the node; the binary wires it up.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use wk_api::Status;
use wk_api::kinds::metrics::Amounts;
use wk_base::body::Body;
use wk_base::time::Timestamp;
use wk_image::Digest;
use wk_streams::relay::Wanted;

/// Which part of a container's output is wanted (`PodLogOptions`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on with what is written from now on, until the container ends.
    pub follow: bool,
    /// Of the run before this one.
    pub previous: bool,
    /// Put the time before each line, in RFC 3339.
    pub timestamps: bool,
    /// Only this many lines from the end.
    pub tail_lines: Option<u64>,
    /// Only what was written since.
    pub since: Option<Timestamp>,
    /// End after this many bytes, also in the middle of a line.
    pub limit_bytes: Option<u64>,
    /// Only lines that came with this level or a graver one (`level`, which is ours): one of [`LOG_LEVELS`].
    pub level: Option<String>,
}

/// The levels of `wasi:logging`, from the least grave.
pub const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "critical"];

/// What a node uses, and the pods on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeUsage {
    /// The machine as a whole.
    pub machine: Amounts,
    /// The time over which that was measured.
    pub window: Duration,
    /// By pod's uid: the same time, and each container that runs.
    pub pods: BTreeMap<String, (Duration, Vec<(String, Amounts)>)>,
}

/// Running pods, on whichever node they are.
#[async_trait]
pub trait Pods: Send + Sync + 'static {
    /// The output of a container. `pod` is the pod's uid, `node` is `spec.nodeName`.
    ///
    /// Answers within seconds, an unreachable node included; the body may go on for long.
    async fn logs(&self, node: &str, pod: &str, container: &str, options: &LogOptions) -> Result<Body, Status>;

    /// Sends an HTTP request to a port of a pod, and answers when the head of its response is there. The URI's path and
    /// query and the `host` header are what the pod sees.
    async fn call(&self, node: &str, pod: &str, port: u16, request: Request<Body>) -> Result<Response<Body>, Status>;

    /// Opens a stream to a pod, here or on another node. What the client sends goes into `input`, what it is sent comes
    /// back; dropping that ends the stream. A refusal is told in the words of Kubernetes.
    async fn open(&self, node: &str, pod: &str, wanted: &Wanted, input: Body) -> Result<Body, Status>;

    /// What a node tells of itself at `path`: `/healthz`, `/metrics`. 404 for anything else.
    async fn node(&self, node: &str, path: &str) -> Result<Response<Body>, Status>;

    /// When the leader last heard each node, by name; nothing where it cannot be asked.
    async fn heard(&self) -> BTreeMap<String, Timestamp>;

    /// What a node and its pods use.
    async fn usage(&self, node: &str) -> Result<NodeUsage, Status>;
}

/// Documents of other servers, over HTTPS: the keys of an OpenID Connect provider.
#[async_trait]
pub trait Fetch: Send + Sync + 'static {
    /// The document at `url`, within a bounded time and size; why not, for logs.
    async fn get(&self, url: &str) -> Result<Bytes, String>;
}

/// Copies of uploaded modules at other peers.
#[async_trait]
pub trait Replicate: Send + Sync + 'static {
    /// Brings these blobs to other peers, within a bounded time, and answers how many other peers have all of them now.
    ///
    /// A peer that cannot be reached is no error: it fetches what it misses when a pod needs it.
    async fn replicate(&self, blobs: &[Digest]) -> usize;
}
