//! How a webhook is reached: by an address or by a service.
//!
//! Wording: `k8s.io/apiserver/pkg/util/webhook`.

use serde_json::Value;

use crate::field::Errors;
use crate::json;

/// Checks a `clientConfig`.
pub(crate) fn client(config: &Value, path: &str, errors: &mut Errors) {
    let url = config.get("url").and_then(Value::as_str);
    let service = config.get("service").filter(|service| service.is_object());
    match (url, service) {
        (Some(url), None) => self::url(url, &format!("{path}.url"), errors),
        (None, Some(service)) => self::service(service, &format!("{path}.service"), errors),
        (None, None) | (Some(_), Some(_)) => errors.required(path, "exactly one of url or service is required"),
    }
}

fn url(text: &str, field: &str, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let mut invalid = |shown: &str, why: &str| errors.invalid_str(field, shown, &format!("{why}{FORM}"));
    let Some(rest) = text.strip_prefix("https://") else {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        return invalid(scheme, "'https' is the only allowed URL scheme");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        invalid(host, "host must be specified");
    }
    if let Some((user, _)) = host.rsplit_once('@') {
        invalid(user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = rest.split_once('#') {
        invalid(fragment, "fragments are not permitted in the URL");
    }
    if let Some((_, query)) = rest.split('#').next().unwrap_or_default().split_once('?') {
        invalid(query, "query parameters are not permitted in the URL");
    }
}

fn service(service: &Value, path: &str, errors: &mut Errors) {
    for (key, why) in [("name", "service name is required"), ("namespace", "service namespace is required")] {
        if json::text(service, &[key]).is_empty() {
            errors.required(format!("{path}.{key}"), why);
        }
    }
    if let Some(port) = json::int(service, &["port"])
        && !(1..=65535).contains(&port)
    {
        errors.invalid(
            format!("{path}.port"),
            &port.into(),
            "port is not valid: must be between 1 and 65535, inclusive",
        );
    }
    let text = json::text(service, &["path"]);
    if text.is_empty() || text == "/" {
        return;
    }
    if !text.starts_with('/') {
        errors.invalid_str(format!("{path}.path"), text, "must start with a '/'");
    } else if text.trim_end_matches('/').split('/').skip(1).any(str::is_empty) {
        errors.invalid_str(format!("{path}.path"), text, "segment[0] may not be empty");
    }
}
