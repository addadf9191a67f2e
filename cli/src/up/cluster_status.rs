//! `GET /apis/wk.dev/v1/cluster`: who leads and who votes, as this peer sees it; what `wk status` shows. Below it
//! `/status`: what only the leader knows (who lags, who is silent, who should vote and why); what `wk cluster status`
//! shows. Any peer passes that question on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use wk_base::body::{self, Body};
use wk_base::time::Clock;
use wk_cluster::Cluster;
use wk_controllers::{Electorate, Heartbeats};
use wk_mesh::Mesh;
use wk_plan::voters::{self, Vote};
use wk_store::{MemberId, Store};

use super::copies::Copies;
use super::forward::{self, Leader};
use super::gate::{Gate, Knock};
use super::members::Members;
use super::remove::{self, Ask};
use super::secrets_keys;
use super::tend::Tended;

/// Where it is.
pub(crate) const PATH: &str = "/apis/wk.dev/v1/cluster";
/// The leader's word, for clients.
const STATUS_PATH: &str = "/apis/wk.dev/v1/cluster/status";
/// The same among members.
pub(crate) const MESH_PATH: &str = "/cluster";
/// Reading it takes the leader no time.
const DEADLINE: Duration = Duration::from_secs(2);

/// The state of the cluster as this peer sees it.
pub(crate) struct ClusterStatus {
    /// The store, which knows.
    pub(crate) store: Store,
    /// Its objects.
    pub(crate) objects: Cluster,
    /// Who is who.
    pub(crate) members: Members,
    /// The cluster's id.
    pub(crate) cluster: String,
    /// The way to the leader.
    pub(crate) mesh: Mesh,
    /// Who may vote.
    pub(crate) electorate: Electorate,
    /// Who was heard.
    pub(crate) beats: Arc<Heartbeats>,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// The other nodes' modules.
    pub(crate) copies: Copies,
    /// How many copies this peer's modules have.
    pub(crate) tended: Tended,
}

impl ClusterStatus {
    /// Answers what is ours alone of the API; `None` for everything else.
    pub(crate) async fn answer(&self, gate: &Gate, knock: &Knock) -> Option<Response<Body>> {
        let Knock { method, uri, .. } = knock;
        let path = uri.path();
        let is_ours = match *method {
            Method::GET => path == PATH || path == STATUS_PATH,
            Method::DELETE => path.starts_with(remove::API_PREFIX),
            _ => false,
        };
        if !is_ours {
            return None;
        }
        let verb = if method == Method::DELETE { "delete" } else { "get" };
        if let Err(status) = gate.may(knock, verb, path).await {
            return Some(forward::json(Err(status)));
        }
        Some(match path {
            PATH => forward::json(Ok(self.read())),
            STATUS_PATH => self.explain(false).await,
            path => remove::answer(self, Ask::of_client(path, uri.query()), false).await,
        })
    }

