//! The shape of the table of default roles: short rows, written out as objects.

use serde_json::{Map, Value, json};

use super::{AUTOUPDATE, api_version};
use crate::rbac::GROUP;

/// A role.
pub(super) struct Role {
    pub(super) name: &'static str,
    /// The role that takes its rules in: `admin`, `edit`, `view`, or empty.
    pub(super) part_of: &'static str,
    pub(super) rules: Rules,
}

/// What a role holds.
pub(super) enum Rules {
    /// What is labelled as part of this role.
    Aggregated,
    Rows(&'static [Row]),
}

/// One rule. Lists are separated by blanks.
pub(super) enum Row {
    /// Verbs, groups (`-` is the core group), resources.
    On(&'static str, &'static str, &'static str),
    /// The same for objects of these names.
    Named(&'static str, &'static str, &'static str, &'static str),
    /// Verbs, paths.
    At(&'static str, &'static str),
}

/// A binding of the role of the same name.
pub(super) struct Binding {
    pub(super) name: &'static str,
    pub(super) subjects: &'static [Subject],
}

pub(super) enum Subject {
    User(&'static str),
    Group(&'static str),
    /// Namespace and name.
    Account(&'static str, &'static str),
}

impl Role {
    pub(super) fn body(&self) -> Value {
        let mut labels = Map::from_iter([bootstrapping()]);
        if !self.part_of.is_empty() {
            labels.insert(label(self.part_of), "true".into());
        }
        let mut body = json!({
            "apiVersion": api_version(), "kind": "ClusterRole",
            "metadata": { "name": self.name, "labels": labels, "annotations": { AUTOUPDATE: "true" } },
        });
        match self.rules {
            Rules::Aggregated => {
                let selector = json!({ "matchLabels": { label(self.name): "true" } });
                body["aggregationRule"] = json!({ "clusterRoleSelectors": [selector] });
            }
            Rules::Rows(rows) => body["rules"] = rows.iter().map(Row::rule).collect(),
        }
        body
    }
}

impl Row {
    pub(super) fn rule(&self) -> Value {
        let list = |text: &str| -> Vec<String> {
            text.split_whitespace().map(|word| if word == "-" { String::new() } else { word.to_owned() }).collect()
        };
        match *self {
            Self::On(verbs, groups, resources) => {
                json!({ "verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources) })
            }
            Self::Named(verbs, groups, resources, names) => json!({
                "verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources),
                "resourceNames": list(names),
            }),
            Self::At(verbs, paths) => json!({ "verbs": list(verbs), "nonResourceURLs": list(paths) }),
        }
    }
}

impl Binding {
    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "apiVersion": api_version(), "kind": "ClusterRoleBinding",
            "metadata": {
                "name": self.name, "labels": Map::from_iter([bootstrapping()]), "annotations": { AUTOUPDATE: "true" },
            },
            "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": self.name },
        });
        // system:node is kept without subjects: nodes have an authorizer of their own.
        if !self.subjects.is_empty() {
            body["subjects"] = self.subjects.iter().map(Subject::value).collect();
        }
        body
    }
}

impl Subject {
    fn value(&self) -> Value {
        match *self {
            Self::User(name) => json!({ "apiGroup": GROUP, "kind": "User", "name": name }),
            Self::Group(name) => json!({ "apiGroup": GROUP, "kind": "Group", "name": name }),
            Self::Account(namespace, name) => json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name }),
        }
    }
}

fn bootstrapping() -> (String, Value) {
    ("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".into())
}

fn label(role: &str) -> String {
    format!("{GROUP}/aggregate-to-{role}")
}
