//! GET of what is made when it is read.

use std::sync::Arc;

use serde_json::json;
use wk_api::kinds::apiservices::api_service;
use wk_api::kinds::componentstatuses::component_status;
use wk_api::{Object, Status, discovery};

use crate::negotiate::{self, Format, Shape};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, list, metrics};

/// One object or a list, as they are now.
pub(super) async fn read(server: &ApiServer, call: &Call) -> Result<Reply, Status> {
    let format = negotiate::format(&call.headers, &call.query, &[Shape::Full, Shape::Table, Shape::Metadata])?;
    match (call.kind().group, call.kind().plural) {
        (_, "apiservices") => api_services(server, call, format),
        (_, "componentstatuses") => components(server, call, format).await,
        ("metrics.k8s.io", "pods") => metrics::pods(server, call, format).await,
        ("metrics.k8s.io", "nodes") => metrics::nodes(server, call, format).await,
        _ => Err(Status::no_such_resource()),
    }
}

/// The parts that Kubernetes would name, by what stands for them here: all of them are the process that answers.
async fn components(server: &ApiServer, call: &Call, format: Format) -> Result<Reply, Status> {
    let store = server.cluster.store().read().await.map(|_| "ok").map_err(|error| error.to_string());
    let health = store.as_ref().map(|text| *text).map_err(String::as_str);
    let found = ["controller-manager", "etcd-0", "scheduler"].map(|name| Arc::new(component_status(name, health)));
    show(server, call, format, &found)
}

/// One for each group version that is served, custom ones too.
fn api_services(server: &ApiServer, call: &Call, format: Format) -> Result<Reply, Status> {
    let groups = discovery::group_versions(&server.cluster.kinds());
    let services = groups.iter().enumerate().flat_map(|(place, (group, versions))| {
        versions.iter().enumerate().map(move |(nth, version)| Arc::new(api_service(group, version, place, nth)))
    });
    show(server, call, format, &services.collect::<Vec<_>>())
}

/// The one that was asked for by name, or all that the call selects.
fn show(server: &ApiServer, call: &Call, format: Format, found: &[Arc<Object>]) -> Result<Reply, Status> {
    let now = server.cluster.clock().now();
    let Some(name) = &call.target.name else {
        return Ok(Reply::ok(list::of_objects(call, format, now, found, json!({}))?));
    };
    let object = found.iter().find(|object| object.name() == name);
    let object = object.ok_or_else(|| Status::not_found(call.kind(), name))?;
    Ok(Reply::ok(call.show(format, now)?.one(call.kind(), object)))
}
