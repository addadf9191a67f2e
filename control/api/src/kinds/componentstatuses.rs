//! ComponentStatuses: an old way to ask whether a cluster is well, which some tools still use. Made when it is read.

use k8s_openapi::api::core::v1::ComponentStatus;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use crate::json;
use crate::kind::{Kind, Rules, Scope, Serving};
use crate::object::Object;
use crate::table::{NAME, text};

/// `ComponentStatus`.
pub static COMPONENTSTATUS: Kind = Kind {
    kind: "ComponentStatus",
    plural: "componentstatuses",
    singular: "componentstatus",
    short_names: &["cs"],
    scope: Scope::Cluster,
    acts: true,
    serving: Serving::Computed,
    collection: "core/componentstatuses",
    rules: Rules {
        schema: ComponentStatus::json_schema,
        columns: &[
            NAME,
            text("Status", "Healthy, Unhealthy or Unknown."),
            text("Message", "What it says of itself."),
            text("Error", "What went wrong in asking."),
        ],
        cells: |object, _| {
            let healthy = object.items("/conditions").iter().find(|entry| json::text(entry, &["type"]) == "Healthy");
            let part = |key| healthy.map_or("", |condition| json::text(condition, &[key]));
            let status = match part("status") {
                "True" => "Healthy",
                "False" => "Unhealthy",
                _ => "Unknown",
            };
            vec![object.name().into(), status.into(), part("message").into(), part("error").into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// The status of a part of the cluster: well, with what it says; or not, with why.
pub fn component_status(name: &str, health: Result<&str, &str>) -> Object {
    let (status, key, text): (&str, &str, &str) = match health {
        Ok(message) => ("True", "message", message),
        Err(error) => ("False", "error", error),
    };
    let mut condition = json!({"type": "Healthy", "status": status});
    json::set(&mut condition, key, text);
    let conditions: Vec<Value> = vec![condition];
    Object::new(json!({
        "apiVersion": "v1",
        "kind": "ComponentStatus",
        "metadata": {"name": name},
        "conditions": conditions,
    }))
}
