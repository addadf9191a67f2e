//! Objects whose owners are gone go too; owners that wait for their dependents, or that must leave them behind, are let go
//! when that is done.
//!
//! The rules are those of Kubernetes' garbage collector, decided on one consistent view of all objects in place of its
//! graph of guesses.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wk_api::strategy::Propagation;
use wk_api::{Kind, Object, kinds};

use crate::order::{Event, EventType, Order, Plan, Target};
use crate::read;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What the decision is made from.
pub struct Input<'a> {
    /// Objects of all kinds but Event, from one view, with all their owners and all whose owners they are: an owner that is
    /// missing here is gone.
    pub objects: &'a [(&'static Kind, &'a Object)],
    /// Every kind that is served: of others nobody here would know whether an object is gone.
    pub kinds: &'a [&'static Kind],
}

struct Facts<'a> {
    /// Usually one. Two kinds may share a uid where one object was made from another.
    by_uid: BTreeMap<&'a str, Vec<Known<'a>>>,
    kinds: &'a [&'static Kind],
    /// Uids that some object names as its owner.
    parents: BTreeSet<&'a str>,
}

type Known<'a> = (&'static Kind, &'a Object);

/// An owner whose dependents still have to go, or to be let go of: its collection and uid.
type Held<'a> = (&'static str, &'a str);

/// The owners that are held, and what of it could go when they go: those that wait for their own dependents.
type Holds<'a> = BTreeMap<Held<'a>, Vec<Known<'a>>>;

impl<'a> Facts<'a> {
    fn of(Input { objects, kinds }: &Input<'a>) -> Self {
        let mut by_uid: BTreeMap<&str, Vec<Known<'a>>> = BTreeMap::new();
        for (kind, object) in *objects {
            by_uid.entry(object.uid()).or_default().push((*kind, *object));
        }
        let references = objects.iter().flat_map(|(_, object)| object.items("/metadata/ownerReferences"));
        Self { by_uid, kinds, parents: references.map(|owner| read::text(owner, "uid")).collect() }
    }

    fn kind(&self, api_version: &str, word: &str) -> Option<&'static Kind> {
        self.kinds.iter().copied().find(|kind| kind.kind == word && kind.api_version() == api_version)
    }

    /// The object that `owner` means, of an object in `namespace`. One of another kind with its uid will do: to keep too
    /// much is the smaller error. One in another namespace never: such an owner counts as absent.
    fn find(&self, owner: &Value, namespace: &str) -> Option<Known<'a>> {
        let within = |(_, object): &Known<'a>| object.namespace().is_empty() || object.namespace() == namespace;
        let same_uid = self.by_uid.get(read::text(owner, "uid"))?;
        let same_uid: Vec<Known<'a>> = same_uid.iter().copied().filter(within).collect();
        let (version, word) = (read::text(owner, "apiVersion"), read::text(owner, "kind"));
        let named = same_uid.iter().find(|(kind, _)| kind.kind == word && kind.api_version() == version);
        named.or(same_uid.first()).copied()
    }

    /// Whether the object that `owner` means is there, in another namespace than `namespace`.
    fn is_elsewhere(&self, owner: &Value, namespace: &str) -> bool {
        self.find(owner, namespace).is_none() && self.by_uid.contains_key(read::text(owner, "uid"))
    }
}

/// Where an owner stands, from the point of view of what it owns.
#[derive(PartialEq)]
enum Owner {
    /// It stays, or it goes and its dependents follow later.
    Solid,
    /// It waits for its dependents to go first.
    Waiting,
    /// It is gone.
    Gone,
}

/// Deletes what has lost all its owners, and lets go of owners that are done.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut held = Holds::new();
    let facts = Facts::of(input);
    for (kind, object) in input.objects {
        let owners = object.items("/metadata/ownerReferences");
        if owners.is_empty() {
            continue;
        }
        for owner in owners {
            hold(owner, (kind, object), &facts, &mut held);
        }
        dependent(kind, object, owners, &facts, &mut plan);
    }
    let circles = circles(&held);
    for (kind, object) in input.objects.iter().filter(|(_, object)| object.is_deleting()) {
        release(kind, object, (&held, &circles), &mut plan);
    }
    plan
}

fn hold<'a>(owner: &Value, dependent: Known<'a>, facts: &Facts<'a>, held: &mut Holds<'a>) {
    let Some((kind, object)) = facts.find(owner, dependent.1.namespace()).filter(|(_, object)| object.is_deleting())
    else {
        return;
    };
    let blocks = owner.get("blockOwnerDeletion") == Some(&Value::Bool(true));
    if has_finalizer(object, ORPHAN) || blocks && has_finalizer(object, FOREGROUND) {
        held.entry((kind.collection(), object.uid())).or_default().push(dependent);
    }
}

