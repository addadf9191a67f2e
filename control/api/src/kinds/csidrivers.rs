//! CSIDrivers: what a storage driver can do.

use k8s_openapi::api::storage::v1::CSIDriver;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::csinodes::driver_name;
use super::persistentvolumes::or_unset;
use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Generation, Kind, Rules, Scope};
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::immutable;

/// `CSIDriver`.
pub static CSIDRIVER: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    scope: Scope::Cluster,
    collection: "storage.k8s.io/csidrivers",
    rules: Rules {
        schema: CSIDriver::json_schema,
        generation: Generation::Spec,
        default,
        validate,
        validate_update: |new, old, errors| {
            for field in ["attachRequired", "fsGroupPolicy", "volumeLifecycleModes"] {
                immutable(errors, new, old, &["spec", field]);
            }
        },
        columns: &[
            NAME,
            boolean("AttachRequired", "Whether volumes are attached before they are mounted."),
            boolean("PodInfoOnMount", "Whether the driver is told of the pod."),
            boolean("StorageCapacity", "Whether capacity counts in placement."),
            text("TokenRequests", "Audiences of the tokens it asks for."),
            boolean("RequiresRepublish", "Whether volumes are published again and again."),
            text("Modes", "How long its volumes live."),
            AGE,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column { kind: "boolean", ..text(name, description) }
}

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    for (key, to) in [
        ("attachRequired", json!(true)),
        ("podInfoOnMount", json!(false)),
        ("storageCapacity", json!(false)),
        ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
        ("requiresRepublish", json!(false)),
        ("seLinuxMount", json!(false)),
    ] {
        json::default(spec, key, to);
    }
    if json::items(spec, &["volumeLifecycleModes"]).is_empty() {
        json::set(spec, "volumeLifecycleModes", vec!["Persistent"]);
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    driver_name(errors, json::text(value, &["metadata", "name"]), "metadata.name");
    for (index, mode) in json::items(value, &["spec", "volumeLifecycleModes"]).iter().enumerate() {
        let mode = mode.as_str().unwrap_or_default();
        if !["Ephemeral", "Persistent"].contains(&mode) {
            errors.not_supported(format!("spec.volumeLifecycleModes[{index}]"), mode, &["Ephemeral", "Persistent"]);
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    crate::validate::one_of(errors, json::get(value, "spec"), "fsGroupPolicy", "spec", &policies);
    let mut audiences = Vec::new();
    for (index, request) in json::items(value, &["spec", "tokenRequests"]).iter().enumerate() {
        let audience = json::text(request, &["audience"]);
        if audiences.contains(&audience) {
            errors.duplicate(format!("spec.tokenRequests[{index}].audience"), &Value::from(audience));
        }
        audiences.push(audience);
        let seconds = json::get(request, "expirationSeconds");
        if seconds.as_i64().is_some_and(|seconds| seconds < 600) {
            let why = "may not specify a duration less than 10 minutes";
            errors.invalid(format!("spec.tokenRequests[{index}].expirationSeconds"), seconds, why);
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let flag = |key| json::flag(&object.0, &["spec", key]).into();
    let requests = object.items("/spec/tokenRequests").iter().map(|request| json::text(request, &["audience"]));
    let modes = object.items("/spec/volumeLifecycleModes").iter().filter_map(Value::as_str);
    vec![
        object.name().into(),
        flag("attachRequired"),
        flag("podInfoOnMount"),
        flag("storageCapacity"),
        or_unset(&requests.collect::<Vec<_>>().join(",")).into(),
        flag("requiresRepublish"),
        modes.collect::<Vec<_>>().join(",").into(),
        table::age(object, now).into(),
    ]
}
