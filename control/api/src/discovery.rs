//! Discovery: which groups, versions and resources there are, in the old form (one document a version) and the
//! aggregated one; and the version document.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::json;
use crate::kind::{Kind, Scope, Subresource};

/// What `/status` and `/scale` can do.
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];
/// The Kubernetes version whose API this is: one minor above kubectl 1.32, within its skew.
const MAJOR: &str = "1";
const MINOR: &str = "33";

fn subresources(kind: &'static Kind) -> Vec<Subresource> {
    let mut found = kind.subresources.to_vec();
    if kind.has_scale {
        found.push(Subresource {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            verbs: &SUBRESOURCE_VERBS,
        });
    }
    if kind.has_status {
        found.push(Subresource { name: "status", group: "", version: "", kind: kind.kind, verbs: &SUBRESOURCE_VERBS });
    }
    found.sort_by_key(|sub| sub.name);
    found
}

/// Groups besides core with their versions, in order.
fn groups() -> BTreeSet<(&'static str, &'static str)> {
    crate::kinds::kinds().iter().filter(|kind| !kind.group.is_empty()).map(|kind| (kind.group, kind.version)).collect()
}

fn kinds_of(group: &str, version: &str) -> Vec<&'static Kind> {
    let mut kinds: Vec<&'static Kind> =
        crate::kinds::kinds().iter().copied().filter(|kind| kind.group == group && kind.version == version).collect();
    kinds.sort_by_key(|kind| kind.plural);
    kinds
}

/// `GET /api`.
pub fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `GET /apis`.
pub fn api_group_list() -> Value {
    let groups: Vec<Value> = groups().into_iter().map(|(group, version)| group_entry(group, version)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/<group>`; none when there is no such group.
pub fn api_group(group: &str) -> Option<Value> {
    let (group, version) = groups().into_iter().find(|(name, _)| *name == group)?;
    let mut entry = group_entry(group, version);
    json::set(&mut entry, "kind", "APIGroup");
    json::set(&mut entry, "apiVersion", "v1");
    Some(entry)
}

fn group_entry(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version.clone()], "preferredVersion": version})
}

/// `GET /api/v1` (group "") and `GET /apis/<group>/<version>`; none when there is no such version.
pub fn api_resource_list(group: &str, version: &str) -> Option<Value> {
    let kinds = kinds_of(group, version);
    let first = kinds.first()?;
    let mut resources = Vec::new();
    for kind in &kinds {
        let mut entry = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.is_namespaced(),
            "kind": kind.kind,
            "verbs": kind.verbs(),
        });
        words(&mut entry, kind);
        resources.push(entry);
        for sub in subresources(kind) {
            let mut entry = json!({
                "name": format!("{}/{}", kind.plural, sub.name),
                "singularName": "",
                "namespaced": kind.is_namespaced(),
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if !sub.group.is_empty() {
                json::set(&mut entry, "group", sub.group);
                json::set(&mut entry, "version", sub.version);
            }
            resources.push(entry);
        }
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": first.api_version(),
        "resources": resources,
    }))
}

fn words(entry: &mut Value, kind: &Kind) {
    for (key, list) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !list.is_empty() {
            json::set(entry, key, list.to_vec());
        }
    }
}

/// `GET /api` as `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`.
pub fn aggregated_core() -> Value {
    aggregated(&[("", "v1")])
}

/// `GET /apis` as `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`.
pub fn aggregated_groups() -> Value {
    aggregated(&groups().into_iter().collect::<Vec<_>>())
}

fn aggregated(groups: &[(&str, &str)]) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, version)| {
            let resources: Vec<Value> = kinds_of(group, version).into_iter().map(aggregated_resource).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({
                "metadata": metadata,
                "versions": [{"version": version, "resources": resources, "freshness": "Current"}],
            })
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let scope = match kind.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": scope,
        "singularResource": kind.singular,
        "verbs": kind.verbs(),
    });
    words(&mut entry, kind);
    let below: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|sub| {
            let mut response = Map::new();
            let (group, version) =
                if sub.version.is_empty() { (kind.group, kind.version) } else { (sub.group, sub.version) };
            for (key, text) in [("group", group), ("version", version), ("kind", sub.kind)] {
                response.insert(key.to_owned(), text.into());
            }
            json!({"subresource": sub.name, "responseKind": response, "verbs": sub.verbs})
        })
        .collect();
    if !below.is_empty() {
        json::set(&mut entry, "subresources", below);
    }
    entry
}

/// `GET /version`.
pub fn version() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "gitVersion": format!("v{MAJOR}.{MINOR}.0+wk{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform_arch()),
    })
}

/// The architecture as Go names it, since that is what clients compare.
fn platform_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_discovery_name_every_kind() {
        let lists = [("", "v1"), ("apps", "v1"), ("discovery.k8s.io", "v1"), ("networking.k8s.io", "v1")]
            .map(|(group, version)| api_resource_list(group, version).unwrap().to_string())
            .join("");
        let aggregated = aggregated_core().to_string() + &aggregated_groups().to_string();
        for kind in crate::kinds::kinds() {
            assert!(lists.contains(&format!("\"name\":\"{}\"", kind.plural)), "{kind}");
            assert!(aggregated.contains(&format!("\"resource\":\"{}\"", kind.plural)), "{kind}");
        }
        let resources = api_resource_list("", "v1").unwrap();
        for resource in resources["resources"].as_array().unwrap() {
            let verbs = resource["verbs"].as_array().unwrap();
            let plain = !resource["name"].as_str().unwrap().contains('/');
            let expected = plain && resource["name"] != "namespaces";
            assert_eq!(verbs.contains(&json!("deletecollection")), expected, "{resource}");
        }
        assert!(lists.contains("\"name\":\"pods/log\"") && lists.contains("\"name\":\"deployments/scale\""));
        assert!(api_resource_list("apps", "v2").is_none());
        assert_eq!(api_group("apps").unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
        assert!(api_group("").is_none());
    }

    #[test]
    fn the_version_is_one_that_kubectl_can_read() {
        let version = version();
        assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("33")));
        assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.33.0+wk"));
    }
}
