//! Who else is asked before a client's or a controller's write: mutating webhooks, then validating ones and admission policies.
//!
//! Here: the order, and what becomes of the object on the way. In `matching` whether somebody is asked about a write, in
//! `webhooks` and `policies` the asking. Not here: what this server itself decides about a write (`wk-cluster`), and writes
//! of nodes (a pod's status), which nobody else is asked about.
//!
//! Who is asked sees the object as it will be stored: the write is tried without effect before. A write that somebody was
//! asked about holds only if the object has not changed meanwhile.

mod matching;
mod policies;
mod webhooks;

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, Reason, Status, expression::Cost};
use wk_cluster::{ApplyRequest, Cluster, Deleted, Freshness, Judged, Subresource, object_as};
use wk_store::View;

use crate::server::ApiServer;
use crate::verbs::Call;

use webhooks::Hook;
pub(crate) use webhooks::{Reach, post};

/// Writes that were decided anew because the object had changed while others were asked.
const TRIES_MAX: u32 = 5;

/// A write somebody may be asked about.
pub(crate) struct Asked<'a> {
    server: &'a ApiServer,
    call: &'a Call,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    operation: &'static str,
    dry_run: bool,
    view: View,
    mutating: Vec<Hook>,
    validating: Vec<Hook>,
    policies: Vec<(Arc<Object>, &'static Kind)>,
    cost: Cost,
    /// What the client is told beside the answer.
    warnings: Vec<String>,
    /// The versions in which the resource is served.
    kinds: OnceLock<Vec<&'static Kind>>,
}

impl<'a> Asked<'a> {
    fn of(server: &'a ApiServer, call: &'a Call, operation: &'static str, dry_run: bool) -> Self {
        let view = server.cluster.store().view();
        let mut asked = Self {
            server,
            call,
            operation,
            dry_run,
            view,
            mutating: Vec::new(),
            validating: Vec::new(),
            policies: Vec::new(),
            cost: Cost::default(),
            warnings: Vec::new(),
            kinds: OnceLock::new(),
        };
        // Who decides about writes is not asked about itself: nobody could mend a mistake.
        if call.kind().group != "admissionregistration.k8s.io" {
            asked.mutating = asked.hooks(&wk_api::kinds::MUTATINGWEBHOOKCONFIGURATION);
            asked.validating = asked.hooks(&wk_api::kinds::VALIDATINGWEBHOOKCONFIGURATION);
            asked.policies = asked.policies_about_it();
        }
        asked
    }

    fn is_nobody(&self) -> bool {
        self.mutating.is_empty() && self.validating.is_empty() && self.policies.is_empty()
    }

    /// Whether what is sent is no object of the kind: a Scale, the options of a connection, an eviction.
    fn shows_something_else(&self) -> bool {
        let below = self.call.target.subresource.as_deref().unwrap_or_default();
        below == "scale" || self.call.kind().subresources.iter().any(|sub| sub.name == below)
    }

    /// Asks those who may only refuse.
    async fn validate(&mut self, object: Option<&Value>, old: Option<&Value>) -> Result<(), Status> {
        self.judge(object, old).await?;
        self.ask_validating(object, old).await
    }
}

/// Creates an object, with everybody asked. Answers it and the warnings.
pub(crate) async fn create(
    server: &ApiServer,
    call: &Call,
    cluster: &Cluster,
    value: Value,
) -> Result<(Arc<Object>, Vec<String>), Status> {
    let mut asked = Asked::of(server, call, "CREATE", call.query.dry_run("CreateOptions")?);
    if asked.is_nobody() {
        return Ok((cluster.create(call.kind(), call.namespace(), value).await?, Vec::new()));
    }
    let mut value = wk_api::strategy::filled(call.kind(), value);
    if let Some(namespace) = call.namespace() {
        value["metadata"]["namespace"] = namespace.into();
    }
    let value = asked.mutate(value, None).await?;
    let tried = cluster.dry_run().create(call.kind(), call.namespace(), value.clone()).await?;
    asked.validate(Some(&tried.0), None).await?;
    let object = cluster.create(call.kind(), call.namespace(), value).await?;
    Ok((object, asked.warnings))
}

