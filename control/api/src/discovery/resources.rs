//! The old form of discovery: one `APIResourceList` for each group and version.
//!
//! Its members come in the order of Kubernetes' own answers, not in that of the alphabet: scripts look for pieces of the text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{kinds_of, subresources};
use crate::kind::{Kind, Serving, Subresource};

/// Bytes of the digest in a `storageVersionHash`.
const HASH_BYTES: usize = 8;

/// `APIResourceList`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceList {
    kind: &'static str,
    api_version: &'static str,
    group_version: String,
    resources: Vec<Resource>,
}

/// `APIResource`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    name: String,
    singular_name: &'static str,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'static [&'static str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_version_hash: Option<String>,
    /// True when something acts on its objects and they are not only kept. Not in Kubernetes; clients skip members that they
    /// do not know.
    #[serde(rename = "wk.dev/acted", skip_serializing_if = "std::ops::Not::not")]
    acted: bool,
}

impl ResourceList {
    /// `GET /api/v1` (group "") and `GET /apis/<group>/<version>`; none when there is no such version.
    pub fn of(kinds: &[&'static Kind], group: &str, version: &str) -> Option<Self> {
        let kinds = kinds_of(kinds, group, version);
        let group_version = kinds.first()?.api_version();
        let below = |kind| subresources(kind).into_iter().map(move |sub| Resource::below(kind, &sub));
        let resources = kinds.into_iter().flat_map(|kind| std::iter::once(Resource::of(kind)).chain(below(kind)));
        Some(Self { kind: "APIResourceList", api_version: "v1", group_version, resources: resources.collect() })
    }
}

impl Resource {
    fn of(kind: &'static Kind) -> Self {
        Self {
            name: kind.plural.to_owned(),
            singular_name: kind.singular,
            namespaced: kind.is_namespaced(),
            group: "",
            version: "",
            kind: kind.kind,
            verbs: kind.verbs(),
            short_names: kind.short_names,
            categories: kind.categories,
            storage_version_hash: storage_version_hash(kind),
            acted: kind.acts,
        }
    }

    fn below(kind: &'static Kind, sub: &Subresource) -> Self {
        // The version is told with the group only.
        let version = if sub.group.is_empty() { "" } else { sub.version };
        Self {
            name: format!("{}/{}", kind.plural, sub.name),
            singular_name: "",
            namespaced: kind.is_namespaced(),
            group: sub.group,
            version,
            kind: sub.kind,
            verbs: sub.verbs,
            short_names: &[],
            categories: &[],
            storage_version_hash: None,
            acted: false,
        }
    }
}

/// What changes when objects are stored in another version: a digest of the group, version and kind of what is stored.
fn storage_version_hash(kind: &'static Kind) -> Option<String> {
    if kind.serving != Serving::Stored {
        return None;
    }
    let stored = kind.storage.unwrap_or(kind);
    let digest = Sha256::digest(format!("{}/{}/{}", stored.group, stored.version, stored.kind));
    Some(STANDARD.encode(digest.get(..HASH_BYTES)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::kinds;

    #[test]
    fn members_are_in_kubernetes_order() {
        let list = serde_json::to_string(&ResourceList::of(kinds(), "", "v1")).expect("text");
        assert!(
            list.starts_with(
                r#"{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{"name":"#
            )
        );
        let maps = r#"{"name":"configmaps","singularName":"configmap","namespaced":true,"kind":"ConfigMap","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"shortNames":["cm"],"storageVersionHash":"qFsyl6wFWjQ=""#;
        assert!(list.contains(maps), "{list}");
        assert!(
            list.contains(r#""shortNames":["po"],"categories":["all"],"storageVersionHash":"xPOwRZ+Yhw8=""#),
            "{list}"
        );
        let scale = r#"{"name":"replicationcontrollers/scale","singularName":"","namespaced":true,"group":"autoscaling","version":"v1","kind":"Scale","verbs":["#;
        assert!(list.contains(scale), "{list}");
    }

    #[test]
    fn versions_of_what_is_stored_are_told_apart_and_questions_have_none() {
        let hash = |group: &str, version: &str, plural: &str| {
            storage_version_hash(Kind::find(group, version, plural).expect("a kind"))
        };
        assert_eq!(
            hash("autoscaling", "v1", "horizontalpodautoscalers"),
            hash("autoscaling", "v2", "horizontalpodautoscalers")
        );
        assert_eq!(hash("events.k8s.io", "v1", "events").as_deref(), Some("r2yiGXH7wu8="), "as /v1/Event");
        assert_eq!(hash("authorization.k8s.io", "v1", "subjectaccessreviews"), None);
        assert_eq!(hash("metrics.k8s.io", "v1beta1", "pods"), None);
    }
}
