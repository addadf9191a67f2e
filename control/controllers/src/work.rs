//! The loop of every shell: wait, look, plan, write, and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Instrument as _;
use wk_api::Kind;
use wk_base::time::{Clock, Timestamp};
use wk_cluster::Cluster;
use wk_plan::{Order, Plan};

use crate::electorate::Electorate;
use crate::execute;
use crate::heartbeats::Heartbeats;
use crate::held::{self, Held};
use crate::measured::Measured;
use crate::recorder::Recorder;
use crate::refusals::Refusals;
use crate::writes::Writes;

/// After looking and planning, a shell rests for this many times as long: many changes never cost more than a tenth of
/// one core a shell, of which there are twenty; they are looked at together.
const REST_FACTOR: u32 = 9;

/// What all shells work with.
pub(crate) struct Desk {
    pub(crate) cluster: Cluster,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) heartbeats: Arc<Heartbeats>,
    pub(crate) measured: Arc<Measured>,
    pub(crate) electorate: Electorate,
    pub(crate) recorder: Recorder,
    /// The certificate of the cluster's authority, in PEM.
    pub(crate) authority: Arc<str>,
    /// How it writes, and as whom.
    pub(crate) writes: Arc<dyn Writes>,
    pub(crate) user: String,
    pub(crate) refusals: Refusals,
}

/// One row of the table of shells.
pub(crate) struct Shell {
    /// For traces.
    pub(crate) name: &'static str,
    /// Changes of these kinds wake it.
    pub(crate) reads: Vec<&'static Kind>,
    /// So do changes of objects of custom kinds.
    pub(crate) reads_custom: bool,
    /// From one look to the next at least.
    pub(crate) rest: Duration,
    /// From one look to the next at most.
    pub(crate) resync: Duration,
    /// Looks and plans.
    pub(crate) pass: Pass,
}

/// One look at the facts, and what follows from it at this time.
pub(crate) type Pass = Box<dyn FnMut(&Desk, Timestamp) -> Plan + Send>;

/// Runs `shell` until it is dropped.
pub(crate) async fn work(mut shell: Shell, desk: Desk, wake: Arc<Notify>) {
    let span = tracing::info_span!("controller", name = shell.name);
    async move {
        let mut held = Held::default();
        loop {
            let start = Instant::now();
            let now = desk.clock.now();
            let mut plan = (shell.pass)(&desk, now);
            let rest = shell.rest.max(start.elapsed() * REST_FACTOR);
            for line in &plan.report {
                tracing::debug!("{line}");
            }
            let due = plan.due;
            carry_out(&desk, &mut held, std::mem::take(&mut plan.orders)).await;

            let mut wait = shell.resync;
            if let Some(due) = due {
                let left = due.duration_since(desk.clock.now());
                wait = wait.min(Duration::try_from(left).unwrap_or_default());
            }
            let mut until = Instant::now() + wait;
            if let Some(next) = held.next(Instant::now()) {
                until = until.min(next);
            }
            let _ = tokio::time::timeout_at(until, wake.notified()).await;
            tokio::time::sleep_until(start + rest).await;
        }
    }
    .instrument(span)
    .await;
}

/// Carries out those orders whose subject does not wait after a failure. An event goes with the order before it.
async fn carry_out(desk: &Desk, held: &mut Held, orders: Vec<Order>) {
    let now = Instant::now();
    let mut acts: Vec<execute::Act> = Vec::new();
    for order in orders {
        match (order, acts.last_mut()) {
            (Order::Event(event), Some(act)) => act.events.push(event),
            (Order::Event(event), None) => desk.recorder.record(event),
            (order, _) => acts.push(execute::Act { subject: held::subject(&order), order, events: Vec::new() }),
        }
    }
    acts.retain(|act| !act.subject.as_ref().is_some_and(|subject| held.waits(subject, now)));
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for (subject, ok) in execute::all(desk, acts).await {
        if ok { done.push(subject) } else { failed.push(subject) }
    }
    // Orders about one subject fail together: a failure of one of them counts for all.
    for subject in done {
        held.release(&subject);
    }
    for subject in failed {
        held.hold(subject, Instant::now());
    }
}
