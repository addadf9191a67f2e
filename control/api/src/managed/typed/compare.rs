//! How two values differ, field by field.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Form, form, lists};
use crate::managed::UNOWNED_METADATA;
use crate::managed::set::{self, Entry, Set};
use crate::schema::{ListType, MapType, Node, Shape};

/// The fields in which two objects differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::managed) struct Comparison {
    pub(in crate::managed) removed: Set,
    pub(in crate::managed) modified: Set,
    pub(in crate::managed) added: Set,
}

impl Comparison {
    /// What is new or different.
    pub(in crate::managed) fn changed(&self) -> Set {
        self.modified.clone().union(self.added.clone())
    }

    /// Only the differences outside of `fields` and what is below them.
    pub(in crate::managed) fn without(mut self, fields: &Set) -> Self {
        self.removed.subtract_trees(fields);
        self.modified.subtract_trees(fields);
        self.added.subtract_trees(fields);
        self
    }
}

/// How `new` differs from `old`, both whole objects, apart from what nobody owns.
pub(in crate::managed) fn compare(node: Node<'_>, old: &Value, new: &Value) -> Comparison {
    let found = members(node, old.as_object(), new.as_object(), 0, &["apiVersion", "kind"]);
    Comparison { removed: found.removed.below, modified: found.modified.below, added: found.added.below }
}

#[derive(Default)]
struct Difference {
    removed: Entry,
    modified: Entry,
    added: Entry,
}

impl Difference {
    /// Two values without parts of their own.
    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        match (old, new) {
            (None, Some(_)) => Self { added: Entry::leaf(), ..Self::default() },
            (Some(_), None) => Self { removed: Entry::leaf(), ..Self::default() },
            (old, new) if old != new => Self { modified: Entry::leaf(), ..Self::default() },
            _ => Self::default(),
        }
    }

    fn put(&mut self, step: &str, other: Self) {
        for (own, other) in
            [(&mut self.removed, other.removed), (&mut self.modified, other.modified), (&mut self.added, other.added)]
        {
            if !other.is_empty() {
                own.below.put(step.to_owned(), other);
            }
        }
    }
}

/// Levels on which equal values are looked for as a whole: deeper, looking again at each level would cost more than it saves.
const EQUAL_LEVELS: usize = 4;

fn values(node: Node<'_>, old: Option<&Value>, new: Option<&Value>, level: usize) -> Difference {
    if level < EQUAL_LEVELS && old == new {
        return Difference::default();
    }
    let null = |value: Option<&Value>| value.is_none_or(Value::is_null);
    // An empty object stands for what is always there; for a list it is an empty one.
    let (map, list) = (
        |value: Option<&Value>| null(value) || value.is_some_and(Value::is_object),
        |value: Option<&Value>| {
            null(value) || value.is_some_and(|value| value.is_array() || value.as_object().is_some_and(Map::is_empty))
        },
    );
    let mut found = match form(node, new.or(old)) {
        Form::Map(MapType::Granular) if map(old) && map(new) => {
            let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            if old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty) {
                None
            } else {
                Some(members(node, old, new, level, &[]))
            }
        }
        Form::List(of) if *of != ListType::Atomic && list(old) && list(new) => {
            let (old, new) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let (old, new) = (old.map_or(&[][..], Vec::as_slice), new.map_or(&[][..], Vec::as_slice));
            if old.is_empty() && new.is_empty() { None } else { Some(items(node, of, old, new, level)) }
        }
        _ => None,
    };
    let Some(found) = &mut found else { return Difference::leaf(old, new) };
    // What comes or goes as a whole does so itself, too.
    found.added.member |= old.is_none();
    found.removed.member |= new.is_none();
    std::mem::take(found)
}

fn members(
    node: Node<'_>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    level: usize,
    skipped: &[&str],
) -> Difference {
    let mut found = Difference::default();
    let keys: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
    for key in keys.into_iter().filter(|key| !skipped.contains(&key.as_str())) {
        let side = |side: Option<&Map<String, Value>>| match side?.get(key) {
            None if is_always_there(node, key) => Some(Value::Object(Map::new())),
            _ => None,
        };
        let (old_zero, new_zero) = (side(old), side(new));
        let old = old.and_then(|old| old.get(key)).or(old_zero.as_ref());
        let new = new.and_then(|new| new.get(key)).or(new_zero.as_ref());
        let below = match node.member(key) {
            Some(below) if level == 0 && key == "metadata" => {
                let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
                members(below, old, new, level + 1, &UNOWNED_METADATA)
            }
            Some(below) => values(below, old, new, level + 1),
            None => Difference::leaf(old, new),
        };
        found.put(&set::field(key), below);
    }
    found
}

/// Whether Go has the field even when the text leaves it out: a struct that is no pointer, or a list that is written when
/// it is empty. Such a field neither comes nor goes, only what is in it does.
fn is_always_there(node: Node<'_>, key: &str) -> bool {
    let Some((field, below)) = node.field(key) else { return false };
    if field.facts.default.as_ref().is_some_and(Value::is_object) {
        return true;
    }
    matches!(below.shape(), Shape::List(..) | Shape::Map(..))
        && node.of().is_some_and(|of| !of.name.is_empty() && of.required.contains(key))
}

fn items(node: Node<'_>, of: &ListType, old: &[Value], new: &[Value], level: usize) -> Difference {
    let mut found = Difference::default();
    let Some(below) = node.items() else { return found };
    let (old, new) = (lists::grouped(below, of, old), lists::grouped(below, of, new));
    let steps: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for step in steps {
        let old = old.get(step).map_or(&[][..], Vec::as_slice);
        let new = new.get(step).map_or(&[][..], Vec::as_slice);
        let difference = match (old, new) {
            ([_, _, ..], [_, _, ..]) if old != new => Difference { modified: Entry::leaf(), ..Difference::default() },
            ([_, _, ..], [_, _, ..]) => Difference::default(),
            // The mark of repeated items goes, what is left of them comes.
            ([_, _, ..], new) => {
                let mut one =
                    new.first().map_or_else(Difference::default, |new| values(below, None, Some(new), level + 1));
                one.removed.member = true;
                one
            }
            (old, [_, _, ..]) => {
                let mut one =
                    old.first().map_or_else(Difference::default, |old| values(below, Some(old), None, level + 1));
                one.added.member = true;
                one
            }
            (old, new) => values(below, old.first().copied(), new.first().copied(), level + 1),
        };
        found.put(step, difference);
    }
    found
}
