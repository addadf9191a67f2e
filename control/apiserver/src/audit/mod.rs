//! The audit log: one line of JSON (`audit.k8s.io/v1 Event`) for each stage of a request that the policy wants on
//! record.
//!
//! Secrets and tokens never are, whatever the policy says. Which requests count is in `wk_access::audit`; the file is in
//! [`sink`].

mod sink;
mod tee;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{Response, header};
use http_body::Body as _;
use serde_json::{Map, Value, json};
use wk_access::audit::{self, Level, Policy, Stage, Verdict};
use wk_access::{Ask, Decision, User};
use wk_api::Status;
use wk_base::body::{Body, boxed};
use wk_base::time::{Clock, Timestamp};
use wk_mesh::RemoteAddress;

pub use sink::{Sink, SinkError};
use tee::{Kept, Tee};

use crate::access::reviews;
use crate::{body, negotiate};

/// What the server keeps of an audit log.
#[derive(Debug, Clone)]
pub struct Audit {
    policy: Arc<Policy>,
    sink: Sink,
}

/// One request that is on record.
pub(crate) struct Trail {
    audit: Audit,
    clock: Arc<dyn Clock>,
    verdict: Verdict,
    is_secret: bool,
    /// Whether the words of a refusal may quote a Secret: a webhook's do, if it likes.
    is_quiet: bool,
    /// What all events of the request share.
    event: Map<String, Value>,
    request: Kept,
    notes: Notes,
    format: Option<negotiate::BodyFormat>,
}

/// What a request's record gets on its way; nothing is kept where there is no record.
#[derive(Clone, Default)]
pub(crate) struct Notes(Option<Arc<Mutex<Noted>>>);

/// Annotations, and what else is known of the object that the request is about.
#[derive(Default)]
struct Noted {
    annotations: BTreeMap<String, String>,
    object: Map<String, Value>,
}

/// Annotations of one record at most, and bytes of each name and text: who is asked about a write decides what they say.
const NOTES_MAX: usize = 64;
const NOTE_BYTES_MAX: usize = 4096;

/// What was decided of the request, and why.
const DECISION: &str = "authorization.k8s.io/decision";
const REASON: &str = "authorization.k8s.io/reason";

impl Notes {
    /// Adds whether the caller may do it, which is not whether it was done.
    pub(crate) fn decided(&self, decision: &Decision) {
        let word = if decision.allowed { "allow" } else { "forbid" };
        self.extend([(DECISION.to_owned(), word.to_owned()), (REASON.to_owned(), decision.reason.clone())]);
    }

    /// Whether anybody will read them.
    pub(crate) fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Adds annotations. The first of a name stays.
    pub(crate) fn extend(&self, notes: impl IntoIterator<Item = (String, String)>) {
        let Some(kept) = &self.0 else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (mut name, mut text) in notes {
            if kept.annotations.len() >= NOTES_MAX {
                return;
            }
            for word in [&mut name, &mut text] {
                word.truncate(word.floor_char_boundary(NOTE_BYTES_MAX));
            }
            kept.annotations.entry(name).or_insert(text);
        }
    }

    /// Completes `objectRef` by what an object says of itself: the one that is sent, and the one that became of it, which
    /// may have got its name on the way. What is known already stays.
    pub(crate) fn object(&self, object: &Value, fields: &[&str]) {
        let Some(kept) = &self.0 else { return };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        for field in fields {
            let text = object["metadata"][*field].as_str().filter(|text| !text.is_empty());
            if let Some(text) = text.filter(|text| text.len() <= NOTE_BYTES_MAX) {
                kept.object.entry((*field).to_owned()).or_insert_with(|| text.into());
            }
        }
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let noted = self.0.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner));
        noted.map(|noted| noted.annotations.clone()).unwrap_or_default()
    }

    fn of_object(&self) -> Map<String, Value> {
        let noted = self.0.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner));
        noted.map(|noted| noted.object.clone()).unwrap_or_default()
    }
}

/// Bytes of one body that are put on record: a body of the largest object. Beyond that it is left out and said so.
const BODY_BYTES_MAX: usize = body::BODY_BYTES_MAX;

impl Audit {
    /// Records what `policy` says into `sink`.
    pub fn new(policy: Policy, sink: Sink) -> Self {
        Self { policy: Arc::new(policy), sink }
    }

