//! Carrying out orders: each is one write. Nothing is decided here, and [`under_way`](crate::under_way) says when.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::time::Instant;
use wk_api::strategy::DeleteOptions;
use wk_api::{Object, Reason, Status, patch};
use wk_cluster::Subresource;
use wk_plan::{Event, EventType, Order, Target};
use wk_store::{MemberChange, MemberId, Store};

use crate::held::Failure;
use crate::refusals::{self, Telling};
use crate::work::Desk;

/// An order and what is told when it was carried out.
pub(crate) struct Act {
    pub(crate) subject: Option<String>,
    pub(crate) order: Order,
    pub(crate) events: Vec<Event>,
}

/// Carries out one.
pub(crate) async fn act(desk: &Desk, act: Act) -> Result<(), Failure> {
    let headline = act.order.headline();
    let Err(Unfit { status, telling }) = one(desk, act.order).await else {
        tracing::debug!("{headline}");
        act.events.into_iter().for_each(|event| desk.recorder.record(event));
        return Ok(());
    };
    match status.reason {
        // A refusal is an ordinary answer: the world had moved on, and the next look sees it.
        Reason::Conflict | Reason::NotFound | Reason::AlreadyExists => tracing::debug!("{headline}: {status}"),
        _ if telling == Some(Telling::Known) => tracing::debug!("{headline}: {status}"),
        _ => tracing::warn!("{headline}: {status}"),
    }
    Err(if telling.is_some() { Failure::Refused } else { Failure::Passing })
}

/// Why an order was not carried out.
struct Unfit {
    status: Status,
    /// Of an object that may not be: whether that is news.
    telling: Option<Telling>,
}

impl From<Status> for Unfit {
    fn from(status: Status) -> Self {
        Self { status, telling: None }
    }
}

async fn one(desk: &Desk, order: Order) -> Result<(), Unfit> {
    let (writes, user) = (&desk.writes, &*desk.user);
    match order {
        Order::Create { kind, namespace, object, announce } => {
            let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default().to_owned();
            let created = match (writes.create(user, kind, namespace.as_deref(), object).await, &announce) {
                (Ok(created), _) => created,
                (Err(status), None) => return Err(status.into()),
                (Err(status), Some(event)) => {
                    return Err(Unfit { telling: refused(desk, &prefix, event, &status), status });
                }
            };
            if let Some(mut event) = announce {
                desk.refusals.forget(&event.regarding.uid);
                event.message.push_str(created.name());
                desk.recorder.record(event);
            }
        }
        Order::Update { target, change } => modify(desk, &target, Subresource::None, &change).await?,
        Order::Status { target, change } => modify(desk, &target, Subresource::Status, &change).await?,
        Order::Bind { target, node } => {
            let namespace = target.namespace.as_deref().unwrap_or_default();
            let relied_on = json!({"uid": target.uid, "resourceVersion": target.resource_version});
            let binding = json!({"metadata": relied_on, "target": {"kind": "Node", "name": node}});
            writes.bind(user, namespace, &target.name, binding).await?;
        }
        Order::Delete { target, grace_period_seconds, propagation } => {
            let options = DeleteOptions {
                grace_period_seconds,
                uid: Some(target.uid),
                resource_version: target.resource_version,
                propagation,
                ..DeleteOptions::default()
            };
            writes.delete(user, target.kind, (target.namespace.as_deref(), &target.name), &options).await?;
        }
        Order::Evict { target, grace_period_seconds, why } => {
            let options = DeleteOptions {
                grace_period_seconds,
                uid: Some(target.uid),
                resource_version: target.resource_version,
                disruption: Some(why),
                ..DeleteOptions::default()
            };
            writes.delete(user, target.kind, (target.namespace.as_deref(), &target.name), &options).await?;
        }
        Order::Vote { promote, demote } => vote(desk.cluster.store(), promote, demote).await?,
        Order::Event(event) => desk.recorder.record(event),
    }
    Ok(())
}

/// Tells whoever the object was for why it is not there; whether it was told before. `event` is what would have been told
/// otherwise; `prefix` is what the object's name was to begin with.
fn refused(desk: &Desk, prefix: &str, event: &Event, status: &Status) -> Option<Telling> {
    let why = refusals::story(prefix, status)?;
    let (telling, is_due) = desk.refusals.note(&event.regarding.uid, &why, Instant::now());
    if is_due {
        let (kind, reason, message) = (EventType::Warning, "FailedCreate", format!("Error creating: {why}"));
        desk.recorder.record(Event { kind, reason, message, ..event.clone() });
    }
    Some(telling)
}

/// Changes who votes. A leader does not take its own vote: it hands over, and the next one makes the same plan. One
/// that votes alone makes somebody else a voter first.
async fn vote(store: &Store, promote: BTreeSet<u64>, demote: BTreeSet<u64>) -> Result<(), Status> {
    let (me, others) = {
        let status = store.status();
        let status = status.borrow();
        (status.member, status.voters.len() > 1)
    };
    let leads_on = !demote.contains(&me.0);
    if !leads_on && others {
        store.step_down().await;
        return Ok(());
    }
    let (promote, demote): (BTreeSet<_>, BTreeSet<_>) = (
        promote.into_iter().map(MemberId).collect(),
        demote.into_iter().map(MemberId).filter(|id| *id != me).collect(),
    );
    tracing::info!(?promote, ?demote, "the votes change");
    let change = MemberChange::Vote { promote, demote };
    store.change_members(change).await.map_err(|error| Status::unavailable(error.to_string()))
}

async fn modify(
    desk: &Desk,
    target: &Target,
    subresource: Subresource,
    change: &serde_json::Value,
) -> Result<(), Status> {
    let merged = |old: &Object| {
        holds(target, old)?;
        let mut new = old.0.clone();
        patch::merge(&mut new, change);
        Ok(new)
    };
    let place = (target.namespace.as_deref(), &*target.name);
    desk.writes.modify(&desk.user, target.kind, place, subresource, &merged).await
}

/// Whether `target` is what the order relied on.
fn holds(target: &Target, found: &Object) -> Result<(), Status> {
    let version_holds = target.resource_version.as_ref().is_none_or(|version| version == found.resource_version());
    if target.uid == found.uid() && version_holds { Ok(()) } else { Err(Status::modified(target.kind, &target.name)) }
}
