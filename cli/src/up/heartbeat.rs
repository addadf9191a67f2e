//! Heartbeats: each node tells the leader once a second that it is there. They do not go through the log.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::sync::watch;
use wk_base::body::{self, Body};
use wk_base::tasks::Tasks;
use wk_base::time::Clock;
use wk_controllers::Heartbeats;
use wk_mesh::{Lane, Mesh, NodeName};
use wk_store::Status;

use super::members::Members;

/// Where heartbeats are sent: `POST` says "I am here".
pub(crate) const PATH: &str = "/heartbeat";
/// The leader calls a node silent after four of these.
const INTERVAL: Duration = Duration::from_secs(1);
/// A beat that takes longer is late for the next one.
const DEADLINE: Duration = Duration::from_secs(1);

/// Everything a heartbeat needs.
#[derive(Clone)]
pub(crate) struct Heart {
    /// This node.
    pub(crate) name: NodeName,
    /// The way to the leader.
    pub(crate) mesh: Mesh,
    /// Who the leader is.
    pub(crate) members: Members,
    /// The store's view of who leads.
    pub(crate) status: watch::Receiver<Status>,
    /// Where the leader keeps beats.
    pub(crate) beats: Arc<Heartbeats>,
    /// Dates them.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Heart {
    /// Beats until the tasks stop, and at once when the leader changes.
    pub(crate) fn start(&self, tasks: &Tasks) {
        let mut heart = self.clone();
        tasks.spawn_until_stop("heartbeat", async move {
            let mut interval = tokio::time::interval(INTERVAL);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut leader = None;
            loop {
                tokio::select! {
                    _ = interval.tick() => {}
                    changed = heart.status.changed() => {
                        let now = heart.status.borrow_and_update().leader;
                        if changed.is_err() || now == leader {
                            continue;
                        }
                    }
                }
                leader = heart.status.borrow().leader;
                heart.tell().await;
            }
        });
    }

    async fn tell(&self) {
        let (leader, member) = {
            let status = self.status.borrow();
            (status.leader, status.member)
        };
        let Some(leader) = leader else { return };
        if leader == member {
            self.beats.beat(self.name.as_str(), self.clock.now());
            return;
        }
        let Some(leader) = self.members.get(leader) else { return };
        let mut request = Request::post(PATH).body(body::empty()).expect("a constant path");
        request.extensions_mut().insert(Lane::Control);
        if let Err(error) = self.mesh.request(&leader.name, request, DEADLINE).await {
            tracing::debug!(%error, leader = %leader.name, "heartbeat lost");
        }
    }

    /// Takes another node's beat.
    pub(crate) fn answer(&self, from: &NodeName) -> Response<Body> {
        self.beats.beat(from.as_str(), self.clock.now());
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    }
}
