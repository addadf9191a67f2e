//! `/proxy` of pods, services and nodes: a request that is passed on to what the object stands for.
//!
//! Not here: the way there (`Pods`). Links inside HTML are left as they are, unlike in Kubernetes: only `Location` is
//! rewritten.

mod headers;
mod kubelet;
mod target;

use http::header::LOCATION;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use wk_api::Status;
use wk_base::body::{Body, empty};

pub(crate) use self::kubelet::below;
use self::target::PodPort;
pub(crate) use self::target::of_service;
use crate::respond::{Content, Reply};
use crate::server::ApiServer;
use crate::verbs::Call;

pub(super) async fn run(server: &ApiServer, call: &Call, body: Body) -> Result<Reply, Status> {
    match call.kind().plural {
        "pods" => {
            let there = target::pod(server, call).await?;
            pass(server, call, &there, body).await
        }
        "services" => {
            let there = target::service(server, call).await?;
            pass(server, call, &there, body).await
        }
        _ => kubelet::answer(server, call).await,
    }
}

async fn pass(server: &ApiServer, call: &Call, there: &PodPort, body: Body) -> Result<Reply, Status> {
    let query = call.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // A page at `…/proxy` would resolve its links beside it instead of below.
    if call.target.below.is_empty() && matches!(call.method, Method::GET | Method::HEAD) {
        return redirect(&format!("{}/{query}", call.uri.path()));
    }
    let below = if call.target.below.is_empty() { "/" } else { &call.target.below };
    let uri: Uri = format!("{below}{query}").parse().map_err(|error| unreachable(&error))?;
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = headers::of_request(&call.headers, &call.uri);
    let mut response = server.pods.call(&there.node, &there.uid, there.port, request).await?;
    headers::of_response(response.headers_mut());
    rewrite_location(call, &mut response);
    Ok(Reply::new(response.status(), Content::Whole(response)))
}

fn unreachable(why: &dyn std::fmt::Display) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}

fn redirect(to: &str) -> Result<Reply, Status> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let to = HeaderValue::from_str(to).map_err(|error| Status::bad_request(error.to_string()))?;
    response.headers_mut().insert(LOCATION, to);
    Ok(Reply::new(StatusCode::MOVED_PERMANENTLY, Content::Whole(response)))
}

/// A redirect to another path of the same server stays below the proxy.
fn rewrite_location(call: &Call, response: &mut Response<Body>) {
    let Some(to) = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()) else { return };
    let Ok(uri) = to.parse::<Uri>() else { return };
    let host = call.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let elsewhere = uri.authority().is_some_and(|authority| Some(authority.as_str()) != host);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let prefix = call.uri.path().strip_suffix(&call.target.below).unwrap_or_default();
    if elsewhere || !path.starts_with('/') || path.starts_with(prefix) {
        return;
    }
    if let Ok(to) = HeaderValue::from_str(&format!("{prefix}{path}")) {
        response.headers_mut().insert(LOCATION, to);
    }
}
