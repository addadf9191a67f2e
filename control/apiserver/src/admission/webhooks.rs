//! Asking webhooks: an `AdmissionReview` there and back.
//!
//! Wording: `k8s.io/apiserver/pkg/admission/plugin/webhook`.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use wk_api::decode::{self, FieldValidation};
use wk_api::{Details, Kind, Object, Reason, Status};
use wk_base::body::full;
use wk_base::error::Chain;
use wk_cluster::{Cluster, object};
use wk_mesh::{FetchError, Https};

use super::Asked;
use super::matching::{items, text};
use crate::body::{self, BODY_BYTES_MAX};
use crate::conversion;
use crate::seams::Pods;
use crate::server::ApiServer;
use crate::verbs::proxy;

/// How long a webhook may take when it says nothing, as in Kubernetes.
const SECONDS: u64 = 10;

/// Longest warning of a webhook that is passed on, as in Kubernetes.
const WARNING_CHARS_MAX: usize = 256;

/// What Go says of a request that took too long: clients look for it.
const LATE: &str = "context deadline exceeded";

/// One webhook of a configuration.
#[derive(Clone)]
pub(super) struct Hook {
    of: Arc<Object>,
    index: usize,
    /// The version of the resource that it wants to see.
    kind: &'static Kind,
}

impl Hook {
    fn value(&self) -> &Value {
        &self.of.items("/webhooks")[self.index]
    }

    fn name(&self) -> &str {
        text(self.value(), "name")
    }

    fn is_ignored_on_failure(&self) -> bool {
        text(self.value(), "failurePolicy") == "Ignore"
    }
}

