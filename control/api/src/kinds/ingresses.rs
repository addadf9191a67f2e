//! Ingresses.

use k8s_openapi::api::networking::v1::Ingress;
use schemars::JsonSchema as _;
use serde_json::{Value, json};
use wk_base::time::Timestamp;

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, or_none, text};
use crate::validate::{self, port};

/// Parts of a path that mean another path than they say.
const MISLEADING: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "/.."];

/// `Ingress`.
pub static INGRESS: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    has_status: true,
    acts: true,
    collection: "networking.k8s.io/ingresses",
    rules: Rules {
        schema: Ingress::json_schema,
        generation: Generation::Spec,
        prepare_create: |value| json::set(value, "status", json!({"loadBalancer": {}})),
        validate,
        validate_create,
        columns: &[
            NAME,
            text("Class", "Which ingress serves it."),
            text("Hosts", "Hosts it routes."),
            text("Address", "Where it is served."),
            text("Ports", "Ports it is served at."),
            AGE,
        ],
        cells,
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    let rules = json::items(spec, &["rules"]);
    let fallback = json::get(spec, "defaultBackend");
    if rules.is_empty() && fallback.is_null() {
        errors.invalid("spec", spec, "either `defaultBackend` or `rules` must be specified");
    }
    if !fallback.is_null() {
        backend(errors, fallback, "spec.defaultBackend");
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("spec.rules[{index}]");
        host(errors, json::text(rule, &["host"]), &format!("{path}.host"));
        let http = json::get(rule, "http");
        if http.is_null() {
            continue;
        }
        let paths = json::items(http, &["paths"]);
        if paths.is_empty() {
            errors.required(format!("{path}.http.paths"), "");
        }
        for (at, entry) in paths.iter().enumerate() {
            http_path(errors, entry, &format!("{path}.http.paths[{at}]"));
        }
    }
    for (index, tls) in json::items(spec, &["tls"]).iter().enumerate() {
        for (at, name) in json::items(tls, &["hosts"]).iter().enumerate() {
            host(errors, name.as_str().unwrap_or_default(), &format!("spec.tls[{index}].hosts[{at}]"));
        }
    }
    let class = json::text(spec, &["ingressClassName"]);
    if !class.is_empty() {
        validate::text(errors, "spec.ingressClassName", class, names::dns_subdomain);
    }
}

/// The class under its old name and its new one, of which one is enough.
fn validate_create(value: &Value, errors: &mut Errors) {
    const OLD: &str = "kubernetes.io/ingress.class";
    let old = json::text(value, &["metadata", "annotations", OLD]);
    let class = json::text(value, &["spec", "ingressClassName"]);
    if !old.is_empty() && !class.is_empty() && old != class {
        let why = "must match `ingressClassName` when both are specified";
        errors.invalid_str(format!("annotations.{OLD}"), old, why);
    }
}

fn host(errors: &mut Errors, host: &str, field: &str) {
    if host.is_empty() {
        return;
    }
    if validate::ip(host).is_some() {
        errors.invalid_str(field, host, "must be a DNS name, not an IP address");
    } else if host.contains('*') {
        validate::text(errors, field, host, names::wildcard_subdomain);
    } else {
        validate::text(errors, field, host, names::dns_subdomain);
    }
}

fn http_path(errors: &mut Errors, entry: &Value, path: &str) {
    let text = json::text(entry, &["path"]);
    let field = format!("{path}.path");
    match json::text(entry, &["pathType"]) {
        "" => errors.required(format!("{path}.pathType"), "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid_str(&field, text, "must be an absolute path");
            }
            for part in MISLEADING.iter().filter(|part| match **part {
                "/.." => text.ends_with("/.."),
                part => text.contains(part),
            }) {
                errors.invalid_str(&field, text, &format!("must not contain '{part}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid_str(&field, text, "must be an absolute path");
            }
        }
        other => {
            errors.not_supported(format!("{path}.pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]);
        }
    }
    backend(errors, json::get(entry, "backend"), &format!("{path}.backend"));
}

fn backend(errors: &mut Errors, backend: &Value, path: &str) {
    let service = json::get(backend, "service");
    let has_resource = !json::get(backend, "resource").is_null();
    match (service.is_null(), has_resource) {
        (false, true) => errors.invalid_str(path, "", "cannot set both resource and service backends"),
        (true, false) => errors.required(path, "must specify a service or a resource"),
        (true, true) => {}
        (false, false) => {
            let name = json::text(service, &["name"]);
            if name.is_empty() {
                errors.required(format!("{path}.service.name"), "");
            } else {
                validate::text(errors, &format!("{path}.service.name"), name, names::dns1035_label);
            }
            let name = json::text(service, &["port", "name"]);
            let number = json::int(service, &["port", "number"]).unwrap_or_default();
            match (name.is_empty(), number) {
                (false, 0) => validate::text(errors, &format!("{path}.service.port.name"), name, names::port_name),
                (false, _) => errors.invalid_str(path, "", "cannot set both port name & port number"),
                (true, 0) => errors.required(path, "port name or number is required"),
                (true, _) => {
                    port(errors, json::dig(service, &["port", "number"]), &format!("{path}.service.port.number"));
                }
            }
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let ports = if object.items("/spec/tls").is_empty() { "80" } else { "80, 443" };
    vec![
        object.name().into(),
        or_none(object.text("/spec/ingressClassName")).into(),
        hosts(object.items("/spec/rules")).into(),
        addresses(object.items("/status/loadBalancer/ingress")).into(),
        ports.into(),
        table::age(object, now).into(),
    ]
}

fn hosts(rules: &[Value]) -> String {
    const SHOWN: usize = 3;
    let named: Vec<&str> =
        rules.iter().map(|rule| json::text(rule, &["host"])).filter(|host| !host.is_empty()).collect();
    if named.is_empty() {
        return "*".to_owned();
    }
    let shown = named.iter().take(SHOWN).copied().collect::<Vec<_>>().join(",");
    if named.len() > SHOWN { format!("{shown} + {} more...", rules.len() - SHOWN) } else { shown }
}

/// Addresses of load balancers: also shown for services.
pub(super) fn addresses(points: &[Value]) -> String {
    let texts: Vec<&str> = points
        .iter()
        .map(|point| match json::text(point, &["ip"]) {
            "" => json::text(point, &["hostname"]),
            ip => ip,
        })
        .filter(|text| !text.is_empty())
        .collect();
    texts.join(",")
}
