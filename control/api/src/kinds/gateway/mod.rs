//! Gateway API: which gateways there are, and what they route where. Stored and shown as in the project's standard
//! channel, v1.2; the schemas stand in a table of their own because `k8s-openapi` does not have them.
//!
//! Objects are checked by them as those of custom kinds are, which these are elsewhere, and in the same words.

mod rules;
mod schema;

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::json;
use crate::kind::{Column, Generation, Kind, Rules, Scope};
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::immutable;

const GROUP: &str = "gateway.networking.k8s.io";

/// What a new object's status says: nobody has looked yet.
const PENDING: (&str, &str, &str, &str) = ("Unknown", "Pending", "Waiting for controller", "1970-01-01T00:00:00Z");

/// `GatewayClass`.
pub static GATEWAYCLASS: Kind = Kind {
    group: GROUP,
    kind: "GatewayClass",
    plural: "gatewayclasses",
    singular: "gatewayclass",
    short_names: &["gc"],
    categories: &["gateway-api"],
    scope: Scope::Cluster,
    has_status: true,
    collection: "gateway.networking.k8s.io/gatewayclasses",
    rules: Rules {
        schema: |generator| schema::of(generator, "GatewayClass"),
        generation: Generation::Spec,
        prepare_create: |value| json::set(value, "status", json!({"conditions": [pending("Accepted")]})),
        default: |value| schema::default("GatewayClass", value),
        validate: |value, errors| schema::check("GatewayClass", value, errors),
        validate_status: |value, _, errors| schema::check_status("GatewayClass", value, errors),
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "controllerName"]),
        columns: &[
            NAME,
            text("Controller", "What serves gateways of this class."),
            text("Accepted", "Whether it is accepted."),
            AGE,
        ],
        cells: |object, now| {
            vec![
                object.name().into(),
                object.text("/spec/controllerName").into(),
                condition(object, "Accepted").into(),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// `Gateway`.
pub static GATEWAY: Kind = Kind {
    group: GROUP,
    kind: "Gateway",
    plural: "gateways",
    singular: "gateway",
    short_names: &["gtw"],
    categories: &["gateway-api"],
    has_status: true,
    collection: "gateway.networking.k8s.io/gateways",
    rules: Rules {
        schema: |generator| schema::of(generator, "Gateway"),
        generation: Generation::Spec,
        default: |value| schema::default("Gateway", value),
        prepare_create: |value| {
            json::set(value, "status", json!({"conditions": [pending("Accepted"), pending("Programmed")]}));
        },
        validate: |value, errors| schema::check("Gateway", value, errors),
        validate_status: |value, _, errors| schema::check_status("Gateway", value, errors),
        columns: &[
            NAME,
            text("Class", "Which controller serves it."),
            text("Address", "Where it is served."),
            text("Programmed", "Whether it is in effect."),
            AGE,
        ],
        cells: |object, now| {
            let addresses = object.items("/status/addresses").iter().map(|entry| json::text(entry, &["value"]));
            vec![
                object.name().into(),
                object.text("/spec/gatewayClassName").into(),
                addresses.collect::<Vec<_>>().join(",").into(),
                condition(object, "Programmed").into(),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

/// `HTTPRoute`.
pub static HTTPROUTE: Kind = Kind {
    kind: "HTTPRoute",
    plural: "httproutes",
    singular: "httproute",
    collection: "gateway.networking.k8s.io/httproutes",
    rules: Rules {
        schema: |generator| schema::of(generator, "HTTPRoute"),
        default: |value| schema::default("HTTPRoute", value),
        validate: |value, errors| schema::check("HTTPRoute", value, errors),
        validate_status: |value, _, errors| schema::check_status("HTTPRoute", value, errors),
        ..ROUTE_RULES
    },
    ..ROUTE
};

/// `GRPCRoute`.
pub static GRPCROUTE: Kind = Kind {
    kind: "GRPCRoute",
    plural: "grpcroutes",
    singular: "grpcroute",
    collection: "gateway.networking.k8s.io/grpcroutes",
    rules: Rules {
        schema: |generator| schema::of(generator, "GRPCRoute"),
        default: |value| schema::default("GRPCRoute", value),
        validate: |value, errors| schema::check("GRPCRoute", value, errors),
        validate_status: |value, _, errors| schema::check_status("GRPCRoute", value, errors),
        ..ROUTE_RULES
    },
    ..ROUTE
};

/// `ReferenceGrant`.
pub static REFERENCEGRANT: Kind = Kind {
    group: GROUP,
    version: "v1beta1",
    kind: "ReferenceGrant",
    plural: "referencegrants",
    singular: "referencegrant",
    short_names: &["refgrant"],
    categories: &["gateway-api"],
    collection: "gateway.networking.k8s.io/referencegrants",
    rules: Rules {
        schema: |generator| schema::of(generator, "ReferenceGrant"),
        generation: Generation::Spec,
        validate: |value, errors| schema::check("ReferenceGrant", value, errors),
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

const ROUTE: Kind = Kind { group: GROUP, categories: &["gateway-api"], has_status: true, ..Kind::PLAIN };

const ROUTE_RULES: Rules = Rules {
    generation: Generation::Spec,
    prepare_create: |value| json::set(value, "status", json!({"parents": []})),
    columns: &ROUTE_COLUMNS,
    cells: route_cells,
    ..Rules::PLAIN
};

const ROUTE_COLUMNS: [Column; 3] = [NAME, text("Hostnames", "Hosts it routes."), AGE];

fn route_cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let hosts = object.at("/spec/hostnames").map(Value::to_string).unwrap_or_default();
    vec![object.name().into(), hosts.into(), table::age(object, now).into()]
}

fn pending(kind: &str) -> Value {
    let (status, reason, message, since) = PENDING;
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
}

fn condition<'a>(object: &'a Object, kind: &str) -> &'a str {
    let found = object.items("/status/conditions").iter().find(|entry| json::text(entry, &["type"]) == kind);
    found.map_or("", |entry| json::text(entry, &["status"]))
}
