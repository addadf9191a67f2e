//! VolumeAttachments: that a volume shall be attached to a node.

use k8s_openapi::api::storage::v1::VolumeAttachment;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use super::csinodes::driver_name;
use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Kind, Rules, Scope};
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, immutable};

/// `VolumeAttachment`.
pub static VOLUMEATTACHMENT: Kind = Kind {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    scope: Scope::Cluster,
    has_status: true,
    collection: "storage.k8s.io/volumeattachments",
    rules: Rules {
        schema: VolumeAttachment::json_schema,
        prepare_create: |value| json::set(value, "status", json!({"attached": false})),
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec"]),
        columns: &[
            NAME,
            text("Attacher", "What attaches it."),
            text("PV", "The volume."),
            text("Node", "Where it is attached to."),
            Column { kind: "boolean", ..text("Attached", "Whether it is attached.") },
            AGE,
        ],
        cells: |object, now| {
            vec![
                object.name().into(),
                object.text("/spec/attacher").into(),
                object.text("/spec/source/persistentVolumeName").into(),
                object.text("/spec/nodeName").into(),
                json::flag(&object.0, &["status", "attached"]).into(),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    driver_name(errors, json::text(spec, &["attacher"]), "spec.attacher");
    validate::required(errors, spec, "nodeName", "spec");
    let inline = !json::dig(spec, &["source", "inlineVolumeSpec"]).is_null();
    match (inline, json::text(spec, &["source", "persistentVolumeName"])) {
        (false, "") => {
            errors.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName");
        }
        (true, name) if !name.is_empty() => {
            let why = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            errors.invalid("spec.source", json::get(spec, "source"), why);
        }
        _ => {}
    }
}
