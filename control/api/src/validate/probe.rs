//! Probes and life-cycle hooks.

use serde_json::Value;

use super::{NOT_NEGATIVE, not_negative, port, port_or_name};
use crate::field::Errors;
use crate::json;

/// All probes and hooks of a container.
pub(crate) fn all(errors: &mut Errors, container: &Value, path: &str) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let given = json::get(container, name);
        if !given.is_null() {
            probe(errors, given, &format!("{path}.{name}"), name != "readinessProbe");
        }
    }
    for name in ["postStart", "preStop"] {
        let given = json::dig(container, &["lifecycle", name]);
        if !given.is_null() {
            handler(errors, given, &format!("{path}.lifecycle.{name}"), &["exec", "httpGet", "tcpSocket", "sleep"]);
        }
    }
}

fn probe(errors: &mut Errors, probe: &Value, path: &str, succeeds_once: bool) {
    handler(errors, probe, path, &["exec", "httpGet", "tcpSocket", "grpc"]);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        not_negative(errors, probe, key, path);
    }
    if let Some(seconds) = json::int(probe, &["terminationGracePeriodSeconds"])
        && seconds <= 0
    {
        errors.invalid(
            format!("{path}.terminationGracePeriodSeconds"),
            &Value::from(seconds),
            "must be greater than 0",
        );
    }
    let threshold = json::int(probe, &["successThreshold"]).unwrap_or(1);
    if succeeds_once && threshold != 1 && threshold >= 0 {
        errors.invalid(format!("{path}.successThreshold"), &Value::from(threshold), "must be 1");
    }
}

fn handler(errors: &mut Errors, value: &Value, path: &str, types: &[&str]) {
    let mut found = 0;
    for name in types {
        let action = json::get(value, name);
        if action.is_null() {
            continue;
        }
        found += 1;
        let path = format!("{path}.{name}");
        if found > 1 {
            errors.forbidden(path, "may not specify more than 1 handler type");
            continue;
        }
        match *name {
            "exec" if json::items(action, &["command"]).is_empty() => errors.required(format!("{path}.command"), ""),
            "httpGet" => http(errors, action, &path),
            "tcpSocket" => port_or_name(errors, json::get(action, "port"), &format!("{path}.port")),
            "grpc" => port(errors, json::get(action, "port"), &format!("{path}.port")),
            "sleep" if json::int(action, &["seconds"]).unwrap_or_default() < 0 => {
                errors.invalid(format!("{path}.seconds"), json::get(action, "seconds"), NOT_NEGATIVE);
            }
            _ => {}
        }
    }
    if found == 0 {
        errors.required(path, "must specify a handler type");
    }
}

fn http(errors: &mut Errors, action: &Value, path: &str) {
    if json::text(action, &["path"]).is_empty() {
        errors.required(format!("{path}.path"), "");
    }
    port_or_name(errors, json::get(action, "port"), &format!("{path}.port"));
    super::one_of(errors, action, "scheme", path, &["HTTP", "HTTPS"]);
    for (index, header) in json::items(action, &["httpHeaders"]).iter().enumerate() {
        if json::text(header, &["name"]).is_empty() {
            errors.required(format!("{path}.httpHeaders[{index}].name"), "");
        }
    }
}
