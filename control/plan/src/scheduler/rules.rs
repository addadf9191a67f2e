//! Where a pod may be as others are placed: near them, away from them, or spread among places.
//!
//! The rules of one pod are worked out once, against all pods that have a node; each node is then a look at its labels.
//! Words and meaning: `k8s.io/kubernetes/pkg/scheduler/framework/plugins/{interpodaffinity,podtopologyspread}`. Not here:
//! wishes of the pods that are there about one that comes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;
use wk_api::Object;

use super::filter;
use super::terms::{Namespaces, Neighbour, Term, preferred, required};
use crate::read;

/// Pods that have a node, and what is known of where they are.
pub(super) struct Neighbours<'a> {
    all: Vec<Neighbour<'a>>,
    /// The nodes by their numbers.
    nodes: Vec<&'a Object>,
    namespaces: Namespaces<'a>,
    /// Where pods of a namespace with such labels are kept away, by the first so many of all.
    kept_away: RefCell<BTreeMap<Kin<'a>, (usize, Rc<Kept<'a>>)>>,
}

/// A namespace, and labels of pods there.
type Kin<'a> = (&'a str, BTreeMap<&'a str, &'a str>);

/// Labels of nodes and the values of each.
type Kept<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

impl<'a> Neighbours<'a> {
    pub(super) fn new(nodes: Vec<&'a Object>, namespaces: &[&'a Object]) -> Self {
        let namespaces = namespaces.iter().map(|namespace| (namespace.name(), namespace.labels())).collect();
        Self { all: Vec::new(), nodes, namespaces, kept_away: RefCell::default() }
    }

    /// `pod` is on the node with this number.
    pub(super) fn add(&mut self, pod: &'a Object, place: usize) {
        self.all.push(Neighbour::new(pod, place));
    }

    /// The value of a label of the node that a neighbour is on.
    fn place(&self, neighbour: &Neighbour<'_>, key: &str) -> Option<&'a str> {
        self.nodes[neighbour.place].label(key)
    }

    /// Where pods are that keep one of these away: the same for all pods of one set.
    fn kept_away(&self, kin: Kin<'a>) -> Rc<Kept<'a>> {
        let mut known = self.kept_away.borrow_mut();
        let (seen, mut kept) = known.remove(&kin).unwrap_or_default();
        let (namespace, labels) = &kin;
        for neighbour in &self.all[seen..] {
            let about_it = |term: &&Term<'a>| term.means(namespace, labels, &self.namespaces);
            for term in neighbour.repels.iter().filter(about_it) {
                if let Some(value) = self.place(neighbour, term.topology) {
                    Rc::make_mut(&mut kept).entry(term.topology).or_default().insert(value);
                }
            }
        }
        known.insert(kin, (self.all.len(), Rc::clone(&kept)));
        kept
    }

    fn means(&self, term: &Term<'_>, neighbour: &Neighbour<'_>) -> bool {
        term.means(neighbour.pod.namespace(), &neighbour.labels, &self.namespaces)
    }
}

/// Places by a label of nodes: its key, and values with what is there.
struct Places<'a, T> {
    key: &'a str,
    at: BTreeMap<&'a str, T>,
}

/// A constraint that holds.
struct Spread<'a> {
    places: Places<'a, i64>,
    /// How many more there may be in one place than in the emptiest.
    skew: i64,
    least: i64,
    /// Whether the pod counts itself.
    counts: i64,
}

/// What holds for one pod.
#[derive(Default)]
pub(super) struct Rules<'a> {
    /// Where pods are that keep it away.
    kept_away: Rc<Kept<'a>>,
    near: Vec<Places<'a, ()>>,
    /// Nobody whom it wants to be near is anywhere, and it is one of them itself: it is the first.
    is_first: bool,
    away: Vec<Places<'a, ()>>,
    spread: Vec<Spread<'a>>,
    /// What it likes about places, in weights.
    likes: Vec<Places<'a, i64>>,
    /// How many of its like are in places, where it would be spread.
    crowds: Vec<Places<'a, i64>>,
}

impl<'a> Rules<'a> {
    pub(super) fn of(pod: &'a Object, among: &Neighbours<'a>) -> Self {
        let labels = pod.labels();
        let mut rules = Self { kept_away: among.kept_away((pod.namespace(), labels.clone())), ..Self::default() };
        if pod.at("/spec/affinity").is_some_and(Value::is_object) {
            rules.affinity(pod, &labels, among);
        }
        if !pod.items("/spec/topologySpreadConstraints").is_empty() {
            rules.spread(pod, &labels, among);
        }
        rules
    }

