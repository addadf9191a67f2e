//! The table of facts, read once. Its form is told at its top.

use std::collections::HashMap;

use serde_json::Value;

use super::{ListType, MapType};

const TABLE: &str = include_str!("facts.txt");

/// What is declared about a field or a struct besides its type, as the OpenAPI documents publish it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// `x-kubernetes-map-type`.
    pub map_type: Option<MapType>,
    /// `x-kubernetes-list-type` and `x-kubernetes-list-map-keys`.
    pub list_type: Option<ListType>,
    /// `x-kubernetes-patch-strategy`: `merge`, `replace`, `retainKeys`, or several of them; empty for none.
    pub patch_strategy: &'static str,
    /// `x-kubernetes-patch-merge-key`; empty for none.
    pub patch_merge_key: &'static str,
    /// `default`.
    pub default: Option<Value>,
}

impl Facts {
    /// Whether a strategic merge patch merges the list here, instead of replacing it.
    pub fn merges(&self) -> bool {
        self.patch_strategy.split(',').any(|word| word == "merge")
    }

    /// Whether a strategic merge patch replaces the struct here, instead of merging it.
    pub fn replaces(&self) -> bool {
        self.patch_strategy.split(',').any(|word| word == "replace")
    }

    /// Whether a strategic merge patch may say which fields to retain.
    pub fn retains_keys(&self) -> bool {
        self.patch_strategy.split(',').any(|word| word == "retainKeys")
    }

    /// What the items of a list here are to each other: as declared, or as the merge strategy implies.
    pub(super) fn list(&self) -> ListType {
        match &self.list_type {
            Some(declared) => declared.clone(),
            None if self.merges() && self.patch_merge_key.is_empty() => ListType::Set,
            None if self.merges() => ListType::Map(vec![self.patch_merge_key.to_owned()]),
            None => ListType::Atomic,
        }
    }
}

/// All facts, by struct and field.
pub(crate) fn table() -> HashMap<(&'static str, &'static str), Facts> {
    let mut rows = HashMap::new();
    let mut owner = "";
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let Some(row) = line.strip_prefix("  ") else {
            owner = line;
            continue;
        };
        let mut words = row.split(' ');
        let name = words.next().expect("split yields at least one");
        let field = if name == "-" { "" } else { name };
        let mut facts = Facts::default();
        words.for_each(|word| facts.take(word));
        rows.insert((owner, field), facts);
    }
    rows
}

impl Facts {
    fn take(&mut self, word: &'static str) {
        let (what, value) = word.split_once('=').unwrap_or((word, ""));
        match what {
            "atomic" => self.map_type = Some(MapType::Atomic),
            "granular" => self.map_type = Some(MapType::Granular),
            "list" => self.list_type = Some(list_type(value)),
            "patch" => (self.patch_strategy, self.patch_merge_key) = value.split_once(':').unwrap_or((value, "")),
            "default" => {
                self.default = Some(serde_json::from_str(value).expect("the table holds JSON; a test reads it"));
            }
            _ => unreachable!("the table holds these words only; a test reads it"),
        }
    }
}

fn list_type(text: &str) -> ListType {
    match text.split_once(':') {
        Some((_, keys)) => ListType::Map(keys.split(',').map(str::to_owned).collect()),
        None if text == "set" => ListType::Set,
        None => ListType::Atomic,
    }
}
