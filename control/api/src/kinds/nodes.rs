//! Nodes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use schemars::JsonSchema as _;
use serde_json::Value;
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Kind, Rules, Scope, Subresource};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, or_none, text, wide};
use crate::validate;

/// `Node`.
pub static NODE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    scope: Scope::Cluster,
    has_status: true,
    acts: true,
    subresources: &[Subresource::proxy("NodeProxyOptions")],
    collection: "core/nodes",
    rules: Rules {
        schema: Node::json_schema,
        default,
        validate,
        validate_update,
        fields: &[FieldLabel {
            label: "spec.unschedulable",
            read: |object| json::flag(&object.0, &["spec", "unschedulable"]).to_string(),
        }],
        columns: &[
            NAME,
            text("Status", "Whether the node is ready, and takes new pods."),
            text("Roles", "The roles of the node."),
            AGE,
            text("Version", "Version of the node agent."),
            wide(text("Internal-IP", "Address within the cluster.")),
            wide(text("External-IP", "Address from outside.")),
            wide(text("OS-Image", "Operating system.")),
            wide(text("Kernel-Version", "Kernel of the operating system.")),
            wide(text("Container-Runtime", "What runs the pods.")),
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    let cidr = json::text(spec, &["podCIDR"]).to_owned();
    if !cidr.is_empty() && json::is_empty(json::get(spec, "podCIDRs")) {
        json::set(spec, "podCIDRs", vec![cidr]);
    }
    if let Some(status) = value.get_mut("status")
        && json::is_empty(json::get(status, "allocatable"))
        && let Some(capacity) = status.get("capacity").cloned()
    {
        json::set(status, "allocatable", capacity);
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, taint) in json::items(value, &["spec", "taints"]).iter().enumerate() {
        let path = format!("spec.taints[{index}]");
        let (key, effect) = (json::text(taint, &["key"]), json::text(taint, &["effect"]));
        validate::text(errors, &format!("{path}.key"), key, names::qualified_name);
        validate::text(errors, &format!("{path}.value"), json::text(taint, &["value"]), names::label_value);
        validate::one_of(errors, taint, "effect", &path, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((key, effect)) {
            let why = "taints must be unique by key and effect pair";
            errors.duplicate_because(path, taint, why);
        }
    }
    let ranges: Vec<&str> = json::items(value, &["spec", "podCIDRs"]).iter().filter_map(Value::as_str).collect();
    for (index, range) in ranges.iter().enumerate() {
        validate::address::range(errors, &format!("spec.podCIDRs[{index}]"), range);
    }
    let families: Vec<bool> =
        ranges.iter().filter_map(|range| Some(validate::address::cidr(range)?.0.is_ipv4())).collect();
    if families.len() > 1 && (families.len() > 2 || families[0] == families[1]) {
        let why = "may specify no more than one CIDR for each IP family";
        errors.invalid("spec.podCIDRs", json::dig(value, &["spec", "podCIDRs"]), why);
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let cidr = |value| json::text(value, &["spec", "podCIDR"]).to_owned();
    if !cidr(old).is_empty() && cidr(new) != cidr(old) {
        errors.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
    }
    let id = |value| json::text(value, &["spec", "providerID"]).to_owned();
    if !id(old).is_empty() && id(new) != id(old) {
        errors.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let address = |wanted: &str| {
        let found = object.items("/status/addresses").iter().find(|entry| json::text(entry, &["type"]) == wanted);
        or_none(found.map(|entry| json::text(entry, &["address"])).unwrap_or_default())
    };
    let info = |key: &str| match object.text(&format!("/status/nodeInfo/{key}")) {
        "" => "<unknown>".to_owned(),
        text => text.to_owned(),
    };
    vec![
        object.name().into(),
        status(object).into(),
        roles(object).into(),
        table::age(object, now).into(),
        object.text("/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage").into(),
        info("kernelVersion").into(),
        info("containerRuntimeVersion").into(),
    ]
}

fn status(object: &Object) -> String {
    let ready = object.items("/status/conditions").iter().find(|entry| json::text(entry, &["type"]) == "Ready");
    let status = match ready.map(|entry| json::text(entry, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if json::flag(&object.0, &["spec", "unschedulable"]) {
        format!("{status},SchedulingDisabled")
    } else {
        status.to_owned()
    }
}

fn roles(object: &Object) -> String {
    let roles: BTreeSet<&str> = object
        .labels()
        .into_iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => Some(value),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    or_none(&roles.into_iter().collect::<Vec<_>>().join(","))
}
