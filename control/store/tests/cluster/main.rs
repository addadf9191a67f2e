//! What the store promises, told by several peers in one process.

mod harness;
mod members;

use std::time::Duration;

use harness::{Cluster, eventually, key, put, text};
use wk_store::{Change, Event, Expect, Limits, Op, ReadError, Revision, Txn, Value, WatchError, WriteError};

/// Limits under which a hundred writes make a snapshot.
fn small() -> Limits {
    Limits { log_entries: 60, kept_entries: 10, segment_bytes: 4096, ..Limits::default() }
}

#[tokio::test]
async fn any_peer_takes_a_write_and_every_peer_reads_it_at_once() {
    let cluster = Cluster::three(Limits::default()).await;
    for round in 0..10 {
        for writer in 1..=3 {
            let value = format!("{round} by {writer}");
            let revision = cluster.peer(writer).write(put("a", Expect::Any, &value)).await.expect("is written");
            assert_eq!(text(&cluster.peer(writer).view(), "a"), Some(value.clone()), "applied where it was written");
            for reader in 1..=3 {
                let view = cluster.peer(reader).read().await.expect("a majority is up");
                assert_eq!(text(&view, "a"), Some(value.clone()));
                assert!(view.revision() >= revision);
            }
        }
    }
}

#[tokio::test]
async fn writes_go_on_when_the_leader_dies_and_it_catches_up_by_log() {
    let mut cluster = Cluster::three(Limits::default()).await;
    cluster.peer(1).write(put("a", Expect::Any, "1")).await.expect("is written");
    let leader = cluster.leader(&[1, 2, 3]).await;
    let rest: Vec<u64> = (1..=3).filter(|&id| id != leader).collect();
    cluster.kill(leader).await;
    cluster.peer(rest[0]).write(put("a", Expect::Any, "2")).await.expect("two of three are a majority");
    let last = cluster.peer(rest[1]).write(put("b", Expect::Absent, "2")).await.expect("two of three are a majority");
    cluster.resume(leader);
    let view = cluster.applied(leader, last).await;
    assert_eq!((text(&view, "a"), text(&view, "b")), (Some("2".into()), Some("2".into())));
}

#[tokio::test]
async fn everything_is_there_after_all_peers_restart() {
    let mut cluster = Cluster::three(small()).await;
    for number in 0..150 {
        let peer = cluster.peer(number % 3 + 1);
        peer.write(put(&number.to_string(), Expect::Absent, &number.to_string())).await.expect("is written");
    }
    let last = cluster.peer(1).write(put("last", Expect::Absent, "x")).await.expect("is written");
    for id in 1..=3 {
        cluster.kill(id).await;
    }
    for id in 1..=3 {
        cluster.resume(id);
    }
    for id in 1..=3 {
        let view = cluster.peer(id).read().await.expect("a majority is up");
        assert!(view.revision() >= last);
        assert_eq!(view.len("things"), 151);
        assert_eq!(text(&view, "77"), Some("77".into()));
    }
}

#[tokio::test]
async fn a_peer_alone_serves_at_once_and_again_after_a_restart() {
    let mut cluster = Cluster::alone(small());
    for number in 0..200 {
        cluster.peer(1).write(put(&number.to_string(), Expect::Absent, "x")).await.expect("is written");
    }
    let before = cluster.peer(1).read().await.expect("is alone");
    cluster.kill(1).await;
    cluster.resume(1);
    let after = cluster.peer(1).read().await.expect("is alone");
    assert_eq!(after.len("things"), 200);
    let revisions =
        |view: &wk_store::View| view.list("things", "1").map(|stored| stored.revision()).collect::<Vec<_>>();
    assert_eq!(revisions(&after), revisions(&before));
}

#[tokio::test]
async fn a_peer_that_was_away_for_longer_than_the_log_catches_up_by_a_snapshot() {
    let cluster = Cluster::three(small()).await;
    cluster.peer(1).write(put("gone", Expect::Absent, "x")).await.expect("is written");
    let leader = cluster.leader(&[1, 2, 3]).await;
    let away = if leader == 3 { 2 } else { 3 };
    let start = cluster.peer(away).read().await.expect("a majority is up").revision();
    let mut watch = cluster.peer(away).watch("things", start).expect("is kept");
    cluster.cut(away);
    let here = cluster.peer(leader);
    let delete = Op { key: key("gone"), expect: Expect::Present, change: Change::Delete };
    here.write(delete.into()).await.expect("two of three are a majority");
    let mut last = Revision(0);
    for number in 0..300 {
        let txn = put(&format!("n{number}"), Expect::Absent, &number.to_string());
        last = here.write(txn).await.expect("two of three are a majority");
    }
    cluster.mend();
    let view = cluster.applied(away, last).await;
    assert_eq!(view.len("things"), 300);
    assert_eq!(text(&view, "gone"), None);
    let ended = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            if let Err(error) = watch.next().await {
                return error;
            }
        }
    });
    assert!(matches!(ended.await.expect("ends"), WatchError::Compacted(_)), "the watch skipped what the snapshot did");
    // And it writes, acknowledges and leads like any other.
    cluster.peer(away).write(put("after", Expect::Absent, "x")).await.expect("is written");
}

