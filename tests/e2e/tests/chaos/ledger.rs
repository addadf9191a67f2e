//! Clients that write objects, what they were told of each write, and what must be found for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wk_kit::{Api, Refused, SOON, until};

pub(crate) const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Pause of a writer after each round: the load is to be steady, not to be all the machine does.
const PAUSE: Duration = Duration::from_millis(4);
/// Objects of a writer that are there at a time, so that a run of an hour ends with lists as short as one of a minute.
const KEPT: usize = 300;
/// Above the start of a whole cluster on a busy machine and a client's wait for what no longer answers.
const PROGRESS_MAX: Duration = Duration::from_mins(2);

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Its creation was acknowledged.
    There,
    /// Its deletion was acknowledged.
    Gone,
    /// A creation or deletion was not acknowledged: it happened or not.
    Open,
}

/// A number in an object that its writer counts up, each time on condition that nobody wrote since.
#[derive(Debug, Default)]
struct Counter {
    /// The last acknowledged.
    acknowledged: u64,
    /// The last that was sent.
    sent: u64,
    /// The resourceVersion of the last acknowledged, unless something was not acknowledged since.
    version: Option<String>,
}

/// What all writers were told.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    objects: BTreeMap<String, Fate>,
    counters: BTreeMap<String, Counter>,
    pub(crate) unacknowledged: usize,
}

/// Writers under way.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Ledger>>,
}

impl Writers {
    /// Starts `count` writers. Each uses one of `apis`, and the next one after a failure.
    pub(crate) fn start(apis: &[Api], count: usize) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..count).map(|number| {
            let writer = Writer {
                number,
                apis: apis.to_vec(),
                at: number,
                ledger: Ledger::default(),
                acknowledged: Arc::clone(&acknowledged),
            };
            tokio::spawn(writer.run(Arc::clone(&stop)))
        });
        Self { tasks: tasks.collect(), stop, acknowledged }
    }

    /// Waits until `count` more writes are acknowledged.
    pub(crate) async fn acknowledged(&self, count: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + count;
        until(&format!("{count} more writes are acknowledged"), PROGRESS_MAX, async || {
            assert!(!self.tasks.iter().any(JoinHandle::is_finished), "a writer found something wrong");
            let acknowledged = self.acknowledged.load(Ordering::Relaxed);
            ensure!(acknowledged >= wanted, "{} are missing", wanted - acknowledged);
            Ok(())
        })
        .await;
    }

    /// Ends the writers and tells what they were told.
    pub(crate) async fn stop(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        for task in self.tasks {
            let ledger = task.await.expect("a writer found something wrong");
            all.objects.extend(ledger.objects);
            all.counters.extend(ledger.counters);
            all.unacknowledged += ledger.unacknowledged;
        }
        all
    }
}

struct Writer {
    number: usize,
    apis: Vec<Api>,
    at: usize,
    ledger: Ledger,
    acknowledged: Arc<AtomicUsize>,
}

impl Writer {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Ledger {
        let name = |number: usize, round: usize| format!("w{number}-{round}");
        for round in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.create(&name(self.number, round)).await;
            // Some soon, the others late.
            let old = if round % 7 == 0 { Some(round) } else { round.checked_sub(KEPT) };
            if let Some(old) = old {
                self.delete(&name(self.number, old)).await;
            }
            self.count().await;
            tokio::time::sleep(PAUSE).await;
        }
        self.ledger
    }

    fn api(&self) -> &Api {
        &self.apis[self.at % self.apis.len()]
    }

    /// Notes how a request ended; after a failure another node is asked.
    fn note(&mut self, outcome: &anyhow::Result<Value>) {
        if outcome.is_ok() {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        } else {
            self.ledger.unacknowledged += 1;
            self.at += 1;
        }
    }

    async fn create(&mut self, name: &str) {
        let outcome = self.api().post(CONFIGMAPS, &configmap(name, name)).await;
        assert_ne!(code(&outcome), Some(409), "{name} was sent once and is there before: {outcome:?}");
        self.note(&outcome);
        self.ledger.objects.insert(name.to_owned(), if outcome.is_ok() { Fate::There } else { Fate::Open });
    }

    async fn delete(&mut self, name: &str) {
        let fate = self.ledger.objects[name];
        if fate == Fate::Gone {
            return;
        }
        let outcome = self.api().delete(&format!("{CONFIGMAPS}/{name}")).await;
        let is_missing = code(&outcome) == Some(404);
        assert!(fate != Fate::There || !is_missing, "{name} was acknowledged and is not found: {outcome:?}");
        self.note(&outcome);
        // "Not found" of an open creation is not the last word: it may happen yet.
        self.ledger.objects.insert(name.to_owned(), if outcome.is_ok() { Fate::Gone } else { Fate::Open });
    }

    /// Counts up.
    async fn count(&mut self) {
        let name = format!("counter-{}", self.number);
        let mut counter = self.ledger.counters.remove(&name).unwrap_or_default();
        let path = format!("{CONFIGMAPS}/{name}");
        if counter.version.is_none() {
            match self.api().get(&path).await {
                Ok(object) => {
                    let found = counted(&object).expect("an object that is whole");
                    let (least, most) = (counter.acknowledged, counter.sent);
                    assert!(
                        (least..=most).contains(&found),
                        "a read says {found}, between {least} and {most} are true"
                    );
                    counter.version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
                }
                Err(error) => {
                    let is_missing = error.downcast_ref().is_some_and(|refused: &Refused| refused.code == 404);
                    assert!(!is_missing || counter.acknowledged == 0, "an acknowledged counter is not found: {error}");
                    if !is_missing {
                        self.at += 1;
                        self.ledger.counters.insert(name, counter);
                        return;
                    }
                }
            }
        }
        counter.sent += 1;
        let mut object = configmap(&name, &counter.sent.to_string());
        let outcome = match counter.version.take() {
            Some(version) => {
                object["metadata"]["resourceVersion"] = version.into();
                self.api().put(&path, &object).await
            }
            None => self.api().post(CONFIGMAPS, &object).await,
        };
        self.note(&outcome);
        if let Ok(object) = outcome {
            counter.acknowledged = counter.sent;
            counter.version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        }
        self.ledger.counters.insert(name, counter);
    }
}

