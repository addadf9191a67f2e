//! Objects of one kind by what they have in common: an owner, a label. Kept from one look to the next and brought up to
//! date by what differs, since of thousands of objects a few change at a time.
//!
//! It remembers nothing that the store does not say: made anew from any view it is the same.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use wk_api::Kind;
use wk_store::{Part, Stored, View};

/// Calls back with each group that an object is in.
pub(crate) type Groups<K> = fn(&Stored, &mut dyn FnMut(K));

/// See the module.
pub(crate) struct Grouped<K> {
    kind: &'static Kind,
    groups_of: Groups<K>,
    seen: Part,
    groups: HashMap<K, Group>,
    changes: u64,
}

/// The objects of one group.
#[derive(Default)]
pub(crate) struct Group {
    members: Vec<Arc<Stored>>,
    version: u64,
}

impl Group {
    /// The objects, in the order of their names.
    pub(crate) fn members(&self) -> &[Arc<Stored>] {
        &self.members
    }

    /// Another number whenever any of them is another, or another version; 0 without any.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    fn place(&self, stored: &Stored) -> Result<usize, usize> {
        self.members.binary_search_by(|member| member.key().name().cmp(stored.key().name()))
    }
}

impl<K: Hash + Eq> Grouped<K> {
    pub(crate) fn new(kind: &'static Kind, groups_of: Groups<K>) -> Self {
        Self { kind, groups_of, seen: Part::default(), groups: HashMap::new(), changes: 0 }
    }

    /// As [`Self::follow`] while anybody asks for the groups. Nothing is kept for nobody: numbers go on, so that none stands for
    /// two versions.
    pub(crate) fn follow_for(&mut self, owners: &[Arc<Stored>], view: &View) {
        if owners.is_empty() {
            (self.seen, self.groups) = (Part::default(), HashMap::new());
        } else {
            self.follow(view);
        }
    }

    /// Takes in what differs in `view`.
    pub(crate) fn follow(&mut self, view: &View) {
        let (groups, changes) = (&mut self.groups, &mut self.changes);
        let now = view.part(self.kind.collection());
        for difference in self.seen.differences(&now) {
            *changes += 1;
            if let Some(old) = difference.old {
                (self.groups_of)(old, &mut |key| {
                    let Some(group) = groups.get_mut(&key) else { return };
                    if let Ok(place) = group.place(old) {
                        group.members.remove(place);
                        group.version = *changes;
                    }
                    if group.members.is_empty() {
                        groups.remove(&key);
                    }
                });
            }
            if let Some(new) = difference.new {
                (self.groups_of)(new, &mut |key| {
                    let group = groups.entry(key).or_default();
                    if let Err(place) = group.place(new) {
                        group.members.insert(place, Arc::clone(new));
                        group.version = *changes;
                    }
                });
            }
        }
        self.seen = now;
    }

    /// The objects of a group.
    pub(crate) fn of(&self, key: &K) -> &Group {
        static NONE: Group = Group { members: Vec::new(), version: 0 };
        self.groups.get(key).unwrap_or(&NONE)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use wk_api::kinds;

    use super::*;
    use crate::testing::Alone;

    /// The groups of these objects: each digit that their bytes hold.
    fn digits(stored: &Stored, each: &mut dyn FnMut(u8)) {
        stored.bytes().iter().copied().filter(u8::is_ascii_digit).for_each(each);
    }

    fn names(grouped: &Grouped<u8>) -> BTreeMap<u8, Vec<String>> {
        let names = |group: &Group| group.members().iter().map(|it| it.key().name().to_owned()).collect();
        let filled = (b'0'..=b'9').filter(|digit| !grouped.of(digit).members().is_empty());
        filled.map(|digit| (digit, names(grouped.of(&digit)))).collect()
    }

    async fn put(store: &Alone, kind: &Kind, name: &str) {
        store.write(kind, name, Some(json!(1))).await;
    }

    #[tokio::test]
    async fn nothing_is_kept_while_nobody_asks_and_numbers_go_on() {
        let store = Alone::start().await;
        put(&store, &kinds::POD, "a").await;
        let view = store.view();
        let owners: Vec<Arc<Stored>> = view.list(kinds::POD.collection(), "").collect();
        let mut grouped = Grouped::new(&kinds::POD, digits);
        grouped.follow_for(&owners, &view);
        let before = grouped.of(&b'1').version();
        assert_eq!(names(&grouped)[&b'1'], ["a"]);
        grouped.follow_for(&[], &view);
        assert!(grouped.groups.is_empty() && grouped.seen == Part::default());
        grouped.follow_for(&owners, &view);
        assert_eq!(names(&grouped)[&b'1'], ["a"]);
        assert!(grouped.of(&b'1').version() > before);
        store.stop().await;
    }

    #[tokio::test]
    async fn claim_concerns_the_sets_that_it_is_called_after_and_no_other() {
        let store = Alone::start().await;
        let claims = &kinds::PERSISTENTVOLUMECLAIM;
        for name in ["n/data-one-0", "n/data-one-1", "n/data-two-0", "m/data-one-0"] {
            put(&store, claims, name).await;
        }
        let mut by_set = crate::workloads::by_set();
        by_set.follow(&store.view());
        let versions =
            |by_set: &Grouped<Box<str>>| ["n/one", "n/two", "m/one"].map(|set| by_set.of(&set.into()).version());
        let members: Vec<&str> = by_set.of(&"n/one".into()).members().iter().map(|claim| claim.key().name()).collect();
        assert_eq!(members, ["n/data-one-0", "n/data-one-1"]);
        let before = versions(&by_set);
        put(&store, claims, "n/data-two-0").await;
        by_set.follow(&store.view());
        let after = versions(&by_set);
        assert_eq!((after[0], after[2]), (before[0], before[2]));
        assert_ne!(after[1], before[1]);
        store.stop().await;
    }

    #[tokio::test]
    async fn groups_that_follow_are_those_made_anew_and_only_those_touched_have_another_version() {
        let store = Alone::start().await;
        let mut followed = Grouped::new(&kinds::POD, digits);
        let steps: [&[(&str, Option<u8>)]; 5] = [
            &[("a", Some(1)), ("b", Some(12)), ("c", Some(3))],
            &[("b", Some(2))],
            &[("a", None), ("d", Some(1)), ("c", Some(31))],
            &[("b", Some(24))],
            &[("b", None), ("c", None), ("d", None), ("e", Some(5))],
        ];
        for step in steps {
            let before: Vec<u64> = (b'0'..=b'9').map(|digit| followed.of(&digit).version()).collect();
            let were = names(&followed);
            for (name, number) in step {
                store.write(&kinds::POD, name, number.map(|number| json!(number))).await;
            }
            followed.follow(&store.view());
            let mut anew = Grouped::new(&kinds::POD, digits);
            anew.follow(&store.view());
            assert_eq!(names(&followed), names(&anew));
            for (digit, before) in (b'0'..=b'9').zip(before) {
                let touched = |groups: &BTreeMap<u8, Vec<String>>| {
                    let members = groups.get(&digit).into_iter().flatten();
                    members.filter(|name| step.iter().any(|(of, _)| of == name)).count() > 0
                };
                let is_touched = touched(&were) || touched(&names(&followed));
                assert_eq!(followed.of(&digit).version() != before, is_touched, "{}", digit as char);
            }
        }
        store.stop().await;
    }
}
