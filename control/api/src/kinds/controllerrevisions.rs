//! ControllerRevisions: what a template was, for `kubectl rollout undo` of DaemonSets and StatefulSets.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/apps/validation`.

use k8s_openapi::api::apps::v1::ControllerRevision;
use schemars::JsonSchema as _;
use serde_json::Value;
use wk_base::time::Timestamp;

use crate::json;
use crate::kind::{Kind, Rules};
use crate::object::Object;
use crate::table::{self, AGE, NAME, NONE, integer, text};
use crate::validate::immutable;

/// `ControllerRevision`.
pub static CONTROLLERREVISION: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    collection: "apps/controllerrevisions",
    acts: true,
    rules: Rules {
        schema: ControllerRevision::json_schema,
        validate: |value, errors| {
            if json::get(value, "data").is_null() {
                errors.required("data", "data is mandatory");
            }
            if json::int(value, &["revision"]).is_some_and(|revision| revision < 0) {
                errors.invalid("revision", json::get(value, "revision"), crate::validate::NOT_NEGATIVE);
            }
        },
        validate_update: |new, old, errors| immutable(errors, new, old, &["data"]),
        columns: &[NAME, text("Controller", "Whose template it was."), integer("Revision", "Its number."), AGE],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let controller = object.controller_of().map_or_else(
        || NONE.to_owned(),
        |owner| {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", owner.kind.to_lowercase(), owner.name)
        },
    );
    let revision = object.int("/revision").unwrap_or_default();
    vec![object.name().into(), controller.into(), revision.into(), table::age(object, now).into()]
}
