//! Bindings: what a scheduler says. They are not stored; a pod's node is.

use k8s_openapi::api::core::v1::Binding;
use schemars::JsonSchema as _;

use crate::kind::{Kind, Rules, Serving};

/// `Binding`.
pub static BINDING: Kind = Kind {
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    serving: Serving::Asked,
    acts: true,
    collection: "core/bindings",
    rules: Rules { schema: Binding::json_schema, ..Rules::PLAIN },
    ..Kind::PLAIN
};
