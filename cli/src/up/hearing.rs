//! When the leader last heard each node: asked of the leader when somebody wants to know.
//!
//! Not here: hearing (`heartbeat.rs`), and what silence means (`wk_plan::nodes`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::sync::Mutex;
use tokio::time::Instant;
use wk_base::body::{self, Body};
use wk_base::time::Timestamp;
use wk_controllers::Heartbeats;
use wk_mesh::{Lane, Mesh};
use wk_store::Store;

use super::members::Members;

/// Where the leader tells it on the mesh.
pub(crate) const PATH: &str = "/heard";
/// The leader answers from memory. Who reads a Lease does not wait longer.
const DEADLINE: Duration = Duration::from_secs(1);
/// What was answered is good for this long: nodes beat once a second.
const FRESH: Duration = Duration::from_secs(1);
/// A name and a time for as many nodes as heartbeats are kept of.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Asks the leader. Clones share what it said last.
#[derive(Clone)]
pub(crate) struct Hearing {
    /// Knows who leads.
    pub(crate) store: Store,
    /// Where the leader is.
    pub(crate) members: Members,
    /// The way there.
    pub(crate) mesh: Mesh,
    /// What this node hears itself.
    pub(crate) beats: Arc<Heartbeats>,
    /// What was said last, and when.
    pub(crate) last: Arc<Mutex<Option<Said>>>,
}

/// When something was said, and of which nodes.
type Said = (Instant, BTreeMap<String, Timestamp>);

impl Hearing {
    /// When the leader last heard each node; nothing where it cannot be asked.
    pub(crate) async fn heard(&self) -> BTreeMap<String, Timestamp> {
        if self.store.status().borrow().is_leader() {
            return self.beats.heard();
        }
        // One asks, and the others wait for its answer.
        let mut last = self.last.lock().await;
        if let Some((_, heard)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return heard.clone();
        }
        let heard = self.ask().await.unwrap_or_default();
        *last = Some((Instant::now(), heard.clone()));
        heard
    }

    async fn ask(&self) -> Option<BTreeMap<String, Timestamp>> {
        let leader = self.store.status().borrow().leader?;
        let leader = self.members.get(leader)?.name;
        let mut request = Request::get(PATH).body(body::empty()).ok()?;
        request.extensions_mut().insert(Lane::Control);
        let response = self.mesh.request(&leader, request, DEADLINE).await;
        let response = response.inspect_err(|error| tracing::debug!(%error, "the leader does not tell whom it heard"));
        let response = response.ok().filter(|response| response.status() == StatusCode::OK)?;
        let text = tokio::time::timeout(DEADLINE, body::collect(response.into_body(), BODY_BYTES_MAX)).await.ok()?;
        serde_json::from_slice(&text.ok()?).ok()
    }
}

/// Tells another node.
pub(crate) fn answer(beats: &Heartbeats) -> Response<Body> {
    Response::new(body::full(serde_json::to_string(&beats.heard()).expect("names and times")))
}
