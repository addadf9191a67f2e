//! The loop of every shell: wait, look, plan, write, and again.
//!
//! A look that takes long goes on a thread of its own, one at a time: on one of the runtime's it would hold up whatever
//! waits there, requests and Raft's messages among it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tracing::Instrument as _;
use wk_api::Kind;
use wk_base::backoff::Backoff;
use wk_base::time::{Clock, Timestamp};
use wk_cluster::Cluster;
use wk_plan::Plan;

use crate::electorate::Electorate;
use crate::heartbeats::Heartbeats;
use crate::held::Held;
use crate::measured::Measured;
use crate::recorder::Recorder;
use crate::refusals::Refusals;
use crate::under_way::UnderWay;
use crate::writes::Writes;

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
    /// Whose turn it is to look for long: the others' cores are for those whom somebody waits for.
    pub(crate) long_looks: Arc<Semaphore>,
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
    /// How many times as long as it looked and planned it rests.
    pub(crate) rest_factor: u32,
    /// From one look to the next at most.
    pub(crate) resync: Duration,
    /// Looks and plans.
    pub(crate) pass: Pass,
}

/// A look that took longer than this goes on a thread of its own the next time: some steps of a request.
const LONG: Duration = Duration::from_micros(200);

/// One look at the facts, and what follows from it at this time.
pub(crate) type Pass = Box<dyn FnMut(&Desk, Timestamp) -> Plan + Send>;

/// The first wait of a shell that panicked, and the longest: a bug may come back at once.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Works until it ends. Work that panics is begun anew, ever more slowly until it lasts, and nobody else's is touched.
pub(crate) async fn keep<W: Future<Output = ()>>(name: &'static str, mut begin: impl FnMut() -> W) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    loop {
        let start = Instant::now();
        if AssertUnwindSafe(begin()).catch_unwind().await.is_ok() {
            return;
        }
        if start.elapsed() > AGAIN.1 {
            backoff.reset();
        }
        tracing::error!(name, "a controller panicked; it starts anew");
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Runs `shell` until it is dropped.
pub(crate) async fn work(mut shell: Shell, desk: Arc<Desk>, wake: Arc<Notify>) {
    let span = tracing::info_span!("controller", name = shell.name);
    async move {
        let (mut held, mut under_way) = (Held::default(), UnderWay::default());
        // The first one sees everything for the first time.
        let mut takes = LONG;
        loop {
            let start = Instant::now();
            let Some((mut plan, took)) = look(&mut shell, &desk, takes).await else { return };
            takes = took;
            let rest = shell.rest.max(took * shell.rest_factor);
            for line in &plan.report {
                tracing::debug!("{line}");
            }
            let due = plan.due;
            under_way.begin(&desk, &mut held, std::mem::take(&mut plan.orders)).await;

            let mut wait = shell.resync;
            if let Some(due) = due {
                let left = due.duration_since(desk.clock.now());
                wait = wait.min(Duration::try_from(left).unwrap_or_default());
            }
            let mut until = Instant::now() + wait;
            if let Some(next) = held.next(Instant::now()) {
                until = until.min(next);
            }
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep_until(until) => {}
                () = under_way.next(&mut held) => {}
            }
            tokio::time::sleep_until(start + rest).await;
        }
    }
    .instrument(span)
    .await;
}

/// One look, which is expected to take as long as is said, and how long it took. None when the process ends.
async fn look(shell: &mut Shell, desk: &Arc<Desk>, takes: Duration) -> Option<(Plan, Duration)> {
    let timed = |pass: &mut Pass, desk: &Desk| {
        let start = Instant::now();
        (pass(desk, desk.clock.now()), start.elapsed())
    };
    if takes < LONG {
        return Some(timed(&mut shell.pass, desk));
    }
    let turn = Arc::clone(&desk.long_looks).acquire_owned().await.ok()?;
    let mut pass = std::mem::replace(&mut shell.pass, Box::new(|_, _| Plan::default()));
    let (desk, span) = (Arc::clone(desk), tracing::Span::current());
    let looked = tokio::task::spawn_blocking(move || {
        let looked = span.in_scope(|| timed(&mut pass, &desk));
        drop(turn);
        (pass, looked)
    });
    match looked.await {
        Ok((pass, looked)) => {
            shell.pass = pass;
            Some(looked)
        }
        // As if it had panicked here.
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_begun_anew_and_work_that_ends_is_not() {
        let mut begun = 0;
        keep("test", || {
            begun += 1;
            let panics = begun < 3;
            async move { assert!(!panics, "a crooked object") }
        })
        .await;
        assert_eq!(begun, 3);
    }
}