    /// The leader's word, or why there is none. `forwarded` when another member asks.
    pub(crate) async fn explain(&self, forwarded: bool) -> Response<Body> {
        let failure = self.store.status().borrow().failure.clone();
        if let Some(failure) = failure {
            return forward::json(Ok(self.own_word(&format!("its store gave up, {}: {failure}", self.way_out()))));
        }
        match Leader::of(&self.store, &self.members) {
            Leader::Here => forward::json(Ok(self.explained())),
            Leader::There(leader) if !forwarded => {
                let request = Request::get(MESH_PATH).body(body::empty()).expect("a constant path");
                match forward::ask(&self.mesh, &leader, request, DEADLINE).await {
                    Ok(response) if response.status().is_success() => response,
                    Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                        let why = format!("the leader {leader} runs an earlier version, which does not tell");
                        forward::json(Ok(self.own_word(&why)))
                    }
                    Ok(_) => forward::json(Ok(self.own_word("the leader is being changed"))),
                    Err(status) => forward::json(Ok(self.own_word(&status.message))),
                }
            }
            Leader::There(_) => forward::json(Err(forward::nobody())),
            Leader::None => forward::json(Ok(self.own_word(&forward::nobody().message))),
        }
    }

    /// What to do when the store here gave up.
    pub(crate) fn way_out(&self) -> &'static str {
        if self.members.all().len() > 1 { "ask another node" } else { "mend what is wrong and start the node again" }
    }

    /// What this peer can say without a leader.
    fn own_word(&self, why: &str) -> Value {
        let mut value = self.read();
        value["note"] = json!(format!("{why}; this is what {} knows", value["peer"].as_str().unwrap_or_default()));
        value
    }

    fn explained(&self) -> Value {
        let now = self.clock.now();
        let input = self.electorate.input(&self.store, &self.beats, now);
        let reasons = voters::explain(&input);
        let heard = self.beats.heard();
        let mut value = self.read();
        value["survives"] = json!(voters::survives(&input));
        value["toldBy"] = value["peer"].clone();
        for entry in value["members"].as_array_mut().into_iter().flatten() {
            let Some(id) = entry["id"].as_u64() else { continue };
            let beat = entry["name"].as_str().and_then(|name| heard.get(name));
            let beat = beat.and_then(|at| Duration::try_from(now.duration_since(*at)).ok());
            let raft = input.silent.get(&id).copied();
            let silent = if id == input.leader { Some(Duration::ZERO) } else { raft.into_iter().chain(beat).min() };
            entry["silentSeconds"] = json!(silent.map(|silent| (silent.as_secs_f64() * 10.0).round() / 10.0));
            if id == input.leader {
                entry["lag"] = json!(0);
            }
            entry["why"] = json!(reasons.get(&id).map(ToString::to_string));
            if let Some(member) = input.members.get(&id) {
                entry["zone"] = json!(member.zone);
                entry["level"] = json!(member.level);
                entry["failure"] = json!(member.failure);
                entry["vote"] = json!(match member.vote {
                    Vote::Voter => "voter",
                    Vote::None => "none",
                    Vote::Witness => "witness",
                });
            }
        }
        value
    }

    fn read(&self) -> Value {
        let status = self.store.status().borrow().clone();
        let name =
            |id: &MemberId| self.members.get(*id).map_or_else(|| id.to_string(), |member| member.name.to_string());
        // Members by their records, and those of Raft whose record is not known here.
        let mut members: BTreeMap<u64, Value> = BTreeMap::new();
        for id in status.voters.iter().chain(&status.learners).chain(&status.witnesses) {
            members.insert(id.0, json!({"id": id.0, "name": name(id), "address": null}));
        }
        for member in self.members.all() {
            let (name, address) = (member.name.to_string(), member.address.to_string());
            members.insert(member.id, json!({"id": member.id, "name": name, "address": address}));
        }
        for (id, member) in &mut members {
            let id = MemberId(*id);
            member["lag"] = json!(status.lag.get(&id));
            let is_witness = status.witnesses.contains(&id);
            member["role"] = json!(match (status.voters.contains(&id), status.learners.contains(&id)) {
                _ if status.leader == Some(id) => "leader",
                (true, _) if is_witness => "voting witness",
                (_, _) if is_witness => "witness",
                (true, _) => "voter",
                (false, true) => "learner",
                (false, false) => "not a member",
            });
        }
        json!({
            "apiVersion": "wk.dev/v1",
            "kind": "Cluster",
            "cluster": self.cluster,
            "peer": name(&status.member),
            "leader": status.leader.as_ref().map(name),
            "term": status.term,
            "voters": status.voters.iter().map(name).collect::<Vec<_>>(),
            "learners": status.learners.iter().map(name).collect::<Vec<_>>(),
            "members": members.into_values().collect::<Vec<_>>(),
            "applied": status.applied.0,
            "commit": status.commit.0,
            "failure": status.failure,
            "modules": self.tended.told(),
            "secrets": secrets_keys::told(&self.objects),
        })
    }
}
