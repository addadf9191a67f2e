//! DELETE of one object or of a collection.

use http::StatusCode;
use serde_json::{Map, Value, json};
use wk_api::custom::convert;
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Status, kinds};
use wk_cluster::Deleted;

use crate::access::{User, guard};
use crate::admission;
use crate::body;
use crate::conversion;
use crate::negotiate::{self, Format};
use crate::respond::{Content, Reply};
use crate::selection::Selection;
use crate::server::ApiServer;
use crate::verbs::{Call, list};

const OPTIONS: &str = "DeleteOptions";

pub(super) async fn one(
    server: &ApiServer,
    user: &User,
    call: &Call,
    format: Format,
    bytes: &[u8],
) -> Result<Reply, Status> {
    let options = options(call, bytes)?;
    let cluster = guard::cluster_of(server, user);
    let (deleted, warnings) = admission::delete(server, call, &cluster, call.name(), &options).await?;
    let value = match &deleted {
        Deleted::Gone(object) if !answers_object(call.kind()) => {
            wk_api::status::deleted(call.kind(), object.name(), object.uid())
        }
        Deleted::Gone(object) | Deleted::Object(object) => {
            call.show(format, server.cluster.clock().now())?.one(call.kind(), object)
        }
    };
    Ok(Reply { warnings, ..Reply::new(StatusCode::OK, Content::Value(value)) })
}

/// Deletes what the selectors select, one by one, and answers the list of it.
pub(super) async fn collection(
    server: &ApiServer,
    user: &User,
    call: &Call,
    format: Format,
    bytes: &[u8],
) -> Result<Reply, Status> {
    let options = options(call, bytes)?;
    let selection = Selection::parse(&call.target, &call.query)?;
    let view = list::as_fresh_as_asked(server, "").await?;
    let cluster = guard::cluster_of(server, user);
    let selected = selection.walk(&view, None).filter(|stored| selection.admits(stored)).collect();
    let selected = conversion::selected(server, &selection, selected).await?;
    // Who cannot be shown what goes is told so before anything does.
    wk_cluster::check_keys(call.kind(), &selected)?;
    if call.kind().sealed {
        let object = |stored| wk_cluster::object_as(call.kind(), stored);
        selected.iter().try_for_each(|stored| wk_cluster::check_open(call.kind(), &object(stored)))?;
    }
    // And so is who asks in a version that a webhook makes, when it does not.
    let converted = if convert::asks_webhook(call.kind()) {
        Some(conversion::shown(server, call.kind(), &selected).await?)
    } else {
        None
    };
    let mut deleted = Vec::new();
    for (index, stored) in selected.iter().enumerate() {
        // Each in a step of its own: there may be thousands, and others wait for their turn.
        let object = converted.as_ref().and_then(|shown| shown.get(index).cloned());
        let object = object.unwrap_or_else(|| wk_cluster::object_as(call.kind(), stored));
        match admission::delete(server, call, &cluster, object.name(), &options).await {
            Ok(_) => deleted.push(object),
            // Somebody else was faster.
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let metadata = json!({ "resourceVersion": view.revision().to_string() });
    let now = server.cluster.clock().now();
    Ok(Reply::ok(list::of_objects(call, format, now, &deleted, metadata)?))
}

/// Kinds whose deletion is answered with the object and not with a `Status`, as in Kubernetes.
fn answers_object(kind: &Kind) -> bool {
    *kind == kinds::POD || *kind == kinds::SERVICE
}

/// The body, or the parameters when there is none.
fn options(call: &Call, bytes: &[u8]) -> Result<DeleteOptions, Status> {
    call.query.check_field_manager(OPTIONS)?;
    let mut value =
        if bytes.is_empty() { from_query(call)? } else { body::parse(bytes, negotiate::body_format(&call.headers)?)? };
    if value.is_null() {
        value = json!({});
    }
    let mut options = DeleteOptions::parse(&value)?;
    options.dry_run |= call.query.dry_run(OPTIONS)?;
    Ok(options)
}

fn from_query(call: &Call) -> Result<Value, Status> {
    let mut value = Map::new();
    if let Some(seconds) = call.query.number("gracePeriodSeconds")? {
        value.insert("gracePeriodSeconds".to_owned(), seconds.into());
    }
    if let Some(policy) = call.query.get("propagationPolicy") {
        value.insert("propagationPolicy".to_owned(), policy.into());
    }
    if let Some(orphan) = call.query.optional_flag("orphanDependents") {
        value.insert("orphanDependents".to_owned(), orphan.into());
    }
    Ok(Value::Object(value))
}
