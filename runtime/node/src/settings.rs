//! What a guest finds with `wasi:config`: the ConfigMaps and Secrets its pod names, as they are in force when it asks.
//!
//! Nothing is kept: each answer is read from the local copy, so a change needs no restart and an idle pod no memory.

use std::collections::BTreeMap;

use crate::sources::{Source, SourceError, Sources};

/// The settings of one pod.
#[derive(Debug, Clone)]
pub struct Settings {
    sources: Sources,
    namespace: String,
    /// Of two that have the same key the later one counts.
    named: Vec<Source>,
}

impl Settings {
    /// Settings from `named` sources of a namespace.
    pub fn new(sources: Sources, namespace: &str, named: &[Source]) -> Self {
        Self { sources, namespace: namespace.to_owned(), named: named.to_vec() }
    }

    /// Why the guest cannot be given its settings now.
    pub fn check(&self) -> Result<(), SourceError> {
        self.named.iter().try_for_each(|source| self.sources.find(source.kind, &self.namespace, &source.name).map(drop))
    }

    fn find(&self, key: &str) -> Result<Option<String>, SourceError> {
        for source in self.named.iter().rev() {
            match self.sources.find(source.kind, &self.namespace, &source.name)?.text(key) {
                Err(SourceError::NoKey { .. }) => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    fn everything(&self) -> Result<BTreeMap<String, String>, SourceError> {
        let mut all = BTreeMap::new();
        for source in &self.named {
            let data = self.sources.find(source.kind, &self.namespace, &source.name)?;
            // What is no text can be asked for by name, and then says so.
            all.extend(data.keys().into_iter().filter_map(|key| Some((key.to_owned(), data.text(key).ok()?))));
        }
        Ok(all)
    }
}

impl wk_engine::Config for Settings {
    fn get(&self, key: &str) -> Result<Option<String>, String> {
        self.find(key).map_err(|error| error.to_string())
    }

    fn all(&self) -> Result<Vec<(String, String)>, String> {
        self.everything().map(|all| all.into_iter().collect()).map_err(|error| error.to_string())
    }
}
