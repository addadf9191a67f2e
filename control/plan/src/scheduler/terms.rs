//! What pods say of other pods: which they mean, and what counts as one place for them (`podAffinity`, `podAntiAffinity`,
//! `topologySpreadConstraints`).

use std::collections::BTreeMap;

use serde_json::Value;
use wk_api::Object;
use wk_api::selector::Labels;

use super::turns::{REPELS_MAX, weight};
use crate::read;

/// Rules that a pod is not placed against.
pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// Wishes, each with a weight.
pub(super) const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A pod that has a node, as rules look at it.
pub(super) struct Neighbour<'a> {
    pub(super) pod: &'a Object,
    pub(super) labels: BTreeMap<&'a str, &'a str>,
    /// Its node, by its number.
    pub(super) place: usize,
    /// What it keeps away from where it is.
    pub(super) repels: Vec<Term<'a>>,
}

impl<'a> Neighbour<'a> {
    pub(super) fn new(pod: &'a Object, place: usize) -> Self {
        // None is placed by this scheduler that has more; who binds one by hand is not to make others cost more.
        let mut left = REPELS_MAX;
        let mut repels = Vec::new();
        for term in pod.items(&format!("/spec/affinity/podAntiAffinity/{REQUIRED}")) {
            let Some(rest) = left.checked_sub(weight(term)) else { break };
            left = rest;
            repels.push(Term::read(term, pod));
        }
        Self { pod, labels: pod.labels(), place, repels }
    }
}

/// A group of pods, and what counts as one place.
pub(super) struct Term<'a> {
    selector: Labels,
    /// Labels that they share with the pod whose term it is, and that they do not.
    same: Vec<(&'a str, &'a str)>,
    differ: Vec<(&'a str, &'a str)>,
    /// The namespaces that are named.
    named: Vec<&'a str>,
    /// Those that are selected, too.
    selected: Option<Labels>,
    /// The label of nodes whose value is the place.
    pub(super) topology: &'a str,
}

impl<'a> Term<'a> {
    /// Reads the term of `pod`: of an affinity, or of a spread constraint, which has the same words and is about its own
    /// namespace.
    pub(super) fn read(term: &'a Value, pod: &'a Object) -> Self {
        let field = |name: &str| term.get(name).unwrap_or(&Value::Null);
        let texts = |name: &str| field(name).as_array().into_iter().flatten().filter_map(Value::as_str);
        let own = |name: &str| texts(name).filter_map(|key| Some((key, pod.label(key)?))).collect();
        let mut named: Vec<&str> = texts("namespaces").collect();
        // What was not readable was not written.
        let selected = Labels::from_label_selector(field("namespaceSelector")).ok();
        let selected = selected.filter(|_| field("namespaceSelector").is_object());
        if named.is_empty() && selected.is_none() {
            named.push(pod.namespace());
        }
        Self {
            // None selects nothing, and so does one that nobody can read.
            selector: Labels::from_label_selector(field("labelSelector"))
                .or_else(|_| Labels::from_label_selector(&Value::Null))
                .unwrap_or_default(),
            same: own("matchLabelKeys"),
            differ: own("mismatchLabelKeys"),
            named,
            selected,
            topology: read::text(term, "topologyKey"),
        }
    }

    /// Whether it means a pod of this namespace with these labels.
    pub(super) fn means(&self, namespace: &str, labels: &BTreeMap<&str, &str>, namespaces: &Namespaces<'_>) -> bool {
        #[cfg(test)]
        MEANT.set(MEANT.get() + 1);
        let has = |(key, value): &(&str, &str)| labels.get(key) == Some(value);
        let of_space = || {
            self.named.contains(&namespace)
                || self.selected.as_ref().is_some_and(|selected| match namespaces.get(namespace) {
                    Some(labels) => selected.matches(labels),
                    None => selected.is_empty(),
                })
        };
        self.selector.matches(labels) && self.same.iter().all(has) && !self.differ.iter().any(has) && of_space()
    }
}

#[cfg(test)]
thread_local! {
    /// How often a rule was held against a pod, so that tests can say what a plan costs.
    pub(super) static MEANT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The labels of namespaces.
pub(super) type Namespaces<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>;

/// The terms that hold for a pod: of `podAffinity`, `podAntiAffinity`.
pub(super) fn required<'a>(pod: &'a Object, of: &str) -> Vec<Term<'a>> {
    pod.items(&format!("/spec/affinity/{of}/{REQUIRED}")).iter().map(|term| Term::read(term, pod)).collect()
}

/// Its wishes, with their weights.
pub(super) fn preferred<'a>(pod: &'a Object, of: &str) -> Vec<(Term<'a>, i64)> {
    let all = pod.items(&format!("/spec/affinity/{of}/{PREFERRED}")).iter();
    let read = |wish: &'a Value| {
        let weight = wish.get("weight").and_then(Value::as_i64).unwrap_or_default();
        Some((Term::read(wish.get("podAffinityTerm")?, pod), weight))
    };
    all.filter_map(read).collect()
}

/// Pods that a rule of a waiting pod may be about: only these have to be shown to the planner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interest<'a> {
    /// Those of this namespace; None: of any.
    pub namespace: Option<&'a str>,
    /// That have each of these labels, by key and value.
    pub labels: Vec<(String, String)>,
}

/// The pods that the rules of `pod` may be about.
pub fn interests(pod: &Object) -> Vec<Interest<'_>> {
    let mut all: Vec<Term<'_>> = Vec::new();
    for of in ["podAffinity", "podAntiAffinity"] {
        all.extend(required(pod, of));
        all.extend(preferred(pod, of).into_iter().map(|(term, _)| term));
    }
    all.extend(pod.items("/spec/topologySpreadConstraints").iter().map(|constraint| Term::read(constraint, pod)));
    let mut interests = Vec::new();
    for term in all {
        let labels: Vec<(String, String)> =
            term.selector.equalities().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let namespaces = match term.selected {
            Some(_) => vec![None],
            None => term.named.into_iter().map(Some).collect(),
        };
        interests.extend(namespaces.into_iter().map(|namespace| Interest { namespace, labels: labels.clone() }));
    }
    interests
}
