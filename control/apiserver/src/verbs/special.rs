//! Subresources that only their own file knows: one line each.

use wk_api::Status;
use wk_api::kind::Subresource;
use wk_base::body::Body;

use crate::access::{User, token_request};
use crate::admission;
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, binding, connect, debug, eviction, log, proxy, resize};

/// Answers a request for `sub`, which the kind has and whose verbs were checked.
pub(super) async fn answer(
    server: &ApiServer,
    user: &User,
    call: &Call,
    sub: &Subresource,
    body: Body,
) -> Result<Reply, Status> {
    let options = match (call.kind().plural, sub.name) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", "proxy") => "PodProxyOptions",
        ("services", "proxy") => "ServiceProxyOptions",
        ("nodes", "proxy") => "NodeProxyOptions",
        _ => "",
    };
    if !options.is_empty() {
        admission::connect(server, call, options).await?;
    }
    match (call.kind().plural, sub.name) {
        ("pods", "binding") => binding::create(server, user, call, body).await,
        ("pods", "eviction") => eviction::create(server, user, call, body).await,
        ("pods", "log") => log::run(server, call).await,
        ("pods", "resize") => resize::run(server, call).await,
        ("pods", "debug") => debug::run(server, call).await,
        ("pods", "exec" | "attach") => connect::exec::run(server, call).await,
        ("pods", "portforward") => connect::forward::run(server, call).await,
        ("serviceaccounts", "token") => token_request::answer(server, user, call, body).await,
        (_, "proxy") => proxy::run(server, call, body).await,
        _ => Err(Status::no_such_resource()),
    }
}
