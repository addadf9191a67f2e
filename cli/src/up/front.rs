//! The two faces of a node: the mesh for other nodes, the API for clients. Each path leads to one handler.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use http::{Method, Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use wk_apiserver::ApiServer;
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_mesh::{Handler, Mesh, Peer, join};
use wk_node::Node;
use wk_node::traffic;
use wk_store::{MemberId, Store};

use super::cluster_status::ClusterStatus;
use super::code::Handover;
use super::copies::Copies;
use super::gate::{Gate, Knock};
use super::heartbeat::Heart;
use super::join::Door;
use super::remove::{self, Ask};
use super::upgrade::{self, Upgrade};
use super::{
    announce, backup, cluster_status, code, copies, forward, hearing, heartbeat, metrics, raft_link, raft_stream,
    remote_pods, usage, witness,
};

/// Answers other nodes. Strangers may ask to join and nothing else.
pub(crate) struct MeshFront {
    /// The store, for Raft's messages.
    pub(crate) store: Store,
    /// Who lets newcomers in.
    pub(crate) door: Door,
    /// Who takes heartbeats.
    pub(crate) heart: Heart,
    /// The state of the cluster.
    pub(crate) status: Arc<ClusterStatus>,
    /// The way back to who asks.
    pub(crate) mesh: Mesh,
    /// Who replaces this program.
    pub(crate) upgrade: Upgrade,
    /// Ends what would go on for as long as this node serves.
    pub(crate) stopping: CancellationToken,
    /// What runs here, once something does. Nothing does on a witness.
    pub(crate) runs: Arc<OnceLock<Runs>>,
}

/// What runs on a node.
pub(crate) struct Runs {
    /// Its modules.
    pub(crate) copies: Copies,
    /// Its code, and who may have it.
    pub(crate) code: Arc<Handover>,
    /// Its pods.
    pub(crate) node: Node,
    /// What it counts.
    pub(crate) metrics: metrics::Metrics,
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
            raft_stream::PATH => {
                let Some(member) = self.heart.members.named(&from) else {
                    return plain(StatusCode::FORBIDDEN, "this node knows no member of that name");
                };
                let (members, from) = (self.heart.members.clone(), (from, MemberId(member.id)));
                let stopping = self.stopping.clone();
                raft_stream::answer(self.store.clone(), members, from, request.into_body(), stopping)
            }
            hearing::PATH => hearing::answer(&self.heart.beats),
            heartbeat::PATH => self.heart.answer(&from, request.into_body()).await,
            announce::PATH => {
                let members = &self.heart.members;
                announce::answer(&from, request.into_body(), &self.store, members, &self.mesh).await
            }
            cluster_status::MESH_PATH => self.status.explain(true).await,
            remove::MESH_PATH => {
                let ask = Ask::of_member(request.into_body()).await;
                remove::answer(&self.status, ask, true).await
            }
            upgrade::MESH_PATH if request.method() == Method::POST => forward::json(self.upgrade.begin().await),
            witness::MEMBERS_PATH => witness::tell(&self.heart.members),
            _ => match self.runs.get() {
                Some(runs) => runs.answer(request).await,
                None => traffic::nothing_runs(),
            },
        }
    }
}

impl Runs {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            path if path.starts_with(traffic::MESH_PREFIX) => self.node.apps.serve(request).await,
            path if path.starts_with(wk_node::net::MESH_PREFIX) => self.node.tunnel(request),
            path if path.starts_with(wk_node::net::DATAGRAM_MESH_PREFIX) => self.node.datagram(request).await,
            path if path.starts_with(copies::PREFIX) => self.copies.answer(request).await,
            path if path.starts_with(code::PREFIX) => self.code.answer(&self.node.engine, request.uri()).await,
            path if path.starts_with(remote_pods::PREFIX) => remote_pods::answer(&self.node.logs, request.uri()).await,
            path if path.starts_with(remote_pods::STREAMS_PREFIX) => remote_pods::open(&self.node.streams, request),
            usage::PATH => usage::answer(&self.node.meters),
            path if path.starts_with(remote_pods::NODE_PREFIX) => {
                remote_pods::tell(&self.metrics, &self.node.ledger, &path[remote_pods::NODE_PREFIX.len()..])
            }
            _ => plain(StatusCode::NOT_FOUND, "no such path on the mesh"),
        }
    }
}

/// Answers clients: the Kubernetes API, and what is ours alone.
pub(crate) struct ApiFront {
    /// The Kubernetes API.
    pub(crate) server: Arc<ApiServer>,
    /// The state of the cluster.
    pub(crate) status: Arc<ClusterStatus>,
    /// What this node counts.
    pub(crate) metrics: metrics::Metrics,
    /// Backups of it.
    pub(crate) backups: backup::Backups,
    /// Who replaces this program.
    pub(crate) upgrade: Upgrade,
}

#[async_trait]
impl Handler for ApiFront {
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        if is_own(request.uri().path()) {
            let own = async |request| self.own(&peer, &request).await;
            return self.server.attend(&peer, request, own).await;
        }
        let failure = self.status.store.status().borrow().failure.clone();
        match (failure, request.uri().path()) {
            // What this node knows gets older and nothing can be written: clients had better ask another one.
            (Some(failure), "/readyz") => {
                plain(StatusCode::SERVICE_UNAVAILABLE, &format!("[-]store failed: {failure}\nreadyz check failed\n"))
            }
            (Some(failure), path) if path != "/livez" && path != "/healthz" => {
                let message = format!("this node's store gave up, {}: {failure}", self.status.way_out());
                forward::json(Err(wk_api::Status::unavailable(message)))
            }
            _ => self.server.handle(peer, request).await,
        }
    }
}

impl ApiFront {
    /// Answers what is ours alone; None for what is nothing.
    fn own(&self, peer: &Peer, request: &Request<Body>) -> impl Future<Output = Option<Response<Body>>> + Send {
        let knock = Knock::of(peer, request);
        async move {
            let gate = Gate::Roles(Arc::clone(&self.server));
            if let Some(answer) = self.status.answer(&gate, &knock).await {
                return Some(answer);
            }
            if knock.uri.path() == backup::PATH && knock.method == Method::GET {
                return Some(self.backups.answer(&gate, &knock).await);
            }
            if let Some(answer) = self.upgrade.answer(&gate, &knock).await {
                return Some(answer);
            }
            self.metrics.serve(&gate, &knock).await
        }
    }
}

/// Where clients ask for what is ours alone of the API, and where of that the API server itself answers.
const OWN_PREFIX: &str = "/apis/wk.dev/";
const SERVER_PREFIXES: [&str; 3] =
    ["/apis/wk.dev/v1/users", "/apis/wk.dev/v1/certificates", "/apis/wk.dev/v1/signingkeys"];

fn is_own(path: &str) -> bool {
    let of_server = SERVER_PREFIXES.iter().any(|prefix| path.starts_with(prefix));
    path == metrics::PATH || path.starts_with(OWN_PREFIX) && !of_server
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(body::full(text.to_owned()));
    *response.status_mut() = status;
    response
}
