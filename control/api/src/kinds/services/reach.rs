//! From where a service can be reached: address families, outside addresses, load balancers.

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::validate::{address, one_of_if_set};

const LOAD_BALANCER: &str = "LoadBalancer";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

/// Families, policies and addresses of a service's spec.
pub(super) fn check(errors: &mut Errors, spec: &Value) {
    families(errors, spec);
    for (index, given) in json::items(spec, &["externalIPs"]).iter().enumerate() {
        address::of_endpoint(errors, &format!("spec.externalIPs[{index}]"), given.as_str().unwrap_or_default());
    }
    load_balancer(errors, spec);
    one_of_if_set(errors, spec, "trafficDistribution", "spec", &["PreferClose"]);
}

/// This cluster's own addresses are of one family. A headless service without a selector has none of them, and may say
/// what it likes.
fn families(errors: &mut Errors, spec: &Value) {
    const KNOWN: [&str; 2] = ["IPv4", "IPv6"];
    if json::text(spec, &["type"]) == "ExternalName" {
        return;
    }
    let headless = json::text(spec, &["clusterIP"]) == "None";
    let free = headless && json::is_empty(json::get(spec, "selector"));
    let policy = json::text(spec, &["ipFamilyPolicy"]);
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of_if_set(errors, spec, "ipFamilyPolicy", "spec", &policies);
    if policy == "RequireDualStack" && !free {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid_str("spec.ipFamilyPolicy", policy, why);
    }
    let given: Vec<&str> = json::items(spec, &["ipFamilies"]).iter().filter_map(Value::as_str).collect();
    for (index, family) in given.iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if !KNOWN.contains(family) {
            errors.not_supported(field, family, &KNOWN);
        } else if given[..index].contains(family) {
            errors.duplicate(field, &Value::from(*family));
        } else if *family == "IPv6" && !free {
            errors.invalid_str(field, family, "not configured on this cluster");
        }
    }
}

fn load_balancer(errors: &mut Errors, spec: &Value) {
    let is_balanced = json::text(spec, &["type"]) == LOAD_BALANCER;
    let ranges = json::items(spec, &["loadBalancerSourceRanges"]);
    if !ranges.is_empty() && !is_balanced {
        errors.forbidden("spec.loadBalancerSourceRanges", ONLY_LOAD_BALANCER);
    } else {
        for (index, range) in ranges.iter().enumerate() {
            let text = range.as_str().unwrap_or_default().trim();
            address::range(errors, &format!("spec.loadBalancerSourceRanges[{index}]"), text);
        }
    }
    for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if !is_balanced && !json::get(spec, key).is_null() {
            errors.forbidden(format!("spec.{key}"), ONLY_LOAD_BALANCER);
        }
    }
    let checked = json::int(spec, &["healthCheckNodePort"]).unwrap_or_default();
    if checked != 0 && !(is_balanced && json::text(spec, &["externalTrafficPolicy"]) == "Local") {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid("spec.healthCheckNodePort", &checked.into(), why);
    }
}
