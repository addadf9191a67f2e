//! POST of a Binding, to `pods/<name>/binding` or to `bindings`: a scheduler says where a pod runs.

use wk_api::{Object, Status, kinds};
use wk_base::body::Body;

use crate::access::User;
use crate::admission;
use crate::body;
use crate::negotiate;
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, read, writable};

const OPTIONS: &str = "CreateOptions";

pub(super) async fn create(server: &ApiServer, user: &User, call: &Call, body: Body) -> Result<Reply, Status> {
    let cluster = writable(server, user, call, OPTIONS)?;
    let validation = body::validation(&call.query, OPTIONS)?;
    let bytes = read(body).await?;
    let format = negotiate::body_format(&call.headers)?;
    let (binding, mut warnings) = body::object(&kinds::BINDING, &bytes, format, validation)?;
    let (binding, said) = admission::create_below(server, call, binding, call.query.dry_run(OPTIONS)?).await?;
    warnings.extend(said);
    let binding = Object::new(binding);
    let name = if call.name().is_empty() { binding.name() } else { call.name() };
    if binding.name() != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let namespace = call.namespace().unwrap_or_default();
    cluster.bind(namespace, name, &binding.0).await?;
    Ok(Reply { warnings, ..Reply::created_nothing() })
}
