//! `wk cluster remove`: a member that is gone for good leaves Raft, its record and its Node are deleted.
//!
//! In an order in which nobody is left in Raft whom nobody can address, and in which each step may be repeated: votes,
//! Raft, record, Raft once more (it may have been added between the two), Node. Its name is free then; its id never is.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Status, kinds};
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_image::Reference;
use wk_mesh::NodeName;
use wk_plan::{Order, voters};
use wk_store::{Change, Expect, MemberChange, MemberError, MemberId, Op, Txn, WriteError};

use super::cluster_status::ClusterStatus;
use super::forward::{self, Leader};
use super::members;

/// Where the leader is asked on the mesh: `POST` with an [`Ask`].
pub(crate) const MESH_PATH: &str = "/remove";
/// Where clients ask: `DELETE` below this, with `?force=true` for a member that is there.
pub(crate) const API_PREFIX: &str = "/apis/wk.dev/v1/cluster/members/";
/// Three changes of members and two writes, each with the store's own deadline.
const DEADLINE: Duration = Duration::from_secs(30);
/// A name and a word.
const BODY_BYTES_MAX: usize = 1024;
/// A member heard within this long is taken to be there: twice the time that a restart takes.
const HEARD: Duration = Duration::from_secs(3);

/// What the leader is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// Whom to remove.
    pub(crate) name: NodeName,
    /// Although it is heard from.
    pub(crate) force: bool,
}

impl Ask {
    /// Reads what a client asks for.
    pub(crate) fn of_client(path: &str, query: Option<&str>) -> Result<Self, Status> {
        let name = percent_encoding::percent_decode_str(path.strip_prefix(API_PREFIX).unwrap_or_default());
        let name = name.decode_utf8_lossy();
        let name = name.parse().map_err(|error| Status::bad_request(format!("{name:?}: {}", Chain(&error))))?;
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let force = pairs.into_iter().any(|(key, value)| key == "force" && value == "true");
        Ok(Self { name, force })
    }

    /// Reads what another member passes on.
    pub(crate) async fn of_member(body: Body) -> Result<Self, Status> {
        let text = body::collect(body, BODY_BYTES_MAX).await.map_err(|error| Status::bad_request(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| Status::bad_request(error.to_string()))
    }
}

/// Removes the member, here if this peer leads, else through the one that does.
pub(crate) async fn answer(status: &ClusterStatus, ask: Result<Ask, Status>, forwarded: bool) -> Response<Body> {
    let ask = match ask {
        Ok(ask) => ask,
        Err(status) => return forward::json(Err(status)),
    };
    match Leader::of(&status.store, &status.members) {
        Leader::Here => forward::json(remove(status, &ask).await),
        Leader::There(leader) if !forwarded => {
            let text = serde_json::to_string(&ask).expect("plain fields");
            let request = Request::post(MESH_PATH).body(body::full(text)).expect("a constant path");
            let asked = forward::ask(&status.mesh, &leader, request, DEADLINE).await;
            asked.unwrap_or_else(|status| forward::json(Err(status)))
        }
        Leader::There(_) | Leader::None => forward::json(Err(forward::nobody())),
    }
}

async fn remove(status: &ClusterStatus, ask: &Ask) -> Result<serde_json::Value, Status> {
    let (store, name) = (&status.store, &ask.name);
    let view = store.read().await.map_err(|error| unavailable(&error))?;
    let stored = view.get(&members::key(name));
    let member = stored.as_ref().and_then(|stored| members::read(stored)).map(|(member, _)| MemberId(member.id));
    if let (Some(id), Some(stored)) = (member, &stored) {
        check(status, ask, id)?;
        keeps_modules(status, ask).await?;
        take_vote(status, id).await?;
        change(status, MemberChange::Remove(id)).await?;
        let op = Op { key: members::key(name), expect: Expect::Revision(stored.revision()), change: Change::Delete };
        match store.write(Txn { ops: vec![op, wk_cluster::forget_keys(name.as_str())] }).await {
            // Somebody else did the same meanwhile.
            Ok(_) | Err(WriteError::Conflict { found: None, .. }) => {}
            Err(error) => return Err(unavailable(&error)),
        }
        change(status, MemberChange::Remove(id)).await?;
        tracing::info!(node = %name, member = %id, "member removed");
    }
    let options = DeleteOptions::default();
    match status.objects.delete(&kinds::NODE, None, name.as_str(), &options).await {
        Ok(_) => {}
        Err(error) if error.code == 404 && member.is_some() => {}
        Err(error) if error.code == 404 => {
            return Err(Status::new(404, wk_api::Reason::NotFound, format!("the cluster has no member {name}")));
        }
        Err(error) => return Err(error),
    }
    Ok(json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "details": {"name": name.as_str()}}))
}

