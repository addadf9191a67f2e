//! NetworkPolicies: which connections of pods are let through.
//!
//! Source of rules and words: `k8s.io/kubernetes/pkg/apis/networking/validation`.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::table::{self, AGE, NAME, text};
use crate::validate::{address, labels, one_of, port, port_or_name};

/// `NetworkPolicy`.
pub static NETWORKPOLICY: Kind = Kind {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    collection: "networking.k8s.io/networkpolicies",
    rules: Rules {
        schema: NetworkPolicy::json_schema,
        generation: Generation::Spec,
        default,
        validate,
        columns: &[NAME, text("Pod-Selector", "Which pods it is about."), AGE],
        cells: |object, now| {
            let pods = table::selector(object.at("/spec/podSelector").unwrap_or(&Value::Null));
            vec![object.name().into(), pods.into(), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    let spec = json::object_at(value, "spec");
    json::object_at(spec, "podSelector");
    for direction in ["ingress", "egress"] {
        for rule in json::items_mut(spec, direction) {
            json::items_mut(rule, "ports").for_each(|port| json::default(port, "protocol", "TCP"));
        }
    }
    if json::items(spec, &["policyTypes"]).is_empty() {
        let egress = !json::items(spec, &["egress"]).is_empty();
        json::set(spec, "policyTypes", if egress { vec!["Ingress", "Egress"] } else { vec!["Ingress"] });
    }
}

fn validate(value: &Value, errors: &mut Errors) {
    let spec = json::get(value, "spec");
    labels::selector(errors, json::get(spec, "podSelector"), "spec.podSelector");
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (index, rule) in json::items(spec, &[direction]).iter().enumerate() {
            let path = format!("spec.{direction}[{index}]");
            for (at, entry) in json::items(rule, &["ports"]).iter().enumerate() {
                port_valid(errors, entry, &format!("{path}.ports[{at}]"));
            }
            for (at, entry) in json::items(rule, &[peers]).iter().enumerate() {
                peer(errors, entry, &format!("{path}.{peers}[{at}]"));
            }
        }
    }
    let types = json::items(spec, &["policyTypes"]);
    if types.len() > 2 {
        errors.invalid("spec.policyTypes", json::get(spec, "policyTypes"), "may not specify more than two policyTypes");
        return;
    }
    for (index, name) in types.iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        if !["Egress", "Ingress"].contains(&name) {
            errors.not_supported(format!("spec.policyTypes[{index}]"), name, &["Egress", "Ingress"]);
        }
    }
}

fn port_valid(errors: &mut Errors, entry: &Value, path: &str) {
    one_of(errors, entry, "protocol", path, &["SCTP", "TCP", "UDP"]);
    let (first, last) = (json::get(entry, "port"), json::get(entry, "endPort"));
    if first.is_null() {
        if !last.is_null() {
            errors.required(format!("{path}.port"), "must be specified when `endPort` is specified");
        }
        return;
    }
    port_or_name(errors, first, &format!("{path}.port"));
    if last.is_null() {
        return;
    }
    match (first.as_i64(), last.as_i64()) {
        (None, _) => {
            errors.required(format!("{path}.endPort"), "may not be specified when `port` is non-numeric");
        }
        (Some(first), Some(end)) if end < first => {
            errors.invalid(format!("{path}.endPort"), last, "must be greater than or equal to `port`");
        }
        _ => port(errors, last, &format!("{path}.endPort")),
    }
}

fn peer(errors: &mut Errors, entry: &Value, path: &str) {
    let mut given = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if !json::get(entry, key).is_null() {
            given += 1;
            labels::selector(errors, json::get(entry, key), &format!("{path}.{key}"));
        }
    }
    let block = json::get(entry, "ipBlock");
    if !block.is_null() {
        given += 1;
        ip_block(errors, block, &format!("{path}.ipBlock"));
    }
    if given == 0 {
        errors.required(path, "must specify a peer");
    } else if given > 1 && !block.is_null() {
        errors.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(errors: &mut Errors, block: &Value, path: &str) {
    let text = json::text(block, &["cidr"]);
    if text.is_empty() {
        errors.required(format!("{path}.cidr"), "");
        return;
    }
    address::range(errors, &format!("{path}.cidr"), text);
    let Some(outer) = address::cidr(text) else { return };
    for (index, except) in json::items(block, &["except"]).iter().enumerate() {
        let field = format!("{path}.except[{index}]");
        let text = except.as_str().unwrap_or_default();
        address::range(errors, &field, text);
        if let Some(inner) = address::cidr(text)
            && !(address::contains(outer, inner) && inner.1 > outer.1)
        {
            errors.invalid_str(field, text, "must be a strict subset of `cidr`");
        }
    }
}
