//! ConfigMaps.

use k8s_openapi::api::core::v1::ConfigMap;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::json;
use crate::kind::{Kind, Rules};
use crate::table::{self, AGE, NAME, integer};
use crate::validate::data;

const MAPS: [&str; 2] = ["data", "binaryData"];

/// `ConfigMap`.
pub static CONFIGMAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    acts: true,
    collection: "core/configmaps",
    rules: Rules {
        schema: ConfigMap::json_schema,
        validate: |value, errors| data::maps(errors, value, &MAPS),
        validate_update: |new, old, errors| data::immutable(errors, new, old, &MAPS),
        columns: &[NAME, integer_as_text(), AGE],
        cells: |object, now| {
            let entries =
                json::members(&object.0, &["data"]).count() + json::members(&object.0, &["binaryData"]).count();
            vec![object.name().into(), Value::from(entries), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// Kubernetes declares this column as text and fills it with a number.
const fn integer_as_text() -> crate::kind::Column {
    crate::kind::Column { kind: "string", ..integer("Data", "Number of entries.") }
}