/// Whether an owner is held by nothing but a circle: whatever holds it waits, over some steps, for the owner itself, and
/// for nothing else. Where all wait for each other, none is the first to go.
fn is_held_by_a_circle<'a>(owner: &Held<'a>, held: &Holds<'a>, circles: &BTreeMap<Held<'a>, usize>) -> bool {
    let waits = |object: &Object| {
        object.is_deleting() && has_finalizer(object, FOREGROUND) && object.items("/metadata/finalizers").len() == 1
    };
    let holders = held.get(owner).map(Vec::as_slice).unwrap_or_default();
    holders.iter().all(|known| waits(known.1) && circles.get(&name_of(known)) == circles.get(owner))
}

fn name_of<'a>((kind, object): &Known<'a>) -> Held<'a> {
    (kind.collection(), object.uid())
}

/// The circles of owners and what holds them: all that lead to each other have one number. In one walk there and one back
/// (Kosaraju's), since anybody can make a row of ten thousand.
fn circles<'a>(held: &Holds<'a>) -> BTreeMap<Held<'a>, usize> {
    let holders = |one: &Held<'a>| held.get(one).into_iter().flatten().map(name_of).filter(|it| held.contains_key(it));
    let mut holds = BTreeMap::<Held<'a>, Vec<Held<'a>>>::new();
    for one in held.keys() {
        holders(one).for_each(|holder| holds.entry(holder).or_default().push(*one));
    }
    let (mut seen, mut ended) = (BTreeSet::new(), Vec::new());
    for one in held.keys() {
        let mut path = vec![(*one, false)];
        while let Some((one, is_walked)) = path.pop() {
            if is_walked {
                ended.push(one);
            } else if seen.insert(one) {
                path.push((one, true));
                path.extend(holders(&one).map(|holder| (holder, false)));
            }
        }
    }
    let mut circles = BTreeMap::new();
    for (number, one) in ended.into_iter().rev().enumerate() {
        let mut next = vec![one];
        while let Some(one) = next.pop() {
            if let Entry::Vacant(place) = circles.entry(one) {
                place.insert(number);
                next.extend(holds.get(&one).into_iter().flatten());
            }
        }
    }
    circles
}

fn has_finalizer(object: &Object, finalizer: &str) -> bool {
    object.items("/metadata/finalizers").iter().any(|value| value == finalizer)
}

/// What becomes of an object with owners.
fn dependent(kind: &'static Kind, object: &Object, owners: &[Value], facts: &Facts<'_>, plan: &mut Plan) {
    let namespace = object.namespace();
    let orphaning = |owner: &Value| {
        facts.find(owner, namespace).is_some_and(|(_, owner)| owner.is_deleting() && has_finalizer(owner, ORPHAN))
    };
    if owners.iter().any(orphaning) {
        plan.say(format!("{}: left behind by its owner", object.name()));
        plan.orders.push(keep_owners(kind, object, owners.iter().filter(|owner| !orphaning(owner))));
        return;
    }
    if object.is_deleting() {
        return;
    }
    let stand: Vec<Owner> = owners.iter().map(|owner| standing(owner, namespace, facts)).collect();
    if stand.iter().all(|owner| *owner == Owner::Solid) {
        return;
    }
    if stand.contains(&Owner::Solid) {
        // Another owner keeps it; those that are gone or going are forgotten so that they need not wait.
        plan.say(format!("{}: has an owner left", object.name()));
        let solid = owners.iter().zip(&stand).filter(|(_, stand)| **stand == Owner::Solid);
        plan.orders.push(keep_owners(kind, object, solid.map(|(owner, _)| owner)));
        plan.orders.extend(elsewhere(kind, object, owners, facts));
        return;
    }
    let waiting = stand.contains(&Owner::Waiting);
    let why = if waiting { "its owner waits for it to go" } else { "its owner is gone" };
    plan.say(format!("{}: {why}", object.name()));
    let propagation =
        if waiting && facts.parents.contains(object.uid()) { Propagation::Foreground } else { own_propagation(object) };
    plan.orders.push(Order::Delete {
        target: Target::version(kind, object),
        grace_period_seconds: None,
        propagation: Some(propagation),
    });
    plan.orders.extend(elsewhere(kind, object, owners, facts));
}

/// What is told of an owner in another namespace, in Kubernetes' words.
fn elsewhere(kind: &'static Kind, object: &Object, owners: &[Value], facts: &Facts<'_>) -> Option<Order> {
    let namespace = object.namespace();
    let owner = owners.iter().find(|owner| facts.is_elsewhere(owner, namespace))?;
    let text = |field| read::text(owner, field);
    Some(Order::Event(Event {
        regarding: Target::incarnation(kind, object),
        kind: EventType::Warning,
        reason: "OwnerRefInvalidNamespace",
        message: format!(
            "ownerRef [{}/{}, namespace: {namespace}, name: {}, uid: {}] does not exist in namespace {namespace:?}",
            text("apiVersion"),
            text("kind"),
            text("name"),
            text("uid")
        ),
        component: "garbage-collector-controller",
    }))
}