/// Refuses to remove who leads, and who is there.
fn check(status: &ClusterStatus, ask: &Ask, id: MemberId) -> Result<(), Status> {
    let name = &ask.name;
    let now = status.store.status().borrow().clone();
    if id == now.member {
        return Err(forward::conflict(format!("{name} leads the cluster: stop it first, and another will lead")));
    }
    let beat = status.beats.heard().get(name.as_str()).copied();
    let beat = beat.and_then(|at| Duration::try_from(status.clock.now().duration_since(at)).ok());
    let silent = now.silent.get(&id).copied().into_iter().chain(beat).min().unwrap_or(Duration::MAX);
    if silent < HEARD && !ask.force {
        let seconds = silent.as_secs_f64();
        return Err(forward::conflict(format!(
            "{name} was heard {seconds:.1} s ago and is not gone: stop it first, or say --force"
        )));
    }
    Ok(())
}

/// Modules named in a refusal.
const NAMED_MAX: usize = 5;

/// Refuses to give up the last copy of a module that something in the cluster runs.
async fn keeps_modules(status: &ClusterStatus, ask: &Ask) -> Result<(), Status> {
    if ask.force {
        return Ok(());
    }
    let images = images(status);
    let modules = images.iter().filter_map(|image| image.parse::<Reference>().ok()?.digest().copied()).collect();
    let missing = status.copies.missing_without(&ask.name, &modules).await;
    if missing.is_empty() {
        return Ok(());
    }
    let is_missing = |image: &&String| missing.iter().any(|digest| image.ends_with(&digest.to_string()));
    let named: Vec<&str> = images.iter().filter(is_missing).map(String::as_str).take(NAMED_MAX).collect();
    Err(forward::conflict(format!(
        "no other node that answers has {}: start {} again and copies are made within minutes; with --force they are lost",
        named.join(", "),
        ask.name
    )))
}

/// What pods run, and those that are still to be made.
fn images(status: &ClusterStatus) -> BTreeSet<String> {
    const TEMPLATES: [(&Kind, &str); 7] = [
        (&kinds::POD, "/spec"),
        (&kinds::DEPLOYMENT, "/spec/template/spec"),
        (&kinds::REPLICASET, "/spec/template/spec"),
        (&kinds::STATEFULSET, "/spec/template/spec"),
        (&kinds::DAEMONSET, "/spec/template/spec"),
        (&kinds::JOB, "/spec/template/spec"),
        (&kinds::CRONJOB, "/spec/jobTemplate/spec/template/spec"),
    ];
    let mut images = BTreeSet::new();
    for (kind, at) in TEMPLATES {
        for object in status.objects.local(kind, None).items {
            for list in ["containers", "initContainers", "ephemeralContainers"] {
                let containers = object.items(&format!("{at}/{list}")).iter();
                images.extend(containers.filter_map(|container| container["image"].as_str().map(str::to_owned)));
            }
            let volumes = object.items(&format!("{at}/volumes")).iter();
            images.extend(volumes.filter_map(|volume| volume["image"]["reference"].as_str().map(str::to_owned)));
        }
    }
    images
}

/// Gives its vote to another in one step, if one is ready.
async fn take_vote(status: &ClusterStatus, id: MemberId) -> Result<(), Status> {
    let mut input = status.electorate.input(&status.store, &status.beats, status.clock.now());
    if let Some(member) = input.members.get_mut(&id.0) {
        member.leaving = true;
    }
    let ids = |ids: &BTreeSet<u64>| ids.iter().copied().map(MemberId).collect();
    match voters::plan(&input).orders.first() {
        Some(Order::Vote { promote, demote }) if demote.contains(&id.0) && !demote.contains(&input.leader) => {
            change(status, MemberChange::Vote { promote: ids(promote), demote: ids(demote) }).await
        }
        _ => Ok(()),
    }
}

async fn change(status: &ClusterStatus, change: MemberChange) -> Result<(), Status> {
    status.store.change_members(change).await.map_err(|error| match error {
        MemberError::Refused(why) => forward::conflict(why),
        error => unavailable(&error),
    })
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Status {
    Status::unavailable(format!("the member may be removed in part, run the command again: {}", Chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_names_the_member_in_the_path() {
        let ask = |path, query| Ask::of_client(path, query);
        let found = ask("/apis/wk.dev/v1/cluster/members/n3", Some("force=true")).expect("reads");
        assert_eq!((found.name.as_str(), found.force), ("n3", true));
        assert!(!ask("/apis/wk.dev/v1/cluster/members/n3", None).expect("reads").force);
        let dotted = ask("/apis/wk.dev/v1/cluster/members/n3%2Eexample%2Ecom", None).expect("reads");
        assert_eq!(dotted.name.as_str(), "n3.example.com");
        assert_eq!(ask("/apis/wk.dev/v1/cluster/members/", None).expect_err("no name").code, 400);
    }
}