impl Asked<'_> {
    /// The webhooks that are about the operation and the resource, in the order of their names.
    pub(super) fn hooks(&self, kind: &Kind) -> Vec<Hook> {
        let mut found = Vec::new();
        for stored in self.view.list(kind.collection(), "") {
            let of = object(&stored);
            for (index, hook) in of.items("/webhooks").iter().enumerate() {
                if let Some(kind) = self.about(items(hook, "rules"), text(hook, "matchPolicy") != "Exact") {
                    found.push(Hook { of: Arc::clone(&of), index, kind });
                }
            }
        }
        found
    }

    /// Whether this one is asked about this object.
    fn is_asked(&mut self, hook: &Hook, object: Option<&Value>, old: Option<&Value>) -> Result<bool, Status> {
        let value = hook.value();
        if !self.selects(value, object, old) {
            return Ok(false);
        }
        let conditions = items(value, "matchConditions");
        if conditions.is_empty() {
            return Ok(true);
        }
        let request = self.request(hook.kind, object);
        let null = Value::Null;
        let variables =
            [("object", object.unwrap_or(&null)), ("oldObject", old.unwrap_or(&null)), ("request", &request)];
        match self.conditions_hold(conditions, &variables) {
            Ok(holds) => Ok(holds),
            Err(_) if hook.is_ignored_on_failure() => Ok(false),
            Err(why) => Err(Status::forbidden(self.call.kind(), self.call.name(), &why)),
        }
    }

    /// Lets the mutating webhooks change the object, one after the other; those that want to see what later ones did are
    /// asked a second time.
    pub(super) async fn mutate(&mut self, mut object: Value, old: Option<&Value>) -> Result<Value, Status> {
        let hooks = self.mutating.clone();
        let mut seen: Vec<Option<Value>> = vec![None; hooks.len()];
        for again in [false, true] {
            for (hook, seen) in hooks.iter().zip(&mut seen) {
                let wanted = text(hook.value(), "reinvocationPolicy") == "IfNeeded";
                if again && !(wanted && seen.as_ref().is_some_and(|seen| *seen != object)) {
                    continue;
                }
                let (new, was) = self.as_wanted(hook, Some(&object), old).await?;
                let shown = Some(&new).filter(|object| !object.is_null());
                if !self.is_asked(hook, shown, was.as_ref())? {
                    continue;
                }
                let Some(response) = self.ask(hook, shown, was.as_ref()).await? else { continue };
                if let Some(patch) = response.get("patch").and_then(Value::as_str).filter(|_| !object.is_null()) {
                    let mut new = new;
                    let broken = |why: String| {
                        Status::internal(format!("failed to apply the patch of webhook {:?}: {why}", hook.name()))
                    };
                    let patch = STANDARD.decode(patch).map_err(|error| broken(error.to_string()))?;
                    let patch: json_patch::Patch =
                        serde_json::from_slice(&patch).map_err(|error| broken(error.to_string()))?;
                    json_patch::patch(&mut new, &patch).map_err(|error| broken(error.to_string()))?;
                    object = self.read(hook, new).await?;
                }
                *seen = Some(object.clone());
            }
        }
        Ok(object)
    }

    /// Asks the validating webhooks, all at once; the first that refuses is told.
    pub(super) async fn ask_validating(&mut self, object: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        let mut asked = Vec::new();
        for hook in self.validating.clone() {
            let (new, was) = self.as_wanted(&hook, object, old).await?;
            let new = Some(new).filter(|object| !object.is_null());
            if self.is_asked(&hook, new.as_ref(), was.as_ref())? {
                asked.push((hook, new, was));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let this = &*self;
        let calls = asked.iter().map(|(hook, new, was)| this.call(hook, new.as_ref(), was.as_ref()));
        let answers = self.call.held.aside(futures::future::join_all(calls)).await;
        for ((hook, ..), answer) in asked.iter().zip(answers) {
            self.take(hook, answer)?;
        }
        Ok(())
    }

    /// The object, and what was there before, in the version that a webhook wants to see.
    async fn as_wanted(
        &self,
        hook: &Hook,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(Value, Option<Value>), Status> {
        let (object, old) = self.in_version(hook.kind, object, old).await?;
        Ok((object.unwrap_or(Value::Null), old))
    }

    /// The object, and what was there before, in the version of `kind`.
    pub(super) async fn in_version(
        &self,
        kind: &'static Kind,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<(Option<Value>, Option<Value>), Status> {
        let as_it_is = self.shows_something_else() || kind == self.call.kind();
        let shown = async |value: Option<&Value>| match value {
            None => Ok(None),
            Some(value) if as_it_is => Ok(Some(value.clone())),
            Some(value) => conversion::between(self.server, self.call.kind(), kind, value.clone()).await.map(Some),
        };
        Ok((shown(object).await?, shown(old).await?))
    }

    /// What a webhook made of the object, as if the client had sent it.
    async fn read(&self, hook: &Hook, value: Value) -> Result<Value, Status> {
        if self.shows_something_else() {
            return Ok(value);
        }
        let (value, _) = decode::patched(hook.kind, value, None, Vec::new(), FieldValidation::Ignore)?;
        conversion::between(self.server, hook.kind, self.call.kind(), value).await
    }

    async fn ask(&mut self, hook: &Hook, object: Option<&Value>, old: Option<&Value>) -> Result<Option<Value>, Status> {
        let answer = self.call.held.aside(self.call(hook, object, old)).await;
        self.take(hook, answer)
    }

    /// What an answer means: None when there is none and that does not matter.
    fn take(&mut self, hook: &Hook, answer: Result<Value, String>) -> Result<Option<Value>, Status> {
        let response = match answer {
            Ok(response) => response,
            Err(why) if hook.is_ignored_on_failure() => {
                tracing::warn!("webhook {:?} is not asked: {why}", hook.name());
                return Ok(None);
            }
            Err(why) => return Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name()))),
        };
        let said = response.get("auditAnnotations").and_then(Value::as_object).into_iter().flatten();
        let said = said.filter_map(|(key, text)| Some((format!("{}/{key}", hook.name()), text.as_str()?.to_owned())));
        self.call.notes.extend(said);
        let warnings = items(&response, "warnings").iter().filter_map(Value::as_str);
        self.warnings.extend(warnings.map(|warning| warning.chars().take(WARNING_CHARS_MAX).collect()));
        if response.get("allowed") == Some(&Value::Bool(true)) {
            Ok(Some(response))
        } else {
            Err(denied(hook, &response))
        }
    }

    /// Sends the review and answers its response.
    async fn call(&self, hook: &Hook, object: Option<&Value>, old: Option<&Value>) -> Result<Value, String> {
        let mut request = self.request(hook.kind, object);
        request["object"] = object.cloned().unwrap_or(Value::Null);
        request["oldObject"] = old.cloned().unwrap_or(Value::Null);
        let uid = request["uid"].clone();
        let review = json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request });
        let seconds = hook.value().get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(SECONDS);
        let config = told_of(&hook.value()["clientConfig"], seconds);
        let answer = post(&Reach::of(self.server), &config, &review, Duration::from_secs(seconds)).await;
        let answer = answer.map_err(|why| format!("failed to call webhook: {why}"))?;
        let mut response = answer.get("response").cloned().unwrap_or(Value::Null);
        if response["uid"] != uid {
            return Err(format!("expected response.uid={uid}, got {}", response["uid"]));
        }
        if response.get("patch").is_some() && text(&response, "patchType") != "JSONPatch" {
            let got = response["patchType"].take();
            return Err(format!("webhook returned response.patch but not response.patchType=JSONPatch: {got}"));
        }
        Ok(response)
    }
}

