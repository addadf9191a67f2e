//! The loop of every shell: wait, look, plan, write, and again.
//!
//! Looks go on threads of their own: how long one takes is only known afterwards, and on one of the runtime's it would hold
//! up whatever waits there, requests and Raft's messages among it. Those that took long take turns, and so do the others.

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
use crate::shells;
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
    /// Whose turn it is to look.
    pub(crate) looks: Looks,
}

/// Whose turn it is to look: of those that take turns one looks, the other cores are for those whom somebody waits for.
#[derive(Clone)]
pub(crate) struct Looks {
    /// For looks that are soon over, if they take as long as the last one did.
    quick: Arc<Semaphore>,
    /// For those that take longer.
    long: Arc<Semaphore>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { quick: Arc::new(Semaphore::new(1)), long: Arc::new(Semaphore::new(1)) }
    }
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
    /// And for how long at most, unless it looked for longer.
    pub(crate) rest_max: Duration,
    /// From one look to the next at most.
    pub(crate) resync: Duration,
    /// Looks and plans.
    pub(crate) pass: Pass,
}

impl Shell {
    /// With whom it takes turns. Whoever notices that nodes are silent waits for nobody, and neither does who hands votes
    /// over: a node that stops waits for that.
    pub(crate) fn looks(&self, prompt: &Looks, unhurried: &Looks) -> Looks {
        match self.name {
            shells::NODES | shells::VOTERS => Looks::default(),
            _ if self.rest > shells::PROMPT => unhurried.clone(),
            _ => prompt.clone(),
        }
    }
}

/// A look that took longer than this is a long one the next time: some steps of a request.
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
            let Some((mut plan, took)) = look(&mut shell, &desk, takes).await else { return };
            takes = took;
            let rested = Instant::now() + rest(&shell, took);
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
            under_way.rest(&mut held, rested).await;
        }
    }
    .instrument(span)
    .await;
}

/// How long a shell rests after a look that took so long: no longer than it goes without a look anyway, but as long as that
/// took.
fn rest(shell: &Shell, took: Duration) -> Duration {
    shell.rest.max((took * shell.rest_factor).min(shell.rest_max).min(shell.resync)).max(took)
}

/// One look, which is expected to take as long as is said, and how long it took. None when the process ends.
async fn look(shell: &mut Shell, desk: &Arc<Desk>, takes: Duration) -> Option<(Plan, Duration)> {
    let looks = if takes < LONG { &desk.looks.quick } else { &desk.looks.long };
    let turn = Arc::clone(looks).acquire_owned().await.ok()?;
    let mut pass = std::mem::replace(&mut shell.pass, Box::new(|_, _| Plan::default()));
    let (desk, span) = (Arc::clone(desk), tracing::Span::current());
    let looked = tokio::task::spawn_blocking(move || {
        let start = Instant::now();
        let plan = span.in_scope(|| pass(&desk, desk.clock.now()));
        drop(turn);
        (pass, (plan, start.elapsed()))
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
    use std::collections::BTreeSet;

    use wk_base::time::SystemClock;
    use wk_store::Store;

    use super::*;
    use crate::hearing::Hearing;
    use crate::testing::{self, Alone};

    #[tokio::test]
    async fn no_look_however_quick_the_last_one_was_is_on_a_thread_of_the_runtime() {
        let store = Alone::start().await;
        let cluster = Cluster::new(Store::clone(&store), Arc::new(SystemClock));
        let desk = Arc::new(testing::desk(&cluster, Arc::new(cluster.clone())));
        let threads = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
        let seen = Arc::clone(&threads);
        let own = format!("{:?}", std::thread::current().id());
        let pass = move |_: &Desk, _| {
            seen.lock().expect("nobody panics").insert(format!("{:?}", std::thread::current().id()));
            Plan::default()
        };
        let second = Duration::from_secs(1);
        let mut shell = Shell {
            name: "test",
            reads: Vec::new(),
            reads_custom: false,
            rest: Duration::from_millis(1),
            rest_factor: 9,
            rest_max: second,
            resync: second * 2,
            pass: Box::new(pass),
        };
        for takes in [Duration::ZERO, LONG, Duration::ZERO] {
            look(&mut shell, &desk, takes).await.expect("the runtime runs");
        }
        assert!(!threads.lock().expect("nobody panics").contains(&own));
        let (short, long) = (Duration::from_millis(2), Duration::from_millis(200));
        assert_eq!([short, long].map(|took| rest(&shell, took)), [short * 9, second], "nobody rests for ever");
        shell.resync = Duration::from_millis(250);
        assert_eq!(rest(&shell, long), shell.resync);
        assert_eq!(rest(&shell, second * 5), second * 5, "and after a long one as long as it took");
        desk.cluster.store().stop().await;
    }

    #[test]
    fn whoever_notices_that_nodes_are_silent_or_hands_votes_over_waits_for_no_other_look() {
        let (prompt, unhurried) = (Looks::default(), Looks::default());
        let mut alone = Vec::new();
        for shell in shells::all(Arc::new(Hearing::default())) {
            let looks = shell.looks(&prompt, &unhurried);
            let takes =
                |turns: &Looks| Arc::ptr_eq(&looks.quick, &turns.quick) || Arc::ptr_eq(&looks.long, &turns.long);
            if !takes(&prompt) && !takes(&unhurried) {
                alone.push(shell.name);
            }
        }
        assert_eq!(alone, ["voters", "nodes"]);
    }

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
