//! Environment variables. Those that many containers have in common are held once for all of them.
//!
//! Not here: where they come from (the node), and how a guest asks for them (`capabilities::environment`).

use std::collections::HashSet;
use std::sync::Arc;

/// A run of variables that several environments may share: name and value.
pub type VariablesPart = Arc<[(String, String)]>;

/// Variables in their order; of two of one name the later counts. Clones share them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Arc<[VariablesPart]>);

impl Variables {
    /// Those of `parts`, one part after the other.
    pub fn of(parts: impl IntoIterator<Item = VariablesPart>) -> Self {
        Self(parts.into_iter().filter(|part| !part.is_empty()).collect())
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(String, String)> {
        self.0.iter().flat_map(|part| part.iter())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|part| part.len()).sum()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the one called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// As a guest is told them.
    pub fn to_vec(&self) -> Vec<(String, String)> {
        self.iter().cloned().collect()
    }

    /// Whether each variable is there once.
    pub(crate) fn is_resolved(&self) -> bool {
        let mut seen = HashSet::new();
        self.iter().all(|(name, _)| seen.insert(name.as_str()))
    }

    /// With each variable once: guests differ in which of two they take.
    pub(crate) fn resolved(self) -> Self {
        if self.is_resolved() {
            return self;
        }
        let mut seen = HashSet::new();
        let mut last: Vec<_> = self.iter().rev().filter(|(name, _)| seen.insert(name.as_str())).cloned().collect();
        last.reverse();
        last.into()
    }
}

impl From<Vec<(String, String)>> for Variables {
    fn from(variables: Vec<(String, String)>) -> Self {
        Self::of([variables.into()])
    }
}
