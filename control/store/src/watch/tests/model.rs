//! Random writes and random watchers against the whole history, filtered.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tagged::{indexed, version};
use super::*;

const HISTORY: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    /// One transaction: names and the tags they get; None deletes.
    Write(Vec<(u8, Option<String>)>),
    /// Something happens elsewhere.
    Elsewhere,
    Restore,
    /// A watcher of a tag, from so many revisions ago.
    Watch(Option<u8>, u64),
    /// The watcher takes so many events.
    Read(usize, usize),
    /// The watcher starts anew from what it has seen.
    Resume(usize),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..4_u8, prop::option::of("[a-c]{0,2}"));
    prop_oneof![
        12 => prop::collection::vec(write, 1..4).prop_map(Step::Write),
        2 => Just(Step::Elsewhere),
        1 => Just(Step::Restore),
        4 => (prop::option::weighted(0.8, 0..4_u8), 0..12_u64).prop_map(|(tag, ago)| Step::Watch(tag, ago)),
        8 => (0..6_usize, 1..4_usize).prop_map(|(who, count)| Step::Read(who, count)),
        2 => (0..6_usize).prop_map(Step::Resume),
        1 => (0..6_usize).prop_map(Step::Drop),
    ]
}

/// The tag 3 is that of the name "3", the others are characters.
fn tag(tag: u8) -> Tag {
    if tag == 3 { Tag::Key(3) } else { Tag::Object(u64::from(b'a' + tag)) }
}

fn is_tagged(event: &Event, wanted: Option<u8>) -> bool {
    let has = |stored: &Stored, letter| stored.bytes().contains(&letter);
    match wanted {
        None => true,
        Some(3) => event.object().key().name() == "3",
        Some(tag) => has(event.object(), b'a' + tag) || event.previous().is_some_and(|old| has(old, b'a' + tag)),
    }
}

struct Watcher {
    watch: Watch,
    tag: Option<u8>,
    /// What is to come has a later revision than this one, or is at this place or after it.
    after: u64,
    from: usize,
}

/// The whole truth.
struct Model {
    all: Arc<Histories>,
    revision: u64,
    objects: BTreeMap<u8, Arc<Stored>>,
    events: Vec<Arc<Event>>,
    /// Events before this place were forgotten by a restore.
    restored: usize,
    floor: u64,
    watchers: Vec<Watcher>,
}

impl Model {
    fn new() -> Self {
        let all = indexed(Limits { history_events: HISTORY, ..Limits::default() });
        let (events, watchers) = (Vec::new(), Vec::new());
        Self { all, revision: 10, objects: BTreeMap::new(), events, restored: 0, floor: 10, watchers }
    }

    fn write(&mut self, ops: &[(u8, Option<String>)]) {
        self.revision += 1;
        let revision = self.revision;
        let ops: BTreeMap<_, _> = ops.iter().cloned().collect();
        let first = self.events.len();
        for (name, tags) in ops {
            let previous = self.objects.remove(&name);
            let event = match (tags, previous) {
                (Some(tags), previous) => {
                    let stored = version(&name.to_string(), revision, &tags);
                    self.objects.insert(name, Arc::clone(&stored));
                    Event::Put { stored, previous }
                }
                (None, Some(previous)) => {
                    Event::Deleted { last: Arc::new(previous.deleted_at(Revision(revision))), previous }
                }
                (None, None) => continue,
            };
            self.events.push(Arc::new(event));
        }
        self.all.publish(&self.events[first..], Revision(revision));
    }

    fn open(&mut self, tag_wanted: Option<u8>, after: u64) {
        let opened = match tag_wanted {
            Some(wanted) => self.all.watch_tagged("a", tag(wanted), Revision(after)),
            None => self.all.watch("a", Revision(after)),
        };
        match opened {
            Ok(watch) => self.watchers.push(Watcher { watch, tag: tag_wanted, after, from: 0 }),
            Err(compacted) => {
                assert!(compacted.oldest > Revision(after));
                let kept = self.kept();
                let is_whole =
                    after >= self.floor && self.events[..kept].iter().all(|event| event.revision().0 <= after);
                assert!(!is_whole, "nothing after {after} was lost");
            }
        }
    }

    /// The place of the first event that is kept.
    fn kept(&self) -> usize {
        self.restored.max(self.events.len().saturating_sub(HISTORY))
    }

    /// The place of the next event for the watcher.
    fn due(&self, watcher: &Watcher) -> Option<usize> {
        let is_due = |event: &Arc<Event>| event.revision().0 > watcher.after && is_tagged(event, watcher.tag);
        (watcher.from..self.events.len()).find(|&place| is_due(&self.events[place]))
    }

    /// False when the watch has ended, for a reason.
    fn read(&mut self, who: usize) -> bool {
        let due = self.due(&self.watchers[who]);
        let kept = self.kept();
        let watcher = &mut self.watchers[who];
        match watcher.watch.try_next() {
            Ok(None) => assert!(due.is_none(), "a change was not delivered"),
            Ok(Some(event)) => {
                let due = due.expect("nothing was to come");
                assert!(Arc::ptr_eq(&event, &self.events[due]), "another change was to come");
                watcher.from = due + 1;
            }
            Err(_) => {
                let is_restored = watcher.from < self.restored || watcher.after < self.floor;
                assert!(is_restored || due.is_some_and(|due| due < kept), "nothing of it was lost");
                return false;
            }
        }
        true
    }

    fn check_seen(&self) {
        for watcher in &self.watchers {
            let seen = watcher.watch.seen().0;
            let due = self.due(watcher).map(|due| self.events[due].revision().0);
            assert!(due.is_none_or(|due| due > seen), "{due:?} is to come and {seen} was seen");
            if due.is_none() && watcher.after <= self.revision && watcher.after >= self.floor {
                assert_eq!(seen, self.revision, "everything was seen");
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write(ops) => self.write(ops),
            Step::Elsewhere => {
                self.revision += 1;
                self.all.publish(&[put("elsewhere", self.revision)], Revision(self.revision));
            }
            Step::Restore => {
                self.revision += 2;
                self.all.restart(Revision(self.revision));
                (self.restored, self.floor) = (self.events.len(), self.revision);
            }
            Step::Watch(tag, ago) => self.open(*tag, (self.revision + 2).saturating_sub(*ago)),
            Step::Read(who, count) => {
                for _ in 0..*count {
                    if *who < self.watchers.len() && !self.read(*who) {
                        self.watchers.remove(*who);
                    }
                }
            }
            Step::Resume(who) if *who < self.watchers.len() => {
                let watcher = self.watchers.remove(*who);
                let seen = watcher.watch.seen().0;
                drop(watcher.watch);
                self.open(watcher.tag, seen);
            }
            Step::Drop(who) if *who < self.watchers.len() => drop(self.watchers.remove(*who)),
            Step::Resume(_) | Step::Drop(_) => {}
        }
        self.check_seen();
    }

    fn finish(mut self) {
        for who in (0..self.watchers.len()).rev() {
            while self.due(&self.watchers[who]).is_some() {
                if !self.read(who) {
                    self.watchers.remove(who);
                    break;
                }
            }
        }
        self.check_seen();
        self.watchers.clear();
        assert_eq!(self.all.history("a").read(|changes| (changes.queues.tags(), changes.queues.places())), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn watchers_see_what_the_whole_history_has_for_them(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model::new();
        for step in &steps {
            model.step(step);
        }
        model.finish();
    }
}
