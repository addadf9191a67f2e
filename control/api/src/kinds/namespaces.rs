//! Namespaces: born Active with the finalizer `kubernetes`; deleted means Terminating until that finalizer is gone.
//!
//! Kubernetes takes the finalizer away at `/finalize`. Here an ordinary update of a namespace that is Terminating may
//! shorten `spec.finalizers`, too; with the last one the namespace goes ([`crate::strategy::removes`]).

use k8s_openapi::api::core::v1::Namespace;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use crate::field::Errors;
use crate::json;
use crate::kind::{FieldLabel, Kind, Part, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::meta;

/// Namespaces that the cluster itself lives in.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
const FINALIZER: &str = "kubernetes";

/// `Namespace`.
pub static NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    scope: Scope::Cluster,
    has_status: true,
    acts: true,
    collection: "core/namespaces",
    rules: Rules {
        schema: Namespace::json_schema,
        name: names::label_name,
        default,
        prepare_create,
        prepare_update,
        validate: |value, errors| {
            pod_security(value, errors);
            meta::finalizers(errors, json::items(value, &["spec", "finalizers"]), "spec.finalizers", false);
        },
        parts: &[Part {
            name: "finalize",
            take: |old, new| {
                let finalizers = json::items(new, &["spec", "finalizers"]).to_vec();
                json::set(json::object_at(old, "spec"), "finalizers", finalizers);
            },
            validate: |_, _, _| (),
        }],
        fields: &[FieldLabel { label: "status.phase", read: |object| object.text("/status/phase").to_owned() }],
        columns: &[NAME, text("Status", "The phase of the namespace."), AGE],
        cells: |object, now| {
            vec![object.name().into(), object.text("/status/phase").into(), table::age(object, now).into()]
        },
        held: |object| !object.items("/spec/finalizers").is_empty(),
        mark,
        undeletable: |object| IMMORTAL.contains(&object.name()).then_some("this namespace may not be deleted"),
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let name = json::text(value, &["metadata", "name"]).to_owned();
    let labels = json::object_at(json::object_at(value, "metadata"), "labels");
    json::set(labels, "kubernetes.io/metadata.name", name);
}

fn prepare_create(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    let mut finalizers = json::items(spec, &["finalizers"]).to_vec();
    if !finalizers.iter().any(|name| name == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    json::set(spec, "finalizers", finalizers);
    json::set(value, "status", json!({"phase": "Active"}));
}

fn prepare_update(new: &mut Value, old: &Value) {
    let before = json::items(old, &["spec", "finalizers"]);
    let after = json::items(new, &["spec", "finalizers"]);
    let terminating = Object::new(old.clone()).is_deleting();
    let shortened = new.get("spec").is_some() && after.iter().all(|name| before.contains(name));
    if !(terminating && shortened) {
        json::copy(new, old, "spec");
    }
}

/// Labels of the Pod Security Standards that name no level or version.
fn pod_security(value: &Value, errors: &mut Errors) {
    const LEVELS: [&str; 3] = ["privileged", "baseline", "restricted"];
    for mode in ["enforce", "audit", "warn"] {
        let label = format!("pod-security.kubernetes.io/{mode}");
        let level = json::text(value, &["metadata", "labels", &label]);
        if !level.is_empty() && !LEVELS.contains(&level) {
            let why = format!("must be one of {}", LEVELS.join(", "));
            errors.invalid_str(format!("metadata.labels[{label}]"), level, &why);
        }
        let label = format!("{label}-version");
        let version = json::text(value, &["metadata", "labels", &label]);
        let minor = version.strip_prefix("v1.").and_then(|minor| minor.parse::<u32>().ok());
        if !version.is_empty() && version != "latest" && minor.is_none() {
            errors.invalid_str(format!("metadata.labels[{label}]"), version, "must be \"latest\" or \"v1.x\"");
        }
    }
}

fn mark(value: &mut Value) {
    json::remove(json::object_at(value, "metadata"), "deletionGracePeriodSeconds");
    json::set(json::object_at(value, "status"), "phase", "Terminating");
}