    /// Puts the arrival of a request on record; None when nothing about it is to be.
    pub(crate) fn begin(
        &self,
        clock: &Arc<dyn Clock>,
        id: &str,
        parts: &Parts,
        (user, behind): (&User, Option<&User>),
        ask: &Ask<'_>,
    ) -> Option<Trail> {
        // Rules are about who really asks.
        let who = behind.unwrap_or(user);
        let verdict = self.policy.judge(who, ask);
        if verdict.level == Level::None {
            return None;
        }
        let mut event = Map::new();
        let mut set = |name: &str, value: Value| event.insert(name.to_owned(), value);
        set("kind", "Event".into());
        set("apiVersion", "audit.k8s.io/v1".into());
        set("level", verdict.level.as_str().into());
        set("auditID", id.into());
        set("requestURI", parts.uri.path_and_query().map_or("", |uri| uri.as_str()).into());
        let verb = match ask {
            Ask::Resource(ask) => ask.verb,
            Ask::Path { verb, .. } => verb,
        };
        set("verb", verb.into());
        set("user", reviews::info(who));
        if behind.is_some() {
            set("impersonatedUser", reviews::info(user));
        }
        if let Some(RemoteAddress(address)) = parts.extensions.get() {
            set("sourceIPs", json!([address.ip().to_string()]));
        }
        if let Some(agent) = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()) {
            set("userAgent", agent.into());
        }
        if let Ask::Resource(ask) = ask {
            let fields = [
                ("resource", ask.resource),
                ("namespace", ask.namespace),
                ("name", ask.name),
                ("apiGroup", ask.group),
                ("apiVersion", version(parts.uri.path())),
                ("subresource", ask.subresource),
            ];
            let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
            set("objectRef", Value::Object(fields.map(|(name, text)| (name.to_owned(), text.into())).collect()));
        }
        set("requestReceivedTimestamp", micro(clock.now()).into());
        let format = negotiate::body_format(&parts.headers).ok();
        let trail = Trail {
            audit: self.clone(),
            clock: Arc::clone(clock),
            verdict,
            is_secret: audit::is_secret(ask),
            is_quiet: audit::is_secret(ask) && matches!(ask, Ask::Resource(_)),
            event,
            request: Kept::default(),
            notes: Notes(Some(Arc::default())),
            format,
        };
        trail.record(Stage::RequestReceived, None, [None, None]);
        Some(trail)
    }
}

impl Trail {
    /// Where to put what else is to be said.
    pub(crate) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// The body of the request, so that it is on record if that is wanted.
    pub(crate) fn request(&self, body: Body) -> Body {
        if self.verdict.level < Level::Request {
            return body;
        }
        boxed(Tee::new(body, self.request.clone(), BODY_BYTES_MAX, None))
    }

    /// The answer: on record when its body has ended, or the client has left it.
    pub(crate) fn response(self, response: Response<Body>) -> Response<Body> {
        let status = self.status(&response);
        let is_whole = response.body().size_hint().exact().is_some();
        if !is_whole {
            self.record(Stage::ResponseStarted, Some(status.clone()), [None, None]);
        }
        let kept = Kept::default();
        let limit = if self.verdict.level == Level::RequestResponse { BODY_BYTES_MAX } else { 0 };
        let (parts, body) = response.into_parts();
        let ended = {
            let kept = kept.clone();
            Box::new(move || {
                let request = self.request.take().and_then(|bytes| self.read_request(&bytes));
                let response = kept.take().filter(|_| limit > 0).and_then(|bytes| self.shown(parse_json(&bytes)));
                self.record(Stage::ResponseComplete, Some(status), [request, response]);
            })
        };
        Response::from_parts(parts, boxed(Tee::new(body, kept, limit, Some(ended))))
    }

    fn read_request(&self, bytes: &Bytes) -> Option<Value> {
        if bytes.is_empty() {
            return None;
        }
        let format = self.format.unwrap_or(negotiate::BodyFormat::Json);
        self.shown(body::parse(bytes, format).ok().or_else(|| parse_json(bytes)))
    }

    /// A body as it may be on record.
    fn shown(&self, body: Option<Value>) -> Option<Value> {
        let mut body = body?;
        if self.is_secret {
            audit::redact(&mut body);
        }
        if self.verdict.omit_managed_fields {
            audit::omit_managed_fields(&mut body);
        }
        Some(body)
    }

    /// `responseStatus`: all that is said of a failure, without its words when they may quote a Secret.
    fn status(&self, response: &Response<Body>) -> Value {
        let Some(told) = response.extensions().get::<Status>() else {
            return json!({ "metadata": {}, "code": response.status().as_u16() });
        };
        let mut status = told.to_value();
        if self.is_quiet {
            audit::redact(&mut status);
        }
        for name in ["kind", "apiVersion"] {
            status.as_object_mut().and_then(|members| members.remove(name));
        }
        status
    }

    /// The annotations of a request that was answered. Who asks for what is ours alone is told from the answer.
    fn annotations(&self, status: &Value) -> BTreeMap<String, String> {
        let mut annotations = self.notes.annotations();
        let decision = match status["code"].as_u64() {
            Some(401) => return annotations,
            Some(403) => "forbid",
            _ => "allow",
        };
        annotations.entry(DECISION.to_owned()).or_insert_with(|| decision.to_owned());
        annotations
    }

    fn record(&self, stage: Stage, status: Option<Value>, bodies: [Option<Value>; 2]) {
        if self.verdict.omit_stages.contains(&stage) {
            return;
        }
        let mut event = self.event.clone();
        event.insert("stage".to_owned(), stage.as_str().into());
        event.insert("stageTimestamp".to_owned(), micro(self.clock.now()).into());
        if let Some(Value::Object(about)) = event.get_mut("objectRef") {
            for (field, text) in self.notes.of_object() {
                about.entry(field).or_insert(text);
            }
        }
        if let Some(status) = status {
            event.insert("annotations".to_owned(), json!(self.annotations(&status)));
            event.insert("responseStatus".to_owned(), status);
        }
        for (name, body) in ["requestObject", "responseObject"].into_iter().zip(bodies) {
            if let Some(body) = body {
                event.insert(name.to_owned(), body);
            }
        }
        self.audit.sink.write(&Value::Object(event));
    }
}

/// The version of a group that a path is below.
fn version(path: &str) -> &str {
    let mut words = path.split('/').skip(1);
    match words.next() {
        Some("api") => words.next(),
        Some("apis") => words.nth(1),
        _ => None,
    }
    .unwrap_or_default()
}

fn parse_json(bytes: &Bytes) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

/// Times in events have microseconds.
fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
