//! PriorityClasses: which pods go before others.

use k8s_openapi::api::scheduling::v1::PriorityClass;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Generation, Kind, Rules, Scope};
use crate::table::{self, AGE, NAME, integer, text, wide};
use crate::validate::{immutable, one_of};

/// The highest priority that is not the system's own.
const USER_MAX: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";

/// The classes that every cluster has, as name, value and description.
pub const SYSTEM_PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2 * USER_MAX + 1000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2 * USER_MAX,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// `PriorityClass`.
pub static PRIORITYCLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    scope: Scope::Cluster,
    acts: true,
    collection: "scheduling.k8s.io/priorityclasses",
    rules: Rules {
        schema: PriorityClass::json_schema,
        // It is 1 and stays 1: there is no spec.
        generation: Generation::Spec,
        default: |value| {
            json::default(value, "preemptionPolicy", "PreemptLowerPriority");
            json::default(value, "value", 0);
        },
        validate,
        validate_update: |new, old, errors| {
            if json::int(new, &["value"]) != json::int(old, &["value"]) {
                errors.forbidden("value", "may not be changed in an update.");
            }
            immutable(errors, new, old, &["preemptionPolicy"]);
        },
        columns: &[
            NAME,
            integer("Value", "The priority."),
            Column { kind: "boolean", ..text("Global-Default", "Whether pods without a class get it.") },
            AGE,
            wide(text("PreemptionPolicy", "Whether its pods push out others.")),
        ],
        cells: |object, now| {
            vec![
                object.name().into(),
                object.int("/value").unwrap_or_default().into(),
                json::flag(&object.0, &["globalDefault"]).into(),
                table::age(object, now).into(),
                object.text("/preemptionPolicy").into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let name = json::text(value, &["metadata", "name"]);
    let priority = json::int(value, &["value"]).unwrap_or_default();
    if name.starts_with(SYSTEM_PREFIX) {
        let problem = match SYSTEM_PRIORITY_CLASSES.iter().find(|(known, ..)| *known == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, wanted, _)) if *wanted != priority => {
                Some(format!("value of {name} PriorityClass must be {wanted}"))
            }
            Some(_) if json::flag(value, &["globalDefault"]) => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let why = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {problem}"
            );
            errors.forbidden("metadata.name", &why);
        }
    } else if priority > USER_MAX {
        errors.forbidden("value", &format!("maximum allowed value of a user defined priority is {USER_MAX}"));
    }
    one_of(errors, value, "preemptionPolicy", "", &["Never", "PreemptLowerPriority"]);
}
