//! POST to a collection.

use http::StatusCode;
use wk_api::{Status, kinds};
use wk_cluster::Subresource;

use crate::access::{User, legacy_token};
use crate::body;
use crate::conversion;
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
    let cluster = writable(server, user, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let (value, mut warnings) = body::object(call.kind(), bytes, negotiate::body_format(&call.headers)?, validation)?;
    let is_token = *call.kind() == kinds::SECRET && legacy_token::is_meant(&value);
    let (mut object, said) = conversion::create(server, call, &cluster, value).await?;
    warnings.extend(said);
    if is_token && !call.query.dry_run(OPTIONS)? {
        object = legacy_token::fill(server, &cluster, object).await?;
    }
    let content = written(server, call, format, Subresource::None, &object)?;
    warnings.extend(cluster.take_warnings());
    Ok(Reply { code: StatusCode::CREATED, content, warnings })
}
