//! The two faces of a node: the mesh for other nodes, the API for clients. Each path leads to one handler.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use wk_apiserver::ApiServer;
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_mesh::{Handler, Peer, join};
use wk_node::Node;
use wk_node::traffic;
use wk_store::{MemberId, Store};

use super::copies::Copies;
use super::heartbeat::Heart;
use super::join::Door;
use super::{announce, cluster_status, copies, heartbeat, metrics, raft_link, remote_pods};

/// Answers other nodes. Strangers may ask to join and nothing else.
pub(crate) struct MeshFront {
    /// The store, for Raft's messages.
    pub(crate) store: Store,
    /// Who lets newcomers in.
    pub(crate) door: Door,
    /// Who takes heartbeats.
    pub(crate) heart: Heart,
    /// This node's modules.
    pub(crate) copies: Copies,
    /// This node's pods.
    pub(crate) node: Node,
}

#[async_trait]
impl Handler for MeshFront {
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        if path == join::PATH && request.method() == Method::POST {
            let forwarded = matches!(peer, Peer::Node(_));
            return self.door.answer(request.into_body(), forwarded).await;
        }
        let Peer::Node(from) = peer else {
            return plain(StatusCode::FORBIDDEN, "only nodes of this cluster may do that");
        };
        if path.starts_with(traffic::MESH_PREFIX) {
            return self.node.apps.serve(request).await;
        }
        match path {
            raft_link::PATH => {
                let Some(member) = self.heart.members.named(&from) else {
                    return plain(StatusCode::FORBIDDEN, "this node knows no member of that name");
                };
                match raft_link::receive(&self.store, MemberId(member.id), request.into_body()).await {
                    Ok(()) => plain(StatusCode::NO_CONTENT, ""),
                    Err(error) => plain(StatusCode::SERVICE_UNAVAILABLE, &Chain(&*error).to_string()),
                }
            }
            heartbeat::PATH => self.heart.answer(&from),
            announce::PATH => announce::answer(&from, request.into_body(), &self.store, &self.copies.mesh).await,
            path if path.starts_with(copies::PREFIX) => self.copies.answer(request).await,
            path if path.starts_with(remote_pods::PREFIX) => remote_pods::answer(&self.node.logs, request.uri()),
            _ => plain(StatusCode::NOT_FOUND, "no such path on the mesh"),
        }
    }
}

/// Answers clients: the Kubernetes API, and what is ours alone.
pub(crate) struct ApiFront {
    /// The Kubernetes API.
    pub(crate) server: Arc<ApiServer>,
    /// The state of the cluster.
    pub(crate) status: cluster_status::ClusterStatus,
    /// What this node counts.
    pub(crate) metrics: metrics::Metrics,
}

#[async_trait]
impl Handler for ApiFront {
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        if request.uri().path() == cluster_status::PATH && request.method() == Method::GET {
            return self.status.answer(&peer);
        }
        if request.uri().path() == metrics::PATH && request.method() == Method::GET {
            return match cluster_status::allow(&peer, "get", metrics::PATH) {
                Ok(()) => self.metrics.answer(),
                Err(refusal) => *refusal,
            };
        }
        self.server.handle(peer, request).await
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(body::full(text.to_owned()));
    *response.status_mut() = status;
    response
}
