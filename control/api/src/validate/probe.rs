//! Probes and life-cycle hooks.

use serde_json::Value;

use super::{not_negative, port, port_or_name};
use crate::field::Errors;
use crate::json;

/// All probes and hooks of a container that has `grace` seconds to end.
pub(crate) fn all(errors: &mut Errors, container: &Value, path: &str, grace: i64) {
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let given = json::get(container, name);
        if !given.is_null() {
            probe(errors, given, &format!("{path}.{name}"), name != "readinessProbe");
        }
    }
    for name in ["postStart", "preStop"] {
        let given = json::dig(container, &["lifecycle", name]);
        if !given.is_null() {
            let path = format!("{path}.lifecycle.{name}");
            handler(errors, given, &path, &["exec", "httpGet", "tcpSocket", "sleep"]);
            let seconds = json::dig(given, &["sleep", "seconds"]);
            if seconds.as_i64().is_some_and(|seconds| seconds < 0 || seconds > grace) {
                let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.invalid(format!("{path}.sleep.seconds"), seconds, &detail);
            }
        }
    }
}

fn probe(errors: &mut Errors, probe: &Value, path: &str, succeeds_once: bool) {
    handler(errors, probe, path, &["exec", "httpGet", "tcpSocket", "grpc"]);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        not_negative(errors, probe, key, path);
    }
    let own_grace = json::int(probe, &["terminationGracePeriodSeconds"]);
    if let Some(seconds) = own_grace.filter(|_| !succeeds_once) {
        let field = format!("{path}.terminationGracePeriodSeconds");
        errors.invalid(field, &Value::from(seconds), "must not be set for readinessProbes");
    } else if let Some(seconds) = own_grace
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
        let name = json::text(header, &["name"]);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            const DETAIL: &str = "a valid HTTP header must consist of alphanumeric characters or '-' \
                (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
            errors.invalid_str(format!("{path}.httpHeaders[{index}].name"), name, DETAIL);
        }
    }
}
