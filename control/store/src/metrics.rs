//! What the store counts and measures. Names are Prometheus', with their units; all begin with `wk_store_`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::error::WriteError;
use crate::model::Revision;
use crate::shared::Shared;

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Member {
    member: u64,
}

/// One peer's numbers.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) writes: Family<Outcome, Counter>,
    pub(crate) write_seconds: Histogram,
    pub(crate) commit_seconds: Histogram,
    pub(crate) apply_seconds: Histogram,
    pub(crate) fsync_seconds: Histogram,
    pub(crate) batch_entries: Histogram,
    pub(crate) leader_changes: Counter,
    pub(crate) snapshots_taken: Counter,
    pub(crate) snapshots_received: Counter,
    pub(crate) snapshot_bytes: Gauge,
}

/// 0.1 ms to 13 s, each bucket twice the one before.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            writes: Family::default(),
            write_seconds: seconds(),
            commit_seconds: seconds(),
            apply_seconds: seconds(),
            fsync_seconds: seconds(),
            // One to what may wait at a peer.
            batch_entries: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            leader_changes: Counter::default(),
            snapshots_taken: Counter::default(),
            snapshots_received: Counter::default(),
            snapshot_bytes: Gauge::default(),
        }
    }

    /// Notes what became of a write, and how long that took.
    pub(crate) fn wrote(&self, outcome: &Result<Revision, WriteError>, seconds: f64) {
        let outcome = match outcome {
            Ok(_) => "written",
            Err(WriteError::Conflict { .. }) => "conflict",
            Err(WriteError::TooLarge { .. } | WriteError::Invalid { .. }) => "refused",
            Err(WriteError::NoLeader { .. }) => "no_leader",
            Err(WriteError::Unavailable { .. }) => "unavailable",
            Err(WriteError::Unknown { .. }) => "unknown",
            Err(WriteError::Stopped) => "stopped",
        };
        self.writes.get_or_create(&Outcome { outcome }).inc();
        self.write_seconds.observe(seconds);
    }

    /// Adds all of `shared`'s numbers to `registry`.
    pub(crate) fn register(shared: &Arc<Shared>, registry: &mut Registry) {
        let metrics = &shared.metrics;
        let registry = registry.sub_registry_with_prefix("wk_store");
        registry.register("writes", "Writes of this peer's clients by outcome", metrics.writes.clone());
        let seconds = [
            ("write", "A write, from the call until it was committed and applied here", &metrics.write_seconds),
            ("commit", "On the leader: a batch, from its proposal until a majority has it", &metrics.commit_seconds),
            ("apply", "Applying what was committed, and publishing it", &metrics.apply_seconds),
            ("fsync", "Writing a batch to the log and waiting until it is on disk", &metrics.fsync_seconds),
        ];
        for (name, help, histogram) in seconds {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        registry.register("batch_entries", "Log entries that one fsync carried", metrics.batch_entries.clone());
        registry.register("leader_changes", "Leaders that this peer has seen begin", metrics.leader_changes.clone());
        registry.register("snapshots_taken", "Snapshots of the state written", metrics.snapshots_taken.clone());
        let received = metrics.snapshots_received.clone();
        registry.register("snapshots_received", "Snapshots received from a leader and installed", received);
        let help = "Size of the newest snapshot";
        registry.register_with_unit("snapshot", help, Unit::Bytes, metrics.snapshot_bytes.clone());
        registry.register_collector(Box::new(State(Arc::clone(shared))));
    }
}

/// What is looked up when it is asked for.
struct State(Arc<Shared>);

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state of the store")
    }
}

fn put(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.0.status.borrow().clone();
        let history = self.0.histories.size();
        let of_peer: [(&str, &str, u64); 11] = [
            ("term", "Raft's term", status.term),
            ("is_leader", "1 on the leader", u64::from(status.is_leader())),
            ("has_leader", "1 while a leader is known", u64::from(status.leader.is_some())),
            (
                "failed",
                "1 when this peer gave up, because its disk failed or an invariant broke",
                u64::from(status.failure.is_some()),
            ),
            ("applied_revision", "The last revision applied here", status.applied.0),
            ("committed_revision", "The last revision known to be in the logs of a majority", status.commit.0),
            ("voters", "Members that vote", status.voters.len() as u64),
            ("learners", "Members that follow without a vote", status.learners.len() as u64),
            ("watchers", "Open watches", history.watchers),
            ("history_events", "Changes kept for watches that resume", history.events),
            ("history_bytes", "Bytes that those changes hold on to", history.bytes),
        ];
        for (name, help, value) in of_peer {
            put(&mut encoder, name, help, value)?;
        }
        let view = self.0.view.load();
        put(&mut encoder, "objects", "Objects in the state", view.objects())?;
        let help = "On the leader: entries that a member's log is behind";
        let kind = ConstGauge::new(0u64).metric_type();
        let mut family = encoder.encode_descriptor("lag_entries", help, None, kind)?;
        for (member, lag) in &status.lag {
            let member = Member { member: member.0 };
            ConstGauge::new(*lag).encode(family.encode_family(&member)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Options, Start, Transport};
    use crate::{Change, Expect, Key, MemberId, Op, Store, Value};

    struct Alone;

    impl Transport for Alone {
        fn send(&self, _: MemberId, _: bytes::Bytes) {}
    }

    #[tokio::test]
    async fn what_a_peer_does_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options::new(dir.path().join("store"), MemberId(1), Start::Bootstrap);
        let store = Store::open(options, Arc::new(Alone)).expect("opens");
        let mut registry = Registry::default();
        store.register_metrics(&mut registry);
        let value = Value { bytes: "x".into(), stamp: None };
        let op = Op { key: Key::new("c", "n"), expect: Expect::Absent, change: Change::Put(value) };
        let _watch = store.watch("c", store.view().revision()).expect("is kept");
        store.write(op.clone().into()).await.expect("is written");
        store.write(op.into()).await.expect_err("it is there");
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        for line in [
            "wk_store_writes_total{outcome=\"written\"} 1",
            "wk_store_writes_total{outcome=\"conflict\"} 1",
            "wk_store_write_seconds_count 2",
            "wk_store_is_leader 1",
            "wk_store_voters 1",
            "wk_store_watchers 1",
            "wk_store_history_events 1",
            "wk_store_objects 1",
            "wk_store_leader_changes_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
        for name in ["fsync_seconds", "batch_entries", "commit_seconds", "apply_seconds"] {
            let count = text.lines().find_map(|line| line.strip_prefix(&format!("wk_store_{name}_count ")));
            assert!(count.is_some_and(|count| count != "0"), "{name} in\n{text}");
        }
        store.stop().await;
    }
}
