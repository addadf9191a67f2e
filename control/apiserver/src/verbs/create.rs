//! POST to a collection.

use http::StatusCode;
use wk_api::Status;
use wk_cluster::Subresource;

use crate::access::{User, guard};
use crate::body;
use crate::negotiate::{self, Format};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, writable, written};

const OPTIONS: &str = "CreateOptions";

pub(super) async fn run(
    server: &ApiServer,
    user: &User,
    call: &Call,
    format: Format,
    bytes: &[u8],
) -> Result<Reply, Status> {
    let cluster = writable(server, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let (value, mut warnings) = body::object(call.kind(), bytes, negotiate::body_format(&call.headers)?, validation)?;
    guard::check_latest(server, user, &guard::Write::of(call, None, Some(&value))).await?;
    let object = cluster.create(call.kind(), call.namespace(), value).await?;
    let content = written(server, call, format, Subresource::None, &object)?;
    warnings.extend(cluster.take_warnings());
    Ok(Reply { code: StatusCode::CREATED, content, warnings })
}
