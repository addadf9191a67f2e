//! A server to send requests to, and answers to look at.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wk_api::Status;
use wk_base::body::{Body, empty, full};
use wk_base::time::{SystemClock, Timestamp};
use wk_cluster::{Cluster, SecretsKey, Vault};
use wk_image::{Blobs, Digest};
use wk_mesh::{Authority, Handler as _, Peer};
use wk_store::{MemberId, Options, Start, Store, Timing, Transport};
use wk_streams::relay::Wanted;

use crate::{ApiServer, Dependencies, LogOptions, NodeUsage, Pods, Replicate, Requests, Security};

pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub(crate) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE: &str = "application/merge-patch+json";

/// Events of a collection that the store keeps: few, so that a test can outrun them.
const HISTORY: usize = 64;

/// Nothing a test waits for takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Harness {
    pub server: Arc<ApiServer>,
    pub replicated: Arc<AtomicUsize>,
    /// What node n1 says it uses.
    pub usage: Arc<Mutex<NodeUsage>>,
    pub requests: Requests,
    _dir: tempfile::TempDir,
}

/// A cluster of one peer has nobody to send to.
struct Nobody;

impl Transport for Nobody {
    fn send(&self, _to: MemberId, _message: Bytes) {}
}

/// Pods that log what was asked of them.
struct Talkative {
    usage: Arc<Mutex<NodeUsage>>,
}

#[async_trait]
impl Pods for Talkative {
    async fn logs(&self, node: &str, pod: &str, container: &str, options: &LogOptions) -> Result<Body, Status> {
        let tail = options.tail_lines.map_or("all".to_owned(), |lines| lines.to_string());
        Ok(full(format!("{node} {} {container} {tail}\n", !pod.is_empty())))
    }

    /// Echoes the request, and sends whoever asks for `/away` back to `/here`.
    async fn call(&self, node: &str, _: &str, port: u16, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let body = wk_base::body::collect(body, 1024).await.map_err(Status::internal)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let mut response = Response::new(full(format!("{node}:{port} {} {} {body}", parts.method, parts.uri)));
        for name in ["authorization", "connection", "x-forwarded-uri", "x-own"] {
            if let Some(value) = parts.headers.get(name) {
                response.headers_mut().insert(http::HeaderName::from_static(name), value.clone());
            }
        }
        if parts.uri.path() == "/away" {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert("location", http::HeaderValue::from_static("/here?a=b"));
        }
        Ok(response)
    }

    /// Sends back what is sent; on port 81 nobody listens.
    async fn open(&self, _: &str, _: &str, wanted: &Wanted, input: Body) -> Result<Body, Status> {
        match wanted {
            Wanted::Forward { port: 81 } => Err(Status::bad_request("connection refused")),
            Wanted::Forward { .. } | Wanted::Exec(_) | Wanted::Attach(_) => Ok(input),
        }
    }

    async fn node(&self, node: &str, path: &str) -> Result<Response<Body>, Status> {
        Ok(Response::new(full(format!("{node} {path}"))))
    }

    async fn heard(&self) -> BTreeMap<String, Timestamp> {
        BTreeMap::from([("n1".to_owned(), Timestamp::from_second(1_000).expect("a time"))])
    }

    /// Only node n1 answers.
    async fn usage(&self, node: &str) -> Result<NodeUsage, Status> {
        if node != "n1" {
            return Err(Status::unavailable("no such node"));
        }
        Ok(self.usage.lock().expect("no test panics here").clone())
    }
}

struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Replicate for Counting {
    async fn replicate(&self, blobs: &[Digest]) -> usize {
        self.0.fetch_add(blobs.len(), Ordering::SeqCst);
        2
    }
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub code: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", self.text);
        self.json()
    }

    pub(crate) fn not_found(&self) {
        assert_eq!(self.code, StatusCode::NOT_FOUND, "{}", self.text);
    }

    pub(crate) fn reason(&self) -> (u16, String) {
        (self.code.as_u16(), self.json()["reason"].as_str().unwrap_or_default().to_owned())
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same, with an audit log.
    pub(crate) async fn start_with(audit: Option<crate::Audit>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = Options::new(dir.path().join("store"), MemberId(1), Start::Bootstrap);
        options.timing = Timing { tick: Duration::from_millis(5), ..Timing::default() };
        options.limits.history_events = HISTORY;
        options.index = Some(wk_cluster::INDEX);
        let store = Store::open(options, Arc::new(Nobody)).expect("an empty store");
        // As in a cluster of one version: Secrets are sealed.
        store.speak(wk_store::LEVEL);
        let vault = Vault::new(&SecretsKey::derived(b"of the tests"), &[]);
        let cluster = Cluster::new(store, Arc::new(SystemClock)).with_vault(vault);
        cluster.ensure_namespaces().await.expect("the namespaces of a new cluster");
        let keys = wk_access::tokens::Keyring::default();
        keys.set(&[wk_access::tokens::Keyring::generate().expect("a key")]).expect("a key of ours");
        let replicated = Arc::new(AtomicUsize::new(0));
        let (usage, requests) = (Arc::default(), Requests::default());
        let dependencies = Dependencies {
            pods: Arc::new(Talkative { usage: Arc::clone(&usage) }),
            blobs: Blobs::open(dir.path().join("blobs")).expect("an empty blob store"),
            replicate: Arc::new(Counting(Arc::clone(&replicated))),
            security: Security { keys, audit, authority: Authority::create("test").ok(), ..Security::default() },
            shutdown: CancellationToken::new(),
            requests: requests.clone(),
        };
        let server = Arc::new(ApiServer::new(cluster, dependencies));
        Self { server, replicated, usage, requests, _dir: dir }
    }

    /// Sends a request as the administrator and reads the whole answer.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let peer = Peer::User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()] };
        self.send_as(peer, method, path, headers, body).await
    }

    pub(crate) async fn send_as(
        &self,
        peer: Peer,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.server.handle(peer, request.body(body).expect("a request")).await;
        let (parts, body) = response.into_parts();
        let bytes = tokio::time::timeout(PATIENCE, body.collect()).await.expect("a body that ends");
        let text = String::from_utf8(bytes.expect("a whole body").to_bytes().to_vec()).expect("text");
        Answer { code: parts.status, headers: parts.headers, text }
    }

    /// The headers and bytes of an answer that may be no text.
    pub(crate) async fn raw(&self, path: &str, headers: &[(&str, &str)]) -> (HeaderMap, Bytes) {
        let peer = Peer::User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()] };
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.server.handle(peer, request.body(empty()).expect("a request")).await;
        let (parts, body) = response.into_parts();
        (parts.headers, body.collect().await.expect("a whole body").to_bytes())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[("accept", JSON)], empty()).await
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.send(Method::GET, path, &[("accept", accept)], empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", JSON)], full(body.to_string())).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, &[("content-type", JSON)], full(body.to_string())).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, &[("content-type", MERGE)], full(body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.send(Method::DELETE, path, &[("content-type", JSON)], full(options.to_string())).await
    }

    /// Creates the roles and bindings that every cluster begins with.
    pub(crate) async fn default_roles(&self) {
        for body in wk_access::defaults::all() {
            let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
            let kind = wk_api::Kind::by_kind(text("/apiVersion").expect("a version"), text("/kind").expect("a kind"));
            let kind = kind.expect("a served kind");
            self.server.cluster.create(kind, text("/metadata/namespace"), body.clone()).await.expect("a default");
        }
    }

    /// Opens a watch and reads it event by event.
    pub(crate) async fn watch(&self, path: &str, accept: &str) -> Events {
        let peer = Peer::User { name: "admin".to_owned(), groups: vec!["system:masters".to_owned()] };
        self.watch_as(peer, path, accept).await
    }

    pub(crate) async fn watch_as(&self, peer: Peer, path: &str, accept: &str) -> Events {
        let request = Request::builder().uri(path).header("accept", accept).body(empty()).expect("a request");
        let response = self.server.handle(peer, request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { body: response.into_body(), rest: String::new() }
    }

    /// Writes an object more often than the store keeps events.
    pub(crate) async fn overflow_history(&self, path: &str) {
        for round in 0..=HISTORY {
            self.patch(path, &json!({ "data": { "round": round.to_string() } })).await.expect(200);
        }
    }

    /// Creates config maps with these names, each labelled `index=<its index>`.
    pub(crate) async fn config_maps(&self, names: &[&str]) {
        for (index, name) in names.iter().enumerate() {
            self.post(CONFIG_MAPS, &config_map(name, &[("index", &index.to_string())])).await.expect(201);
        }
    }
}

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) fn config_map(name: &str, labels: &[(&str, &str)]) -> Value {
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": labels }, "data": { "mode": "fast" },
    })
}

/// The events of a watch.
pub(crate) struct Events {
    body: Body,
    rest: String,
}

impl Events {
    /// The next event; None when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.rest.split_once('\n') {
                let event = serde_json::from_str(line).expect("a line of JSON");
                self.rest = rest.to_owned();
                return Some(event);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event in time")?;
            let bytes = frame.expect("a frame").into_data().expect("data");
            self.rest.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }

    /// Type and name of the next event.
    pub(crate) async fn short(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

pub(crate) fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

/// The names of a list's items.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items.iter().map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}
