//! StorageClasses: where claimed volumes come from.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/storage/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::storage::v1::StorageClass;
use schemars::JsonSchema as _;
use serde_json::Value;
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Kind, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, immutable, one_of};

/// Marks the class of claims that name none.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Parameters of a class, and all of them together: Kubernetes' limits.
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// `StorageClass`.
pub static STORAGECLASS: Kind = Kind {
    group: "storage.k8s.io",
    kind: "StorageClass",
    acts: true,
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    scope: Scope::Cluster,
    collection: "storage.k8s.io/storageclasses",
    rules: Rules {
        schema: StorageClass::json_schema,
        default: |value| {
            json::default(value, "reclaimPolicy", "Delete");
            json::default(value, "volumeBindingMode", "Immediate");
        },
        validate,
        validate_update: |new, old, errors| {
            for field in ["parameters", "provisioner", "reclaimPolicy"] {
                if !json::same(json::get(new, field), json::get(old, field)) {
                    errors.forbidden(field, &format!("updates to {field} are forbidden."));
                }
            }
            immutable(errors, new, old, &["volumeBindingMode"]);
        },
        columns: &[
            NAME,
            text("Provisioner", "What makes the volumes."),
            text("ReclaimPolicy", "What becomes of a volume when its claim goes."),
            text("VolumeBindingMode", "When a volume is made."),
            Column { kind: "boolean", ..text("AllowVolumeExpansion", "Whether volumes can grow.") },
            AGE,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    if validate::required(errors, value, "provisioner", "") {
        let provisioner = json::text(value, &["provisioner"]);
        for problem in names::qualified_name(&provisioner.to_lowercase()) {
            errors.invalid_str("provisioner", provisioner, &problem);
        }
    }
    let parameters: Vec<_> = json::members(value, &["parameters"]).collect();
    let bytes: usize = parameters.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if parameters.len() > PARAMETERS_MAX {
        errors.too_long("parameters", PARAMETERS_MAX);
    } else if bytes > PARAMETERS_BYTES_MAX {
        errors.too_long("parameters", PARAMETERS_BYTES_MAX);
    }
    if parameters.iter().any(|(key, _)| key.is_empty()) {
        errors.invalid_str("parameters", "", "field can not be empty.");
    }
    one_of(errors, value, "reclaimPolicy", "", &["Delete", "Retain"]);
    one_of(errors, value, "volumeBindingMode", "", &["Immediate", "WaitForFirstConsumer"]);
    for (index, term) in json::items(value, &["allowedTopologies"]).iter().enumerate() {
        topology(errors, term, &format!("allowedTopologies[{index}]"));
    }
}

/// Each key once, with values that are there once.
fn topology(errors: &mut Errors, term: &Value, path: &str) {
    let mut keys = BTreeSet::new();
    for (index, expression) in json::items(term, &["matchLabelExpressions"]).iter().enumerate() {
        let path = format!("{path}.matchLabelExpressions[{index}]");
        let key = json::text(expression, &["key"]);
        validate::text(errors, &format!("{path}.key"), key, names::qualified_name);
        let mut seen = BTreeSet::new();
        let values = json::items(expression, &["values"]);
        if values.is_empty() {
            errors.required(format!("{path}.values"), "");
        }
        for (at, value) in values.iter().enumerate() {
            if !seen.insert(value.as_str()) {
                errors.duplicate(format!("{path}.values[{at}]"), value);
            }
        }
        if !keys.insert(key) {
            errors.duplicate(format!("{path}.key"), &Value::from(key));
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let is_default = object.annotation(DEFAULT_CLASS) == Some("true");
    let name = if is_default { format!("{} (default)", object.name()) } else { object.name().to_owned() };
    vec![
        name.into(),
        object.text("/provisioner").into(),
        object.text("/reclaimPolicy").into(),
        object.text("/volumeBindingMode").into(),
        json::flag(&object.0, &["allowVolumeExpansion"]).into(),
        table::age(object, now).into(),
    ]
}