/// Changes an object as `change` says, with everybody asked. Answers it and the warnings.
pub(crate) async fn modify(
    server: &ApiServer,
    call: &Call,
    cluster: &Cluster,
    subresource: Subresource,
    mut change: impl FnMut(&Object) -> Result<Value, Status>,
) -> Result<(Arc<Object>, Vec<String>), Status> {
    let (kind, namespace, name) = (call.kind(), call.namespace(), call.name());
    let mut asked = Asked::of(server, call, "UPDATE", call.query.dry_run("UpdateOptions")?);
    if asked.is_nobody() {
        return Ok((cluster.modify(kind, namespace, name, subresource, change).await?, Vec::new()));
    }
    for _ in 0..TRIES_MAX {
        asked.warnings.clear();
        let old = cluster.get(kind, namespace, name, Freshness::Linearizable).await?;
        let seen = face(call, subresource, &old)?;
        let new = asked.mutate(change(&seen)?, Some(&seen.0)).await?;
        let unchanged = |current: &Object| {
            if current.resource_version() == old.resource_version() {
                Ok(new.clone())
            } else {
                Err(Status::modified(kind, name))
            }
        };
        let tried = cluster.dry_run().modify(kind, namespace, name, subresource, unchanged).await;
        let done = match tried {
            Ok(tried) => {
                let tried = face(call, subresource, &tried)?;
                asked.validate(Some(&tried.0), Some(&seen.0)).await?;
                cluster.modify(kind, namespace, name, subresource, unchanged).await
            }
            Err(status) => Err(status),
        };
        match done {
            Ok(object) => return Ok((object, asked.warnings)),
            // Whoever meant a certain version is told by `change`; here somebody else was faster.
            Err(status)
                if status.reason == Reason::Conflict && has_moved(cluster, call, Some(old.resource_version())) => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::modified(kind, name))
}

/// An object as it is seen through a subresource.
fn face(call: &Call, subresource: Subresource, object: &Arc<Object>) -> Result<Arc<Object>, Status> {
    match subresource {
        Subresource::Scale => Ok(Arc::new(Object::new(wk_api::strategy::scale_of(call.kind(), object)?))),
        Subresource::None | Subresource::Status | Subresource::Part(_) => Ok(Arc::clone(object)),
    }
}

/// Applies a configuration, with everybody asked. Answers the object, whether it is new, and the warnings.
///
/// It is tried first; what they make of the outcome is then written, over just the version that they saw.
pub(crate) async fn apply(
    server: &ApiServer,
    call: &Call,
    cluster: &Cluster,
    request: &ApplyRequest<'_>,
) -> Result<(Arc<Object>, bool, Vec<String>), Status> {
    let (kind, namespace, name) = (call.kind(), call.namespace(), call.name());
    let dry = call.query.dry_run("PatchOptions")?;
    let nobody = ["CREATE", "UPDATE"].iter().all(|operation| Asked::of(server, call, operation, dry).is_nobody());
    if nobody {
        let (object, created) = cluster.apply(request).await?;
        return Ok((object, created, Vec::new()));
    }
    for _ in 0..TRIES_MAX {
        let old = match cluster.get(kind, namespace, name, Freshness::Linearizable).await {
            Ok(old) => Some(old),
            Err(status) if status.code == 404 => None,
            Err(status) => return Err(status),
        };
        let mut asked = Asked::of(server, call, if old.is_some() { "UPDATE" } else { "CREATE" }, dry);
        let (tried, _) = cluster.dry_run().apply(request).await?;
        // Of an apply to a Scale the Scale is shown.
        let tried = face(call, request.subresource, &tried)?;
        let seen = old.as_ref().map(|old| face(call, request.subresource, old)).transpose()?;
        let seen = seen.as_ref().map(|seen| &seen.0);
        let mut judged = asked.mutate(tried.0.clone(), seen).await?;
        asked.validate(Some(&judged), seen).await?;
        let over = old.as_ref().map(|old| old.resource_version());
        if over.is_none()
            && let Some(metadata) = judged["metadata"].as_object_mut()
        {
            metadata.retain(|key, _| !["uid", "resourceVersion", "creationTimestamp"].contains(&key.as_str()));
        }
        let request = ApplyRequest { judged: Some(Judged { value: &judged, over }), ..request.clone() };
        match cluster.apply(&request).await {
            Ok((object, created)) => return Ok((object, created, asked.warnings)),
            // Somebody else was faster: they are asked about what is there now.
            Err(status) if status.reason == Reason::Conflict && has_moved(cluster, call, over) => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::modified(kind, name))
}

/// Whether another version of the object is there than the one that was seen; None: none was there.
pub(crate) fn has_moved(cluster: &Cluster, call: &Call, seen: Option<&str>) -> bool {
    let now = cluster.store().view().get(&wk_cluster::key(call.kind(), call.namespace(), call.name()));
    now.map(|now| now.revision().to_string()).as_deref() != seen
}

/// Asks about a subresource that is created and not kept: an eviction, a binding, a token. Answers what is wanted then.
pub(crate) async fn create_below(
    server: &ApiServer,
    call: &Call,
    body: Value,
    dry_run: bool,
) -> Result<(Value, Vec<String>), Status> {
    let mut asked = Asked::of(server, call, "CREATE", dry_run);
    if asked.is_nobody() {
        return Ok((body, Vec::new()));
    }
    let body = asked.mutate(body, None).await?;
    asked.validate(Some(&body), None).await?;
    Ok((body, asked.warnings))
}

/// Deletes an object, with everybody asked. Answers what came of it and the warnings.
pub(crate) async fn delete(
    server: &ApiServer,
    call: &Call,
    cluster: &Cluster,
    name: &str,
    options: &DeleteOptions,
) -> Result<(Deleted, Vec<String>), Status> {
    let (kind, namespace) = (call.kind(), call.namespace());
    let mut asked = Asked::of(server, call, "DELETE", options.dry_run);
    let mut options = options.clone();
    if !asked.is_nobody() {
        let view = server.cluster.view(Freshness::Linearizable).await?;
        let stored = view.get(&wk_cluster::key(kind, namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
        let old = object_as(kind, &stored);
        asked.mutate(Value::Null, Some(&old.0)).await?;
        asked.validate(None, Some(&old.0)).await?;
        // Not another one of the same name.
        options.uid.get_or_insert_with(|| old.uid().to_owned());
    }
    Ok((cluster.delete(kind, namespace, name, &options).await?, asked.warnings))
}

/// Asks about a connection to `subresource` of an object: `exec`, `proxy`.
pub(crate) async fn connect(server: &ApiServer, call: &Call, options: &str) -> Result<(), Status> {
    let mut asked = Asked::of(server, call, "CONNECT", false);
    if asked.is_nobody() {
        return Ok(());
    }
    let object = asked.mutate(connection(call, options), None).await?;
    asked.validate(Some(&object), None).await
}

/// The parameters of a connection, as the options that they are.
fn connection(call: &Call, kind: &str) -> Value {
    let mut options = json!({ "kind": kind, "apiVersion": "v1" });
    let query = &call.query;
    match kind {
        "PodExecOptions" | "PodAttachOptions" => {
            for name in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|name| query.flag(name)) {
                options[name] = true.into();
            }
            if let Some(container) = query.get("container") {
                options["container"] = container.into();
            }
            if kind == "PodExecOptions" {
                options["command"] = query.all("command").collect();
            }
        }
        "PodPortForwardOptions" => {
            let ports = query.all("ports").flat_map(|ports| ports.split(','));
            options["ports"] = ports.filter_map(|port| port.parse::<u16>().ok()).collect();
        }
        _ if !call.target.below.is_empty() => options["path"] = call.target.below.as_str().into(),
        _ => {}
    }
    options
}
