//! Discovery: which groups, versions and resources there are, in the old form (one document a version) and the
//! aggregated one; and the version document.

mod resources;

pub use resources::ResourceList;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::json;
use crate::kind::{Kind, Scope, Subresource};

/// What `/status` and `/scale` can do.
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];
/// The Kubernetes version whose API this is: one minor above kubectl 1.32, within its skew.
const MAJOR: &str = "1";
const MINOR: &str = "33";

pub(crate) fn subresources(kind: &'static Kind) -> Vec<Subresource> {
    let mut found = kind.subresources.to_vec();
    found.extend(kind.rules.parts.iter().map(|part| Subresource {
        name: part.name,
        group: "",
        version: "",
        kind: kind.kind,
        verbs: &SUBRESOURCE_VERBS,
    }));
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

/// Groups with their versions, the preferred one first. Custom groups come last: what people mean by a word is looked for
/// in this order.
type Groups = Vec<(&'static str, Vec<&'static str>)>;

/// Groups besides core.
fn groups(kinds: &[&'static Kind]) -> Groups {
    let mut groups: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for kind in kinds.iter().filter(|kind| !kind.group.is_empty()) {
        let built_in = kind.custom.is_none() || groups.contains_key(&(false, kind.group));
        let versions = groups.entry((!built_in, kind.group)).or_default();
        if !versions.contains(&kind.version) {
            versions.push(kind.version);
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|version| Reverse(priority(version)));
    }
    groups.into_iter().map(|((_, group), versions)| (group, versions)).collect()
}

/// Every group with its versions, in the order of discovery; the core group, whose name is empty, first.
pub fn group_versions(kinds: &[&'static Kind]) -> Vec<(&'static str, Vec<&'static str>)> {
    std::iter::once(("", vec!["v1"])).chain(groups(kinds)).collect()
}

/// Kubernetes' order of versions: `v2` before `v1` before `v2beta1` before `v1beta2` before `v3alpha1`.
pub fn priority(version: &str) -> (u8, u32, u32) {
    let number = |text: &str| text.parse().ok();
    let parse = || {
        let rest = version.strip_prefix('v')?;
        for (stage, word) in [(2, "beta"), (1, "alpha")] {
            if let Some((major, minor)) = rest.split_once(word) {
                return Some((stage, number(major)?, number(minor)?));
            }
        }
        Some((3, number(rest)?, 0))
    };
    parse().unwrap_or_default()
}

fn kinds_of(kinds: &[&'static Kind], group: &str, version: &str) -> Vec<&'static Kind> {
    let mut kinds: Vec<&'static Kind> =
        kinds.iter().copied().filter(|kind| kind.group == group && kind.version == version).collect();
    kinds.sort_by_key(|kind| kind.plural);
    kinds
}

/// `GET /api`.
pub fn api_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `GET /apis`.
pub fn api_group_list(kinds: &[&'static Kind]) -> Value {
    let groups: Vec<Value> = groups(kinds).iter().map(|(group, versions)| group_entry(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/<group>`; none when there is no such group.
pub fn api_group(kinds: &[&'static Kind], group: &str) -> Option<Value> {
    let groups = groups(kinds);
    let (_, versions) = groups.iter().find(|(own, _)| *own == group)?;
    let mut entry = group_entry(group, versions);
    json::set(&mut entry, "kind", "APIGroup");
    json::set(&mut entry, "apiVersion", "v1");
    Some(entry)
}

fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

fn words(entry: &mut Value, kind: &Kind) {
    for (key, list) in [("shortNames", kind.short_names), ("categories", kind.categories)] {
        if !list.is_empty() {
            json::set(entry, key, list.to_vec());
        }
    }
}

/// `GET /api` as `APIGroupDiscoveryList` of a version of `apidiscovery.k8s.io`: `v2` and `v2beta1` have the same fields.
pub fn aggregated_core(kinds: &[&'static Kind], version: &str) -> Value {
    aggregated(kinds, &[("", vec!["v1"])], version)
}

/// `GET /apis` as `APIGroupDiscoveryList`.
pub fn aggregated_groups(kinds: &[&'static Kind], version: &str) -> Value {
    aggregated(kinds, &groups(kinds), version)
}

/// `GET /`: the paths that answer something.
pub fn paths(kinds: &[&'static Kind]) -> Value {
    let mut paths: Vec<String> =
        ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            .map(str::to_owned)
            .to_vec();
    for (group, versions) in groups(kinds) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.sort();
    json!({"paths": paths})
}

fn aggregated(kinds: &[&'static Kind], groups: &[(&str, Vec<&str>)], version: &str) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        kinds_of(kinds, group, version).into_iter().map(aggregated_resource).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
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
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform_arch()),
    })
}

/// The version as `/version` and the documents tell it.
pub(crate) fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.0+wk{}", env!("CARGO_PKG_VERSION"))
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
    use crate::kinds::kinds;

    fn list_of(group: &str, version: &str) -> Option<Value> {
        ResourceList::of(kinds(), group, version).map(|list| serde_json::to_value(list).expect("a value"))
    }

    #[test]
    fn both_forms_of_discovery_name_every_kind() {
        let versions = groups(kinds()).into_iter().chain([("", vec!["v1"])]);
        let versions = versions.flat_map(|(group, versions)| versions.into_iter().map(move |version| (group, version)));
        let lists: String = versions.map(|(group, version)| list_of(group, version).unwrap().to_string()).collect();
        let aggregated = aggregated_core(kinds(), "v2").to_string() + &aggregated_groups(kinds(), "v2").to_string();
        for kind in kinds() {
            assert!(lists.contains(&format!("\"name\":\"{}\"", kind.plural)), "{kind}");
            assert!(aggregated.contains(&format!("\"resource\":\"{}\"", kind.plural)), "{kind}");
        }
        assert_eq!(api_group(kinds(), "autoscaling").unwrap()["preferredVersion"]["version"], "v2");
        assert_eq!(api_group(kinds(), "autoscaling").unwrap()["versions"][1]["version"], "v1");
        let resources = list_of("", "v1").unwrap();
        for resource in resources["resources"].as_array().unwrap() {
            let verbs = resource["verbs"].as_array().unwrap();
            let plain = !resource["name"].as_str().unwrap().contains('/');
            let whole = ["namespaces", "bindings", "componentstatuses"].contains(&resource["name"].as_str().unwrap());
            let expected = plain && !whole;
            assert_eq!(verbs.contains(&json!("deletecollection")), expected, "{resource}");
        }
        assert!(lists.contains("\"name\":\"pods/log\"") && lists.contains("\"name\":\"deployments/scale\""));
        let acted = |group: &str, name: &str| {
            let list = list_of(group, "v1").unwrap();
            let found = list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == name).cloned();
            found.unwrap()["wk.dev/acted"].clone()
        };
        assert_eq!((acted("", "pods"), acted("networking.k8s.io", "networkpolicies")), (json!(true), Value::Null));
        assert!(list_of("apps", "v2").is_none());
        assert_eq!(api_group(kinds(), "apps").unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
        assert!(api_group(kinds(), "").is_none());
    }

    #[test]
    fn versions_are_in_kubernetes_order() {
        let mut versions = ["v1alpha1", "v2beta1", "v1", "v10", "foo", "v2", "v1beta2"];
        versions.sort_by_key(|version| Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn the_version_is_one_that_kubectl_can_read() {
        let version = version();
        assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("33")));
        assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.33.0+wk"));
    }
}
