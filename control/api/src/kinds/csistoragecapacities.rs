//! CSIStorageCapacities: how much a storage class has left where.

use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules};
use crate::names;
use crate::quantity::Quantity;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, NOT_NEGATIVE, immutable, labels};

/// `CSIStorageCapacity`.
pub static CSISTORAGECAPACITY: Kind = Kind {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    collection: "storage.k8s.io/csistoragecapacities",
    rules: Rules {
        schema: CSIStorageCapacity::json_schema,
        validate,
        validate_update: |new, old, errors| {
            immutable(errors, new, old, &["nodeTopology"]);
            immutable(errors, new, old, &["storageClassName"]);
        },
        columns: &[NAME, text("StorageClassName", "The class."), text("Capacity", "How much is left."), AGE],
        cells: |object, now| {
            vec![
                object.name().into(),
                object.text("/storageClassName").into(),
                object.text("/capacity").into(),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    labels::selector(errors, json::get(value, "nodeTopology"), "nodeTopology");
    let class = json::text(value, &["storageClassName"]);
    validate::text(errors, "storageClassName", class, names::dns_subdomain);
    for key in ["capacity", "maximumVolumeSize"] {
        if let Ok(amount) = Quantity::from_value(json::get(value, key))
            && amount.is_negative()
        {
            errors.invalid_str(key, &amount.to_string(), NOT_NEGATIVE);
        }
    }
}
