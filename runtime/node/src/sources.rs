//! ConfigMaps and Secrets as this node knows them: what environment, volumes and `wasi:config` are filled from.
//!
//! Reads the local copy, so that a pod starts without a quorum. Secrets are opened here if they are sealed.
//!
//! Not here: who may name them. A pod names only what is in its own namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::ByteString;
use serde_json::Value;
use wk_api::{Kind, Object, kinds};
use wk_cluster::{Cluster, object, sealed_with};

use crate::environment::ServiceLinks;

/// What holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl SourceKind {
    fn kind(self) -> &'static Kind {
        match self {
            Self::ConfigMap => &kinds::CONFIGMAP,
            Self::Secret => &kinds::SECRET,
        }
    }
}

/// `ConfigMap` or `Secret`.
impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().kind)
    }
}

/// A ConfigMap or Secret as a pod names it: in the pod's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Which of the two.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
    /// Whether the pod does without it.
    pub optional: bool,
}

/// A source cannot be read now. In Kubernetes' words, and never with anything that a Secret holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// There is no such object.
    #[error("{} {name:?} not found", .kind.kind().singular)]
    NotFound {
        /// What it would be.
        kind: SourceKind,
        /// Its name.
        name: String,
    },
    /// The object has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// What the object is.
        kind: SourceKind,
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The Secret is sealed with a key that this node does not have.
    #[error("Secret {namespace}/{name} is sealed with key {key}, which this node was not started with")]
    Sealed {
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The id of the key it is sealed with.
        key: String,
    },
    /// What is under the key is no text, where only text can go.
    #[error("key {key} in {kind} {namespace}/{name} is not UTF-8 text")]
    NotText {
        /// What the object is.
        kind: SourceKind,
        /// The pod's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
}

impl SourceError {
    /// Whether `optional` covers it: the object or the key is not there.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoKey { .. })
    }
}

/// The ConfigMaps and Secrets of the cluster. Clones share them.
#[derive(Debug, Clone)]
pub struct Sources(Cluster, ServiceLinks);

impl Sources {
    /// Those that `cluster` knows here.
    pub fn new(cluster: Cluster) -> Self {
        Self(cluster, ServiceLinks::default())
    }

    /// The cluster's objects, for what else a pod is told of: its node, services.
    pub fn cluster(&self) -> &Cluster {
        &self.0
    }

    /// What containers are told of Services.
    pub(crate) fn links(&self) -> &ServiceLinks {
        &self.1
    }

    /// What a source holds now.
    pub fn find(&self, kind: SourceKind, namespace: &str, name: &str) -> Result<Data, SourceError> {
        let stored = self.0.store().view().get(&wk_cluster::key(kind.kind(), Some(namespace), name));
        let not_found = || SourceError::NotFound { kind, name: name.to_owned() };
        let stored = stored.ok_or_else(not_found)?;
        let object = object(&stored);
        if let Some(key) = sealed_with(&object) {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            return Err(SourceError::Sealed { namespace, name, key: key.to_owned() });
        }
        Ok(Data::new(kind, object))
    }
}

/// The entries of a ConfigMap or Secret as they were when they were looked up. Shown by name only.
#[derive(Clone)]
pub struct Data {
    kind: SourceKind,
    object: Arc<Object>,
}

impl Data {
    /// The entries of `object`, which is a `kind`.
    pub(crate) fn new(kind: SourceKind, object: Arc<Object>) -> Self {
        Self { kind, object }
    }

    /// The object's uid and version: the same two, the same data.
    pub fn version(&self) -> (&str, &str) {
        (self.object.uid(), self.object.resource_version())
    }