impl Ledger {
    /// Looks for all of it on each of the nodes, and that they agree.
    ///
    /// # Panics
    /// If something acknowledged is missing, or something is there half.
    pub(crate) async fn check(&self, apis: &[Api]) {
        let mut first = None;
        for api in apis {
            let list = until("a node lists everything", SOON, async || api.get(CONFIGMAPS).await).await;
            let found: BTreeMap<String, Value> = list["items"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|object| (object["metadata"]["name"].as_str().unwrap_or_default().to_owned(), object.clone()))
                .collect();
            let wrong: Vec<String> =
                self.objects.iter().filter_map(|(name, fate)| judge(name, *fate, &found)).collect();
            assert!(wrong.is_empty(), "{} writes came out wrong:\n  {}", wrong.len(), wrong.join("\n  "));
            for (name, counter) in &self.counters {
                let value = found.get(name).map(|object| counted(object).expect("an object that is whole"));
                let value = value.unwrap_or(0);
                let (least, most) = (counter.acknowledged, counter.sent);
                assert!((least..=most).contains(&value), "{name} is {value}, between {least} and {most} are true");
            }
            let first = first.get_or_insert_with(|| found.clone());
            assert!(*first == found, "two nodes do not have the same objects");
        }
    }
}

/// What is wrong with an object, if something is.
fn judge(name: &str, fate: Fate, found: &BTreeMap<String, Value>) -> Option<String> {
    match (found.get(name), fate) {
        (None, Fate::There) => Some(format!("{name} was acknowledged and is not there")),
        (Some(_), Fate::Gone) => Some(format!("{name} was deleted and is there")),
        (Some(object), _) => {
            let is_whole = object["data"] == configmap(name, name)["data"];
            (!is_whole).then(|| format!("{name} is not what was written: {object}"))
        }
        (None, _) => None,
    }
}

/// The number in a counter, given that both copies of it agree.
fn counted(object: &Value) -> anyhow::Result<u64> {
    let data = &object["data"];
    ensure!(data["first"] == data["last"], "half of it was written: {object}");
    data["first"].as_str().and_then(|text| text.parse().ok()).with_context(|| format!("no number in {object}"))
}

/// An object that says `text` at its beginning and at its end, with something between.
pub(crate) fn configmap(name: &str, text: &str) -> Value {
    let data = json!({"first": text, "last": text, "middle": "-".repeat(200)});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// The code of an answer that is an error.
pub(crate) fn code(outcome: &anyhow::Result<Value>) -> Option<u16> {
    outcome.as_ref().err()?.downcast_ref().map(|refused: &Refused| refused.code)
}

#[test]
fn ledger_finds_what_is_missing_what_came_back_and_what_is_half_there() {
    let whole = BTreeMap::from([("a".to_owned(), configmap("a", "a"))]);
    let half = BTreeMap::from([("a".to_owned(), json!({"data": {"first": "a"}}))]);
    let nothing = BTreeMap::new();
    let is_wrong = |fate, found| judge("a", fate, found).is_some();
    assert!(is_wrong(Fate::There, &nothing) && is_wrong(Fate::Gone, &whole));
    assert!(is_wrong(Fate::There, &half) && is_wrong(Fate::Open, &half));
    assert!(!is_wrong(Fate::There, &whole) && !is_wrong(Fate::Gone, &nothing));
    assert!(!is_wrong(Fate::Open, &whole) && !is_wrong(Fate::Open, &nothing));
    assert!(counted(&json!({"data": {"first": "1", "last": "2"}})).is_err());
}