#[tokio::test]
async fn a_snapshot_goes_on_where_it_was_after_a_restart_of_its_receiver() {
    let mut cluster = Cluster::alone(small());
    let text = "x".repeat(100 << 10);
    let mut last = Revision(0);
    for number in 0..80 {
        last = cluster.peer(1).write(put(&number.to_string(), Expect::Any, &text)).await.expect("is written");
    }
    let pieces = 80 * text.len() as u64 / (512 << 10) + 1;
    let network = std::sync::Arc::clone(&cluster.network);
    network.lose_large_after(pieces / 2);
    cluster.start(2, wk_store::Start::Join);
    cluster.change(wk_store::MemberChange::AddLearner(wk_store::MemberId(2))).await;
    eventually("half of it is there", async || (network.large() == pieces / 2).then_some(())).await;
    cluster.kill(2).await;
    assert_eq!(network.large(), pieces / 2);
    network.lose_large_after(0);
    cluster.resume(2);
    let view = cluster.applied(2, last).await;
    assert_eq!(view.len("things"), 80);
    assert!(network.large() <= pieces + 2, "{} pieces for a snapshot of {pieces}", network.large());
}

#[tokio::test]
async fn of_writers_that_expect_the_same_one_wins_and_the_others_are_told() {
    let cluster = Cluster::three(Limits::default()).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..12 {
        let peer = cluster.peer(writer % 3 + 1);
        writers.spawn(async move { peer.write(put("one", Expect::Absent, &writer.to_string())).await });
    }
    let outcomes = writers.join_all().await;
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    for outcome in &outcomes {
        if let Err(error) = outcome {
            let WriteError::Conflict { op: 0, found: Some(found) } = error else { panic!("{error}") };
            assert_eq!(found.revision(), *won[0]);
        }
    }
    let stale = put("one", Expect::Revision(Revision(1)), "x");
    assert!(matches!(cluster.peer(2).write(stale).await, Err(WriteError::Conflict { op: 0, found: Some(_) })));
    let absent = Op { key: key("none"), expect: Expect::Present, change: Change::Check };
    assert!(matches!(cluster.peer(2).write(absent.into()).await, Err(WriteError::Conflict { op: 0, found: None })));
}

#[tokio::test]
async fn a_transaction_that_cannot_be_is_refused_before_it_is_proposed() {
    let cluster = Cluster::alone(Limits { entry_bytes: 1000, ..Limits::default() });
    let peer = cluster.peer(1);
    let large = put("a", Expect::Any, &"x".repeat(1000));
    assert!(matches!(peer.write(large).await, Err(WriteError::TooLarge { limit: 1000, .. })));
    assert!(matches!(peer.write(Txn::default()).await, Err(WriteError::Invalid { .. })));
    let twice = Txn { ops: [put("a", Expect::Any, "1").ops, put("a", Expect::Any, "2").ops].concat() };
    assert!(matches!(peer.write(twice).await, Err(WriteError::Invalid { .. })));
    let value = Value { bytes: "{}".into(), stamp: Some(3) };
    let outside = Op { key: key("a"), expect: Expect::Any, change: Change::Put(value) };
    assert!(matches!(peer.write(outside.into()).await, Err(WriteError::Invalid { .. })));
    assert!(peer.view().is_empty("things"));
}

