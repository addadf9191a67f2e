//! ServiceCIDRs: the ranges that cluster IPs come from. Stored and shown; wk's own range is fixed.

use k8s_openapi::api::networking::v1::ServiceCIDR;
use schemars::JsonSchema as _;
use serde_json::{Value, json};

use crate::field::Errors;
use crate::json;
use crate::kind::{Generation, Kind, Rules, Scope};
use crate::table::{self, AGE, NAME, text};
use crate::validate::{address, immutable};

/// `ServiceCIDR`.
pub static SERVICECIDR: Kind = Kind {
    group: "networking.k8s.io",
    kind: "ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    scope: Scope::Cluster,
    has_status: true,
    collection: "networking.k8s.io/servicecidrs",
    rules: Rules {
        schema: ServiceCIDR::json_schema,
        generation: Generation::Spec,
        prepare_create: |value| json::set(value, "status", json!({})),
        validate,
        validate_update: |new, old, errors| immutable(errors, new, old, &["spec", "cidrs"]),
        columns: &[NAME, text("CIDRs", "The ranges."), AGE],
        cells: |object, now| {
            let ranges: Vec<&str> = object.items("/spec/cidrs").iter().filter_map(Value::as_str).collect();
            vec![object.name().into(), ranges.join(",").into(), table::age(object, now).into()]
        },
        ..Rules::PLAIN
    },
    ..Kind::PLAIN
};

fn validate(value: &Value, errors: &mut Errors) {
    let shown = json::dig(value, &["spec", "cidrs"]);
    let ranges = json::items(value, &["spec", "cidrs"]);
    if ranges.is_empty() {
        errors.required("spec.cidrs", "at least one CIDR required");
    } else if ranges.len() > 2 {
        errors.invalid("spec", shown, "may only hold up to 2 values");
    }
    let texts: Vec<&str> = ranges.iter().filter_map(Value::as_str).collect();
    let families: Vec<bool> =
        texts.iter().filter_map(|text| address::cidr(text)).map(|range| range.0.is_ipv4()).collect();
    if families.len() == 2 && families[0] == families[1] {
        errors.invalid(
            "spec",
            shown,
            "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96",
        );
    }
    for (index, text) in texts.iter().enumerate() {
        address::range(errors, &format!("spec.cidrs[{index}]"), text);
    }
}
