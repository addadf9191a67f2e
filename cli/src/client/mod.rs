//! Talking to the API server: requests with a deadline, and errors a person can act on.
//!
//! Objects stay JSON values: `wk` shows and sends what the server and the user wrote, and knows few fields itself.

mod download;
mod error;
mod follow;
mod lines;
mod path;
mod warnings;

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde_json::Value;

pub(crate) use download::Download;
pub(crate) use error::{Refusal, refusal};
pub(crate) use follow::{Follow, is_gone};
pub(crate) use lines::Lines;
pub(crate) use path::{Query, Resource};

use crate::args::GlobalArgs;
use crate::exit::{Code, ExitError};
use crate::render::{Talk, Ui};

/// How long one request may take before the server counts as gone: far above the slowest write, which waits for an
/// election, and short enough that a hung server is noticed.
const REQUEST_DEADLINE: Duration = Duration::from_mins(1);

/// How long connecting may take: peers are near, and a dead address should not hold a person up.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// How long a request is repeated that the server could not take just then: an election takes below two seconds.
const RETRY_FOR: Duration = Duration::from_secs(10);

/// Pause between such repetitions.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Largest answer read. A list of 50,000 pods is below this.
const ANSWER_MAX: usize = 512 << 20;

/// Largest error answer read: a Status with every field error of one object is far below it.
const ERROR_MAX: usize = 1 << 20;

/// How many objects a page of a list holds, as with kubectl: large enough to be few, small enough for every server.
const PAGE: &str = "500";

/// Most pages read of one list: more means that the server repeats itself.
const PAGES_MAX: usize = 10_000;

/// Asks for a Table, and takes plain objects from servers that have none.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Asks for plain JSON.
pub(crate) const JSON: &str = "application/json";

/// A connection to the cluster's API.
#[derive(Clone)]
pub(crate) struct Client {
    inner: kube::Client,
    address: String,
    namespace: String,
    /// Whether what a busy server refused is sent again.
    retry_busy: bool,
    /// Where the server's warnings are told.
    talk: Talk,
}

/// What is sent.
pub(crate) struct Payload {
    content_type: String,
    bytes: Bytes,
}

impl Payload {
    /// A JSON body.
    pub(crate) fn json(value: &Value) -> Self {
        Self { content_type: JSON.to_owned(), bytes: value.to_string().into() }
    }

    /// A patch whose lists are merged as their kind says.
    pub(crate) fn strategic_patch(value: &Value) -> Self {
        Self { content_type: "application/strategic-merge-patch+json".to_owned(), ..Self::json(value) }
    }

    /// The fields somebody wants, for server-side apply. JSON is YAML.
    pub(crate) fn apply_patch(value: &Value) -> Self {
        Self { content_type: "application/apply-patch+yaml".to_owned(), ..Self::json(value) }
    }

    /// A JSON patch (RFC 6902).
    pub(crate) fn json_patch(value: &Value) -> Self {
        Self { content_type: "application/json-patch+json".to_owned(), ..Self::json(value) }
    }

    /// A JSON merge patch (RFC 7386).
    pub(crate) fn merge_patch(value: &Value) -> Self {
        Self { content_type: "application/merge-patch+json".to_owned(), ..Self::json(value) }
    }

    /// Bytes of any type.
    pub(crate) fn bytes(content_type: &str, bytes: Bytes) -> Self {
        Self { content_type: content_type.to_owned(), bytes }
    }
}

