//! CSINodes: which storage drivers a node has.

use std::collections::BTreeSet;

use k8s_openapi::api::storage::v1::CSINode;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules, Scope};
use crate::names;
use crate::table::{self, AGE, NAME, integer};
use crate::validate;

/// Longest name of a driver: Kubernetes' limit.
const DRIVER_NAME_BYTES_MAX: usize = 63;

/// `CSINode`.
pub static CSINODE: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    scope: Scope::Cluster,
    collection: "storage.k8s.io/csinodes",
    rules: Rules {
        schema: CSINode::json_schema,
        // Always there, even on a node without drivers.
        default: |value| json::default(json::object_at(value, "spec"), "drivers", json!([])),
        validate,
        validate_update: |new, old, errors| {
            for driver in json::items(new, &["spec", "drivers"]) {
                let same = |other: &&Value| json::text(other, &["name"]) == json::text(driver, &["name"]);
                if let Some(before) = json::items(old, &["spec", "drivers"]).iter().find(same)
                    && !json::same(driver, before)
                {
                    errors.invalid("spec.drivers", driver, "field is immutable");
                }
            }
        },
        columns: &[NAME, integer("Drivers", "Number of drivers."), AGE],
        cells: |object, now| {
            let drivers = object.items("/spec/drivers").len();
            vec![object.name().into(), Value::from(drivers), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// The name of a storage driver.
pub(super) fn driver_name(errors: &mut Errors, name: &str, field: &str) {
    if name.is_empty() {
        errors.required(field, "");
    }
    if name.len() > DRIVER_NAME_BYTES_MAX {
        errors.too_long(field, DRIVER_NAME_BYTES_MAX);
    }
    for problem in names::dns_subdomain(&name.to_lowercase()) {
        errors.invalid_str(field, name, &problem);
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, driver) in json::items(value, &["spec", "drivers"]).iter().enumerate() {
        let path = format!("spec.drivers[{index}]");
        let name = json::text(driver, &["name"]);
        driver_name(errors, name, &format!("{path}.name"));
        if !names.insert(name) {
            errors.duplicate(format!("{path}.name"), &Value::from(name));
        }
        validate::required(errors, driver, "nodeID", &path);
        let mut keys = BTreeSet::new();
        for key in json::items(driver, &["topologyKeys"]).iter().filter_map(Value::as_str) {
            validate::text(errors, &format!("{path}.topologyKeys"), key, names::qualified_name);
            if !keys.insert(key) {
                errors.duplicate(format!("{path}.topologyKeys"), &Value::from(key));
            }
        }
    }
}
