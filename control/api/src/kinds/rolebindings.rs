//! RoleBindings and ClusterRoleBindings: who may do what a role says. Nothing is evaluated here.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/rbac/validation`.

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use schemars::JsonSchema as _;
use serde_json::Value;
use wk_base::time::Timestamp;

use super::roles::GROUP;
use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Kind, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, text, wide};

/// `RoleBinding`.
pub static ROLEBINDING: Kind = Kind {
    group: GROUP,
    kind: "RoleBinding",
    plural: "rolebindings",
    singular: "rolebinding",
    acts: true,
    collection: "rbac.authorization.k8s.io/rolebindings",
    rules: Rules {
        schema: RoleBinding::json_schema,
        name: |_, _| Vec::new(),
        default,
        validate: |value, errors| validate(errors, value, true),
        validate_update,
        columns: &COLUMNS,
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// `ClusterRoleBinding`.
pub static CLUSTERROLEBINDING: Kind = Kind {
    group: GROUP,
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    scope: Scope::Cluster,
    acts: true,
    collection: "rbac.authorization.k8s.io/clusterrolebindings",
    rules: Rules {
        schema: ClusterRoleBinding::json_schema,
        name: |_, _| Vec::new(),
        default,
        validate: |value, errors| validate(errors, value, false),
        validate_update,
        columns: &COLUMNS,
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

const COLUMNS: [Column; 6] = [
    NAME,
    text("Role", "The role that is given."),
    AGE,
    wide(text("Users", "Users it is given to.")),
    wide(text("Groups", "Groups it is given to.")),
    wide(text("ServiceAccounts", "Service accounts it is given to.")),
];

fn default(value: &mut Value) {
    json::default(json::object_at(value, "roleRef"), "apiGroup", GROUP);
    for subject in json::items_mut(value, "subjects") {
        if matches!(json::text(subject, &["kind"]), "User" | "Group") {
            json::default(subject, "apiGroup", GROUP);
        }
    }
}

fn validate(errors: &mut Errors, value: &Value, namespaced: bool) {
    let role = json::get(value, "roleRef");
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    let group = json::text(role, &["apiGroup"]);
    if group != GROUP {
        errors.not_supported("roleRef.apiGroup", group, &[GROUP]);
    }
    let kind = json::text(role, &["kind"]);
    if !kinds.contains(&kind) {
        errors.not_supported("roleRef.kind", kind, kinds);
    }
    let name = json::text(role, &["name"]);
    if name.is_empty() {
        errors.required("roleRef.name", "");
    } else {
        crate::validate::text(errors, "roleRef.name", name, names::path_segment);
    }
    for (index, entry) in json::items(value, &["subjects"]).iter().enumerate() {
        subject(errors, entry, &format!("subjects[{index}]"), namespaced);
    }
}

fn subject(errors: &mut Errors, subject: &Value, path: &str, namespaced: bool) {
    let name = json::text(subject, &["name"]);
    let group = json::text(subject, &["apiGroup"]);
    if name.is_empty() {
        errors.required(format!("{path}.name"), "");
    }
    match json::text(subject, &["kind"]) {
        "ServiceAccount" => {
            if !name.is_empty() {
                crate::validate::text(errors, &format!("{path}.name"), name, names::dns_subdomain);
            }
            if !group.is_empty() {
                errors.not_supported(format!("{path}.apiGroup"), group, &[""]);
            }
            if !namespaced && json::text(subject, &["namespace"]).is_empty() {
                errors.required(format!("{path}.namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => errors.not_supported(format!("{path}.apiGroup"), group, &[GROUP]),
        "User" | "Group" => {}
        other => errors.not_supported(format!("{path}.kind"), other, &["ServiceAccount", "User", "Group"]),
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let role = json::get(new, "roleRef");
    if !json::same(role, json::get(old, "roleRef")) {
        errors.invalid("roleRef", role, "cannot change roleRef");
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let names: Vec<String> = object
            .items("/subjects")
            .iter()
            .filter(|subject| json::text(subject, &["kind"]) == kind)
            .map(|subject| match (kind, json::text(subject, &["name"])) {
                ("ServiceAccount", name) => format!("{}/{name}", json::text(subject, &["namespace"])),
                (_, name) => name.to_owned(),
            })
            .collect();
        names.join(", ")
    };
    vec![
        object.name().into(),
        format!("{}/{}", object.text("/roleRef/kind"), object.text("/roleRef/name")).into(),
        table::age(object, now).into(),
        subjects("User").into(),
        subjects("Group").into(),
        subjects("ServiceAccount").into(),
    ]
}
