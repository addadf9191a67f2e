//! Sets of fields, and their form in `fieldsV1`.
//!
//! A step of a path is written as there: `f:<field>`, `k:<keys of a list's item>`, `v:<item of a set>`. The set algebra is
//! that of `sigs.k8s.io/structured-merge-diff/fieldpath`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::json;
use crate::schema::Node;

/// Levels of `fieldsV1`: JSON text is read back up to 127 levels, and these lie five levels deep in an object.
const LEVELS_MAX: usize = 100;

/// Fields of an object, as a tree of steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set(pub(super) BTreeMap<String, Entry>);

/// One step of a [`Set`]: whether it ends a path of the set, and what is below. One of both holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) member: bool,
    pub(super) below: Set,
}

/// Steps from an object to a field.
pub(super) type Path = Vec<String>;

impl Entry {
    /// The end of a path.
    pub(super) fn leaf() -> Self {
        Self { member: true, below: Set::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what is at `step`, if it is anything.
    pub(super) fn put(&mut self, step: String, entry: Entry) {
        if entry.is_empty() {
            return;
        }
        match self.0.entry(step) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(mut slot) => {
                let old = slot.get_mut();
                old.member |= entry.member;
                old.below = std::mem::take(&mut old.below).union(entry.below);
            }
        }
    }

    /// The set of one path.
    pub(super) fn of(path: &[&str]) -> Self {
        let mut entry = Entry::leaf();
        for step in path.iter().skip(1).rev() {
            let below = Self(BTreeMap::from([((*step).to_owned(), entry)]));
            entry = Entry { member: false, below };
        }
        path.first().map(|first| Self(BTreeMap::from([((*first).to_owned(), entry)]))).unwrap_or_default()
    }

    pub(super) fn union(mut self, other: Self) -> Self {
        for (step, entry) in other.0 {
            self.put(step, entry);
        }
        self
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self::default();
        if self.0.len() > other.0.len() {
            return other.intersection(self);
        }
        for (step, entry) in &self.0 {
            let Some(theirs) = other.0.get(step) else { continue };
            let member = entry.member && theirs.member;
            both.put(step.clone(), Entry { member, below: entry.below.intersection(&theirs.below) });
        }
        both
    }

    /// Takes the paths of the other set out of this one.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.shrink(other, |entry, theirs| {
            entry.member &= !theirs.member;
            entry.below.subtract(&theirs.below);
        });
    }

    /// Changes what is in both sets, in as many steps as the smaller one has: an object may have thousands of owners.
    fn shrink(&mut self, other: &Self, mut change: impl FnMut(&mut Entry, &Entry)) {
        if self.0.len() <= other.0.len() {
            self.0.retain(|step, entry| {
                if let Some(theirs) = other.0.get(step) {
                    change(entry, theirs);
                }
                !entry.is_empty()
            });
            return;
        }
        for (step, theirs) in &other.0 {
            let Some(entry) = self.0.get_mut(step) else { continue };
            change(entry, theirs);
            if entry.is_empty() {
                self.0.remove(step);
            }
        }
    }

    /// The paths of this set that are not in the other.
    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Takes the paths of the other set out of this one, and what is below them.
    pub(super) fn subtract_trees(&mut self, other: &Self) {
        self.shrink(other, |entry, theirs| {
            if theirs.member {
                *entry = Entry::default();
            } else {
                entry.below.subtract_trees(&theirs.below);
            }
        });
    }

    pub(super) fn has(&self, path: &[&str]) -> bool {
        let Some((last, above)) = path.split_last() else { return false };
        let mut at = self;
        for step in above {
            let Some(entry) = at.0.get(*step) else { return false };
            at = &entry.below;
        }
        at.0.get(*last).is_some_and(|entry| entry.member)
    }

    /// Every path of the set: those that end here first, then what is below.
    pub(super) fn paths(&self) -> Vec<Path> {
        let mut found = Vec::new();
        self.collect(&mut Vec::new(), &mut found);
        found
    }

    fn collect(&self, above: &mut Path, found: &mut Vec<Path>) {
        for (step, _) in self.0.iter().filter(|(_, entry)| entry.member) {
            let mut path = above.clone();
            path.push(step.clone());
            found.push(path);
        }
        for (step, entry) in &self.0 {
            above.push(step.clone());
            entry.below.collect(above, found);
            above.pop();
        }
    }

    /// The set with every field of a struct that something below is of, which sets of leaves leave out.
    pub(super) fn with_named(&self, node: Option<Node<'_>>) -> Self {
        let mut named = Self::default();
        for (step, entry) in &self.0 {
            let (kind, text) = step.split_once(':').unwrap_or(("", step));
            let is_field = kind == "f" && node.is_some_and(|node| node.field(text).is_some());
            let below = if kind == "f" { node.and_then(|node| node.member(text)) } else { node.and_then(Node::items) };
            let member = entry.member || (is_field && !entry.below.is_empty());
            named.put(step.clone(), Entry { member, below: entry.below.with_named(below) });
        }
        named
    }

    /// Reads `fieldsV1`; None for what is none.
    pub(super) fn read(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (step, below) in fields.as_object()? {
            let below_fields = below.as_object()?;
            if step == "." {
                continue;
            }
            if !["f:", "k:", "v:", "i:"].iter().any(|kind| step.starts_with(kind)) {
                return None;
            }
            let member = below_fields.is_empty() || below_fields.contains_key(".");
            set.put(step.clone(), Entry { member, below: Self::read(below)? });
        }
        Some(set)
    }

    /// Writes `fieldsV1`. What lies deeper than an object with its owners may nest is cut.
    pub(super) fn write(&self) -> Value {
        self.write_below(0)
    }

    fn write_below(&self, level: usize) -> Value {
        let mut fields = Map::new();
        for (step, entry) in self.0.iter().filter(|_| level < LEVELS_MAX) {
            let mut below = entry.below.write_below(level + 1);
            if entry.member && below.as_object().is_some_and(|below| !below.is_empty()) {
                json::set(&mut below, ".", Value::Object(Map::new()));
            }
            fields.insert(step.clone(), below);
        }
        Value::Object(fields)
    }
}

/// The step to a field.
pub(super) fn field(name: &str) -> String {
    format!("f:{name}")
}

/// A path as messages show it: `.spec.containers[name="c"].image`.
pub(super) fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        text.push_str(&shown_step(step));
    }
    text
}

/// How much of a step messages show: keys are as long as the client likes.
const SHOWN_BYTES_MAX: usize = 256;

/// One step as messages show it.
pub(super) fn shown_step(step: &str) -> String {
    let mut text = String::new();
    let written = match step.split_once(':') {
        Some(("f", name)) => write!(text, ".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            write!(text, "[{}]", keys.join(","))
        }
        Some(("v", value)) => write!(text, "[={value}]"),
        Some((_, other)) => write!(text, "[{other}]"),
        None => Ok(()),
    };
    written.expect("writing to a string cannot fail");
    text.truncate(text.floor_char_boundary(SHOWN_BYTES_MAX));
    text
}
