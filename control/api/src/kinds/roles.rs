//! Roles and ClusterRoles: what may be done. Who may do it stands in the bindings; nothing is evaluated here.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/rbac/validation`.

use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use schemars::JsonSchema as _;
use serde_json::Value;
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Kind, Rules, Scope};
use crate::object::{Object, time_text};
use crate::table::{NAME, text};
use crate::validate::labels;

/// The group of roles and bindings.
pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

/// `Role`.
pub static ROLE: Kind = Kind {
    group: GROUP,
    kind: "Role",
    plural: "roles",
    singular: "role",
    acts: true,
    collection: "rbac.authorization.k8s.io/roles",
    rules: Rules {
        schema: Role::json_schema,
        name: |_, _| Vec::new(),
        validate: |value, errors| rules(errors, value, true),
        columns: &COLUMNS,
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// `ClusterRole`.
pub static CLUSTERROLE: Kind = Kind {
    group: GROUP,
    kind: "ClusterRole",
    plural: "clusterroles",
    singular: "clusterrole",
    scope: Scope::Cluster,
    acts: true,
    collection: "rbac.authorization.k8s.io/clusterroles",
    rules: Rules {
        schema: ClusterRole::json_schema,
        name: |_, _| Vec::new(),
        validate: |value, errors| {
            rules(errors, value, false);
            aggregation(errors, json::get(value, "aggregationRule"));
        },
        columns: &COLUMNS,
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

const COLUMNS: [Column; 2] = [NAME, Column { format: "date-time", ..text("Created At", "When it was created.") }];

fn cells(object: &Object, _now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.creation_timestamp().map(time_text).unwrap_or_default().into()]
}

fn rules(errors: &mut Errors, value: &Value, namespaced: bool) {
    for (index, rule) in json::items(value, &["rules"]).iter().enumerate() {
        let path = format!("rules[{index}]");
        let none = |key| json::items(rule, &[key]).is_empty();
        if none("verbs") {
            errors.required(format!("{path}.verbs"), "verbs must contain at least one value");
        }
        if !none("nonResourceURLs") {
            let mut refuse =
                |why| errors.invalid(format!("{path}.nonResourceURLs"), json::get(rule, "nonResourceURLs"), why);
            if namespaced {
                refuse("namespaced rules cannot apply to non-resource URLs");
            }
            if !(none("apiGroups") && none("resources") && none("resourceNames")) {
                refuse("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if none("apiGroups") {
            errors.required(format!("{path}.apiGroups"), "resource rules must supply at least one api group");
        }
        if none("resources") {
            errors.required(format!("{path}.resources"), "resource rules must supply at least one resource");
        }
    }
}

fn aggregation(errors: &mut Errors, rule: &Value) {
    if rule.is_null() {
        return;
    }
    let path = "aggregationRule.clusterRoleSelectors";
    let selectors = json::items(rule, &["clusterRoleSelectors"]);
    if selectors.is_empty() {
        errors.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (index, selector) in selectors.iter().enumerate() {
        labels::selector(errors, selector, &format!("{path}[{index}]"));
    }
}
