//! Who is named as an owner, and who is there: kept from one look to the next and brought up to date by what differs, so that
//! a write of one object does not cost a look at all of them.
//!
//! Besides that it remembers what a look at everything found nothing to do about: an owner of a kind that nobody knows counts
//! as there, and what is held may be held for years. Not here: what is garbage ([`wk_plan::garbage`]), which is asked only
//! when something may be.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use wk_api::{Kind, kinds};
use wk_cluster::{Brief, brief, stored_kinds_in};
use wk_store::{Part, Stored, View};

use crate::workloads::namespace;

/// See the module.
#[derive(Default)]
pub(crate) struct Bereft {
    seen: BTreeMap<&'static str, Part>,
    /// The uids of objects that stay, each behind its namespace, and how many have each: one, if nobody restored any by hand.
    solid: HashMap<Box<str>, usize>,
    /// The uids that objects name as their owners, each behind the namespace of who names it, and how many do.
    owners: HashMap<Box<str>, usize>,
    /// Objects that go and are held by a finalizer: their uids, each behind its namespace, and how many have each.
    held: HashMap<Box<str>, usize>,
    /// Of the two above those for which there was nothing to do, and of which nothing that names them or is them changed since.
    let_be: HashSet<Box<str>>,
}

impl Bereft {
    /// Takes in what differs in `view`. Events have no owners, and nobody waits for them.
    pub(crate) fn follow(&mut self, view: &View) {
        let kinds = stored_kinds_in(view).into_iter().filter(|kind| **kind != kinds::EVENT);
        let now: BTreeMap<&'static str, Part> =
            kinds.map(|kind| (kind.collection(), view.part(kind.collection()))).collect();
        let before = std::mem::take(&mut self.seen);
        let nothing = Part::default();
        for (collection, part) in &now {
            self.take(before.get(collection).unwrap_or(&nothing), part);
        }
        // A kind that is defined no more has no objects.
        for (_, part) in before.iter().filter(|(collection, _)| !now.contains_key(*collection)) {
            self.take(part, &nothing);
        }
        let definitions = kinds::CRD.collection();
        if before.get(definitions) != now.get(definitions) {
            // Another kind is known, or one less.
            self.let_be.clear();
        }
        self.seen = now;
    }

    fn take(&mut self, before: &Part, now: &Part) {
        if before == now {
            return;
        }
        for difference in before.differences(now) {
            difference.old.into_iter().for_each(|old| self.remove(old));
            difference.new.into_iter().for_each(|new| self.add(new));
        }
    }

    fn add(&mut self, stored: &Arc<Stored>) {
        let (brief, home) = (self.heed(stored), namespace(stored));
        if !brief.is_deleting() {
            count(&mut self.solid, &of(home, brief.uid()));
        }
        if is_held(brief) {
            count(&mut self.held, &of(home, brief.uid()));
        }
        brief.owners().for_each(|owner| count(&mut self.owners, &of(home, owner)));
    }

    fn remove(&mut self, stored: &Arc<Stored>) {
        let (brief, home) = (self.heed(stored), namespace(stored));
        if !brief.is_deleting() {
            discount(&mut self.solid, &of(home, brief.uid()));
        }
        if is_held(brief) {
            discount(&mut self.held, &of(home, brief.uid()));
        }
        brief.owners().for_each(|owner| discount(&mut self.owners, &of(home, owner)));
    }

