//! Heartbeats: each node tells the leader once a second that it is there, and what the leader cannot see from afar: that
//! it is about to stop, or that its disk failed. They do not go through the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body};
use wk_base::tasks::Tasks;
use wk_base::time::Clock;
use wk_controllers::{Electorate, Heartbeats, Told};
use wk_mesh::{Lane, Mesh, NodeName};
use wk_plan::voters::{self, Why};
use wk_store::{MemberId, Store};

use super::members::Members;

/// Where heartbeats are sent: `POST` says "I am here".
pub(crate) const PATH: &str = "/heartbeat";
/// The leader calls a node silent after four of these.
const INTERVAL: Duration = Duration::from_secs(1);
/// A beat that takes longer is late for the next one.
const DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of a beat, or of its answer: the longest part is the system's words about a disk.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// A beat as sent. Older nodes send nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Beat {
    /// Who beats.
    member: Option<u64>,
    /// It is about to stop.
    leaving: bool,
    /// Why its store gave up.
    failure: Option<String>,
}

/// The answer. Older nodes answer nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Answer {
    /// Who leads, as far as the one who answers knows: beats belong there.
    leader: Option<u64>,
    /// Why a node that is about to stop keeps its vote.
    keeps_vote: Option<String>,
}

/// Everything a heartbeat needs.
#[derive(Clone)]
pub(crate) struct Heart {
    /// This node.
    pub(crate) name: NodeName,
    /// The way to the leader.
    pub(crate) mesh: Mesh,
    /// Who the leader is.
    pub(crate) members: Members,
    /// Knows who leads.
    pub(crate) store: Store,
    /// Where the leader keeps beats.
    pub(crate) beats: Arc<Heartbeats>,
    /// Dates them.
    pub(crate) clock: Arc<dyn Clock>,
    /// Tells whether a vote can be spared.
    pub(crate) electorate: Electorate,
    /// This node is about to stop.
    pub(crate) leaving: Arc<AtomicBool>,
    /// Set off when it turns out that this node was removed.
    pub(crate) removed: CancellationToken,
    /// Whom to ask when the own store cannot say who leads.
    pub(crate) guide: Arc<Mutex<Guide>>,
}

/// Finds the leader by asking one member after the other.
#[derive(Debug, Default)]
pub(crate) struct Guide {
    leader: Option<MemberId>,
    turn: usize,
}

impl Heart {
    /// Beats until the tasks stop, and at once when the leader changes.
    pub(crate) fn start(&self, tasks: &Tasks) {
        let heart = self.clone();
        tasks.spawn_until_stop("heartbeat", async move {
            let mut interval = tokio::time::interval(INTERVAL);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut status = heart.store.status();
            let mut leader = None;
            let mut closed = false;
            loop {
                tokio::select! {
                    _ = interval.tick() => {}
                    changed = status.changed(), if !closed => {
                        closed = changed.is_err();
                        let now = status.borrow_and_update().leader;
                        if closed || now == leader {
                            continue;
                        }
                    }
                }
                leader = status.borrow().leader;
                heart.tell().await;
            }
        });
    }

    /// One beat. Why this node keeps its vote, if it is about to stop and the leader says that it does.
    pub(crate) async fn tell(&self) -> Option<String> {
        let (leader, member, failure) = {
            let status = self.store.status();
            let status = status.borrow();
            (status.leader, status.member, status.failure.as_ref().map(ToString::to_string))
        };
        let told = Told { leaving: self.leaving.load(Ordering::Relaxed), failure };
        if leader == Some(member) && told.failure.is_none() {
            let leaving = told.leaving;
            self.beats.beat(self.name.as_str(), self.clock.now(), told);
            return if leaving { self.keeps_vote(member) } else { None };
        }
        let lost = told.failure.is_some();
        let to = if lost { self.somebody(member) } else { self.members.get(leader?)?.name };
        let beat = Beat { member: Some(member.0), leaving: told.leaving, failure: told.failure };
        let text = serde_json::to_string(&beat).expect("plain fields");
        let mut request = Request::post(PATH).body(body::full(text)).expect("a constant path");
        request.extensions_mut().insert(Lane::Control);
        let response = self.mesh.request(&to, request, DEADLINE).await;
        let response = response.inspect_err(|error| tracing::debug!(%error, leader = %to, "heartbeat lost")).ok();
        let is_gone = response.as_ref().is_some_and(|response| response.status() == StatusCode::GONE);
        if is_gone {
            self.removed.cancel();
        }
        let answer = read(response.map(Response::into_body)).await;
        if lost {
            self.guide.lock().unwrap_or_else(PoisonError::into_inner).learn(answer.as_ref());
        }
        answer?.keeps_vote
    }

    /// The leader as last heard of, or the next of the others.
    fn somebody(&self, me: MemberId) -> NodeName {
        let guide = self.guide.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leader) = guide.leader.and_then(|leader| self.members.get(leader)) {
            return leader.name;
        }
        let others: Vec<_> = self.members.all().into_iter().filter(|member| member.id != me.0).collect();
        others.get(guide.turn % others.len().max(1)).map_or_else(|| self.name.clone(), |member| member.name.clone())
    }

    /// Takes another node's beat.
    pub(crate) async fn answer(&self, from: &NodeName, body: Body) -> Response<Body> {
        let plain = |status: StatusCode, text: String| {
            let mut response = Response::new(body::full(text));
            *response.status_mut() = status;
            response
        };
        let beat: Beat = match body::collect(body, BODY_BYTES_MAX).await {
            Ok(text) if text.is_empty() => Beat::default(),
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(beat) => beat,
                Err(error) => return plain(StatusCode::BAD_REQUEST, error.to_string()),
            },
            Err(error) => return plain(StatusCode::BAD_REQUEST, error.to_string()),
        };
        if beat.member.is_some_and(|id| self.members.is_removed(&self.store.view(), from, id)) {
            return plain(StatusCode::GONE, "this member was removed".to_owned());
        }
        let (leads, leader) = {
            let status = self.store.status();
            let status = status.borrow();
            (status.is_leader(), status.leader)
        };
        let told = Told { leaving: beat.leaving, failure: beat.failure };
        self.beats.beat(from.as_str(), self.clock.now(), told);
        let keeps_vote = beat.member.filter(|_| leads && beat.leaving).and_then(|id| self.keeps_vote(MemberId(id)));
        let answer = Answer { leader: leader.map(|leader| leader.0), keeps_vote };
        plain(StatusCode::OK, serde_json::to_string(&answer).expect("plain fields"))
    }

    /// On the leader: why `member` keeps its vote although it is about to stop.
    fn keeps_vote(&self, member: MemberId) -> Option<String> {
        let input = self.electorate.input(&self.store, &self.beats, self.clock.now());
        let why = voters::explain(&input).remove(&member.0)?;
        matches!(why, Why::Kept { .. }).then(|| why.to_string())
    }
}

impl Guide {
    fn learn(&mut self, answer: Option<&Answer>) {
        self.leader = answer.and_then(|answer| answer.leader).map(MemberId);
        if self.leader.is_none() {
            self.turn = self.turn.wrapping_add(1);
        }
    }
}

async fn read(body: Option<Body>) -> Option<Answer> {
    let text = body::collect(body?, BODY_BYTES_MAX).await.ok()?;
    serde_json::from_slice(&text).ok()
}
