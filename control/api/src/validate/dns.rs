//! How a pod resolves names.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/validation`: `validatePodDNSConfig`, `ValidateHostAliases`.

use serde_json::Value;

use super::{BAD_IP, ip, text};
use crate::field::Errors;
use crate::json;
use crate::names;

/// What resolvers take.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_CHARS_MAX: usize = 2048;

/// `dnsConfig`, which the policy None needs.
pub(super) fn config(errors: &mut Errors, spec: &Value, path: &str) {
    let config = json::get(spec, "dnsConfig");
    let path = format!("{path}.dnsConfig");
    let servers = json::items(config, &["nameservers"]);
    if json::text(spec, &["dnsPolicy"]) == "None" {
        if config.is_null() {
            errors.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(format!("{path}.nameservers"), detail);
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.invalid(format!("{path}.nameservers"), json::get(config, "nameservers"), &detail);
    }
    for (index, server) in servers.iter().enumerate() {
        if ip(server.as_str().unwrap_or_default()).is_none() {
            errors.invalid(format!("{path}.nameservers[{index}]"), server, BAD_IP);
        }
    }
    let searches = json::items(config, &["searches"]);
    let all = json::get(config, "searches");
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.invalid(format!("{path}.searches"), all, &detail);
    }
    let paths = || searches.iter().map(|search| search.as_str().unwrap_or_default());
    if paths().map(|search| search.len() + 1).sum::<usize>() > SEARCH_CHARS_MAX + 1 {
        let detail =
            format!("must not have more than {SEARCH_CHARS_MAX} characters (including spaces) in the search list");
        errors.invalid(format!("{path}.searches"), all, &detail);
    }
    for (index, search) in paths().enumerate() {
        // A dot stands for the root, and a trailing one for an absolute name.
        let name = search.strip_suffix('.').unwrap_or(search);
        if search != "." {
            text(errors, &format!("{path}.searches[{index}]"), name, names::search_domain);
        }
    }
    for (index, option) in json::items(config, &["options"]).iter().enumerate() {
        if json::text(option, &["name"]).is_empty() {
            errors.required(format!("{path}.options[{index}]"), "must not be empty");
        }
    }
}

/// `hostAliases`.
pub(super) fn host_aliases(errors: &mut Errors, aliases: &[Value], path: &str) {
    for (index, alias) in aliases.iter().enumerate() {
        let path = format!("{path}.hostAliases[{index}]");
        let address = json::text(alias, &["ip"]);
        if ip(address).is_none() {
            errors.invalid_str(format!("{path}.ip"), address, BAD_IP);
        }
        for (at, name) in json::items(alias, &["hostnames"]).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            text(errors, &format!("{path}.hostnames[{at}]"), name, names::dns_subdomain);
        }
    }
}
