//! `pods/resize`: read as the pod. A change is refused with what to do instead: a running WebAssembly instance keeps the
//! limits that it was started with.

use http::Method;
use wk_api::{FieldError, FieldReason, Status};
use wk_cluster::Subresource;

use crate::negotiate::{self, Shape};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, get};

pub(super) async fn run(server: &ApiServer, call: &Call) -> Result<Reply, Status> {
    let format = negotiate::format(&call.headers, &call.query, &[Shape::Full, Shape::Table, Shape::Metadata])?;
    let found = get::run(server, call, format, Subresource::None).await?;
    if call.method == Method::GET {
        return Ok(found);
    }
    let message = "Forbidden: a running WebAssembly instance keeps the resources it was started with; change the template \
                   that the pod is made from, or make the pod anew";
    let error =
        FieldError { field: "spec.containers".to_owned(), reason: FieldReason::Forbidden, message: message.to_owned() };
    Err(Status::invalid(call.kind(), call.name(), vec![error]))
}
