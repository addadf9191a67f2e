//! Orders that are being carried out: many at once, and none that waits for one that takes long.
//!
//! A write takes as long as those who are asked about it, and a webhook may hang for half a minute. So a look waits a
//! moment for its writes; the namespaces of those that are not done by then are left alone until they are, and the next
//! look goes on with all others.

use std::collections::HashMap;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Duration, Instant};
use wk_plan::Order;

use crate::execute::{self, Act};
use crate::held::{self, Failure, Held};
use crate::work::Desk;

/// Writes of one look under way at once. Each waits for the same fsync as those beside it, so that 50 pods cost a few of
/// them; past some hundred the queue of the store is only longer.
const WRITES_MAX: usize = 128;

/// What a look waits for its writes: far longer than the store takes, and too short for anybody to wait for the next.
const PATIENCE: Duration = Duration::from_secs(1);

/// The writes of one shell that are not done.
#[derive(Default)]
pub(crate) struct UnderWay<'a> {
    writes: FuturesUnordered<BoxFuture<'a, Done>>,
    /// How many there are of each place.
    places: HashMap<String, usize>,
    look: u64,
}

/// A write's end.
struct Done {
    place: String,
    subject: Option<String>,
    outcome: Result<(), Failure>,
    look: u64,
}

impl<'a> UnderWay<'a> {
    /// Carries out those orders whose subject does not wait after a failure and whose place is not waited for; an event
    /// goes with the order before it. Returns when they are done, or have taken so long that others should not wait.
    pub(crate) async fn begin(&mut self, desk: &'a Desk, held: &mut Held, orders: Vec<Order>) {
        let mut acts = acts(desk, orders);
        let now = Instant::now();
        held.heed(&desk.cluster.store().view());
        acts.retain(|act| !act.subject.as_ref().is_some_and(|subject| held.waits(subject, now)));
        acts.retain(|act| !self.places.contains_key(&place(&act.order)));
        self.look += 1;
        let (mut mine, mut failed) = (0, Vec::new());
        let mut queue = acts.into_iter();
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        loop {
            while mine < WRITES_MAX
                && let Some(act) = queue.next()
            {
                self.start(desk, act);
                mine += 1;
            }
            if mine == 0 {
                break;
            }
            tokio::select! {
                biased;
                Some(done) = self.writes.next() => {
                    mine -= usize::from(done.look == self.look);
                    failed.extend(self.end(done, held));
                }
                // What has not begun is planned again.
                () = &mut patience => break,
            }
        }
        // Orders about one subject fail together: a failure of one of them counts for all.
        let now = Instant::now();
        for (subject, failure) in failed {
            held.hold(subject, failure, now);
        }
    }

    /// Waits until one that took long is done; for ever if there is none.
    pub(crate) async fn next(&mut self, held: &mut Held) {
        match self.writes.next().await {
            Some(done) => self.over(done, held),
            None => std::future::pending().await,
        }
    }

    /// Rests until then; what is under way goes on.
    pub(crate) async fn rest(&mut self, held: &mut Held, until: Instant) {
        let goes_on = async {
            loop {
                self.next(held).await;
            }
        };
        // Over with the rest.
        let _: Result<(), _> = tokio::time::timeout_at(until, goes_on).await;
    }

    fn over(&mut self, done: Done, held: &mut Held) {
        if let Some((subject, failure)) = self.end(done, held) {
            held.hold(subject, failure, Instant::now());
        }
    }

    fn start(&mut self, desk: &'a Desk, act: Act) {
        let (place, subject, look) = (place(&act.order), act.subject.clone(), self.look);
        *self.places.entry(place.clone()).or_default() += 1;
        let write = async move { Done { place, subject, outcome: execute::act(desk, act).await, look } };
        self.writes.push(write.boxed());
    }

    /// The subject and why, if its write failed.
    fn end(&mut self, done: Done, held: &mut Held) -> Option<(String, Failure)> {
        if let Some(left) = self.places.get_mut(&done.place) {
            *left -= 1;
            if *left == 0 {
                self.places.remove(&done.place);
            }
        }
        let subject = done.subject?;
        match done.outcome {
            Ok(()) => {
                held.release(&subject);
                None
            }
            Err(failure) => Some((subject, failure)),
        }
    }
}