/// Where a webhook is, with how long it may take: it may want to give up in time.
fn told_of(config: &Value, seconds: u64) -> Value {
    let mut config = config.clone();
    let place = if config.get("url").is_some_and(Value::is_string) {
        &mut config["url"]
    } else {
        &mut config["service"]["path"]
    };
    let given = place.as_str().filter(|path| !path.is_empty()).unwrap_or("/");
    let joint = if given.contains('?') { '&' } else { '?' };
    *place = format!("{given}{joint}timeout={seconds}s").into();
    config
}

/// What it takes to call a webhook: the cluster's services, and the way to pods.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) cluster: Cluster,
    pub(crate) pods: Arc<dyn Pods>,
}

impl Reach {
    /// That of a server.
    pub(crate) fn of(server: &ApiServer) -> Self {
        Self { cluster: server.cluster.clone(), pods: Arc::clone(&server.pods) }
    }
}

/// Posts a review to whoever `config` (a `clientConfig`) names; answers what comes back.
pub(crate) async fn post(reach: &Reach, config: &Value, review: &Value, deadline: Duration) -> Result<Value, String> {
    let body = Bytes::from(review.to_string());
    let (code, answer) = if let Some(url) = config.get("url").and_then(Value::as_str) {
        let bundle = STANDARD.decode(text(config, "caBundle")).ok().and_then(|pem| String::from_utf8(pem).ok());
        let bundle = bundle.filter(|bundle| !bundle.is_empty());
        let answer = async { Https::new(bundle.as_deref())?.post(url, body, BODY_BYTES_MAX, deadline).await }.await;
        answer.map_err(|error| match error {
            FetchError::Deadline(_) => format!("Post {url:?}: {LATE}"),
            error => format!("Post {url:?}: {}", Chain(&error)),
        })?
    } else {
        let asked = of_service(reach, &config["service"], body);
        tokio::time::timeout(deadline, asked).await.map_err(|_| LATE.to_owned())??
    };
    if !code.is_success() {
        return Err(format!("an error on the server ({code}) has prevented the request from succeeding"));
    }
    serde_json::from_slice(&answer).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// A webhook that runs in the cluster. Pods speak plain HTTP here; between nodes it goes through the mesh, which proves
/// who is there, so there is no certificate of the pod's own to check.
async fn of_service(reach: &Reach, service: &Value, body: Bytes) -> Result<(http::StatusCode, Bytes), String> {
    let (name, namespace) = (text(service, "name"), text(service, "namespace"));
    let port = service.get("port").and_then(Value::as_u64).unwrap_or(443).to_string();
    let path = if text(service, "path").is_empty() { "/" } else { text(service, "path") };
    // As if it were called by its name in the cluster, which is what who reads it looks for.
    let wrong = |status: Status| {
        let why = if status.code == 404 { format!("service {name:?} not found") } else { status.message };
        format!("Post \"https://{name}.{namespace}.svc:{port}{path}\": {why}")
    };
    let there = proxy::of_service(&reach.cluster, Some(namespace), name, &port).await.map_err(wrong)?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", format!("{name}.{namespace}.svc:{port}"))
        .header("content-type", "application/json")
        .body(full(body))
        .map_err(|error| error.to_string())?;
    let response = reach.pods.call(&there.node, &there.uid, there.port, request).await.map_err(wrong)?;
    let (parts, answer) = response.into_parts();
    Ok((parts.status, body::read(answer, BODY_BYTES_MAX).await.map_err(wrong)?))
}

fn denied(hook: &Hook, response: &Value) -> Status {
    let status = &response["status"];
    let by = format!("admission webhook {:?} denied the request", hook.name());
    let message = match (text(status, "message"), text(status, "reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let given = text(status, "reason");
    let mut refusal = Status::new(code.unwrap_or(400), reason(given), message);
    if refusal.reason == Reason::Unknown && !given.is_empty() {
        refusal.foreign_reason = Some(given.into());
    }
    refusal.details =
        status.get("details").filter(|details| details.is_object()).map(|it| Box::new(Details::parse(it)));
    refusal
}

/// The reason that a text names.
pub(super) fn reason(text: &str) -> Reason {
    let known = [
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Invalid,
        Reason::BadRequest,
        Reason::TooManyRequests,
        Reason::RequestEntityTooLarge,
        Reason::InternalError,
    ];
    known.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Reason::Unknown)
}
