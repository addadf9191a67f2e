//! A container's environment and arguments at the moment it starts: what its spec names, looked up, in the order and
//! the words of the kubelet.
//!
//! Not here: reading the spec (`spec::env`), and trying again (`container`).

use std::collections::BTreeMap;
use std::sync::Arc;

use wk_engine::Variables;

use crate::sources::{Data, Source, SourceError, Sources};
use crate::spec::downward::Facts;
use crate::spec::env::{EnvSpec, Value, Variable};

/// Bytes of all names and values together, and of all arguments: what Linux takes for both on the usual stack. A few
/// lines of `$(A)$(A)` would otherwise fill the node's memory.
const BYTES_MAX: usize = 2 << 20;

mod links;

pub use links::ServiceLinks;

/// The environment cannot be made now: `CreateContainerConfigError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// What it is made from cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is too large.
    #[error("{0} take more than {BYTES_MAX} bytes")]
    TooLarge(&'static str),
}

/// What a guest is told when it starts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Variables, each once.
    pub variables: Variables,
    /// `argv`.
    pub args: Vec<String>,
}

/// Looks up everything `spec` names, for the pod of `facts`; `args` may name variables as `$(NAME)`.
pub fn resolve(
    spec: &EnvSpec,
    args: &[String],
    facts: &Facts<'_>,
    sources: &Sources,
) -> Result<Environment, EnvironmentError> {
    let services = sources.links().of(sources.cluster(), facts.pod.namespace(), spec.service_links);
    let mut known = Known { services, ..Known::default() };
    let mut lookup = Lookup { sources, namespace: facts.pod.namespace(), found: BTreeMap::new() };
    for import in &spec.imports {
        let Some(data) = lookup.find(&import.source)? else { continue };
        for (key, value) in data.all_text()? {
            known.set(format!("{}{key}", import.prefix), value)?;
        }
    }
    for Variable { name, value } in &spec.variables {
        let value = match value {
            Value::Text(text) => known.expand(text, BYTES_MAX).ok_or(TOO_LARGE)?,
            Value::Field(field) => field.value(facts),
            Value::Resource(resource) => resource.value(facts.pod, facts.allocatable),
            Value::Key(source, key) => match lookup.find(source)?.map(|data| data.text(key)) {
                None => continue,
                Some(Err(error)) if source.optional && error.is_absence() => continue,
                Some(text) => text?,
            },
        };
        known.set(name.clone(), value)?;
    }
    let mut room = BYTES_MAX;
    let mut expanded = Vec::with_capacity(args.len());
    for argument in args {
        let argument = known.expand(argument, room).ok_or(EnvironmentError::TooLarge("the arguments"))?;
        room -= argument.len();
        expanded.push(argument);
    }
    Ok(Environment { variables: known.finish(facts.pod.name()), args: expanded })
}

const TOO_LARGE: EnvironmentError = EnvironmentError::TooLarge("the environment's variables");

/// Sources that were looked up already: a container sees one state of each.
struct Lookup<'a> {
    sources: &'a Sources,
    namespace: &'a str,
    found: BTreeMap<Source, Option<Data>>,
}

impl Lookup<'_> {
    /// None for one that is missing and may be.
    fn find(&mut self, source: &Source) -> Result<Option<&Data>, SourceError> {
        if !self.found.contains_key(source) {
            let data = match self.sources.find(source.kind, self.namespace, &source.name) {
                Err(error) if source.optional && error.is_absence() => None,
                found => Some(found?),
            };
            self.found.insert(source.clone(), data);
        }
        Ok(self.found.get(source).and_then(Option::as_ref))
    }
}

/// The variables so far, in the order in which each was first named.
#[derive(Default)]
struct Known {
    order: Vec<String>,
    values: BTreeMap<String, String>,
    bytes: usize,
    /// What the cluster's services give; anything the pod says itself comes first.
    services: Arc<[(String, String)]>,
}

impl Known {
    fn set(&mut self, name: String, value: String) -> Result<(), EnvironmentError> {
        self.bytes += name.len() + value.len();
        if self.bytes > BYTES_MAX {
            return Err(TOO_LARGE);
        }
        if self.values.insert(name.clone(), value).is_none() {
            self.order.push(name);
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).or_else(|| links::get(&self.services, name))
    }

    fn expand(&self, text: &str, bytes_max: usize) -> Option<String> {
        expand(text, |name| self.get(name), bytes_max)
    }

    /// All of them: `HOSTNAME` first, as a container's runtime sets it, then the services', then the pod's.
    fn finish(mut self, hostname: &str) -> Variables {
        let hostname = (!self.values.contains_key("HOSTNAME")).then(|| ("HOSTNAME".to_owned(), hostname.to_owned()));
        // Shared with the other containers of the namespace unless this one says something else.
        let services = if self.values.keys().any(|name| links::get(&self.services, name).is_some()) {
            self.services.iter().filter(|(name, _)| !self.values.contains_key(name)).cloned().collect()
        } else {
            Arc::clone(&self.services)
        };
        let own = self.order.into_iter().filter_map(|name| self.values.remove_entry(&name)).collect();
        Variables::of([hostname.into_iter().collect(), services, own])
    }
}

/// Replaces each `$(NAME)` by the variable's value; `$$` is a dollar sign, and an unknown name stays as it is
/// written (Kubernetes: *Define Dependent Environment Variables*). None past `bytes_max`.
pub(crate) fn expand<'v>(text: &str, value_of: impl Fn(&str) -> Option<&'v str>, bytes_max: usize) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let named = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let value = named.and_then(|(name, behind)| Some((value_of(name)?, behind)));
        rest = if let Some((value, behind)) = value {
            result.push_str(value);
            behind
        } else {
            result.push('$');
            after.strip_prefix('$').unwrap_or(after)
        };
        if result.len() > bytes_max {
            return None;
        }
    }
    result.push_str(rest);
    (result.len() <= bytes_max).then_some(result)
}

#[cfg(test)]
mod tests;
