//! Rules that several kinds share. What only one kind needs stands in that kind's file.
//!
//! Wording: `k8s.io/kubernetes/pkg/apis/core/validation` and `k8s.io/apimachinery/pkg/api/validation`.

pub(crate) mod address;
pub(crate) mod affinity;
pub(crate) mod annotations;
pub(crate) mod container;
pub(crate) mod data;
pub(crate) mod dns;
pub(crate) mod env;
pub(crate) mod expressions;
pub(crate) mod labels;
pub(crate) mod meta;
pub(crate) mod mounts;
pub(crate) mod placement;
pub(crate) mod pod;
pub(crate) mod probe;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod share;
pub(crate) mod volumes;
pub(crate) mod webhook;

use std::net::IpAddr;

use serde_json::Value;

use crate::field::Errors;
use crate::json;
use crate::names;

pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const IMMUTABLE: &str = "field is immutable";
pub(crate) const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
pub(crate) const BAD_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// Adds one error for each problem that `check` finds with `text`.
pub(crate) fn text(errors: &mut Errors, field: &str, text: &str, check: fn(&str) -> Vec<String>) {
    for problem in check(text) {
        errors.invalid_str(field, text, &problem);
    }
}

/// The integer `key`, if it is there, must not be negative.
pub(crate) fn not_negative(errors: &mut Errors, value: &Value, key: &str, path: &str) {
    if json::int(value, &[key]).is_some_and(|number| number < 0) {
        errors.invalid(format!("{path}.{key}"), json::get(value, key), NOT_NEGATIVE);
    }
}

/// The string `key` must be one of `supported`; when it is missing it is an error of its own.
pub(crate) fn one_of(errors: &mut Errors, value: &Value, key: &str, path: &str, supported: &[&str]) {
    let text = json::text(value, &[key]);
    let field = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if text.is_empty() {
        errors.required(field, "");
    } else if !supported.contains(&text) {
        errors.not_supported(field, text, supported);
    }
}

/// The string `key`, if it is there, must be one of `supported`.
pub(crate) fn one_of_if_set(errors: &mut Errors, value: &Value, key: &str, path: &str, supported: &[&str]) {
    if !json::text(value, &[key]).is_empty() {
        one_of(errors, value, key, path, supported);
    }
}

/// The string `key` must be there; true when it is.
pub(crate) fn required(errors: &mut Errors, value: &Value, key: &str, path: &str) -> bool {
    let given = !json::text(value, &[key]).is_empty();
    if !given {
        errors.required(if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, "");
    }
    given
}

/// A name of at least three labels: webhooks.
pub(crate) fn fully_qualified(errors: &mut Errors, field: &str, name: &str) {
    if name.is_empty() {
        errors.required(field, "");
        return;
    }
    text(errors, field, name, names::dns_subdomain);
    if name.split('.').count() < 3 {
        errors.invalid_str(field, name, "should be a domain with at least three segments separated by dots");
    }
}

/// A port number.
pub(crate) fn port(errors: &mut Errors, value: &Value, field: &str) {
    if !value.as_i64().is_some_and(is_port) {
        errors.invalid(field, value, PORT_RANGE);
    }
}

/// A port by number or by name.
pub(crate) fn port_or_name(errors: &mut Errors, value: &Value, field: &str) {
    match value {
        Value::String(name) => text(errors, field, name, names::port_name),
        number => port(errors, number, field),
    }
}

fn is_port(number: i64) -> bool {
    (1..=65535).contains(&number)
}

/// An IP address in any form Rust reads.
pub(crate) fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// `field` of both must be the same.
pub(crate) fn immutable(errors: &mut Errors, new: &Value, old: &Value, path: &[&str]) {
    let value = json::dig(new, path);
    if !json::same(value, json::dig(old, path)) {
        errors.invalid(path.join("."), value, IMMUTABLE);
    }
}