    fn affinity(&mut self, pod: &'a Object, labels: &BTreeMap<&str, &str>, among: &Neighbours<'a>) {
        let where_any = |term: &Term<'a>, found: &[&Neighbour<'a>]| {
            let at = found.iter().filter_map(|neighbour| Some((among.place(neighbour, term.topology)?, ())));
            Places { key: term.topology, at: at.collect() }
        };
        let near = required(pod, "podAffinity");
        // One that counts is meant by all of them.
        let is_meant = |neighbour: &&Neighbour<'a>| near.iter().all(|term| among.means(term, neighbour));
        let found: Vec<_> = among.all.iter().filter(is_meant).collect();
        self.near = near.iter().map(|term| where_any(term, &found)).collect();
        self.is_first = self.near.iter().all(|places| places.at.is_empty())
            && near.iter().all(|term| term.means(pod.namespace(), labels, &among.namespaces));
        for term in required(pod, "podAntiAffinity") {
            let found: Vec<_> = among.all.iter().filter(|neighbour| among.means(&term, neighbour)).collect();
            self.away.push(where_any(&term, &found));
        }
        for (of, sign) in [("podAffinity", 1), ("podAntiAffinity", -1)] {
            for (term, weight) in preferred(pod, of) {
                let mut places = Places { key: term.topology, at: BTreeMap::new() };
                for neighbour in among.all.iter().filter(|neighbour| among.means(&term, neighbour)) {
                    if let Some(value) = among.place(neighbour, term.topology) {
                        *places.at.entry(value).or_default() += sign * weight;
                    }
                }
                self.likes.push(places);
            }
        }
    }

    fn spread(&mut self, pod: &'a Object, labels: &BTreeMap<&str, &str>, among: &Neighbours<'a>) {
        let all =
            pod.items("/spec/topologySpreadConstraints").iter().map(|constraint| Constraint::read(constraint, pod));
        let (hard, soft): (Vec<_>, Vec<_>) = all.partition(|constraint| constraint.is_hard);
        let selected: Vec<bool> = among.nodes.iter().map(|node| filter::selected(pod, node)).collect();
        let tainted: Vec<bool> = among.nodes.iter().map(|node| filter::is_tainted(pod, node)).collect();
        for constraints in [&hard, &soft] {
            // A node counts that the pod could be on, and that has the labels of all of them.
            let has_all =
                |node: &&'a Object| constraints.iter().all(|constraint| node.label(constraint.term.topology).is_some());
            let has_all: Vec<bool> = among.nodes.iter().map(has_all).collect();
            for constraint in constraints {
                let key = constraint.term.topology;
                let counts = |index: usize| {
                    has_all[index]
                        && (constraint.ignores_affinity || selected[index])
                        && (constraint.ignores_taints || !tainted[index])
                };
                let nodes: Vec<bool> = (0..among.nodes.len()).map(counts).collect();
                let places = among.nodes.iter().zip(&nodes).filter(|(_, counts)| **counts);
                let mut at: BTreeMap<&str, i64> = places.filter_map(|(node, _)| Some((node.label(key)?, 0))).collect();
                let meant = |neighbour: &&Neighbour<'a>| {
                    nodes[neighbour.place] && !neighbour.pod.is_deleting() && among.means(&constraint.term, neighbour)
                };
                for neighbour in among.all.iter().filter(meant) {
                    if let Some(count) = among.place(neighbour, key).and_then(|value| at.get_mut(value)) {
                        *count += 1;
                    }
                }
                let places = Places { key, at };
                if constraint.is_hard {
                    let few = places.at.len() < constraint.places_min;
                    let least = if few { 0 } else { places.at.values().min().copied().unwrap_or_default() };
                    let counts = i64::from(constraint.term.means(pod.namespace(), labels, &among.namespaces));
                    self.spread.push(Spread { places, skew: constraint.skew, least, counts });
                } else {
                    self.crowds.push(places);
                }
            }
        }
    }

    /// Why the node will not do, in the words of Kubernetes' scheduler.
    pub(super) fn refusal(&self, node: &Object) -> Option<&'static str> {
        for spread in &self.spread {
            let Some(value) = node.label(spread.places.key) else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let there = spread.places.at.get(value).copied().unwrap_or_default();
            if there + spread.counts - spread.least > spread.skew {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        let has_any =
            |places: &Places<'_, ()>| node.label(places.key).is_some_and(|value| places.at.contains_key(value));
        let near = self.near.iter().all(has_any)
            || self.is_first && self.near.iter().all(|places| node.label(places.key).is_some());
        if !near {
            return Some("node(s) didn't match pod affinity rules");
        }
        if self.away.iter().any(has_any) {
            return Some("node(s) didn't match pod anti-affinity rules");
        }
        let keeps_away =
            |(key, values): (&&str, &BTreeSet<&str>)| node.label(key).is_some_and(|it| values.contains(it));
        let kept_away = self.kept_away.iter().any(keeps_away);
        kept_away.then_some("node(s) didn't satisfy existing pods anti-affinity rules")
    }

    /// Whether the pod has wishes about where others are.
    pub(super) fn has_wishes(&self) -> bool {
        !(self.likes.is_empty() && self.crowds.is_empty())
    }

    /// How much it likes a node for who is near it.
    pub(super) fn liking(&self, node: &Object) -> i64 {
        let of = |places: &Places<'_, i64>| places.at.get(node.label(places.key)?).copied();
        self.likes.iter().filter_map(of).sum()
    }

    /// How many of those it would be spread among are where the node is. None where it has no wish of that kind; a node
    /// that is in no place is as good as the fullest.
    pub(super) fn crowd(&self, node: &Object) -> Option<i64> {
        let of = |places: &Places<'_, i64>| {
            let there = node.label(places.key).and_then(|value| places.at.get(value)).copied();
            there.unwrap_or_else(|| places.at.values().max().copied().unwrap_or_default())
        };
        (!self.crowds.is_empty()).then(|| self.crowds.iter().map(of).sum())
    }
}

/// A spread constraint as it is written.
struct Constraint<'a> {
    term: Term<'a>,
    skew: i64,
    is_hard: bool,
    places_min: usize,
    ignores_affinity: bool,
    ignores_taints: bool,
}

impl<'a> Constraint<'a> {
    fn read(value: &'a Value, pod: &'a Object) -> Self {
        let number = |field: &str| value.get(field).and_then(Value::as_i64);
        Self {
            term: Term::read(value, pod),
            skew: number("maxSkew").unwrap_or(1),
            is_hard: read::text(value, "whenUnsatisfiable") != "ScheduleAnyway",
            places_min: number("minDomains").and_then(|least| usize::try_from(least).ok()).unwrap_or(1),
            ignores_affinity: read::text(value, "nodeAffinityPolicy") == "Ignore",
            ignores_taints: read::text(value, "nodeTaintsPolicy") != "Honor",
        }
    }
}
