//! PersistentVolumeClaims.
//!
//! Source of rules and words: `ValidatePersistentVolumeClaimSpec` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use super::persistentvolumes::{access_modes, class, or_unset, positive, short_modes};
use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules};
use crate::names;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::table::{self, AGE, NAME, text, wide};
use crate::validate::{self, labels, one_of_if_set};

/// `PersistentVolumeClaim`.
pub static PERSISTENTVOLUMECLAIM: Kind = Kind {
    kind: "PersistentVolumeClaim",
    acts: true,
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    has_status: true,
    collection: "core/persistentvolumeclaims",
    rules: Rules {
        schema: PersistentVolumeClaim::json_schema,
        default: |value| json::default(json::object_at(value, "spec"), "volumeMode", "Filesystem"),
        prepare_create: |value| json::set(value, "status", json!({"phase": "Pending"})),
        validate,
        validate_update,
        columns: &[
            NAME,
            text("Status", "Whether it is bound to a volume."),
            text("Volume", "The volume it is bound to."),
            text("Capacity", "How much that volume holds."),
            text("Access Modes", "How that volume can be mounted."),
            text("StorageClass", "The class it asks for."),
            text("VolumeAttributesClass", "The class of attributes it asks for."),
            AGE,
            wide(text("VolumeMode", "Whether it asks for a file system or a device.")),
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    if json::items(spec, &["accessModes"]).is_empty() {
        errors.required("spec.accessModes", "at least 1 access mode is required");
    }
    access_modes(errors, spec);
    labels::selector(errors, json::get(spec, "selector"), "spec.selector");
    match json::dig(spec, &["resources", "requests", "storage"]) {
        Value::Null => errors.required("spec.resources[storage]", ""),
        amount => positive(errors, amount, "spec.resources[storage]"),
    }
    let name = json::text(spec, &["storageClassName"]);
    if !name.is_empty() {
        validate::text(errors, "spec.storageClassName", name, names::dns_subdomain);
    }
    one_of_if_set(errors, spec, "volumeMode", "spec", &["Block", "Filesystem"]);
    for source in ["dataSource", "dataSourceRef"] {
        let reference = json::get(spec, source);
        if reference.is_null() {
            continue;
        }
        for key in ["name", "kind"] {
            validate::required(errors, reference, key, &format!("spec.{source}"));
        }
        let core = json::text(reference, &["apiGroup"]).is_empty();
        if core && json::text(reference, &["kind"]) != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid_str(format!("spec.{source}"), json::text(reference, &["kind"]), why);
        }
    }
}

/// Nothing of the spec changes but what a bound claim may ask more of, and what binding fills in.
fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    const WHY: &str =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let (before, after) = (json::get(old, "spec"), json::get(new, "spec"));
    let mut rest = after.clone();
    let bound = json::text(old, &["status", "phase"]) == "Bound";
    if json::text(before, &["volumeName"]).is_empty() {
        json::copy(&mut rest, before, "volumeName");
    }
    // A claim that was made before there was a default class gets it later.
    if json::get(before, "storageClassName").is_null() && !bound {
        json::copy(&mut rest, before, "storageClassName");
    }
    if bound {
        json::copy(&mut rest, before, "volumeAttributesClassName");
        let mut resources = json::get(&rest, "resources").clone();
        json::copy(&mut resources, json::get(before, "resources"), "requests");
        json::set(&mut rest, "resources", resources);
        let amount = |value, path: &[&str]| Quantity::from_value(json::dig(value, path)).ok();
        let storage = ["resources", "requests", "storage"];
        if let (Some(was), Some(wanted)) = (amount(before, &storage), amount(after, &storage))
            && wanted < was
        {
            let granted = amount(old, &["status", "capacity", "storage"]);
            let why = if granted.is_some_and(|granted| wanted < granted) {
                Some("field can not be less than status.capacity")
            } else if granted.is_none() {
                Some("field can not be less than previous value")
            } else {
                None
            };
            if let Some(why) = why {
                errors.forbidden("spec.resources.requests.storage", why);
            }
        }
    }
    if !json::same(&rest, before) {
        errors.forbidden("spec", WHY);
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let volume = object.text("/spec/volumeName");
    let (capacity, modes) = if volume.is_empty() {
        (String::new(), String::new())
    } else {
        (object.text("/status/capacity/storage").to_owned(), short_modes(object.items("/status/accessModes")))
    };
    let status = if object.is_deleting() { "Terminating" } else { object.text("/status/phase") };
    vec![
        object.name().into(),
        status.into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(object).into(),
        or_unset(object.text("/spec/volumeAttributesClassName")).into(),
        table::age(object, now).into(),
        or_unset(object.text("/spec/volumeMode")).into(),
    ]
}
