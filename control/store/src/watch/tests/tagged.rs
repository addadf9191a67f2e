//! What watchers of one tag see, and what they cost.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use super::*;
use crate::tags::Index;

/// Names are their tags, and so are the characters of objects.
pub(super) const INDEX: Index = Index {
    of_key: |key, each| key.name().parse().into_iter().for_each(each),
    of_object: |stored, each| stored.bytes().iter().for_each(|byte| each(u64::from(*byte))),
};

const A: Tag = Tag::Object(b'a' as u64);
const B: Tag = Tag::Object(b'b' as u64);

pub(super) fn indexed(limits: Limits) -> Arc<Histories> {
    Arc::new(Histories::new(limits, Some(INDEX), Revision(10)))
}

pub(super) fn version(name: &str, revision: u64, tags: &str) -> Arc<Stored> {
    let (revision, bytes) = (Revision(revision), Bytes::from(tags.to_owned()));
    Arc::new(Stored::as_kept(Key::new("a", name), bytes, revision, revision, None))
}

/// Objects at the revisions from 11 on with these tags, one after the other.
fn put_tags(all: &Histories, tags: &[&str]) {
    for (revision, tags) in (11..).zip(tags) {
        let event = Event::Put { stored: version("1", revision, tags), previous: None };
        all.publish(&[Arc::new(event)], Revision(revision));
    }
}

fn ready(watch: &mut Watch) -> Vec<u64> {
    std::iter::from_fn(|| watch.try_next().expect("goes on")).map(|event| event.revision().0).collect()
}

fn tags(all: &Histories) -> usize {
    all.history("a").read(|changes| changes.queues.tags())
}

#[test]
fn a_tag_delivers_its_changes_alone_from_any_revision_that_is_kept() {
    let all = indexed(Limits::default());
    let watch = |tag, after| all.watch_tagged("a", tag, Revision(after)).expect("is kept");
    let mut early = watch(A, 10);
    put_tags(&all, &["a", "b", "ab", "", "a", "b"]);
    let mut late = watch(A, 13);
    let mut earlier = watch(A, 11);
    assert_eq!((ready(&mut early), ready(&mut late), ready(&mut earlier)), (vec![11, 13, 15], vec![15], vec![13, 15]));
    assert_eq!(ready(&mut watch(B, 10)), [12, 13, 16]);
    assert_eq!(ready(&mut watch(Tag::Key(1), 14)), [15, 16]);
    assert!(ready(&mut watch(Tag::Key(2), 10)).is_empty());
    assert!(all.watch_tagged("a", A, Revision(9)).is_err(), "before the start");
}

#[test]
fn a_tag_is_watched_from_before_revisions_at_which_nothing_happened() {
    let all = indexed(Limits::default());
    let event = Event::Put { stored: version("1", 15, "a"), previous: None };
    all.publish(&[Arc::new(event)], Revision(15));
    let mut watches = [13, 12, 14].map(|after| all.watch_tagged("a", A, Revision(after)).expect("is kept"));
    assert_eq!(watches.each_mut().map(ready), [[15]; 3]);
}

#[test]
fn a_change_is_delivered_to_the_tags_before_and_after_it() {
    let all = indexed(Limits::default());
    let mut watches = [A, B].map(|tag| all.watch_tagged("a", tag, Revision(10)).expect("is kept"));
    let (one, two) = (version("1", 11, "a"), version("1", 12, "b"));
    let made = Event::Put { stored: Arc::clone(&one), previous: None };
    let moved = Event::Put { stored: Arc::clone(&two), previous: Some(one) };
    let deleted = Event::Deleted { last: Arc::new(two.deleted_at(Revision(13))), previous: two };
    for event in [made, moved, deleted].map(Arc::new) {
        all.publish(&[Arc::clone(&event)], event.revision());
    }
    assert_eq!(watches.each_mut().map(ready), [vec![11, 12], vec![12, 13]]);
}

#[test]
fn events_of_one_transaction_follow_each_other_and_seen_knows() {
    let all = indexed(Limits::default());
    let mut watch = all.watch_tagged("a", A, Revision(10)).expect("is kept");
    let event = |name, tags| Arc::new(Event::Put { stored: version(name, 11, tags), previous: None });
    all.publish(&[event("1", "a"), event("2", "b"), event("3", "a")], Revision(11));
    let name = |event: Option<Arc<Event>>| event.map(|event| event.object().key().name().to_owned());
    assert_eq!(name(watch.try_next().expect("goes on")).as_deref(), Some("1"));
    assert_eq!(watch.seen(), Revision(10), "another event of revision 11 is to come");
    assert_eq!(name(watch.try_next().expect("goes on")).as_deref(), Some("3"));
    assert_eq!(watch.seen(), Revision(11));
}

