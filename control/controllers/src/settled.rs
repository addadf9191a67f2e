//! What needs no second look: owners for which nothing was left to do, until one of the facts that their plans are made
//! from changes. Of a hundred Deployments one changes at a time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use wk_base::time::Timestamp;
use wk_plan::{Order, Plan};
use wk_store::Stored;

use crate::grouped::Group;

/// The versions of some objects, as a number: others than those have another one.
#[derive(Default)]
pub(crate) struct Versions(DefaultHasher);

impl Versions {
    /// The versions of `objects`, in their order.
    pub(crate) fn of<'a>(objects: impl IntoIterator<Item = &'a Arc<Stored>>) -> Self {
        Self::default().and(objects)
    }

    /// These, and those of `objects`.
    pub(crate) fn and<'a>(mut self, objects: impl IntoIterator<Item = &'a Arc<Stored>>) -> Self {
        for object in objects {
            self.0.write_u64(object.revision().0);
        }
        // So that an object that moves from one group to the next counts.
        self.0.write_u8(0);
        self
    }

    /// These, and those of the objects of `groups`.
    pub(crate) fn and_groups<'a>(mut self, groups: impl IntoIterator<Item = &'a Group>) -> Self {
        for group in groups {
            self.0.write_u64(group.version());
        }
        self.0.write_u8(0);
        self
    }

    /// These, and a text.
    pub(crate) fn and_text(mut self, text: Option<&str>) -> Self {
        text.hash(&mut self.0);
        self
    }
}

/// What was planned last for each owner of one kind.
#[derive(Default)]
pub(crate) struct Settled {
    by_uid: HashMap<String, Last>,
    pass: u64,
}

struct Last {
    versions: u64,
    due: Option<Timestamp>,
    pass: u64,
}

impl Settled {
    /// A new look at all owners: those that the last one did not come by are forgotten.
    pub(crate) fn begin(&mut self) {
        let pass = self.pass;
        self.by_uid.retain(|_, last| last.pass == pass);
        self.pass += 1;
    }

    /// The plan for the owner `uid`, made from objects of these `versions` at `now`; an empty one if the last plan from the
    /// same asked for nothing and is not due.
    pub(crate) fn plan(&mut self, uid: &str, versions: &Versions, now: Timestamp, plan: impl FnOnce() -> Plan) -> Plan {
        let (versions, pass) = (versions.0.finish(), self.pass);
        if let Some(last) = self.by_uid.get_mut(uid)
            && last.versions == versions
            && last.due.is_none_or(|due| due > now)
        {
            last.pass = pass;
            return Plan { due: last.due, ..Plan::default() };
        }
        // A bug that one owner brings to light is not the end of the others' plans. The panic's own message is in the log, and
        // nothing is planned for this owner until its facts change.
        let made = panic::catch_unwind(AssertUnwindSafe(plan)).unwrap_or_else(|_| {
            tracing::error!(uid, "the plan for an owner panicked");
            Plan::default()
        });
        if made.orders.iter().all(|order| matches!(order, Order::Event(_))) {
            // What is only told is told once.
            self.by_uid.insert(uid.to_owned(), Last { versions, due: made.due, pass });
        } else {
            // Orders may be refused, so they are planned again until the facts say that they were carried out.
            self.by_uid.remove(uid);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wk_plan::{Event, EventType, Target};

    fn versions(number: u64) -> Versions {
        let mut versions = Versions::default();
        versions.0.write_u64(number);
        versions
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn empty_plan_is_made_again_when_a_version_changed_or_it_is_due_and_not_before() {
        let mut settled = Settled::default();
        settled.begin();
        let mut made = 0;
        for (version, second, expected) in [(1, 0, 1), (1, 5, 1), (2, 5, 2), (2, 10, 3), (2, 11, 3)] {
            let due = Some(at(if second < 10 { 10 } else { 20 }));
            let plan = settled.plan("u", &versions(version), at(second), || {
                made += 1;
                Plan { due, ..Plan::default() }
            });
            assert_eq!((made, plan.due), (expected, due), "version {version} at {second}");
        }
    }

    #[test]
    fn orders_are_planned_until_there_are_none_and_what_is_only_told_is_told_once() {
        let mut settled = Settled::default();
        settled.begin();
        let target = Target {
            kind: &wk_api::kinds::POD,
            namespace: None,
            name: "a".into(),
            uid: "u".into(),
            resource_version: None,
        };
        let regarding = target.clone();
        let event = Event { regarding, kind: EventType::Normal, reason: "R", message: String::new(), component: "c" };
        let told = || Plan { orders: vec![Order::Event(event.clone())], ..Plan::default() };
        let done = || Plan { orders: vec![target.clone().delete(), Order::Event(event.clone())], ..Plan::default() };
        for expected in [2, 2] {
            assert_eq!(settled.plan("u", &versions(1), at(0), done).orders.len(), expected);
        }
        for (version, expected) in [(2, 1), (2, 0), (3, 1)] {
            let plan = settled.plan("u", &versions(version), at(0), told);
            assert_eq!(plan.orders.len(), expected, "only told, at version {version}");
        }
    }

    #[test]
    fn owner_whose_plan_panics_is_left_alone_until_its_facts_change_and_others_are_planned() {
        let mut settled = Settled::default();
        settled.begin();
        let mut tried = 0;
        for (version, expected) in [(1, 1), (1, 1), (2, 2)] {
            let plan = settled.plan("u", &versions(version), at(0), || {
                tried += 1;
                panic!("a crooked object");
            });
            assert_eq!((plan, tried), (Plan::default(), expected));
        }
        let other = settled.plan("v", &versions(1), at(0), || Plan { due: Some(at(5)), ..Plan::default() });
        assert_eq!(other.due, Some(at(5)));
    }

    #[test]
    fn owners_that_are_gone_are_forgotten() {
        let mut settled = Settled::default();
        settled.begin();
        settled.plan("u", &versions(1), at(0), Plan::default);
        settled.begin();
        settled.begin();
        assert!(settled.by_uid.is_empty());
    }
}
