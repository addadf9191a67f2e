//! PodTemplates.

use k8s_openapi::api::core::v1::PodTemplate;
use schemars::JsonSchema as _;
use serde_json::Value;

use super::workload;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::table::{self, NAME, text};
use crate::validate::pod;

/// `PodTemplate`.
pub static PODTEMPLATE: Kind = Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    collection: "core/podtemplates",
    rules: Rules {
        schema: PodTemplate::json_schema,
        generation: Generation::Anything,
        default: workload::default_template,
        validate: |value, errors| pod::template(errors, json::get(value, "template"), "template"),
        columns: &[
            NAME,
            text("Containers", "Names of the containers in the template."),
            text("Images", "Images of the containers in the template."),
            text("Pod Labels", "Labels of the pods."),
        ],
        cells: |object, _| {
            let [names, images] = workload::container_cells(object, "/template/spec");
            let labels = table::labels(object.at("/template/metadata/labels").unwrap_or(&Value::Null));
            vec![object.name().into(), names, images, labels.into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};
