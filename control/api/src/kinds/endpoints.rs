//! Endpoints: the older form of EndpointSlices. Stored for those who write them; wk itself reads and writes slices.

use k8s_openapi::api::core::v1::Endpoints;
use schemars::JsonSchema as _;
use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::kind::{Kind, Rules};
use crate::names;
use crate::object::Object;
use crate::table::{self, AGE, NAME, first_three, or_none, text};
use crate::validate::{self, address, one_of, port};

/// `Endpoints`.
pub static ENDPOINTS: Kind = Kind {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    acts: true,
    collection: "core/endpoints",
    rules: Rules {
        schema: Endpoints::json_schema,
        default: |value| {
            for subset in json::items_mut(value, "subsets") {
                json::items_mut(subset, "ports").for_each(|port| json::default(port, "protocol", "TCP"));
            }
        },
        validate,
        columns: &[NAME, text("Endpoints", "Addresses and ports of the endpoints."), AGE],
        cells: |object, now| vec![object.name().into(), shown(object).into(), table::age(object, now).into()],
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let of_api = address::is_of_api(value, json::text(value, &["metadata", "name"]));
    let address = if of_api { address::of_api_endpoint } else { address::of_endpoint };
    for (index, subset) in json::items(value, &["subsets"]).iter().enumerate() {
        let path = format!("subsets[{index}]");
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| json::items(subset, &[list]).is_empty()) {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in lists {
            for (at, entry) in json::items(subset, &[list]).iter().enumerate() {
                let path = format!("{path}.{list}[{at}]");
                address(errors, &format!("{path}.ip"), json::text(entry, &["ip"]));
                let hostname = json::text(entry, &["hostname"]);
                if !hostname.is_empty() {
                    validate::text(errors, &format!("{path}.hostname"), hostname, names::dns_label);
                }
                let node = json::text(entry, &["nodeName"]);
                if !node.is_empty() {
                    validate::text(errors, &format!("{path}.nodeName"), node, names::dns_subdomain);
                }
            }
        }
        let ports = json::items(subset, &["ports"]);
        for (at, entry) in ports.iter().enumerate() {
            let path = format!("{path}.ports[{at}]");
            let name = json::text(entry, &["name"]);
            if !name.is_empty() {
                validate::text(errors, &format!("{path}.name"), name, names::dns_label);
            } else if ports.len() > 1 {
                errors.required(format!("{path}.name"), "");
            }
            port(errors, json::get(entry, "port"), &format!("{path}.port"));
            one_of(errors, entry, "protocol", &path, &["SCTP", "TCP", "UDP"]);
        }
    }
}

fn shown(object: &Object) -> String {
    let mut texts = Vec::new();
    for subset in object.items("/subsets") {
        let ips = json::items(subset, &["addresses"]).iter().map(|entry| json::text(entry, &["ip"]));
        let ports = json::items(subset, &["ports"]);
        for ip in ips.clone().filter(|_| ports.is_empty()) {
            texts.push(ip.to_owned());
        }
        for port in ports {
            let port = json::int(port, &["port"]).unwrap_or_default();
            texts.extend(
                ips.clone().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }),
            );
        }
    }
    or_none(&first_three(&texts))
}