fn own_propagation(object: &Object) -> Propagation {
    match object {
        object if has_finalizer(object, ORPHAN) => Propagation::Orphan,
        object if has_finalizer(object, FOREGROUND) => Propagation::Foreground,
        _ => Propagation::Background,
    }
}

fn standing(owner: &Value, namespace: &str, facts: &Facts<'_>) -> Owner {
    match facts.find(owner, namespace) {
        Some((_, object)) if object.is_deleting() && has_finalizer(object, FOREGROUND) => Owner::Waiting,
        Some(_) => Owner::Solid,
        None => match facts.kind(read::text(owner, "apiVersion"), read::text(owner, "kind")) {
            None => Owner::Solid,
            Some(kind) if *kind == kinds::EVENT => Owner::Solid,
            // What has no namespace has no owner in one: nobody can tell whether that is gone.
            Some(kind) if namespace.is_empty() && kind.is_namespaced() => Owner::Solid,
            Some(_) => Owner::Gone,
        },
    }
}

fn keep_owners<'a>(kind: &'static Kind, object: &Object, owners: impl Iterator<Item = &'a Value>) -> Order {
    let owners: Vec<&Value> = owners.collect();
    Order::Update { target: Target::version(kind, object), change: json!({"metadata": {"ownerReferences": owners}}) }
}

/// Takes the garbage collector's finalizer off a deleted owner that nothing holds any more.
fn release<'a>(
    kind: &'static Kind,
    object: &'a Object,
    (held, circles): (&Holds<'a>, &BTreeMap<Held<'a>, usize>),
    plan: &mut Plan,
) {
    let ours = |finalizer: &&Value| [FOREGROUND, ORPHAN].iter().any(|name| *finalizer == name);
    let finalizers = object.items("/metadata/finalizers");
    if !finalizers.iter().any(|finalizer| ours(&finalizer)) {
        return;
    }
    let owner = (kind.collection(), object.uid());
    if held.contains_key(&owner) && !(has_finalizer(object, FOREGROUND) && is_held_by_a_circle(&owner, held, circles)) {
        plan.say(format!("{}: waits for what it owns", object.name()));
        return;
    }
    let left: Vec<&Value> = finalizers.iter().filter(|finalizer| !ours(finalizer)).collect();
    let change = json!({"metadata": {"finalizers": left}});
    plan.orders.push(Order::Update { target: Target::version(kind, object), change });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `from` is held by `to`, over any number of steps.
    fn leads(held: &Holds<'_>, from: Held<'_>, to: Held<'_>) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(one) = next.pop() {
            let holders = held.get(&one).into_iter().flatten().map(name_of);
            for holder in holders.filter(|holder| seen.insert(*holder)) {
                next.push(holder);
            }
        }
        seen.contains(&to)
    }

    #[test]
    fn what_leads_to_each_other_is_one_circle_and_nothing_else() {
        let objects: Vec<Object> =
            (0..12).map(|uid| Object::new(json!({"metadata": {"uid": uid.to_string()}}))).collect();
        let mut seed = 7_u64;
        let mut dice = |sides: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((seed >> 33) % sides).expect("small")
        };
        for edges in 0..200 {
            let mut held = Holds::new();
            for _ in 0..edges % 24 {
                let (owner, holder) = (&objects[dice(12)], &objects[dice(12)]);
                held.entry(name_of(&(&kinds::CONFIGMAP, owner))).or_default().push((&kinds::CONFIGMAP, holder));
            }
            let circles = circles(&held);
            for one in held.keys() {
                for other in held.keys().filter(|other| *other != one) {
                    let round = leads(&held, *one, *other) && leads(&held, *other, *one);
                    assert_eq!(circles[one] == circles[other], round, "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn of_a_long_row_only_the_last_is_let_go() {
        let name = |number: usize| format!("{number:05}");
        let objects: Vec<Object> = (0..5_000)
            .map(|number| {
                let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "uid": name(number.max(1) - 1),
                    "blockOwnerDeletion": true});
                let owners = if number == 0 { json!([]) } else { json!([owner]) };
                Object::new(json!({"metadata": {"name": name(number), "namespace": "a", "uid": name(number),
                    "deletionTimestamp": "2025-01-01T00:00:00Z", "finalizers": [FOREGROUND],
                    "ownerReferences": owners}}))
            })
            .collect();
        let known: Vec<Known<'_>> = objects.iter().map(|object| (&kinds::CONFIGMAP, object)).collect();
        let plan = plan(&Input { objects: &known, kinds: &[&kinds::CONFIGMAP] });
        let [Order::Update { target, .. }] = &plan.orders[..] else { panic!("{:?}", plan.orders.len()) };
        assert_eq!(target.name, name(4_999));
    }
}
