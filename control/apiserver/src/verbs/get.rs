//! GET of one object.

use wk_api::{Object, Status, kinds};
use wk_cluster::{Subresource, key};
use wk_store::View;

use crate::conversion;
use crate::leases;
use crate::negotiate::{Encoding, Format, Shape};
use crate::respond::{Content, Reply};
use crate::server::ApiServer;
use crate::verbs::{Call, list};
use http::StatusCode;

pub(super) async fn run(
    server: &ApiServer,
    call: &Call,
    format: Format,
    subresource: Subresource,
) -> Result<Reply, Status> {
    let view: View = list::as_fresh_as_asked(server, call.query.text("resourceVersion")).await?;
    let stored = view
        .get(&key(call.kind(), call.namespace(), call.name()))
        .ok_or_else(|| Status::not_found(call.kind(), call.name()))?;
    if subresource == Subresource::Scale {
        let object = conversion::one(server, call.kind(), &stored).await?;
        let scale = Object::new(wk_api::strategy::scale_of(call.kind(), &object)?);
        let show = call.show(format, server.cluster.clock().now())?;
        return Ok(Reply::ok(show.one(&kinds::SCALE, &scale)));
    }
    if leases::are_meant(call) {
        let object = conversion::one(server, call.kind(), &stored).await?;
        let show = call.show(format, server.cluster.clock().now())?;
        let renewed = leases::renewed(server, vec![object]).await;
        return Ok(Reply::ok(show.one(call.kind(), &renewed[0])));
    }
    if format.shape == Shape::Full && format.encoding == Encoding::Json && call.kind().serves_stored_bytes() {
        return Ok(Reply::new(StatusCode::OK, Content::Json(stored.bytes())));
    }
    let show = call.show(format, server.cluster.clock().now())?;
    Ok(Reply::ok(show.one(call.kind(), &*conversion::one(server, call.kind(), &stored).await?)))
}
