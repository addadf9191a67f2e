//! PersistentVolumes and what they share with claims: access modes, and how those are printed.
//!
//! Source of rules and words: `ValidatePersistentVolumeSpec` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use k8s_openapi::api::core::v1::PersistentVolume;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::table::{self, AGE, NAME, text, wide};
use crate::validate::{self, immutable, one_of_if_set};

/// What a volume can be made of.
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// `PersistentVolume`.
pub static PERSISTENTVOLUME: Kind = Kind {
    kind: "PersistentVolume",
    acts: true,
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    scope: Scope::Cluster,
    has_status: true,
    collection: "core/persistentvolumes",
    rules: Rules {
        schema: PersistentVolume::json_schema,
        default,
        prepare_create: |value| json::set(value, "status", json!({"phase": "Pending"})),
        validate,
        validate_update,
        columns: &[
            NAME,
            text("Capacity", "How much it holds."),
            text("Access Modes", "How it can be mounted."),
            text("Reclaim Policy", "What becomes of it when its claim goes."),
            text("Status", "Whether it is free, bound or released."),
            text("Claim", "The claim it is bound to."),
            text("StorageClass", "The class it belongs to."),
            text("VolumeAttributesClass", "The class of its attributes."),
            text("Reason", "Why it is in this state."),
            AGE,
            wide(text("VolumeMode", "Whether it is a file system or a device.")),
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::default(spec, "persistentVolumeReclaimPolicy", "Retain");
    json::default(spec, "volumeMode", "Filesystem");
    if let Some(path) = spec.get_mut("hostPath") {
        // The type is a pointer to "": set even though it is empty.
        json::default(path, "type", "");
    }
    if let Some(claim) = spec.get_mut("claimRef") {
        json::default(claim, "kind", "PersistentVolumeClaim");
        json::default(claim, "apiVersion", "v1");
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    if json::items(spec, &["accessModes"]).is_empty() {
        errors.required("spec.accessModes", "");
    }
    access_modes(errors, spec);
    capacity(errors, json::get(spec, "capacity"));
    one_of_if_set(errors, spec, "persistentVolumeReclaimPolicy", "spec", &["Delete", "Recycle", "Retain"]);
    one_of_if_set(errors, spec, "volumeMode", "spec", &["Block", "Filesystem"]);
    let class = json::text(spec, &["storageClassName"]);
    if !class.is_empty() {
        validate::text(errors, "spec.storageClassName", class, names::dns_subdomain);
    }
    let mut sources = SOURCES.iter().filter(|source| !json::get(spec, source).is_null());
    if sources.next().is_none() {
        errors.required("spec", "must specify a volume type");
    }
    for source in sources {
        errors.forbidden(format!("spec.{source}"), "may not specify more than 1 volume type");
    }
    source(errors, spec);
    let affinity = json::get(spec, "nodeAffinity");
    if !affinity.is_null() && json::get(affinity, "required").is_null() {
        errors.required("spec.nodeAffinity.required", "must specify required node constraints");
    }
}

fn source(errors: &mut Errors, spec: &Value) {
    const BACK_STEP: &str = "must not contain '..'";
    for (kind, keys) in [
        ("hostPath", ["path"].as_slice()),
        ("local", &["path"]),
        ("nfs", &["server", "path"]),
        ("csi", &["driver", "volumeHandle"]),
    ] {
        let source = json::get(spec, kind);
        if source.is_null() {
            continue;
        }
        for key in keys {
            validate::required(errors, source, key, &format!("spec.{kind}"));
        }
        let path = json::text(source, &["path"]);
        if path.split('/').any(|part| part == "..") {
            errors.invalid_str(format!("spec.{kind}.path"), path, BACK_STEP);
        }
        if kind == "nfs" && !path.is_empty() && !path.starts_with('/') {
            errors.invalid_str("spec.nfs.path", path, "must be an absolute path");
        }
    }
    if json::text(spec, &["hostPath", "path"]) == "/"
        && json::text(spec, &["persistentVolumeReclaimPolicy"]) == "Recycle"
    {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden("spec.persistentVolumeReclaimPolicy", why);
    }
    if !json::get(spec, "local").is_null() && json::get(spec, "nodeAffinity").is_null() {
        errors.required("metadata.annotations", "Local volume requires node affinity");
    }
}

fn capacity(errors: &mut Errors, capacity: &Value) {
    if json::is_empty(capacity) {
        errors.required("spec.capacity", "");
    } else if json::get(capacity, "storage").is_null() || json::members(capacity, &[]).count() > 1 {
        errors.not_supported("spec.capacity", &capacity.to_string(), &["storage"]);
    }
    for (name, amount) in json::members(capacity, &[]) {
        positive(errors, amount, &format!("spec.capacity[{name}]"));
    }
}

/// An amount of storage.
pub(super) fn positive(errors: &mut Errors, amount: &Value, field: &str) {
    match Quantity::from_value(amount) {
        Ok(quantity) if quantity <= Quantity::ZERO => {
            errors.invalid_str(field, &quantity.to_string(), "must be greater than zero");
        }
        Ok(_) => {}
        Err(error) => errors.invalid(field, amount, &error.to_string()),
    }
}

/// The access modes of a volume or claim.
pub(super) fn access_modes(errors: &mut Errors, spec: &Value) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let given = json::items(spec, &["accessModes"]);
    for mode in given.iter().filter_map(Value::as_str).filter(|mode| !MODES.contains(mode)) {
        errors.not_supported("spec.accessModes", mode, &MODES);
    }
    if given.len() > 1 && given.iter().any(|mode| mode == "ReadWriteOncePod") {
        errors.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes");
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let changed = |source: &&&str| !json::same(json::dig(new, &["spec", source]), json::dig(old, &["spec", source]));
    if SOURCES.iter().any(|source| changed(&source)) {
        errors.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation");
    }
    immutable(errors, new, old, &["spec", "volumeMode"]);
    if !json::dig(old, &["spec", "nodeAffinity"]).is_null() {
        immutable(errors, new, old, &["spec", "nodeAffinity"]);
    }
}

/// `RWO,ROX`, in Kubernetes' order and without repetition.
pub(super) fn short_modes(modes: &[Value]) -> String {
    const WORDS: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let given = WORDS.iter().filter(|(long, _)| modes.iter().any(|mode| mode == long));
    given.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The class of a volume or claim: its field, or the annotation that was there first.
pub(super) fn class(object: &Object) -> &str {
    object
        .annotation("volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| object.text("/spec/storageClassName"))
}

/// `text`, or what is shown for a field that is not there.
pub(super) fn or_unset(text: &str) -> &str {
    if text.is_empty() { "<unset>" } else { text }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let claim = match (object.text("/spec/claimRef/namespace"), object.text("/spec/claimRef/name")) {
        (_, "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    let status = if object.is_deleting() { "Terminating" } else { object.text("/status/phase") };
    vec![
        object.name().into(),
        object.text("/spec/capacity/storage").into(),
        short_modes(object.items("/spec/accessModes")).into(),
        object.text("/spec/persistentVolumeReclaimPolicy").into(),
        status.into(),
        claim.into(),
        class(object).into(),
        or_unset(object.text("/spec/volumeAttributesClassName")).into(),
        object.text("/status/reason").into(),
        table::age(object, now).into(),
        or_unset(object.text("/spec/volumeMode")).into(),
    ]
}
