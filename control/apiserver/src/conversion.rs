//! Objects of custom kinds between versions where a webhook converts them (`spec.conversion.strategy: Webhook`).
//!
//! Whoever reads is shown what the webhook makes of the stored object; whoever writes in another version than the stored
//! one writes what it makes of theirs. Not here: conversion without a webhook, which needs no one (`Kind::shown`).
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apiserver/conversion`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use wk_api::custom::convert;
use wk_api::managed::{self, Elsewhere};
use wk_api::{Kind, Object, Reason, Status};
use wk_cluster::{ApplyRequest, Cluster, Freshness, Settled, Subresource, check_open, object, object_as};
use wk_store::Stored;

use crate::admission::{self, Reach, post};
use crate::selection::Selection;
use crate::server::ApiServer;
use crate::verbs::Call;

/// How long a conversion may take, as in Kubernetes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Objects that are sent to a webhook together to be looked at: some hundred KiB.
const AT_ONCE_MAX: usize = 100;

/// Writes that were decided anew because the object had changed while the webhook was asked.
const TRIES_MAX: u32 = 5;

/// Stored objects as they read in the version of `kind`.
pub(crate) async fn shown(server: &ApiServer, kind: &Kind, stored: &[Arc<Stored>]) -> Result<Vec<Arc<Object>>, Status> {
    if !convert::asks_webhook(kind) {
        let opened = |stored: &Arc<Stored>| {
            let object = object_as(kind, stored);
            check_open(kind, &object).map(|()| object)
        };
        return stored.iter().map(opened).collect();
    }
    let objects: Vec<Arc<Object>> = stored.iter().map(|stored| object(stored)).collect();
    all(&Reach::of(server), kind, objects).await
}

/// Who makes what is stored readable in one version, one batch after the other: for streams, which outlive a request.
pub(crate) struct Converter {
    reach: Reach,
    kind: &'static Kind,
}

impl Converter {
    /// The one of `kind`; None where no webhook has to be asked.
    pub(crate) fn of(server: &ApiServer, kind: &'static Kind) -> Option<Self> {
        convert::asks_webhook(kind).then(|| Self { reach: Reach::of(server), kind })
    }

    /// Objects as they are stored, in the version of the kind: those that need it are sent to the webhook together.
    pub(crate) async fn shown(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
        all(&self.reach, self.kind, objects).await
    }
}

/// Those of `stored` that the selectors let through in the version that they are about. They are let through by what no
/// version changes already.
pub(crate) async fn selected(
    server: &ApiServer,
    selection: &Selection,
    stored: Vec<Arc<Stored>>,
) -> Result<Vec<Arc<Stored>>, Status> {
    let Some(fields) = selection.converted() else { return Ok(stored) };
    let mut found = Vec::new();
    for some in stored.chunks(AT_ONCE_MAX) {
        let shown = shown(server, selection.kind, some).await?;
        found.extend(some.iter().zip(shown).filter(|(_, shown)| fields.matches(shown)).map(|(own, _)| Arc::clone(own)));
    }
    Ok(found)
}

/// One stored object as it reads in the version of `kind`.
pub(crate) async fn one(server: &ApiServer, kind: &Kind, stored: &Arc<Stored>) -> Result<Arc<Object>, Status> {
    let mut all = shown(server, kind, std::slice::from_ref(stored)).await?;
    all.pop().ok_or_else(|| Status::internal("a conversion answered nothing"))
}

/// Creates an object, in whichever version it comes.
pub(crate) async fn create(
    server: &ApiServer,
    call: &Call,
    cluster: &Cluster,
    value: Value,
) -> Result<(Arc<Object>, Vec<String>), Status> {
    let kind = call.kind();
    let Some(storage) = storage(server, kind).filter(|storage| *storage != kind) else {
        return admission::create(server, call, cluster, value).await;
    };
    let value = to(server, storage, value).await?;
    let (made, warnings) = admission::create(server, &call.of(storage), cluster, value).await?;
    Ok((back(server, kind, made).await?, warnings))
}

/// Changes an object as `change` says of it in the version of the call.
pub(crate) async fn modify(
    server: &ApiServer,
    call: &Call,
    cluster: &Cluster,
    subresource: Subresource,
    mut change: impl FnMut(&Object) -> Result<Value, Status>,
) -> Result<(Arc<Object>, Vec<String>), Status> {
    let (kind, namespace, name) = (call.kind(), call.namespace(), call.name());
    let Some(storage) = storage(server, kind) else {
        return admission::modify(server, call, cluster, subresource, change).await;
    };
    for _ in 0..TRIES_MAX {
        let view = cluster.view(Freshness::Linearizable).await?;
        let stored = view.get(&wk_cluster::key(kind, namespace, name)).ok_or_else(|| Status::not_found(kind, name))?;
        let old = one(server, storage, &stored).await?;
        let own = if storage == kind { Arc::clone(&old) } else { one(server, kind, &stored).await? };
        let new = if subresource == Subresource::Scale {
            change(&Object(wk_api::strategy::scale_of(kind, &own)?))?
        } else {
            to(server, storage, change(&own)?).await?
        };
        let replace = |current: &Object| {
            let same = current.resource_version() == old.resource_version();
            if same { Ok(new.clone()) } else { Err(Status::modified(kind, name)) }
        };
        let written = cluster.with_converted(Arc::clone(&old));
        match admission::modify(server, &call.of(storage), &written, subresource, replace).await {
            Ok((made, warnings)) => return Ok((back(server, kind, made).await?, warnings)),
            Err(status)
                if status.reason == Reason::Conflict
                    && admission::has_moved(cluster, call, Some(old.resource_version())) => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::modified(kind, name))
}

/// Applies a configuration in whichever version it comes; answers the object, whether it is new, and the warnings.
///
/// What somebody owns is recorded in the version that they wrote: whether a change is one of their fields is judged on
/// what the webhook makes of the object in that version, before and after.
pub(crate) async fn apply(
    server: &ApiServer,
    call: &Call,
    cluster: &Cluster,
    request: &ApplyRequest<'_>,
) -> Result<(Arc<Object>, bool, Vec<String>), Status> {
    let (kind, namespace, name) = (call.kind(), call.namespace(), call.name());
    let Some(storage) = storage(server, kind) else { return admission::apply(server, call, cluster, request).await };
    for _ in 0..TRIES_MAX {
        let view = cluster.view(Freshness::Linearizable).await?;
        let stored = view.get(&wk_cluster::key(kind, namespace, name));
        let (mut old, mut own, mut written) = (None, None, cluster.clone());
        if let Some(stored) = &stored {
            let before = one(server, storage, stored).await?;
            written = cluster.with_converted(Arc::clone(&before));
            own = Some(if storage == kind { Arc::clone(&before) } else { one(server, kind, stored).await? });
            old = Some(before);
        }
        let over = old.as_ref().map(|old| old.resource_version());
        let settled;
        let mut converted = ApplyRequest { kind: storage, ..request.clone() };
        // A Scale is the same in all versions.
        if request.subresource != Subresource::Scale {
            let (value, owners) = merged(server, cluster, request, own.as_deref()).await?;
            settled = Settled { value: to(server, storage, value).await?, owners };
            converted.settled = Some((&settled, over));
        }
        match admission::apply(server, &call.of(storage), &written, &converted).await {
            Ok((made, created, warnings)) => return Ok((back(server, kind, made).await?, created, warnings)),
            Err(status) if status.reason == Reason::Conflict && admission::has_moved(cluster, call, over) => {}
            Err(status) => return Err(status),
        }
    }
    Err(Status::modified(kind, name))
}

/// A configuration merged into what is there, and the owners from then on.
async fn merged(
    server: &ApiServer,
    cluster: &Cluster,
    request: &ApplyRequest<'_>,
    own: Option<&Object>,
) -> Result<(Value, Value), Status> {
    // Forced, so that nobody refuses what is not judged yet.
    let forced = cluster.merge(&ApplyRequest { force: true, ..request.clone() }, own, &[])?;
    let Some(own) = own else { return Ok(forced) };
    let mut elsewhere = Vec::new();
    for version in managed::versions(own) {
        let Some(kind) = version_of(server, request.kind, &version) else { continue };
        let before = to(server, kind, own.0.clone()).await?;
        let mut after = forced.0.clone();
        // An object that is sent to a webhook is whole.
        after["metadata"] = own.metadata().clone();
        elsewhere.push(Elsewhere { kind, before, after: to(server, kind, after).await? });
    }
    cluster.merge(request, Some(own), &elsewhere)
}

/// Another version of a kind.
fn version_of(server: &ApiServer, kind: &Kind, api_version: &str) -> Option<&'static Kind> {
    let kinds = server.cluster.kinds();
    let of = |found: &&&'static Kind| found.collection() == kind.collection() && found.api_version() == api_version;
    kinds.iter().find(of).copied().filter(|found| *found != kind)
}

/// An object of one version in another, whoever converts it.
pub(crate) async fn between(server: &ApiServer, from: &Kind, kind: &Kind, value: Value) -> Result<Value, Status> {
    if from == kind || !value.is_object() {
        return Ok(value);
    }
    if convert::asks_webhook(kind) {
        return to(server, kind, value).await;
    }
    plainly(from, kind, value)
}

/// As [`between`], where no webhook converts.
pub(crate) fn plainly(from: &Kind, kind: &Kind, value: Value) -> Result<Value, Status> {
    if from == kind || !value.is_object() {
        return Ok(value);
    }
    let stored = convert::stored(from, &Object::new(from.to_storage(value)?));
    Ok(kind.shown(&stored).into_owned().0)
}

/// The kind that objects are stored as, where a webhook converts them.
fn storage(server: &ApiServer, kind: &Kind) -> Option<&'static Kind> {
    if !convert::asks_webhook(kind) {
        return None;
    }
    let stored = wk_cluster::stored_kinds_in(&server.cluster.store().view());
    stored.into_iter().find(|own| own.collection() == kind.collection())
}

async fn to(server: &ApiServer, kind: &Kind, value: Value) -> Result<Value, Status> {
    let mut all = all(&Reach::of(server), kind, vec![Arc::new(Object::new(value))]).await?;
    let made = all.pop().ok_or_else(|| Status::internal("a conversion answered nothing"))?;
    Ok(Arc::unwrap_or_clone(made).0)
}

async fn back(server: &ApiServer, kind: &Kind, made: Arc<Object>) -> Result<Arc<Object>, Status> {
    let mut all = all(&Reach::of(server), kind, vec![made]).await?;
    all.pop().ok_or_else(|| Status::internal("a conversion answered nothing"))
}

/// Objects in the version of `kind`: those of others are sent to the webhook, all in one request.
async fn all(reach: &Reach, kind: &Kind, mut objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
    let wanted: Vec<usize> =
        (0..objects.len()).filter(|at| convert::webhook(kind, objects[*at].api_version()).is_some()).collect();
    if let Some(first) = wanted.first()
        && let Some(webhook) = convert::webhook(kind, objects[*first].api_version())
    {
        let sent: Vec<&Value> = wanted.iter().map(|at| &objects[*at].0).collect();
        let failed = |how: String| {
            Status::internal(format!("conversion webhook for {}, Kind={} {how}", kind.api_version(), kind.kind))
        };
        let made = ask(reach, kind, webhook, &sent).await.map_err(|why| failed(format!("failed: {why}")))?;
        if let Some((index, why)) =
            sent.iter().zip(&made).enumerate().find_map(|(index, (own, made))| Some((index, another(own, made)?)))
        {
            return Err(failed(format!("returned invalid converted object at index {index}: {why}")));
        }
        for (at, mut value) in wanted.into_iter().zip(made) {
            // Of the metadata a webhook may change what people write into it.
            let mut metadata = objects[at].metadata().clone();
            for key in ["labels", "annotations"] {
                match value["metadata"].get(key).filter(|own| own.is_object()) {
                    Some(own) => metadata[key] = own.clone(),
                    None => drop(metadata.as_object_mut().and_then(|metadata| metadata.remove(key))),
                }
            }
            value["metadata"] = metadata;
            objects[at] = Arc::new(Object::new(value));
        }
    }
    Ok(objects.iter().map(|object| Arc::new(kind.shown(object).into_owned())).collect())
}

/// What shows that `made` is another object than `own`.
fn another(own: &Value, made: &Value) -> Option<String> {
    let differs = |(key, word)| {
        let [own, made] = [own, made].map(|object| object["metadata"][key].as_str().unwrap_or_default());
        (own != made).then(|| format!("must have the same {word}: {own} != {made}"))
    };
    [("name", "name"), ("namespace", "namespace"), ("uid", "UID")].into_iter().find_map(differs)
}

async fn ask(reach: &Reach, kind: &Kind, webhook: &Value, objects: &[&Value]) -> Result<Vec<Value>, String> {
    let uid = wk_base::id::uid();
    let review = json!({
        "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
        "request": { "uid": uid, "desiredAPIVersion": kind.api_version(), "objects": objects },
    });
    let mut answer = post(reach, &webhook["clientConfig"], &review, DEADLINE).await?;
    let Some(response) = answer.get_mut("response").filter(|response| response.is_object()) else {
        return Err("the answer has no response".to_owned());
    };
    if response["uid"] != uid.as_str() {
        return Err("the response is to another request".to_owned());
    }
    if response["result"]["status"] != "Success" {
        return Err(response["result"]["message"].as_str().unwrap_or("the response says no reason").to_owned());
    }
    let Some(Value::Array(made)) = response.get_mut("convertedObjects").map(Value::take) else {
        return Err("the response has no convertedObjects".to_owned());
    };
    if made.len() != objects.len() {
        return Err(format!("expected {} converted objects, got {}", objects.len(), made.len()));
    }
    match made.iter().find(|made| made["apiVersion"] != kind.api_version() || made["kind"] != kind.kind) {
        Some(other) => Err(format!("expected {}, got {}", kind.api_version(), other["apiVersion"])),
        None => Ok(made),
    }
}
