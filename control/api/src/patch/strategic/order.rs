//! Items of lists by their key, and the order they come in: that of the patch, between which what only the server has
//! keeps its place.

use std::collections::HashMap;

use serde_json::Value;

use super::{PATCH, StrategicError};

/// Where the items of a list are, by the value of their key (by themselves when the key is empty).
pub(super) struct Index<'k> {
    key: &'k str,
    at: HashMap<String, usize>,
}

impl<'k> Index<'k> {
    /// The first item of each key counts.
    pub(super) fn of(items: &[Value], key: &'k str) -> Self {
        let mut index = Self { key, at: HashMap::with_capacity(items.len()) };
        for (at, item) in items.iter().enumerate() {
            index.insert(item, at);
        }
        index
    }

    pub(super) fn insert(&mut self, item: &Value, at: usize) {
        if let Some(id) = self.id(item) {
            self.at.entry(id).or_insert(at);
        }
    }

    pub(super) fn get(&self, item: &Value) -> Option<usize> {
        self.at.get(&self.id(item)?).copied()
    }

    fn id(&self, item: &Value) -> Option<String> {
        let value = if self.key.is_empty() { item } else { item.get(self.key)? };
        Some(value.to_string())
    }
}

/// Each of the items once.
pub(super) fn deduplicated<'a>(items: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut seen = std::collections::HashSet::new();
    items.filter(|item| seen.insert(item.to_string())).cloned().collect()
}

/// Whether the items of the lists are maps; they must all be of one type, and no lists.
pub(super) fn holds_maps(left: &[Value], right: &[Value]) -> Result<bool, StrategicError> {
    let mut found = None;
    for item in left.iter().chain(right) {
        let this = std::mem::discriminant(item);
        if item.is_array() && found.is_none() {
            return Err(StrategicError::ListOfLists);
        }
        if *found.get_or_insert(this) != this {
            return Err(StrategicError::Other("list element types are not identical".to_owned()));
        }
    }
    Ok(left.first().or(right.first()).is_some_and(Value::is_object))
}

/// Checks that the items of a patch come in the order that it asks for.
pub(super) fn check(patch: &[Value], wanted: &[Value], key: &str) -> Result<(), StrategicError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    if !key.is_empty()
        && let Some(odd) = patch.iter().chain(wanted).find(|item| item.get(key).is_none() && item.get(PATCH).is_none())
    {
        return Err(if odd.is_object() { StrategicError::no_key(odd, key) } else { StrategicError::SetElementOrder });
    }
    let id = |item: &Value| if key.is_empty() { item.to_string() } else { item[key].to_string() };
    let mut rest = wanted.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        let own = id(item);
        if !rest.any(|next| id(next) == own) {
            let (patch, wanted) = (super::go_text(&patch.into()), super::go_text(&wanted.into()));
            return Err(StrategicError::Quoting(format!(
                "The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{wanted}\n"
            )));
        }
    }
    Ok(())
}

/// The items of `merged`: those that `wanted` names in its order, the others where the `live` list has them among those.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    live: &[Value],
    key: &str,
) -> Result<Vec<Value>, StrategicError> {
    if !key.is_empty()
        && let Some(odd) = merged.iter().chain(wanted).chain(live).find(|item| item.get(key).is_none())
    {
        return Err(StrategicError::no_key(odd, key));
    }
    let (wanted, live) = (Index::of(wanted, key), Index::of(live, key));
    let (mut named, mut others): (Vec<_>, Vec<_>) = merged.into_iter().partition(|item| wanted.get(item).is_some());
    named.sort_by_key(|item| wanted.get(item));
    others.sort_by_key(|item| live.get(item).unwrap_or(usize::MAX));
    let mut sorted = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let place = live.get(&item);
        while let Some(at) = others.peek().and_then(|other| live.get(other))
            && place.is_some_and(|place| at < place)
        {
            sorted.extend(others.next());
        }
        sorted.push(item);
    }
    sorted.extend(others);
    Ok(sorted)
}
