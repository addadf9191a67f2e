//! PUT of an object, its status or its scale.

use http::StatusCode;
use wk_api::Status;
use wk_cluster::Subresource;

use crate::access::User;
use crate::body;
use crate::conversion;
use crate::negotiate::{self, Format};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, writable, written};

const OPTIONS: &str = "UpdateOptions";

pub(super) async fn run(
    server: &ApiServer,
    user: &User,
    call: &Call,
    format: Format,
    subresource: Subresource,
    bytes: &[u8],
) -> Result<Reply, Status> {
    let cluster = writable(server, user, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let body_format = negotiate::body_format(&call.headers)?;
    let (value, mut warnings) = match subresource {
        // A Scale is not in the table of kinds: what it may hold is checked where it is applied.
        Subresource::Scale => (body::parse(bytes, body_format)?, Vec::new()),
        Subresource::None | Subresource::Status | Subresource::Part(_) => {
            body::object(call.kind(), bytes, body_format, validation)?
        }
    };
    call.notes.object(&value, &["uid", "resourceVersion"]);
    let (object, said) = conversion::modify(server, call, &cluster, subresource, |_| Ok(value.clone())).await?;
    warnings.extend(said);
    let content = written(server, call, format, subresource, &object)?;
    warnings.extend(cluster.take_warnings());
    Ok(Reply { code: StatusCode::OK, content, warnings })
}
