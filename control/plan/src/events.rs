//! Old events go: an hour after they last happened, and earlier when there are too many.

use jiff::SignedDuration;
use serde_json::Value;
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Order, Plan, Target};
use crate::read;

/// How long an event is kept (`--event-ttl` of Kubernetes' API server).
const TTL: SignedDuration = SignedDuration::from_hours(1);

/// Events kept in all. At about 1 KiB each they take 5 MiB at every peer, and `kubectl get events` stays readable.
const EVENTS_MAX: usize = 5000;

/// An event, as far as its end is concerned.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it last happened.
    pub last: Timestamp,
    /// This version of it: one that just happened again stays.
    pub event: Target,
}

impl Seen {
    /// That of `event`.
    pub fn of(event: &Object) -> Self {
        Self { last: last_seen(event), event: Target::version(&kinds::EVENT, event) }
    }
}

/// What the decision is made from.
pub struct Input<'a> {
    /// All events.
    pub events: &'a [Seen],
}

/// Deletes what is too old or too much.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut kept: Vec<&Seen> = Vec::new();
    for event in input.events {
        let end = event.last.checked_add(TTL).unwrap_or(Timestamp::MAX);
        if end <= now {
            plan.orders.push(delete(event));
        } else {
            plan.due_by(end);
            kept.push(event);
        }
    }
    if kept.len() > EVENTS_MAX {
        kept.sort_by_key(|event| (event.last, &event.event.namespace, &event.event.name));
        let surplus = kept.len() - EVENTS_MAX;
        plan.orders.extend(kept.into_iter().take(surplus).map(delete));
    }
    if !plan.orders.is_empty() {
        plan.say(format!("{} of {} events are old or too many", plan.orders.len(), input.events.len()));
    }
    plan
}

fn last_seen(event: &Object) -> Timestamp {
    let series = event.at("/series/lastObservedTime");
    let times = [series, event.at("/lastTimestamp"), event.at("/eventTime"), event.at("/firstTimestamp")];
    let said = times.into_iter().find_map(|time: Option<&Value>| read::parse_time(time));
    said.unwrap_or_else(|| read::created(event))
}

fn delete(event: &Seen) -> Order {
    event.event.clone().delete()
}
