//! The OpenAPI documents: what is served, for clients that ask before they send (`kubectl explain`, `apply`, `create`) and
//! for code generators. Generated from the table of kinds and the schemas that bodies are decoded against.
//!
//! Here: [`v3`], one document a group and version; [`v2`] and [`v2_protobuf`], one for all. Not here: HTTP, hashes, caches.
//! `schemas` has the types, `operations` the paths, and one file a version writes both down.

mod enums;
mod gnostic;
mod operations;
mod schemas;
mod v2;
mod v3;

pub use gnostic::encoded as v2_protobuf;
pub use v2::document as v2;
pub use v3::document as v3;

use crate::kind::Kind;

/// Groups of Kubernetes whose types are called after the first word of the group.
const OWN_GROUPS: &[&str] = &[
    "admissionregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Where the types of `metav1` are in documents.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The name of a kind's schema in documents: `io.k8s.api.apps.v1.Deployment`, `com.example.v1.Gizmo`.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let package = match group {
        "" => "io.k8s.api.core".to_owned(),
        "apiextensions.k8s.io" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions".to_owned(),
        "apiregistration.k8s.io" => "io.k8s.kube-aggregator.pkg.apis.apiregistration".to_owned(),
        "metrics.k8s.io" => "io.k8s.metrics.pkg.apis.metrics".to_owned(),
        group if !group.contains('.') || OWN_GROUPS.contains(&group) => {
            format!("io.k8s.api.{}", group.split('.').next().unwrap_or_default())
        }
        group => group.rsplit('.').collect::<Vec<_>>().join("."),
    };
    format!("{package}.{version}.{kind}")
}

/// The extension that ties a schema or an operation to a kind.
fn group_version_kind(group: &str, version: &str, kind: &str) -> serde_json::Value {
    serde_json::json!({"group": group, "kind": kind, "version": version})
}

/// `/api/v1`, `/apis/apps/v1`.
fn root(kind: &Kind) -> String {
    if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    }
}

#[cfg(test)]
mod tests;
