//! The route table: which backend a host and a path lead to, by the rules of Kubernetes' Ingress
//! (<https://kubernetes.io/docs/concepts/services-networking/ingress/#path-types>).
//!
//! Not here: what a request's host and path are (`target`), and which endpoint of a backend is called (`balance`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::balance::Group;
use crate::target::normal_path;

/// One replica that can take requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's uid: what in-flight counts and ejection are remembered by, over changes of the table.
    pub pod: Arc<str>,
    /// The node it runs on. A retry prefers another one.
    pub node: Arc<str>,
    /// `pod ip:port`.
    pub address: String,
    /// Whether it runs on this node.
    pub local: bool,
}

/// A service port and its ready replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// `namespace/service:port`, as shown in answers and logs.
    pub name: String,
    /// Ready replicas.
    pub endpoints: Vec<Endpoint>,
    /// Why there can be none, however long one waits.
    pub lacks: Option<String>,
}

/// Which hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostRule {
    /// Every host.
    Any,
    /// This host.
    Exact(String),
    /// `*.example.com` (the `*.` may be left out): exactly one label in the place of the star.
    Wildcard(String),
}

/// Which paths a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRule {
    /// This path and everything below it, by whole path elements; a slash at its end means nothing.
    Prefix(String),
    /// This path and no other.
    Exact(String),
}

/// One rule of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Hosts.
    pub host: HostRule,
    /// Paths.
    pub path: PathRule,
    /// Where to.
    pub backend: Arc<Backend>,
}

/// The routes of a moment: immutable, swapped as a whole.
///
/// # Precedence
///
/// An exact host beats a wildcard, a wildcard beats any host; under one host an exact path beats every prefix and a
/// longer prefix beats a shorter one. A host whose paths do not match is passed over: the wildcard's and then the
/// catch-all's paths are asked, as the default backend of an Ingress is for requests that match no *host and path*.
/// Of two routes with the same host and path the first stays, so hand the oldest Ingress in first.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<Box<str>, Paths>,
    /// Keyed without `*.`.
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
}

#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<str>, Arc<Group>>,
    /// Keyed without the slash at the end: `/` is the empty string.
    prefix: HashMap<Box<str>, Arc<Group>>,
    /// The longest key of `prefix`, so that a long path costs no more look-ups than a short one.
    longest: usize,
}

impl Routes {
    /// A table of `routes`, in any order.
    pub fn new(routes: Vec<Route>) -> Self {
        let mut table = Self::default();
        // Routes that share a backend share its group, and so its turn.
        let mut groups: HashMap<*const Backend, Arc<Group>> = HashMap::new();
        for Route { host, path, backend } in routes {
            let group = groups.entry(Arc::as_ptr(&backend)).or_insert_with(|| Arc::new(Group::new(backend))).clone();
            let paths = match host {
                HostRule::Any => &mut table.any,
                HostRule::Exact(host) => table.exact.entry(host_key(&host)).or_default(),
                HostRule::Wildcard(host) => {
                    let suffix = host.strip_prefix("*.").unwrap_or(&host);
                    table.wildcard.entry(host_key(suffix)).or_default()
                }
            };
            paths.add(path, group);
        }
        table
    }

    /// The backend for a host (lower case, without port) and a normalised path.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Backend>> {
        self.group(host, path).map(|group| group.backend())
    }

    /// As [`Routes::find`], with what the balancer knows of the backend.
    pub(crate) fn group(&self, host: &str, path: &str) -> Option<&Arc<Group>> {
        let exact = self.exact.get(host).and_then(|paths| paths.find(path));
        let wildcard = || {
            let (label, suffix) = host.split_once('.')?;
            if label.is_empty() {
                return None;
            }
            self.wildcard.get(suffix)?.find(path)
        };
        exact.or_else(wildcard).or_else(|| self.any.find(path))
    }
}

/// A host as the table keeps it.
fn host_key(host: &str) -> Box<str> {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase().into_boxed_str()
}

impl Paths {
    fn add(&mut self, rule: PathRule, group: Arc<Group>) {
        match rule {
            PathRule::Exact(path) => {
                self.exact.entry(path_key(&path)).or_insert(group);
            }
            PathRule::Prefix(path) => {
                let key = path_key(path.strip_suffix('/').unwrap_or(&path));
                self.longest = self.longest.max(key.len());
                self.prefix.entry(key).or_insert(group);
            }
        }
    }

    fn find(&self, path: &str) -> Option<&Arc<Group>> {
        if !self.exact.is_empty()
            && let Some(group) = self.exact.get(path)
        {
            return Some(group);
        }
        if self.prefix.is_empty() {
            return None;
        }
        // Candidates are the whole path and what stands before each of its slashes, the longest first.
        let mut end = path.len();
        if end > self.longest {
            end = path.as_bytes()[..=self.longest].iter().rposition(|&byte| byte == b'/')?;
        }
        loop {
            if let Some(group) = self.prefix.get(&path[..end]) {
                return Some(group);
            }
            end = path[..end].rfind('/')?;
        }
    }
}

/// A rule's path in the form that requests' paths are brought into. What cannot be (it climbs above the root) can match
/// no request and is kept as it is.
fn path_key(path: &str) -> Box<str> {
    normal_path(path).map_or_else(|_| path.into(), Into::into)
}

#[cfg(test)]
mod tests;
