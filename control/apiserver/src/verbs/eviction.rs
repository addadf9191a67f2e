//! POST of an Eviction: a pod is deleted if its disruption budget allows it.

use serde_json::Value;
use wk_api::strategy::DeleteOptions;
use wk_api::{Object, Status};
use wk_base::body::Body;

use crate::access::{User, guard};
use crate::admission;
use crate::body;
use crate::negotiate;
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, read};

const OPTIONS: &str = "CreateOptions";

/// The versions of Eviction that are understood: they are the same.
const VERSIONS: [&str; 3] = ["policy/v1", "policy/v1beta1", ""];

pub(super) async fn create(server: &ApiServer, user: &User, call: &Call, body: Body) -> Result<Reply, Status> {
    call.query.check_field_manager(OPTIONS)?;
    let bytes = read(body).await?;
    let eviction = Object::new(body::parse(&bytes, negotiate::body_format(&call.headers)?)?);
    if !VERSIONS.contains(&eviction.api_version()) || !["Eviction", ""].contains(&eviction.kind()) {
        let (version, kind) = (eviction.api_version(), eviction.kind());
        return Err(Status::bad_request(format!("not a Eviction object: {version} {kind}")));
    }
    if eviction.name() != call.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let namespace = call.namespace().unwrap_or_default();
    if !eviction.namespace().is_empty() && eviction.namespace() != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let dry_run = call.query.dry_run(OPTIONS)?;
    let (eviction, warnings) = admission::create_below(server, call, eviction.0, dry_run).await?;
    let eviction = Object::new(eviction);
    let mut options = DeleteOptions::parse(eviction.at("/deleteOptions").unwrap_or(&Value::Null))?;
    options.dry_run |= dry_run;
    guard::cluster_of(server, user).evict(namespace, call.name(), &options).await?;
    Ok(Reply { warnings, ..Reply::created_nothing() })
}
