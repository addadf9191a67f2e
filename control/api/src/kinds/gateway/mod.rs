//! Gateway API: which gateways there are, and what they route where. Stored and shown as in the project's standard
//! channel, v1.2; the schemas stand in a table of their own because `k8s-openapi` does not have them.

mod schema;

use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Column, Generation, Kind, Rules, Scope};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, text};
use crate::validate::{self, immutable, port};

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
        validate: |value, errors| {
            let name = json::text(value, &["spec", "controllerName"]);
            if validate::required(errors, json::get(value, "spec"), "controllerName", "spec") {
                validate::text(errors, "spec.controllerName", name, names::domain_path);
            }
        },
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
        default: |value| {
            for listener in json::items_mut(json::object_at(value, "spec"), "listeners") {
                let routes = json::object_at(listener, "allowedRoutes");
                json::default(json::object_at(routes, "namespaces"), "from", "Same");
                if let Some(tls) = listener.get_mut("tls") {
                    json::default(tls, "mode", "Terminate");
                }
            }
        },
        prepare_create: |value| {
            json::set(value, "status", json!({"conditions": [pending("Accepted"), pending("Programmed")]}));
        },
        validate: gateway,
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
        default: |value| {
            let spec = json::object_at(value, "spec");
            parents(spec);
            if json::items(spec, &["rules"]).is_empty() {
                json::set(spec, "rules", json!([{}]));
            }
            for rule in json::items_mut(spec, "rules") {
                if json::items(rule, &["matches"]).is_empty() {
                    json::set(rule, "matches", json!([{}]));
                }
                for entry in json::items_mut(rule, "matches") {
                    let path = json::object_at(entry, "path");
                    json::default(path, "type", "PathPrefix");
                    json::default(path, "value", "/");
                    for list in ["headers", "queryParams"] {
                        json::items_mut(entry, list).for_each(|entry| json::default(entry, "type", "Exact"));
                    }
                }
                backends(rule);
            }
        },
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
        default: |value| {
            let spec = json::object_at(value, "spec");
            parents(spec);
            for rule in json::items_mut(spec, "rules") {
                for entry in json::items_mut(rule, "matches") {
                    if let Some(method) = entry.get_mut("method") {
                        json::default(method, "type", "Exact");
                    }
                    json::items_mut(entry, "headers").for_each(|entry| json::default(entry, "type", "Exact"));
                }
                backends(rule);
            }
        },
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
        validate: |value, errors| {
            for list in ["from", "to"] {
                let entries = json::items(value, &["spec", list]);
                if entries.is_empty() {
                    errors.required(format!("spec.{list}"), "");
                }
                for (index, entry) in entries.iter().enumerate() {
                    let path = format!("spec.{list}[{index}]");
                    validate::required(errors, entry, "kind", &path);
                    if list == "from" {
                        validate::required(errors, entry, "namespace", &path);
                    }
                }
            }
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

const ROUTE: Kind = Kind { group: GROUP, categories: &["gateway-api"], has_status: true, ..Kind::PLAIN };

const ROUTE_RULES: Rules = Rules {
    generation: Generation::Spec,
    prepare_create: |value| json::set(value, "status", json!({"parents": []})),
    validate: route,
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

fn parents(spec: &mut Value) {
    for parent in json::items_mut(spec, "parentRefs") {
        json::default(parent, "group", GROUP);
        json::default(parent, "kind", "Gateway");
    }
}

fn backends(rule: &mut Value) {
    for backend in json::items_mut(rule, "backendRefs") {
        if json::get(backend, "group").is_null() {
            json::set(backend, "group", "");
        }
        json::default(backend, "kind", "Service");
        json::default(backend, "weight", 1);
    }
}

fn gateway(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    validate::required(errors, spec, "gatewayClassName", "spec");
    let listeners = json::items(spec, &["listeners"]);
    if listeners.is_empty() {
        errors.required("spec.listeners", "");
    }
    for (index, listener) in listeners.iter().enumerate() {
        let path = format!("spec.listeners[{index}]");
        if validate::required(errors, listener, "name", &path) {
            let name = json::text(listener, &["name"]);
            validate::text(errors, &format!("{path}.name"), name, names::dns_subdomain);
            if listeners[..index].iter().any(|other| json::text(other, &["name"]) == name) {
                errors.duplicate(&path, &json!({"name": name}));
            }
        }
        validate::required(errors, listener, "protocol", &path);
        port(errors, json::get(listener, "port"), &format!("{path}.port"));
        hostname(errors, json::text(listener, &["hostname"]), &format!("{path}.hostname"));
        if json::get(listener, "tls").is_null() && json::text(listener, &["protocol"]) == "HTTPS" {
            errors.invalid_str(format!("{path}.tls"), "", "tls must be specified for protocol HTTPS");
        }
    }
}

fn route(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    for (index, host) in json::items(spec, &["hostnames"]).iter().enumerate() {
        hostname(errors, host.as_str().unwrap_or_default(), &format!("spec.hostnames[{index}]"));
    }
    for (index, parent) in json::items(spec, &["parentRefs"]).iter().enumerate() {
        validate::required(errors, parent, "name", &format!("spec.parentRefs[{index}]"));
    }
    for (index, rule) in json::items(spec, &["rules"]).iter().enumerate() {
        for (at, backend) in json::items(rule, &["backendRefs"]).iter().enumerate() {
            let path = format!("spec.rules[{index}].backendRefs[{at}]");
            validate::required(errors, backend, "name", &path);
            let is_service = json::text(backend, &["kind"]) == "Service" && json::text(backend, &["group"]).is_empty();
            if json::get(backend, "port").is_null() {
                if is_service {
                    errors.invalid(&path, backend, "Must have port for Service reference");
                }
            } else {
                port(errors, json::get(backend, "port"), &format!("{path}.port"));
            }
        }
        for (at, entry) in json::items(rule, &["matches"]).iter().enumerate() {
            let path = json::get(entry, "path");
            let text = json::text(path, &["value"]);
            let absolute = matches!(json::text(path, &["type"]), "Exact" | "PathPrefix");
            if absolute && !text.starts_with('/') {
                let why = "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']";
                errors.invalid(format!("spec.rules[{index}].matches[{at}].path"), path, why);
            }
        }
    }
}

fn hostname(errors: &mut Errors, host: &str, field: &str) {
    if host.is_empty() {
        return;
    }
    let check = if host.starts_with("*.") { names::wildcard_subdomain } else { names::dns_subdomain };
    validate::text(errors, field, host, check);
}