fn acts(desk: &Desk, orders: Vec<Order>) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    for order in orders {
        match (order, acts.last_mut()) {
            (Order::Event(event), Some(act)) => act.events.push(event),
            (Order::Event(event), None) => desk.recorder.record(event),
            (order, _) => acts.push(Act { subject: held::subject(&order), order, events: Vec::new() }),
        }
    }
    acts
}

/// Where an order writes: in a namespace, with all that its owner has there, or one object that is in none.
fn place(order: &Order) -> String {
    let within = match order {
        Order::Create { namespace, .. } => namespace.as_ref(),
        Order::Update { target, .. }
        | Order::Status { target, .. }
        | Order::Bind { target, .. }
        | Order::Delete { target, .. }
        | Order::Evict { target, .. } => target.namespace.as_ref(),
        Order::Vote { .. } | Order::Event(_) => None,
    };
    // No namespace has a slash.
    within.cloned().unwrap_or_else(|| format!("/{}", held::subject(order).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use serde_json::{Value, json};
    use wk_api::strategy::DeleteOptions;
    use wk_api::{Kind, Object, Status, kinds};
    use wk_base::time::SystemClock;
    use wk_cluster::{Cluster, Subresource};
    use wk_store::Store;

    use super::*;
    use crate::testing::{self, Alone};
    use crate::writes::{Change, Writes};

    /// Creations that take longer than a look waits for them. Nothing else is asked of it.
    struct Slow;

    #[async_trait]
    impl Writes for Slow {
        async fn create(&self, _: &str, _: &Kind, _: Option<&str>, body: Value) -> Result<Arc<Object>, Status> {
            tokio::time::sleep(PATIENCE * 2).await;
            Ok(Arc::new(Object::new(body)))
        }

        async fn modify(
            &self,
            _: &str,
            _: &Kind,
            _: (Option<&str>, &str),
            _: Subresource,
            _: Change<'_>,
        ) -> Result<(), Status> {
            unreachable!("nothing is changed")
        }

        async fn delete(&self, _: &str, _: &Kind, _: (Option<&str>, &str), _: &DeleteOptions) -> Result<(), Status> {
            unreachable!("nothing is deleted")
        }

        async fn bind(&self, _: &str, _: &str, _: &str, _: Value) -> Result<(), Status> {
            unreachable!("nothing is bound")
        }
    }

    fn pods(namespace: &str, count: usize) -> Vec<Order> {
        let object = |number| json!({"metadata": {"name": format!("p{number}")}, "spec": {}});
        let create = |number| Order::Create {
            kind: &kinds::POD,
            namespace: Some(namespace.to_owned()),
            object: object(number),
            announce: None,
        };
        (0..count).map(create).collect()
    }

    #[tokio::test]
    async fn many_slow_writes_go_on_while_their_shell_rests_and_hold_up_their_namespace_no_longer() {
        let store = Alone::start().await;
        let cluster = Cluster::new(Store::clone(&store), Arc::new(SystemClock));
        let desk = testing::desk(&cluster, Arc::new(Slow));
        let (mut held, mut under_way) = (Held::default(), UnderWay::default());
        under_way.begin(&desk, &mut held, pods("one", WRITES_MAX)).await;
        assert_eq!(under_way.places.get("one"), Some(&WRITES_MAX), "a look waits a moment only");
        under_way.rest(&mut held, Instant::now() + PATIENCE * 2).await;
        assert!(under_way.places.is_empty() && under_way.writes.is_empty());
        // What ended since was not seen by whoever planned these: nothing of the namespace begins before the next look.
        under_way.begin(&desk, &mut held, pods("one", 1)).await;
        tokio::time::sleep(PATIENCE * 2).await;
        under_way.begin(&desk, &mut held, pods("one", 5)).await;
        assert_eq!((under_way.look, under_way.writes.len()), (3, 1));
        store.stop().await;
    }
}