    /// The brief of an object that comes, goes or changes: there may be something to do about it and its owners again.
    fn heed<'a>(&mut self, stored: &'a Arc<Stored>) -> &'a Brief {
        let (brief, home) = (brief(stored), namespace(stored));
        if !self.let_be.is_empty() {
            for uid in brief.owners().chain([brief.uid()]) {
                self.let_be.remove(of(home, uid).as_str());
                self.let_be.remove(of("", uid).as_str());
            }
        }
        if home.is_empty() {
            // It may be the owner of objects in any namespace.
            self.let_be.retain(|known| !known.ends_with(brief.uid()));
        }
        brief
    }

    /// There was nothing to do about anything.
    pub(crate) fn let_be(&mut self) {
        self.let_be = self.open().cloned().collect();
    }

    /// Whether an owner of any object is gone or going, or anything that goes is held, and there may be something to do about
    /// it. An owner is in the same namespace or in none.
    pub(crate) fn may_be_any(&self) -> bool {
        self.open().any(|uid| !self.let_be.contains(uid))
    }

    /// The objects that there may be something to do about, and all that are tied to them by owners over any number of steps:
    /// what is decided about one looks no further. All others need not be decoded.
    pub(crate) fn concerned(&self, view: &View) -> Vec<(&'static Kind, Arc<Stored>)> {
        let kinds = stored_kinds_in(view).into_iter().filter(|kind| **kind != kinds::EVENT);
        let of_kind = |kind: &'static Kind| view.list(kind.collection(), "").map(move |stored| (kind, stored));
        let all: Vec<(&'static Kind, Arc<Stored>)> = kinds.flat_map(of_kind).collect();
        // Where a uid is said: by whose it is, and by those that it owns.
        let mut said: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, (_, stored)) in all.iter().enumerate() {
            uids(stored).for_each(|uid| said.entry(uid).or_default().push(at));
        }
        let open = self.open().filter(|key| !self.let_be.contains(*key));
        let mut next: Vec<&str> = open.map(|key| key.split_once('/').map_or(&**key, |(_, uid)| uid)).collect();
        let mut found = BTreeSet::new();
        while let Some(uid) = next.pop() {
            for at in said.remove(uid).unwrap_or_default() {
                if found.insert(at) {
                    next.extend(uids(&all[at].1));
                }
            }
        }
        found.into_iter().map(|at| all[at].clone()).collect()
    }

    /// Owners that are gone or going, and what is held.
    fn open(&self) -> impl Iterator<Item = &Box<str>> {
        let is_there = |owner: &str| {
            let uid = owner.split_once('/').map_or(owner, |(_, uid)| uid);
            self.solid.contains_key(owner) || self.solid.contains_key(of("", uid).as_str())
        };
        self.held.keys().chain(self.owners.keys().filter(move |owner| !is_there(owner)))
    }
}

fn of(namespace: &str, uid: &str) -> String {
    format!("{namespace}/{uid}")
}

fn is_held(brief: &Brief) -> bool {
    brief.is_deleting() && brief.has_finalizers()
}

fn count(of: &mut HashMap<Box<str>, usize>, uid: &str) {
    match of.get_mut(uid) {
        Some(count) => *count += 1,
        None => drop(of.insert(uid.into(), 1)),
    }
}

/// The uids of an object and of its owners.
fn uids(stored: &Stored) -> impl Iterator<Item = &str> {
    let brief = brief(stored);
    brief.owners().chain([brief.uid()])
}