    /// The names of its entries, in order.
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = self.texts().chain(self.encoded()).map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys
    }

    /// What is under `key`: text of a ConfigMap as it is, `binaryData` and a Secret's `data` decoded.
    pub fn bytes(&self, key: &str) -> Result<Vec<u8>, SourceError> {
        if let Some((_, text)) = self.texts().find(|(name, _)| *name == key) {
            return Ok(text.as_bytes().to_vec());
        }
        let (_, text) = self.encoded().find(|(name, _)| *name == key).ok_or_else(|| self.no_key(key))?;
        // The API server stores nothing else than base64 there.
        let bytes: Option<ByteString> = serde_json::from_value(text.into()).ok();
        bytes.map(|bytes| bytes.0).ok_or_else(|| self.no_key(key))
    }

    /// What is under `key`, where it must be text. `binaryData` is never text, as in Kubernetes.
    pub fn text(&self, key: &str) -> Result<String, SourceError> {
        if self.kind == SourceKind::ConfigMap && !self.texts().any(|(name, _)| name == key) {
            return Err(self.no_key(key));
        }
        String::from_utf8(self.bytes(key)?).map_err(|_| SourceError::NotText {
            kind: self.kind,
            namespace: self.object.namespace().to_owned(),
            name: self.object.name().to_owned(),
            key: key.to_owned(),
        })
    }

    /// All entries that are text by nature: of a ConfigMap those of `data`, of a Secret all.
    pub fn all_text(&self) -> Result<BTreeMap<String, String>, SourceError> {
        let keys: Vec<&str> = match self.kind {
            SourceKind::ConfigMap => self.texts().map(|(key, _)| key).collect(),
            SourceKind::Secret => self.keys(),
        };
        keys.into_iter().map(|key| Ok((key.to_owned(), self.text(key)?))).collect()
    }

    fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members(if self.kind == SourceKind::ConfigMap { "/data" } else { "/stringData" })
    }

    fn encoded(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members(if self.kind == SourceKind::ConfigMap { "/binaryData" } else { "/data" })
    }

    fn members(&self, pointer: &str) -> impl Iterator<Item = (&str, &str)> {
        let members = self.object.at(pointer).and_then(Value::as_object);
        members.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    fn no_key(&self, key: &str) -> SourceError {
        SourceError::NoKey {
            kind: self.kind,
            namespace: self.object.namespace().to_owned(),
            name: self.object.name().to_owned(),
            key: key.to_owned(),
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}: {:?}", self.kind, self.object.name(), self.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data(kind: SourceKind, mut members: Value) -> Data {
        members["metadata"] = json!({"name": "it", "namespace": "n"});
        Data::new(kind, Arc::new(Object(members)))
    }

    #[test]
    fn entries_are_read_as_text_and_bytes() {
        let map = data(SourceKind::ConfigMap, json!({"data": {"a": "1"}, "binaryData": {"b": "/w=="}}));
        assert_eq!(map.keys(), ["a", "b"]);
        assert_eq!((map.text("a").unwrap().as_str(), map.bytes("b").unwrap()), ("1", vec![0xff]));
        assert_eq!(map.text("b").unwrap_err().to_string(), "couldn't find key b in ConfigMap n/it");
        assert_eq!(map.all_text().unwrap(), BTreeMap::from([("a".to_owned(), "1".to_owned())]));
        let secret = data(SourceKind::Secret, json!({"data": {"p": "aHVudGVyMg==", "raw": "/w=="}}));
        assert_eq!(secret.text("p").unwrap(), "hunter2");
        assert_eq!(secret.text("raw").unwrap_err().to_string(), "key raw in Secret n/it is not UTF-8 text");
        assert_eq!(secret.bytes("none").unwrap_err().to_string(), "couldn't find key none in Secret n/it");
    }

    #[test]
    fn debug_of_data_shows_names_only() {
        let secret = data(SourceKind::Secret, json!({"data": {"p": "aHVudGVyMg=="}}));
        let text = format!("{secret:?}");
        assert!(text.contains("\"p\"") && !text.contains("hunter2") && !text.contains("aHVudGVyMg"), "{text}");
    }

    #[test]
    fn what_is_missing_is_told_in_kubernetes_words() {
        let missing = |kind| SourceError::NotFound { kind, name: "special".into() }.to_string();
        assert_eq!(missing(SourceKind::ConfigMap), "configmap \"special\" not found");
        assert_eq!(missing(SourceKind::Secret), "secret \"special\" not found");
    }
}
