//! What a service may look like.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::reach;
use crate::field::Errors;
use crate::json;
use crate::names;
use crate::validate::{self, BAD_IP, labels, one_of, port, port_or_name};

/// The spec of a service.
pub(super) fn service(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    one_of(errors, spec, "type", "spec", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    one_of(errors, spec, "sessionAffinity", "spec", &["ClientIP", "None"]);
    labels::map(errors, json::get(spec, "selector"), "spec.selector");
    let kind = json::text(spec, &["type"]);
    let ip = json::text(spec, &["clusterIP"]);
    let headless = ip == "None";
    if kind == "ExternalName" {
        let name = json::text(spec, &["externalName"]);
        if name.is_empty() {
            errors.required("spec.externalName", "");
        } else {
            validate::text(errors, "spec.externalName", name.trim_end_matches('.'), names::dns_subdomain);
        }
        if !ip.is_empty() && !headless {
            errors.forbidden("spec.clusterIPs", "may not be set when `type` is 'ExternalName'");
        }
    } else {
        if !ip.is_empty() && !headless && validate::ip(ip).is_none() {
            errors.invalid_str("spec.clusterIPs[0]", ip, BAD_IP);
        }
        if headless && matches!(kind, "NodePort" | "LoadBalancer") {
            errors.invalid_str("spec.clusterIPs[0]", ip, &format!("may not be set to 'None' for {kind} services"));
        }
        let first = json::items(spec, &["clusterIPs"]).first().and_then(Value::as_str).unwrap_or_default();
        if first != ip {
            let shown = json::get(spec, "clusterIPs");
            errors.invalid("spec.clusterIPs", shown, "first value must match `clusterIP`");
        }
    }
    ports(errors, spec, kind, headless);
    reach::check(errors, spec);
    policies(errors, spec, kind);
}

/// What may not change.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let is_external = |value| json::text(value, &["spec", "type"]) == "ExternalName";
    let ip = |value| json::text(value, &["spec", "clusterIP"]).to_owned();
    if !is_external(new) && !is_external(old) && !ip(old).is_empty() && ip(new) != ip(old) {
        errors.invalid("spec.clusterIPs[0]", json::dig(new, &["spec", "clusterIPs"]), "may not change once set");
    }
}

fn ports(errors: &mut Errors, spec: &Value, kind: &str, headless: bool) {
    let ports = json::items(spec, &["ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.required("spec.ports", "");
    }
    let mut named = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
    for (index, entry) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let name = json::text(entry, &["name"]);
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(format!("{path}.name"), "");
            }
        } else {
            validate::text(errors, &format!("{path}.name"), name, names::dns_label);
            if !named.insert(name) {
                errors.duplicate(format!("{path}.name"), &Value::from(name));
            }
        }
        let number = json::get(entry, "port");
        port(errors, if number.is_null() { &ZERO } else { number }, &format!("{path}.port"));
        one_of(errors, entry, "protocol", &path, &["SCTP", "TCP", "UDP"]);
        let target = json::get(entry, "targetPort");
        if !target.is_null() {
            port_or_name(errors, target, &format!("{path}.targetPort"));
        }
        let protocol = json::text(entry, &["protocol"]);
        if !numbers.insert((number.as_i64(), protocol)) {
            errors.duplicate(&path, &json!({"port": number, "protocol": protocol}));
        }
        let node_port = json::int(entry, &["nodePort"]).unwrap_or_default();
        if node_port != 0 {
            let field = format!("{path}.nodePort");
            if !matches!(kind, "NodePort" | "LoadBalancer") {
                errors.forbidden(field, &format!("may not be used when `type` is '{kind}'"));
            } else if !node_ports.insert((node_port, protocol)) {
                errors.duplicate(field, &Value::from(node_port));
            } else {
                port(errors, &Value::from(node_port), &field);
            }
        }
    }
}

/// A port that was left out is 0 in Go, and in messages.
static ZERO: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::from(0));

fn policies(errors: &mut Errors, spec: &Value, kind: &str) {
    let external = json::text(spec, &["externalTrafficPolicy"]);
    let externally_reached = matches!(kind, "NodePort" | "LoadBalancer");
    if !external.is_empty() && !externally_reached && json::items(spec, &["externalIPs"]).is_empty() {
        errors.invalid_str(
            "spec.externalTrafficPolicy",
            external,
            "may only be set for externally-accessible services",
        );
    } else if !external.is_empty() && !["Cluster", "Local"].contains(&external) {
        errors.not_supported("spec.externalTrafficPolicy", external, &["Cluster", "Local"]);
    }
    let internal = json::text(spec, &["internalTrafficPolicy"]);
    if !internal.is_empty() && !["Cluster", "Local"].contains(&internal) {
        errors.not_supported("spec.internalTrafficPolicy", internal, &["Cluster", "Local"]);
    }
    if json::text(spec, &["sessionAffinity"]) == "ClientIP" {
        let seconds = json::dig(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
        if !seconds.as_i64().is_some_and(|seconds| (1..=86_400).contains(&seconds)) {
            errors.invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                seconds,
                "must be greater than 0 and less than 86400",
            );
        }
    }
}
