//! EndpointSlices.

use std::collections::BTreeSet;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, first_three, text};
use crate::validate::{self, address, immutable, labels, one_of};

/// Endpoints of one slice, addresses of one endpoint, ports of one slice: Kubernetes' limits.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;

/// Says whose slice it is.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// `EndpointSlice`.
pub static ENDPOINTSLICE: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    acts: true,
    collection: "discovery.k8s.io/endpointslices",
    rules: Rules {
        schema: EndpointSlice::json_schema,
        generation: Generation::Anything,
        default,
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["addressType"]),
        columns: &[
            NAME,
            text("AddressType", "IPv4, IPv6 or FQDN."),
            text("Ports", "Ports of every endpoint."),
            text("Endpoints", "Addresses of the endpoints."),
            AGE,
        ],
        cells: |object, now| {
            vec![
                object.name().into(),
                object.text("/addressType").into(),
                ports(object).into(),
                addresses(object).into(),
                table::age(object, now).into(),
            ]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn default(value: &mut Value) {
    for port in json::items_mut(value, "ports") {
        json::default(port, "name", "");
        json::default(port, "protocol", "TCP");
    }
    // Always there, even when there is nothing behind the service.
    json::default(value, "endpoints", Vec::<Value>::new());
}

fn validate(value: &Value, errors: &mut Errors) {
    one_of(errors, value, "addressType", "", &["FQDN", "IPv4", "IPv6"]);
    let endpoints = json::items(value, &["endpoints"]);
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many("endpoints", endpoints.len(), ENDPOINTS_MAX);
    }
    let of_api = address::is_of_api(value, json::text(value, &["metadata", "labels", SERVICE_LABEL]));
    let form = if of_api { address::of_api_endpoint } else { address::of_endpoint };
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = format!("endpoints[{index}].addresses");
        let given = json::items(endpoint, &["addresses"]);
        if given.is_empty() {
            errors.required(&path, "must contain at least 1 address");
        } else if given.len() > ADDRESSES_MAX {
            errors.too_many(&path, given.len(), ADDRESSES_MAX);
        }
        for (at, address) in given.iter().enumerate() {
            let field = format!("{path}[{at}]");
            let (address, of_type) = (address.as_str().unwrap_or_default(), json::text(value, &["addressType"]));
            address_of(errors, &field, address, of_type, form);
        }
        let path = format!("endpoints[{index}]");
        for (key, form) in
            [("nodeName", names::dns_subdomain as fn(&str) -> Vec<String>), ("hostname", names::dns_label)]
        {
            let text = json::text(endpoint, &[key]);
            if !text.is_empty() {
                validate::text(errors, &format!("{path}.{key}"), text, form);
            }
        }
        labels::map(errors, json::get(endpoint, "deprecatedTopology"), &format!("{path}.deprecatedTopology"));
    }
    ports_valid(errors, json::items(value, &["ports"]));
}

fn address_of(errors: &mut Errors, field: &str, address: &str, address_type: &str, form: fn(&mut Errors, &str, &str)) {
    match (address_type, validate::ip(address)) {
        ("IPv4", Some(ip)) if !ip.is_ipv4() => errors.invalid_str(field, address, "must be an IPv4 address"),
        ("IPv6", Some(ip)) if !ip.is_ipv6() => errors.invalid_str(field, address, "must be an IPv6 address"),
        // An address that only its own machine knows would lead each node to itself.
        ("IPv4" | "IPv6", Some(_)) => form(errors, field, address),
        ("IPv4" | "IPv6", None) => errors.invalid_str(field, address, validate::BAD_IP),
        ("FQDN", _) => validate::text(errors, field, address, names::dns_subdomain),
        _ => {}
    }
}

fn ports_valid(errors: &mut Errors, ports: &[Value]) {
    if ports.len() > PORTS_MAX {
        errors.too_many("ports", ports.len(), PORTS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = format!("ports[{index}]");
        let name = json::text(port, &["name"]);
        if !name.is_empty() {
            validate::text(errors, &format!("{path}.name"), name, names::dns_label);
        }
        if !seen.insert(name) {
            errors.duplicate(format!("{path}.name"), &Value::from(name));
        }
        one_of(errors, port, "protocol", &path, &["SCTP", "TCP", "UDP"]);
        let protocol = json::text(port, &["appProtocol"]);
        if !protocol.is_empty() {
            validate::text(errors, &format!("{path}.appProtocol"), protocol, names::qualified_name);
        }
        if !json::get(port, "port").is_null() {
            validate::port(errors, json::get(port, "port"), &format!("{path}.port"));
        }
    }
}

fn ports(object: &Object) -> String {
    let texts: Vec<String> = object
        .items("/ports")
        .iter()
        .map(|port| match (json::int(port, &["port"]), json::text(port, &["name"])) {
            (Some(number), _) => number.to_string(),
            (None, "") => "*".to_owned(),
            (None, name) => name.to_owned(),
        })
        .collect();
    or_unset(first_three(&texts))
}

fn addresses(object: &Object) -> String {
    let texts: Vec<String> = object
        .items("/endpoints")
        .iter()
        .flat_map(|endpoint| json::items(endpoint, &["addresses"]))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    or_unset(first_three(&texts))
}

fn or_unset(text: String) -> String {
    if text.is_empty() { "<unset>".to_owned() } else { text }
}