#[tokio::test]
async fn a_watch_on_any_peer_sees_every_change_once_in_order_also_across_a_new_leader() {
    let mut cluster = Cluster::three(Limits::default()).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let watcher = if leader == 1 { 2 } else { 1 };
    let writer = 6 - leader - watcher;
    let start = cluster.peer(watcher).view().revision();
    let mut watch = cluster.peer(watcher).watch("things", start).expect("is kept");
    let mut written = Vec::new();
    for number in 0..30 {
        if number == 15 {
            cluster.kill(leader).await;
        }
        let txn = put("a", Expect::Any, &number.to_string());
        written.push(cluster.peer(writer).write(txn).await.expect("a majority is up"));
    }
    cluster.resume(leader);
    for revision in &written {
        let event = watch.next().await.expect("an event");
        assert_eq!(event.revision(), *revision);
    }
    assert!(watch.seen() >= written[29]);
    let mut resumed = cluster.peer(watcher).watch("things", written[20]).expect("is kept");
    assert_eq!(resumed.next().await.expect("an event").revision(), written[21]);
}

#[tokio::test]
async fn history_after_the_snapshot_survives_a_restart_and_older_history_is_compacted() {
    let mut cluster = Cluster::alone(small());
    let peer = cluster.peer(1);
    for number in 0..100 {
        peer.write(put(&number.to_string(), Expect::Any, "x")).await.expect("is written");
    }
    let before = peer.view().revision();
    cluster.kill(1).await;
    cluster.resume(1);
    let peer = cluster.peer(1);
    peer.read().await.expect("is alone");
    assert!(peer.watch("things", Revision(2)).is_err(), "older than the snapshot");
    peer.write(put("after", Expect::Any, "x")).await.expect("is written");
    let mut watch = peer.watch("things", Revision(before.0 - 1)).expect("newer than the snapshot");
    assert_eq!(watch.next().await.expect("an event").revision(), before);
    assert!(
        matches!(&*watch.next().await.expect("an event"), Event::Put { stored, .. } if stored.key() == &key("after"))
    );
    peer.stop().await;
    assert_eq!(watch.next().await.expect_err("has stopped"), WatchError::Stopped);
    assert!(matches!(peer.read().await, Err(ReadError::Stopped)));
    assert!(matches!(peer.write(put("a", Expect::Any, "x")).await, Err(WriteError::Stopped)));
}

#[tokio::test]
async fn a_leader_that_is_cut_off_neither_reads_nor_acknowledges() {
    let mut cluster = Cluster::alone(Limits::default());
    cluster.timing.deadline = Duration::from_millis(1500);
    cluster.kill(1).await;
    cluster.resume(1);
    for id in [2, 3] {
        cluster.start(id, wk_store::Start::Join);
        cluster.change(wk_store::MemberChange::AddLearner(wk_store::MemberId(id))).await;
        cluster.change(wk_store::MemberChange::promote(wk_store::MemberId(id))).await;
    }
    cluster.settled(&[1, 2, 3]).await;
    let leader = cluster.leader(&[1, 2, 3]).await;
    let others: Vec<u64> = (1..=3).filter(|&id| id != leader).collect();
    cluster.peer(leader).write(put("a", Expect::Any, "old")).await.expect("is written");
    cluster.cut(leader);
    let cut_off = cluster.peer(leader);
    let (read, write) = tokio::join!(cut_off.read(), cut_off.write(put("b", Expect::Any, "x")));
    assert!(matches!(read, Err(ReadError::NoLeader { .. })), "{read:?}");
    assert!(matches!(write, Err(WriteError::Unknown { .. } | WriteError::NoLeader { .. })), "{write:?}");
    let new = eventually("the others have a leader", async || {
        cluster.peer(others[0]).write(put("a", Expect::Any, "new")).await.ok()
    })
    .await;
    cluster.mend();
    let view = cluster.applied(leader, new).await;
    assert_eq!(text(&view, "a"), Some("new".into()));
    eventually("it reads again", async || cut_off.read().await.ok()).await;
}

#[tokio::test]
async fn each_write_happens_once_on_a_network_that_loses_and_doubles_messages() {
    let cluster = Cluster::three(Limits::default()).await;
    cluster.be_bad(7);
    let mut watch = cluster.peer(2).watch("things", cluster.peer(2).view().revision()).expect("is kept");
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..9u64 {
        let peer = cluster.peer(writer % 3 + 1);
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for number in 0..20 {
                let txn = put(&format!("w{writer}"), Expect::Any, &number.to_string());
                revisions.push(peer.write(txn).await.expect("a majority is up"));
            }
            revisions
        });
    }
    let mut all = writers.join_all().await.concat();
    all.sort_unstable();
    for revision in all {
        assert_eq!(watch.next().await.expect("an event").revision(), revision);
    }
    cluster.be_bad(0);
    let end = cluster.peer(2).write(put("end", Expect::Absent, "x")).await.expect("is written");
    assert_eq!(watch.next().await.expect("an event").revision(), end, "nothing happened twice");
}
