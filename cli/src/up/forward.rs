//! Questions that only the leader can answer: asked there over the mesh, whoever was asked first.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use wk_api::{Reason, Status};
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_mesh::{Lane, Mesh};
use wk_store::Store;

use super::members::Members;

/// Who leads, as this peer sees it.
pub(crate) enum Leader {
    /// This peer.
    Here,
    /// Another one.
    There(wk_mesh::NodeName),
    /// Nobody.
    None,
}

impl Leader {
    /// Who leads now.
    pub(crate) fn of(store: &Store, members: &Members) -> Self {
        let status = store.status();
        let status = status.borrow();
        match status.leader {
            Some(leader) if leader == status.member && status.failure.is_none() => Self::Here,
            Some(leader) => members.get(leader).map_or(Self::None, |member| Self::There(member.name)),
            None => Self::None,
        }
    }
}

/// Sends a question to the leader and its answer back.
pub(crate) async fn ask(
    mesh: &Mesh,
    to: &wk_mesh::NodeName,
    mut request: Request<Body>,
    deadline: Duration,
) -> Result<Response<Body>, Status> {
    request.extensions_mut().insert(Lane::Control);
    let answer = mesh.request(to, request, deadline).await;
    answer.map_err(|error| Status::unavailable(format!("the leader {to} could not be asked: {}", Chain(&error))))
}

/// There is no leader to ask.
pub(crate) fn nobody() -> Status {
    Status::unavailable("the cluster has no leader now: a majority of its voters must be up")
}

/// A JSON answer.
pub(crate) fn json(result: Result<serde_json::Value, Status>) -> Response<Body> {
    let (code, value) = match result {
        Ok(value) => (200, value),
        Err(status) => (status.code, status.to_value()),
    };
    let mut response = Response::new(body::full(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

/// A refusal that is nobody's mistake but the moment's.
pub(crate) fn conflict(message: String) -> Status {
    Status::new(409, Reason::Conflict, message)
}
