//! RuntimeClasses: by which handler a pod is run.

use k8s_openapi::api::node::v1::RuntimeClass;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules, Scope};
use crate::names;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, immutable, labels, placement, resources};

/// `RuntimeClass`.
pub static RUNTIMECLASS: Kind = Kind {
    group: "node.k8s.io",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    scope: Scope::Cluster,
    acts: true,
    collection: "node.k8s.io/runtimeclasses",
    rules: Rules {
        schema: RuntimeClass::json_schema,
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["handler"]),
        columns: &[NAME, text("Handler", "What runs its pods."), AGE],
        cells: |object, now| vec![object.name().into(), object.text("/handler").into(), table::age(object, now).into()],
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    validate::text(errors, "handler", json::text(value, &["handler"]), names::dns_label);
    for (name, amount) in json::members(value, &["overhead", "podFixed"]) {
        resources::amount(errors, name, amount, &format!("overhead.podFixed[{name}]"));
    }
    let scheduling = json::get(value, "scheduling");
    labels::map(errors, json::get(scheduling, "nodeSelector"), "scheduling.nodeSelector");
    placement::tolerations(errors, json::items(scheduling, &["tolerations"]), "scheduling");
}
