//! How far apart pods run: in the node's process, or in worker processes by namespace or by pod.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1 as core;
use serde::{Deserialize, Serialize};
use wk_api::Object;

use super::{SpecError, refuse};

/// The annotation of a pod, and the label or annotation of a namespace, that says so.
pub const ISOLATION: &str = "wk.dev/isolation";

/// With whom a pod shares a process. The later ones are the stricter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// With the node itself and all pods that say the same.
    #[default]
    Shared,
    /// With the pods of its namespace.
    Namespace,
    /// With nobody.
    Pod,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Namespace => "namespace",
            Self::Pod => "pod",
        })
    }
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "shared" => Ok(Self::Shared),
            "namespace" => Ok(Self::Namespace),
            "pod" => Ok(Self::Pod),
            other => Err(format!("{other:?} is none of shared, namespace and pod")),
        }
    }
}

/// How far apart pods run on a node whose namespaces say nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Standard {
    /// Shared on a lone node, where everything is one person's, and by namespace in a cluster.
    #[default]
    Auto,
    /// Always so.
    Always(Isolation),
}

impl Standard {
    /// What that is on a node that is alone, or is not.
    pub fn isolation(self, is_alone: bool) -> Isolation {
        match self {
            Self::Always(isolation) => isolation,
            Self::Auto if is_alone => Isolation::Shared,
            Self::Auto => Isolation::Namespace,
        }
    }
}

impl FromStr for Standard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Always) }
    }
}

impl TryFrom<String> for Standard {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Standard> for String {
    fn from(standard: Standard) -> Self {
        match standard {
            Standard::Auto => "auto".to_owned(),
            Standard::Always(isolation) => isolation.to_string(),
        }
    }
}

/// How far a pod of this namespace is kept apart, on a node whose pods have `default`.
pub fn isolation(pod: &core::Pod, namespace: Option<&Object>, default: Isolation) -> Result<Isolation, SpecError> {
    of_pod(pod.metadata.annotations.as_ref(), of_namespace(namespace, default))
}

/// What a namespace says, its label first; `default` if it says nothing, or nothing that makes sense.
fn of_namespace(namespace: Option<&Object>, default: Isolation) -> Isolation {
    let Some(namespace) = namespace else { return default };
    let (labels, annotations) = (namespace.labels(), namespace.annotations());
    let said = labels.get(ISOLATION).or_else(|| annotations.get(ISOLATION));
    said.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a pod gets in a namespace that gives `least`. A pod may ask for more, which harms nobody; less is not its to
/// choose, since those who may make pods are not those whom the namespace's owner keeps apart.
fn of_pod(annotations: Option<&BTreeMap<String, String>>, least: Isolation) -> Result<Isolation, SpecError> {
    let Some(text) = annotations.and_then(|all| all.get(ISOLATION)) else { return Ok(least) };
    let field = format!("metadata.annotations[{ISOLATION}]");
    match text.parse::<Isolation>() {
        Err(why) => refuse(field, why),
        Ok(wanted) if wanted < least => refuse(
            field,
            format!(
                "{wanted} is less than the {least} that its namespace has; to allow it, label the namespace {ISOLATION}={wanted}"
            ),
        ),
        Ok(wanted) => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(ISOLATION.to_owned(), value.to_owned())])
    }

    #[test]
    fn pod_may_ask_for_more_isolation_than_its_namespace_has_but_not_for_less() {
        assert_eq!(of_pod(None, Isolation::Namespace), Ok(Isolation::Namespace));
        assert_eq!(of_pod(Some(&says("pod")), Isolation::Shared), Ok(Isolation::Pod));
        assert_eq!(of_pod(Some(&says("shared")), Isolation::Shared), Ok(Isolation::Shared));
        for wrong in ["shared", "none"] {
            let error = of_pod(Some(&says(wrong)), Isolation::Namespace).unwrap_err();
            assert_eq!(error.field, "metadata.annotations[wk.dev/isolation]");
        }
    }

    #[test]
    fn lone_node_shares_and_a_cluster_keeps_namespaces_apart_unless_told_otherwise() {
        assert_eq!(Standard::Auto.isolation(true), Isolation::Shared);
        assert_eq!(Standard::Auto.isolation(false), Isolation::Namespace);
        assert_eq!(Standard::Always(Isolation::Pod).isolation(true), Isolation::Pod);
        for text in ["auto", "shared", "namespace", "pod"] {
            assert_eq!(String::from(text.parse::<Standard>().unwrap()), text);
        }
        assert!("none".parse::<Standard>().is_err());
    }

    #[test]
    fn namespace_says_it_by_label_or_annotation_and_a_mistake_there_is_the_default() {
        let of = |metadata: serde_json::Value, default| {
            let namespace = Object::new(serde_json::json!({"kind": "Namespace", "metadata": metadata}));
            of_namespace(Some(&namespace), default)
        };
        let (shared, strict) = (Isolation::Shared, Isolation::Namespace);
        assert_eq!(of_namespace(None, strict), strict);
        assert_eq!(of(serde_json::json!({"labels": {ISOLATION: "shared"}}), strict), shared);
        assert_eq!(of(serde_json::json!({"annotations": {ISOLATION: "pod"}}), shared), Isolation::Pod);
        assert_eq!(of(serde_json::json!({"labels": {ISOLATION: "?"}}), strict), strict);
    }
}
