//! Secrets: `stringData` is merged into `data`, the type never changes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Column, FieldLabel, Kind, Rules};
use crate::table::{self, AGE, NAME, text};
use crate::validate::{data, immutable};

const MAPS: [&str; 1] = ["data"];

/// Keys that a type asks for.
const REQUIRED: &[(&str, &[&str])] = &[
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

/// Names the account that a token secret is for.
const SERVICE_ACCOUNT: &str = "kubernetes.io/service-account.name";

/// `Secret`.
pub static SECRET: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    acts: true,
    sealed: true,
    collection: "core/secrets",
    rules: Rules {
        schema: Secret::json_schema,
        default,
        validate,
        // An update that says nothing of the type means the one it has.
        prepare_update: |new, old| {
            if json::text(new, &["type"]).is_empty() {
                json::copy(new, old, "type");
            }
        },
        validate_update: |new, old, errors| {
            immutable(errors, new, old, &["type"]);
            data::immutable(errors, new, old, &MAPS);
        },
        fields: &[FieldLabel { label: "type", read: |object| object.text("/type").to_owned() }],
        columns: &[NAME, text("Type", "What the data is for."), DATA, AGE],
        cells: |object, now| {
            let entries = json::members(&object.0, &["data"]).count();
            vec![
                object.name().into(),
                object.text("/type").into(),
                Value::from(entries),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// Declared as text and filled with a number, as in Kubernetes.
const DATA: Column = text("Data", "Number of entries.");

/// Whether an entry, in base64, is JSON.
fn is_json(entry: &str) -> bool {
    let bytes = STANDARD.decode(entry).unwrap_or_default();
    serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()
}

fn default(value: &mut Value) {
    json::default(value, "type", "Opaque");
    let plain = json::get(value, "stringData").clone();
    json::remove(value, "stringData");
    if json::is_empty(&plain) {
        return;
    }
    let data = json::object_at(value, "data");
    for (key, text) in json::members(&plain, &[]) {
        json::set(data, key, STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    data::maps(errors, value, &MAPS);
    let given = json::text(value, &["type"]);
    let required = REQUIRED.iter().find(|(name, _)| *name == given).map(|(_, keys)| *keys).unwrap_or_default();
    for key in required {
        if json::dig(value, &["data", key]).is_null() {
            errors.required(format!("data[{key}]"), "");
        }
    }
    for (kind, key) in
        [("kubernetes.io/dockercfg", ".dockercfg"), ("kubernetes.io/dockerconfigjson", ".dockerconfigjson")]
    {
        let text = json::text(value, &["data", key]);
        if given == kind && !json::dig(value, &["data", key]).is_null() && !is_json(text) {
            errors.invalid_str(format!("data[{key}]"), "<secret contents redacted>", "invalid character");
        }
    }
    if given == "kubernetes.io/service-account-token"
        && json::text(value, &["metadata", "annotations", SERVICE_ACCOUNT]).is_empty()
    {
        errors.required(format!("metadata.annotations[{SERVICE_ACCOUNT}]"), "");
    }
    let has = |key| !json::dig(value, &["data", key]).is_null();
    if given == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
        errors.required("data[username]", "");
        errors.required("data[password]", "");
    }
}