impl Client {
    /// Makes a client for the cluster the options and the environment mean. Nothing is sent yet. What the server warns
    /// of is told where `ui` talks.
    pub(crate) async fn open(global: &GlobalArgs, ui: &Ui) -> anyhow::Result<Self> {
        let kubeconfig = crate::kubeconfig::load(global)?;
        let options = kube::config::KubeConfigOptions { context: global.context.clone(), ..Default::default() };
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| ExitError::new(Code::Usage, format!("use kubeconfig: {error}")))?;
        config.connect_timeout = Some(CONNECT_DEADLINE);
        // Repetition is decided here, where it is known what may be repeated.
        config.default_retry = false;
        if global.act_as.is_none() && !global.act_as_group.is_empty() {
            return Err(crate::exit::usage("--as-group needs --as: a group alone is nobody").into());
        }
        if let Some(user) = &global.act_as {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(global.act_as_group.clone()).filter(|groups| !groups.is_empty());
        }
        let address = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = global.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let inner = kube::Client::try_from(config)
            .map_err(|error| ExitError::new(Code::Usage, format!("connect to {address}: {error}")))?;
        Ok(Self { inner, address, namespace, retry_busy: true, talk: ui.talker() })
    }

    /// The same cluster, in another namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// The pods of the namespace through kube's own client: it speaks the protocols of streams.
    pub(crate) fn pods(&self) -> kube::Api<k8s_openapi::api::core::v1::Pod> {
        kube::Api::namespaced(self.inner.clone(), &self.namespace)
    }

    /// What an error of kube's own client means in our words.
    pub(crate) fn explained(&self, path: &str, error: kube::Error) -> anyhow::Error {
        match error {
            kube::Error::Api(status) => {
                let body = serde_json::to_vec(&status).unwrap_or_default();
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Refusal::read(code, &body).into()
            }
            kube::Error::UpgradeConnection(why) => {
                ExitError::new(Code::General, format!("the server does not hold this connection open: {why}")).into()
            }
            other => self.unreachable(path, &other).into(),
        }
    }

    /// The namespace to work in.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The server's URL, without a slash at its end.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// GETs JSON.
    pub(crate) async fn get(&self, path: &str, accept: &str) -> anyhow::Result<Value> {
        let (_, body) = self.exchange(&Method::GET, path, accept, None).await?;
        decode(&body)
    }

    /// GETs JSON; `None` if the server says that there is no such thing.
    pub(crate) async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        absent_as_none(self.get(path, JSON).await)
    }

    /// GETs the pages of a list; each as the server sent it.
    pub(crate) async fn pages(&self, collection: &str, query: Query, accept: &str) -> anyhow::Result<Vec<Value>> {
        let mut pages: Vec<Value> = Vec::new();
        let mut next: Option<String> = None;
        while pages.len() < PAGES_MAX {
            let query = query.clone().with("limit", PAGE).maybe("continue", next.as_deref());
            let page = self.get(&query.on(collection), accept).await?;
            let more = page.pointer("/metadata/continue").and_then(Value::as_str).filter(|more| !more.is_empty());
            next = more.map(str::to_owned);
            pages.push(page);
            if next.is_none() {
                return Ok(pages);
            }
        }
        anyhow::bail!("the server's list of {collection} has no end")
    }

    /// GETs all objects of a list.
    pub(crate) async fn list(&self, collection: &str, query: Query) -> anyhow::Result<Vec<Value>> {
        let pages = self.pages(collection, query, JSON).await?;
        let items = pages.into_iter().filter_map(|mut page| match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        });
        Ok(items.flatten().collect())
    }

    /// Sends a body and reads JSON back.
    pub(crate) async fn send(&self, method: Method, path: &str, payload: Payload) -> anyhow::Result<Value> {
        let (_, body) = self.exchange(&method, path, JSON, Some(payload)).await?;
        decode(&body)
    }

    /// The same, but a refusal with 429 is an answer: an eviction that a budget forbids is not a server that is busy.
    pub(crate) async fn send_once(&self, method: Method, path: &str, payload: Payload) -> anyhow::Result<Value> {
        let patient = Self { retry_busy: false, ..self.clone() };
        let (_, body) = patient.exchange(&method, path, JSON, Some(payload)).await?;
        decode(&body)
    }

    /// Sends anything; the answer's status and body. Statuses of 400 and above are errors.
    pub(crate) async fn exchange(
        &self,
        method: &Method,
        path: &str,
        accept: &str,
        payload: Option<Payload>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let whole = async {
            let response = self.start(method, path, accept, payload.as_ref()).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| self.unreachable(path, &*error))?;
            Ok((status, body.to_bytes()))
        };
        // A second a MiB more for what is sent, so that a large module may take a slow link.
        let size = payload.as_ref().map_or(0, |payload| payload.bytes.len() >> 20);
        let deadline = REQUEST_DEADLINE + Duration::from_secs(size as u64);
        tokio::time::timeout(deadline, whole).await.unwrap_or_else(|_| Err(self.hung(path).into()))
    }

    /// Opens a stream of lines: a watch or a log.
    pub(crate) async fn stream(&self, path: &str, accept: &str) -> anyhow::Result<Lines> {
        let started = self.start(&Method::GET, path, accept, None);
        let response = tokio::time::timeout(REQUEST_DEADLINE, started).await.map_err(|_| self.hung(path))??;
        Ok(Lines::new(response.into_body()))
    }

    /// GETs something of any length.
    pub(crate) async fn download(&self, path: &str) -> anyhow::Result<Download> {
        let started = self.start(&Method::GET, path, "*/*", None);
        let response = tokio::time::timeout(REQUEST_DEADLINE, started).await.map_err(|_| self.hung(path))??;
        Ok(Download::new(self.clone(), path, response.into_body()))
    }

    /// Sends the request, again while the server has no leader, and turns refusals into errors.
    async fn start(
        &self,
        method: &Method,
        path: &str,
        accept: &str,
        payload: Option<&Payload>,
    ) -> anyhow::Result<Response<Body>> {
        let give_up = tokio::time::Instant::now() + RETRY_FOR;
        loop {
            let request = build(method, path, accept, payload)?;
            let sent = self.inner.send(request).await;
            let response = sent.map_err(|error| self.unreachable(path, &error))?;
            for warning in warnings::read(response.headers()) {
                self.talk.warn(&warning);
            }
            if response.status().as_u16() < 400 {
                return Ok(response);
            }
            let busy = response.status() == StatusCode::TOO_MANY_REQUESTS;
            if may_repeat(method, response.status())
                && (self.retry_busy || !busy)
                && tokio::time::Instant::now() < give_up
            {
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            let status = response.status();
            // A refusal whose body cannot be read is still that refusal.
            let body = Limited::new(response.into_body(), ERROR_MAX).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            return Err(Refusal::read(status, &body).into());
        }
    }

    fn unreachable(&self, path: &str, error: &(dyn std::error::Error + 'static)) -> ExitError {
        error::unreachable(&self.address, path, error)
    }

    fn hung(&self, path: &str) -> ExitError {
        let message =
            format!("the cluster at {} did not answer {path} within {} s", self.address, REQUEST_DEADLINE.as_secs());
        ExitError::new(Code::Unreachable, message)
    }
}

/// 503 and 429 say that nothing was done. After 504 it is unknown, so only reads are repeated.
fn may_repeat(method: &Method, status: StatusCode) -> bool {
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::GATEWAY_TIMEOUT => method == Method::GET || method == Method::HEAD,
        _ => false,
    }
}

fn build(method: &Method, path: &str, accept: &str, payload: Option<&Payload>) -> anyhow::Result<Request<Body>> {
    let mut request = Request::builder()
        .method(method.clone())
        .uri(path)
        .header(header::ACCEPT, accept)
        .header(header::USER_AGENT, concat!("wk/", env!("CARGO_PKG_VERSION")));
    let body = match payload {
        Some(payload) => {
            request = request.header(header::CONTENT_TYPE, &payload.content_type);
            Body::from(payload.bytes.clone())
        }
        None => Body::empty(),
    };
    request.body(body).with_context(|| format!("request {path}"))
}

/// Reads the JSON of an answer.
pub(crate) fn decode(body: &[u8]) -> anyhow::Result<Value> {
    serde_json::from_slice(body).context("the server's answer is not JSON; is this a Kubernetes API?")
}

/// Turns "not found" into `None`.
pub(crate) fn absent_as_none<T>(result: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the server says that there is no such thing.
pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}
