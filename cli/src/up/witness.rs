//! What a witness does differently: it holds no objects, so it asks the others who is who, and sends clients to them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use wk_api::Status;
use wk_base::body::{self, Body};
use wk_base::tasks::Tasks;
use wk_mesh::join::Member;
use wk_mesh::{Handler, Lane, Mesh, NodeName, Peer};
use wk_store::Store;

use super::cluster_status::ClusterStatus;
use super::data_dir::DataDir;
use super::forward;
use super::gate::{Gate, Knock};
use super::members::Members;
use super::metrics::Metrics;

/// Where members tell on the mesh who is who.
pub(crate) const MEMBERS_PATH: &str = "/members";
/// Where the answer is kept for the next start.
pub(crate) const FILE: &str = "identity/members.json";
/// Between two questions: a member at a new address announces itself to the witness too, so this is for newcomers.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time to answer: it is a look at a table.
const DEADLINE: Duration = Duration::from_secs(1);
/// Thousands of members fit.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The members that the last run heard of.
pub(crate) fn remembered(data_dir: &DataDir) -> Vec<Member> {
    let text = std::fs::read_to_string(data_dir.join(FILE)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Asks for the members for as long as the tasks run: the leader, or one after the other.
pub(crate) fn follow(name: &NodeName, members: &Members, mesh: &Mesh, store: &Store, dir: &DataDir, tasks: &Tasks) {
    let (name, members, mesh, store) = (name.clone(), members.clone(), mesh.clone(), store.clone());
    let file = dir.join(FILE);
    // Witnesses came with the second level, so everybody here understands it.
    store.speak(wk_store::LEVEL);
    tasks.spawn_until_stop("members", async move {
        let mut turn = 0_usize;
        loop {
            let leader = store.status().borrow().leader.and_then(|leader| members.get(leader));
            let others: Vec<_> = members.all().into_iter().filter(|member| member.name != name).collect();
            let to = leader.or_else(|| others.get(turn % others.len().max(1)).cloned());
            turn = turn.wrapping_add(1);
            if let Some(to) = to
                && let Some(found) = ask(&mesh, &to.name).await
                && members.learn(found)
                && let Ok(text) = serde_json::to_string(&members.all())
                && let Err(error) = tokio::fs::write(&file, text).await
            {
                tracing::debug!(%error, "members not remembered");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

async fn ask(mesh: &Mesh, to: &NodeName) -> Option<Vec<Member>> {
    let mut request = Request::get(MEMBERS_PATH).body(body::empty()).expect("a constant path");
    request.extensions_mut().insert(Lane::Control);
    let response = mesh.request(to, request, DEADLINE).await.ok().filter(|it| it.status() == StatusCode::OK)?;
    let text = body::collect(response.into_body(), BODY_BYTES_MAX).await.ok()?;
    serde_json::from_slice(&text).ok()
}

/// Tells another member who is who.
pub(crate) fn tell(members: &Members) -> Response<Body> {
    Response::new(body::full(serde_json::to_string(&members.all()).expect("plain fields")))
}

/// A witness' API: the state of the cluster, and the way to the others.
pub(crate) struct WitnessFront {
    /// The state of the cluster.
    pub(crate) status: Arc<ClusterStatus>,
    /// What this node counts.
    pub(crate) metrics: Metrics,
}

#[async_trait]
impl Handler for WitnessFront {
    async fn handle(&self, peer: Peer, request: Request<Body>) -> Response<Body> {
        let knock = Knock::of(&peer, &request);
        if let Some(answer) = self.status.answer(&Gate::Masters, &knock).await {
            return answer;
        }
        if let Some(answer) = self.metrics.serve(&Gate::Masters, &knock).await {
            return answer;
        }
        let leader = self.status.store.status().borrow().leader;
        match request.uri().path() {
            "/livez" | "/healthz" => Response::new(body::full("ok")),
            "/readyz" if leader.is_some() => Response::new(body::full("ok")),
            _ => {
                let leader = leader.and_then(|leader| self.status.members.get(leader));
                let ask = leader.map_or_else(String::new, |it| format!(" such as {} at {}", it.name, it.address.ip()));
                let message = format!("this node is a witness and holds no objects: ask another node{ask}");
                forward::json(Err(Status::new(501, wk_api::Reason::Unknown, message)))
            }
        }
    }
}
