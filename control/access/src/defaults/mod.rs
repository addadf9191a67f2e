//! The roles and bindings that every cluster begins with, and what of them is missing later.
//!
//! As Kubernetes 1.33 has them (`bootstrappolicy`), without those of its own controllers: ours run inside the nodes and
//! ask nobody. One role is ours: `wk:modules`.

mod rows;
mod table;

use serde_json::{Map, Value, json};
use wk_api::Object;

use crate::rbac::{GROUP, Rule, aggregated, missing};

/// Set to "false" it keeps an object from being completed again.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The bodies of all of them: ClusterRoles, ClusterRoleBindings, Roles, RoleBindings.
pub fn all() -> Vec<Value> {
    let roles = whole(table::CLUSTER_ROLES.iter().map(|role| Object(role.body())).collect());
    let bindings = table::CLUSTER_BINDINGS.iter().map(rows::Binding::body);
    let local = table::ROLES.iter().map(|(namespace, role)| within(namespace, "Role", role.body()));
    let bound = table::BINDINGS.iter().map(|(namespace, binding)| within(namespace, "RoleBinding", binding.body()));
    roles.into_iter().map(|role| role.0).chain(bindings).chain(local).chain(bound).collect()
}

/// The roles with what aggregating ones are made of, so that they allow it from the moment they are there.
fn whole(mut roles: Vec<Object>) -> Vec<Object> {
    // `admin` is made of `edit`, which is made of `view`.
    for _ in 0..3 {
        let before = roles.clone();
        let all: Vec<&Object> = before.iter().collect();
        for role in &mut roles {
            if let Some(rules) = aggregated(role, &all) {
                role.0["rules"] = rules.into();
            }
        }
    }
    roles
}

fn within(namespace: &str, kind: &str, mut body: Value) -> Value {
    body["kind"] = kind.into();
    body["metadata"]["namespace"] = namespace.into();
    if kind == "RoleBinding" {
        body["roleRef"]["kind"] = "Role".into();
    }
    body
}

/// What `found` lacks of `meant`, as a merge patch; None when it lacks nothing, or is not to be completed.
///
/// Nothing is taken away: an administrator may have added rules and subjects.
pub fn lacking(meant: &Value, found: &Object) -> Option<Value> {
    if found.annotation(AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut patch = Map::new();
    let labels: Map<String, Value> = meant["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !found.labels().contains_key(key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let mut metadata = Map::new();
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), Value::Object(labels));
    }
    if found.annotation(AUTOUPDATE).is_none() {
        metadata.insert("annotations".to_owned(), json!({ AUTOUPDATE: "true" }));
    }
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), Value::Object(metadata));
    }
    if meant.get("aggregationRule").is_some() {
        let selectors = added(&meant["aggregationRule"]["clusterRoleSelectors"], |selector| {
            found.items("/aggregationRule/clusterRoleSelectors").contains(selector)
        });
        if let Some(added) = selectors {
            let all: Vec<_> =
                found.items("/aggregationRule/clusterRoleSelectors").iter().cloned().chain(added).collect();
            patch.insert("aggregationRule".to_owned(), json!({ "clusterRoleSelectors": all }));
        }
    } else if meant.get("rules").is_some() {
        let held = Rule::list(found.at("/rules").unwrap_or(&Value::Null));
        let lacking = missing(&held, &Rule::list(&meant["rules"]));
        if !lacking.is_empty() {
            let all: Vec<_> = found.items("/rules").iter().cloned().chain(lacking.iter().map(Rule::to_value)).collect();
            patch.insert("rules".to_owned(), all.into());
        }
    }
    let same = |a: &Value, b: &Value| ["kind", "name", "namespace"].iter().all(|field| a.get(field) == b.get(field));
    if let Some(added) =
        added(&meant["subjects"], |subject| found.items("/subjects").iter().any(|own| same(own, subject)))
    {
        let all: Vec<_> = found.items("/subjects").iter().cloned().chain(added).collect();
        patch.insert("subjects".to_owned(), all.into());
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The items of a list that are not there yet; None when all are.
fn added(meant: &Value, is_there: impl Fn(&Value) -> bool) -> Option<Vec<Value>> {
    let missing: Vec<Value> = meant.as_array()?.iter().filter(|item| !is_there(item)).cloned().collect();
    (!missing.is_empty()).then_some(missing)
}

/// The rules that every node has, whatever its pods need.
pub fn node_rules() -> Vec<Rule> {
    Rule::list(&table::NODE.iter().map(rows::Row::rule).collect())
}

/// The API version of all of them.
fn api_version() -> String {
    format!("{GROUP}/v1")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_default_has_its_own_name_and_each_binding_its_role() {
        let all = all();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = |kind: &Value, namespace: &Value, name: &Value| (text(kind), text(namespace), text(name));
        let keys: BTreeSet<_> = all
            .iter()
            .map(|body| key(&body["kind"], &body["metadata"]["namespace"], &body["metadata"]["name"]))
            .collect();
        assert_eq!(keys.len(), all.len());
        for binding in all.iter().filter(|body| body.get("roleRef").is_some()) {
            let namespace =
                if binding["roleRef"]["kind"] == "Role" { &binding["metadata"]["namespace"] } else { &Value::Null };
            let role = key(&binding["roleRef"]["kind"], namespace, &binding["roleRef"]["name"]);
            assert!(keys.contains(&role), "{role:?}");
        }
    }

    #[test]
    fn what_is_whole_lacks_nothing_and_what_was_cut_is_completed_without_taking_away() {
        for body in all() {
            let mut found = body.clone();
            if found.get("aggregationRule").is_some() {
                found["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
            }
            assert_eq!(lacking(&body, &Object::new(found)), None, "{body}");
        }
        let meant =
            all().into_iter().find(|body| body["metadata"]["name"] == "system:basic-user").expect("it is there");
        let mut cut = meant.clone();
        let own = json!({"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]});
        cut["rules"] = json!([own]);
        let patch = lacking(&meant, &Object::new(cut.clone())).expect("rules are missing");
        assert_eq!(patch["rules"][0], own);
        assert_eq!(patch["rules"].as_array().map(Vec::len), Some(4), "{patch}");
        cut["metadata"]["annotations"] = json!({ AUTOUPDATE: "false" });
        assert_eq!(lacking(&meant, &Object::new(cut)), None);
    }
}