#[test]
fn a_tag_that_nothing_has_is_seen_to_the_end_and_never_compacted() {
    let all = indexed(Limits { history_events: 3, ..Limits::default() });
    let mut watch = all.watch_tagged("a", A, Revision(10)).expect("is kept");
    put_tags(&all, &["b"; 20]);
    assert_eq!((ready(&mut watch), watch.seen()), (vec![], Revision(30)));
    let mut resumed = all.watch_tagged("a", A, Revision(12)).expect("nothing of the tag was lost");
    assert!(ready(&mut resumed).is_empty());
    drop((watch, resumed));
    assert!(all.watch_tagged("a", A, Revision(12)).is_err(), "nobody knows what was lost any more");
}

#[test]
fn only_the_loss_of_a_change_with_its_tag_ends_a_watch() {
    let all = indexed(Limits { history_events: 3, ..Limits::default() });
    let watch = |tag| all.watch_tagged("a", tag, Revision(10)).expect("is kept");
    let (mut a, mut b) = (watch(A), watch(B));
    put_tags(&all, &["a", "", "b", "", ""]);
    let Err(WatchError::Compacted(compacted)) = a.try_next() else { panic!("event 11 is gone") };
    assert_eq!(compacted, Compacted { requested: Revision(10), oldest: Revision(11) });
    assert_eq!(a.seen(), Revision(10));
    assert_eq!(ready(&mut b), [13]);
    assert!(all.watch_tagged("a", A, Revision(10)).is_err());
    assert!(ready(&mut all.watch_tagged("a", A, Revision(11)).expect("is kept")).is_empty());
}

#[tokio::test]
async fn a_restore_compacts_tagged_watches_and_closing_ends_them() {
    let all = indexed(Limits::default());
    let watch = |after| all.watch_tagged("a", A, Revision(after)).expect("is kept");
    let (mut behind, mut ahead) = (watch(10), watch(50));
    all.restart(Revision(40));
    assert!(matches!(behind.next().await, Err(WatchError::Compacted(_))));
    assert!(all.watch_tagged("a", A, Revision(39)).is_err());
    let mut present = watch(40);
    let event = |revision| Arc::new(Event::Put { stored: version("1", revision, "a"), previous: None });
    all.publish(&[event(41), event(51)], Revision(51));
    all.close();
    assert_eq!((revisions(&mut ahead).await, revisions(&mut present).await), ([51], [41, 51]));
    assert_eq!(ahead.next().await.expect_err("is closed"), WatchError::Stopped);
    assert_eq!(watch(51).next().await.expect_err("is closed"), WatchError::Stopped);
}

#[test]
fn lists_of_changes_are_bounded_and_go_with_the_last_watcher() {
    let all = indexed(Limits { history_events: 8, ..Limits::default() });
    let watch = |tag| all.watch_tagged("a", tag, all.applied()).expect("is kept");
    let (first, second, other) = (watch(A), watch(A), watch(Tag::Key(1)));
    put_tags(&all, &vec!["a"; 5000]);
    // What the history keeps, and what left it since the last sweep, for each of two tags.
    assert!(all.history("a").read(|changes| changes.queues.places()) <= 2 * (8 + 1024));
    drop(first);
    assert_eq!(tags(&all), 2);
    drop(second);
    assert_eq!(tags(&all), 1);
    drop(other);
    assert_eq!(tags(&all), 0);
}

#[test]
fn without_an_index_a_tag_is_everything() {
    let all = histories(Limits::default());
    let mut watch = all.watch_tagged("a", A, Revision(10)).expect("is kept");
    publish(&all, "a", [11, 12]);
    assert_eq!(ready(&mut watch), [11, 12]);
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_watcher_is_woken_by_its_own_tag_alone() {
    let all = indexed(Limits::default());
    let mut watch = all.watch_tagged("a", A, Revision(10)).expect("is kept");
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut next = pin!(watch.next());
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    put_tags(&all, &["b", "", "b"]);
    publish(&all, "elsewhere", [14]);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    let event = Event::Put { stored: version("1", 15, "a"), previous: None };
    all.publish(&[Arc::new(event)], Revision(15));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(next.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
}