fn discount(of: &mut HashMap<Box<str>, usize>, uid: &str) {
    if let Some(count) = of.get_mut(uid) {
        *count -= 1;
        if *count == 0 {
            of.remove(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::Alone;

    async fn write(store: &Alone, kind: &Kind, name: &str, metadata: Option<Value>) {
        store.write(kind, name, metadata.map(|metadata| json!({ "metadata": metadata }))).await;
    }

    #[tokio::test]
    async fn there_may_be_garbage_when_an_owner_is_not_there_or_something_that_goes_is_held() {
        let store = Alone::start().await;
        let (set, pod) = (&kinds::REPLICASET, &kinds::POD);
        let owned = |uid: &str| json!({"uid": uid, "ownerReferences": [{"uid": "s"}]});
        let going = json!({"uid": "s", "deletionTimestamp": "2025-01-01T00:00:00Z"});
        let held = json!({"uid": "s", "deletionTimestamp": "2025-01-01T00:00:00Z", "finalizers": ["a/b"]});
        let steps: [(&Kind, &str, Option<Value>, bool); 11] = [
            (set, "n/s", Some(json!({"uid": "s"})), false),
            (pod, "n/1", Some(owned("1")), false),
            (pod, "n/2", Some(owned("2")), false),
            (pod, "m/3", Some(owned("3")), true),
            (pod, "m/3", None, false),
            (set, "n/s", Some(held), true),
            (set, "n/s", Some(json!({"uid": "s", "labels": {"a": "b"}})), false),
            (set, "n/s", Some(going), true),
            (pod, "n/1", Some(json!({"uid": "1"})), true),
            (set, "n/s", None, true),
            (pod, "n/2", None, false),
        ];
        let mut followed = Bereft::default();
        for (at, (kind, name, metadata, expected)) in steps.into_iter().enumerate() {
            write(&store, kind, name, metadata).await;
            followed.follow(&store.view());
            let mut anew = Bereft::default();
            anew.follow(&store.view());
            assert_eq!((followed.may_be_any(), anew.may_be_any()), (expected, expected), "after step {at}");
        }
        assert!(
            followed.owners.is_empty() && followed.held.is_empty() && followed.solid.len() == 1,
            "nothing is left behind"
        );
        store.stop().await;
    }

    #[tokio::test]
    async fn what_there_was_nothing_to_do_about_is_let_be_until_it_or_what_names_it_changes() {
        let store = Alone::start().await;
        let (map, role, pod, crd) = (&kinds::CONFIGMAP, &kinds::CLUSTERROLE, &kinds::POD, &kinds::CRD);
        // Owners of a kind that nobody knows, or that cannot be found, and one that goes and is held.
        let crooked = |uid: &str| json!({"uid": uid, "ownerReferences": [{"uid": "z"}]});
        let held = json!({"uid": "h", "deletionTimestamp": "2025-01-01T00:00:00Z", "finalizers": ["a/b"]});
        write(&store, map, "n/crooked", Some(crooked("c"))).await;
        write(&store, role, "crooked", Some(crooked("r"))).await;
        write(&store, map, "n/held", Some(held.clone())).await;
        let mut followed = Bereft::default();
        followed.follow(&store.view());
        assert!(followed.may_be_any());
        followed.let_be();
        let owned = |uid: &str, owner: &str| json!({"uid": uid, "ownerReferences": [{"uid": owner}]});
        let steps: [(&Kind, &str, Option<Value>, bool); 9] = [
            (pod, "n/1", Some(json!({"uid": "1"})), false),
            (pod, "n/1", None, false),
            (map, "n/another", Some(crooked("d")), true),
            (map, "m/another", Some(crooked("e")), true),
            (map, "n/held", Some(held), true),
            (map, "n/of-held", Some(owned("o", "h")), true),
            (map, "n/of-held", None, true),
            (role, "z", Some(json!({"uid": "z"})), false),
            (role, "z", None, true),
        ];
        for (at, (kind, name, metadata, expected)) in steps.into_iter().enumerate() {
            write(&store, kind, name, metadata).await;
            followed.follow(&store.view());
            assert_eq!(followed.may_be_any(), expected, "after step {at}");
            followed.let_be();
        }
        assert!(!followed.may_be_any() && followed.concerned(&store.view()).is_empty());
        write(&store, crd, "foos.x", Some(json!({"uid": "f"}))).await;
        followed.follow(&store.view());
        assert!(followed.may_be_any(), "another kind is known");
        store.stop().await;
    }

    #[tokio::test]
    async fn what_owners_do_not_tie_to_an_open_question_does_not_concern_it() {
        let store = Alone::start().await;
        let (map, pod) = (&kinds::CONFIGMAP, &kinds::POD);
        let owned = |uid: &str, owners: &[&str]| {
            let owners: Vec<Value> = owners.iter().map(|uid| json!({"uid": uid})).collect();
            Some(json!({"uid": uid, "ownerReferences": owners}))
        };
        let going = json!({"uid": "rc", "deletionTimestamp": "2025-01-01T00:00:00Z", "finalizers": ["orphan"]});
        write(&store, map, "n/rc", Some(going)).await;
        write(&store, pod, "n/left", owned("left", &["rc", "other"])).await;
        write(&store, map, "n/other", owned("other", &["top"])).await;
        write(&store, map, "n/top", owned("top", &[])).await;
        write(&store, map, "n/below", owned("below", &["left"])).await;
        write(&store, map, "n/set", owned("set", &[])).await;
        write(&store, pod, "n/of-set", owned("of-set", &["set"])).await;
        let mut followed = Bereft::default();
        followed.follow(&store.view());
        let mut found: Vec<String> =
            followed.concerned(&store.view()).iter().map(|(_, it)| it.key().name().to_owned()).collect();
        found.sort();
        assert_eq!(found, ["n/below", "n/left", "n/other", "n/rc", "n/top"]);
        store.stop().await;
    }

    #[tokio::test]
    async fn a_row_of_owners_is_gone_through_once() {
        const LONG: usize = 3_000;
        let store = Alone::start().await;
        let writes = (0..LONG).map(|number| {
            let metadata =
                json!({"uid": format!("u{number}"), "ownerReferences": [{"uid": format!("u{}", number + 1)}]});
            let store = &store;
            async move { write(store, &kinds::CONFIGMAP, &format!("n/{number}"), Some(metadata)).await }
        });
        futures::future::join_all(writes).await;
        let mut followed = Bereft::default();
        followed.follow(&store.view());
        let begun = std::time::Instant::now();
        assert_eq!(followed.concerned(&store.view()).len(), LONG);
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
        store.stop().await;
    }
}
