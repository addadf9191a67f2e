//! `GET /apis/wk.dev/v1/cluster`: who leads, who votes, who lags. What `wk status` shows.

use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use wk_api::Status;
use wk_apiserver::{Attributes, User, authorize};
use wk_base::body::{self, Body};
use wk_mesh::Peer;
use wk_store::Store;

use super::members::Members;

/// Where it is.
pub(crate) const PATH: &str = "/apis/wk.dev/v1/cluster";

/// Whether `peer` may do `verb` at `path`, which is no Kubernetes object; the answer if not.
pub(crate) fn allow(peer: &Peer, verb: &'static str, path: &str) -> Result<(), Box<Response<Body>>> {
    let allowed = match peer {
        Peer::Anonymous => Err(Status::unauthorized()),
        Peer::Node(_) | Peer::User { .. } => {
            let user = User { name: peer.user(), groups: peer.groups() };
            authorize(&user, &Attributes::Path { verb, path })
        }
    };
    allowed.map_err(|status| {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::FORBIDDEN);
        Box::new(json_answer(code, &status.to_value()))
    })
}

fn json_answer(code: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(body::full(value.to_string()));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The state of the cluster as this peer sees it.
pub(crate) struct ClusterStatus {
    /// The store, which knows.
    pub(crate) store: Store,
    /// Who is who.
    pub(crate) members: Members,
    /// The cluster's id.
    pub(crate) cluster: String,
}

impl ClusterStatus {
    /// Answers whoever may read everything.
    pub(crate) fn answer(&self, peer: &Peer) -> Response<Body> {
        match allow(peer, "get", PATH) {
            Ok(()) => json_answer(StatusCode::OK, &self.read()),
            Err(refusal) => *refusal,
        }
    }

    fn read(&self) -> serde_json::Value {
        let status = self.store.status().borrow().clone();
        let name = |id: &wk_store::MemberId| {
            self.members.get(*id).map_or_else(|| id.to_string(), |member| member.name.to_string())
        };
        let members = self.members.all().into_iter().map(|member| {
            let lag = status.lag.get(&wk_store::MemberId(member.id));
            json!({"id": member.id, "name": member.name, "address": member.address.to_string(), "lag": lag})
        });
        json!({
            "apiVersion": "wk.dev/v1",
            "kind": "Cluster",
            "cluster": self.cluster,
            "peer": name(&status.member),
            "leader": status.leader.as_ref().map(name),
            "term": status.term,
            "voters": status.voters.iter().map(name).collect::<Vec<_>>(),
            "learners": status.learners.iter().map(name).collect::<Vec<_>>(),
            "members": members.collect::<Vec<_>>(),
            "applied": status.applied.0,
            "commit": status.commit.0,
            "failure": status.failure,
        })
    }
}
