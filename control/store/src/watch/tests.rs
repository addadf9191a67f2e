//! What watchers see.

mod model;
mod tagged;

use bytes::Bytes;

use super::*;
use crate::model::{Key, Stored};
use crate::options::Limits;

fn put(collection: &str, revision: u64) -> Arc<Event> {
    let revision = Revision(revision);
    let bytes = Bytes::from_static(b"0123456789");
    let stored = Stored::as_kept(Key::new(collection, "n"), bytes, revision, revision, None);
    Arc::new(Event::Put { stored: Arc::new(stored), previous: None })
}

fn histories(limits: Limits) -> Arc<Histories> {
    Arc::new(Histories::new(limits, None, Revision(10)))
}

fn publish(all: &Histories, collection: &str, revisions: impl IntoIterator<Item = u64>) {
    for revision in revisions {
        all.publish(&[put(collection, revision)], Revision(revision));
    }
}

async fn revisions<const N: usize>(watch: &mut Watch) -> [u64; N] {
    let mut found = [0; N];
    for place in &mut found {
        *place = watch.next().await.expect("an event").revision().0;
    }
    found
}

#[tokio::test]
async fn a_watch_resumes_after_any_revision_that_is_kept() {
    let all = histories(Limits::default());
    publish(&all, "a", [11, 13, 15]);
    for (after, expected) in [(10, [11, 13, 15]), (11, [13, 15, 17]), (12, [13, 15, 17]), (13, [15, 17, 19])] {
        let mut watch = all.watch("a", Revision(after)).expect("is kept");
        if after == 11 {
            publish(&all, "a", [17, 19]);
        }
        assert_eq!(revisions(&mut watch).await, expected);
    }
    assert_eq!(all.watch("a", Revision(9)).expect_err("before the start").oldest, Revision(10));
}

#[tokio::test]
async fn a_watch_from_the_future_starts_there() {
    let all = histories(Limits::default());
    let mut watch = all.watch("a", Revision(20)).expect("may wait");
    publish(&all, "a", [19, 20, 21]);
    assert_eq!(revisions(&mut watch).await, [21]);
    let watch = all.watch("a", Revision(30)).expect("may wait");
    assert_eq!(watch.seen(), Revision(30));
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_and_others_are_not_held_up() {
    let all = histories(Limits { history_events: 3, ..Limits::default() });
    let mut slow = all.watch("a", Revision(10)).expect("is kept");
    publish(&all, "a", 11..=14);
    let mut quick = all.watch("a", Revision(11)).expect("is kept");
    assert_eq!(revisions(&mut quick).await, [12, 13, 14]);
    let Err(WatchError::Compacted(compacted)) = slow.next().await else { panic!("event 11 is gone") };
    assert_eq!(compacted, Compacted { requested: Revision(10), oldest: Revision(11) });
}

#[tokio::test]
async fn history_is_bounded_by_bytes_too() {
    let all = histories(Limits { history_bytes: 25, ..Limits::default() });
    publish(&all, "a", 11..=20);
    assert_eq!(all.watch("a", Revision(17)).expect_err("is gone").oldest, Revision(18));
    let mut watch = all.watch("a", Revision(18)).expect("is kept");
    assert_eq!(revisions(&mut watch).await, [19, 20]);
}

#[tokio::test]
async fn a_restore_compacts_every_watch_that_does_not_start_after_it() {
    let all = histories(Limits::default());
    let mut caught_up = all.watch("a", Revision(10)).expect("is kept");
    publish(&all, "a", [11]);
    assert_eq!(revisions(&mut caught_up).await, [11]);
    let mut ahead = all.watch("a", Revision(50)).expect("may wait");
    all.restart(Revision(40));
    assert!(matches!(caught_up.next().await, Err(WatchError::Compacted(_))));
    assert!(all.watch("b", Revision(39)).is_err(), "also where nothing was watched yet");
    publish(&all, "a", [41, 51]);
    assert_eq!(revisions(&mut ahead).await, [51]);
}

#[tokio::test]
async fn seen_moves_on_with_changes_elsewhere_but_never_past_what_is_to_come() {
    let all = histories(Limits::default());
    let mut watch = all.watch("a", Revision(10)).expect("is kept");
    publish(&all, "b", 11..=15);
    assert_eq!(watch.seen(), Revision(15));
    publish(&all, "a", [16, 17]);
    assert_eq!(watch.seen(), Revision(10), "nothing was delivered yet");
    assert_eq!(revisions(&mut watch).await, [16]);
    assert_eq!(watch.seen(), Revision(16));
    all.publish(&[put("a", 18), put("a", 18)], Revision(18));
    assert_eq!(revisions(&mut watch).await, [17, 18]);
    assert_eq!(watch.seen(), Revision(17), "another event of revision 18 is to come");
    assert_eq!(revisions(&mut watch).await, [18]);
    assert_eq!(watch.seen(), Revision(18));
    assert!(watch.try_next().expect("is open").is_none());
}

#[tokio::test]
async fn closing_ends_watches_after_the_last_change() {
    let all = histories(Limits::default());
    let mut watch = all.watch("a", Revision(10)).expect("is kept");
    publish(&all, "a", [11]);
    all.close();
    assert_eq!(revisions(&mut watch).await, [11]);
    assert_eq!(watch.next().await.expect_err("is closed"), WatchError::Stopped);
    assert_eq!(all.watch("z", Revision(11)).expect("opens").next().await.expect_err("is closed"), WatchError::Stopped);
}
