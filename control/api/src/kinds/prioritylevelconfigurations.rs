//! PriorityLevelConfigurations: how many requests of a level are worked on at once, and how many wait. As with FlowSchemas,
//! they are kept and shown: the API server's own turns know no levels.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/flowcontrol/{v1,validation}`.

use k8s_openapi::api::flowcontrol::v1::PriorityLevelConfiguration;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules, Scope};
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{not_negative, one_of};

/// Queues of a level at most.
const QUEUES_MAX: i64 = 10_000_000;

/// `PriorityLevelConfiguration`.
pub static PRIORITYLEVELCONFIGURATION: Kind = Kind {
    group: "flowcontrol.apiserver.k8s.io",
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    scope: Scope::Cluster,
    has_status: true,
    collection: "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations",
    rules: Rules {
        schema: PriorityLevelConfiguration::json_schema,
        generation: Generation::Spec,
        default,
        validate,
        columns: &[
            NAME,
            text("Type", "Whether its requests are limited."),
            text("NominalConcurrencyShares", "Its part of the requests at once."),
            text("Queues", "Its queues."),
            text("HandSize", "Queues that one flow may use."),
            text("QueueLengthLimit", "Requests that wait in one queue."),
            AGE,
        ],
        cells: |object, now| {
            let queuing = "/spec/limited/limitResponse/queuing";
            vec![
                object.name().into(),
                object.text("/spec/type").into(),
                number(object, "/spec/limited/nominalConcurrencyShares"),
                number(object, &format!("{queuing}/queues")),
                number(object, &format!("{queuing}/handSize")),
                number(object, &format!("{queuing}/queueLengthLimit")),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn number(object: &Object, pointer: &str) -> Value {
    object.int(pointer).map_or_else(|| "<none>".to_owned(), |number| number.to_string()).into()
}

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    match json::text(spec, &["type"]) {
        "Exempt" => {
            let exempt = json::object_at(spec, "exempt");
            json::default(exempt, "nominalConcurrencyShares", 0);
            json::default(exempt, "lendablePercent", 0);
        }
        "Limited" => {
            let limited = json::object_at(spec, "limited");
            json::default(limited, "nominalConcurrencyShares", 30);
            json::default(limited, "lendablePercent", 0);
            let response = json::object_at(limited, "limitResponse");
            if json::text(response, &["type"]) == "Queue" {
                let queuing = json::object_at(response, "queuing");
                for (key, number) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
                    json::default_nonzero(queuing, key, number);
                }
            }
        }
        _ => {}
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    one_of(errors, spec, "type", "spec", &["Exempt", "Limited"]);
    let (limited, exempt) = (json::get(spec, "limited"), json::get(spec, "exempt"));
    match json::text(spec, &["type"]) {
        "Exempt" if !limited.is_null() => {
            errors.forbidden("spec.limited", "must be nil if the type is not Limited");
        }
        "Exempt" => {
            not_negative(errors, exempt, "nominalConcurrencyShares", "spec.exempt");
            percent(exempt, "lendablePercent", "spec.exempt", errors);
        }
        "Limited" if !exempt.is_null() => {
            errors.forbidden("spec.exempt", "must be nil if the type is Limited");
        }
        "Limited" => validate_limited(limited, errors),
        _ => {}
    }
}

fn percent(value: &Value, key: &str, path: &str, errors: &mut Errors) {
    if json::int(value, &[key]).is_some_and(|percent| !(0..=100).contains(&percent)) {
        errors.invalid(format!("{path}.{key}"), json::get(value, key), "must be between 0 and 100, inclusive");
    }
}

fn validate_limited(limited: &Value, errors: &mut Errors) {
    not_negative(errors, limited, "nominalConcurrencyShares", "spec.limited");
    percent(limited, "lendablePercent", "spec.limited", errors);
    not_negative(errors, limited, "borrowingLimitPercent", "spec.limited");
    let response = json::get(limited, "limitResponse");
    let path = "spec.limited.limitResponse";
    one_of(errors, response, "type", path, &["Queue", "Reject"]);
    let queuing = json::get(response, "queuing");
    if json::text(response, &["type"]) == "Reject" {
        if !queuing.is_null() {
            errors.forbidden(format!("{path}.queuing"), "must be nil if limited.limitResponse.type is not Limited");
        }
        return;
    }
    if queuing.is_null() {
        return errors
            .required(format!("{path}.queuing"), "must not be empty if limited.limitResponse.type is Limited");
    }
    let int = |key: &str| json::int(queuing, &[key]).unwrap_or_default();
    for key in ["queueLengthLimit", "queues", "handSize"] {
        if int(key) <= 0 {
            errors.invalid(format!("{path}.queuing.{key}"), json::get(queuing, key), "must be positive");
        }
    }
    if int("queues") > QUEUES_MAX {
        let detail = format!("must not be greater than {QUEUES_MAX}");
        errors.invalid(format!("{path}.queuing.queues"), json::get(queuing, "queues"), &detail);
    }
    if int("handSize") > int("queues") {
        let detail = format!("should not be greater than queues ({})", int("queues"));
        errors.invalid(format!("{path}.queuing.handSize"), json::get(queuing, "handSize"), &detail);
    }
}
