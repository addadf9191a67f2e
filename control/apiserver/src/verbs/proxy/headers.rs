//! Which headers a proxied request and its answer keep. Pure.

use http::header::{self, CONNECTION, HOST, HeaderMap, HeaderName};
use http::{HeaderValue, Uri};

/// Headers that concern one connection (RFC 9110, section 7.6.1), and those that only proxies and their clients share.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// What the pod sees of the client's headers: nothing by which it could act as the client.
pub(super) fn of_request(client: &HeaderMap, uri: &Uri) -> HeaderMap {
    let mut headers = client.clone();
    strip(&mut headers);
    headers.remove(header::AUTHORIZATION);
    let identity = |name: &HeaderName| ["impersonate-", "x-remote-"].iter().any(|mine| name.as_str().starts_with(mine));
    let secret: Vec<HeaderName> = headers.keys().filter(|name| identity(name)).cloned().collect();
    for name in secret {
        headers.remove(name);
    }
    if let Ok(path) = HeaderValue::from_str(uri.path()) {
        headers.insert(HeaderName::from_static("x-forwarded-uri"), path);
    }
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
    let authority = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = headers.get(HOST).cloned().or(authority) {
        headers.insert(HOST, host.clone());
        headers.insert(HeaderName::from_static("x-forwarded-host"), host);
    }
    headers
}

/// What the client sees of the pod's headers.
pub(super) fn of_response(headers: &mut HeaderMap) {
    strip(headers);
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_learns_neither_the_clients_secrets_nor_its_connection() {
        let mut client = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("connection", "x-mine, keep-alive"),
            ("x-mine", "1"),
            ("x-remote-user", "admin"),
            ("host", "api:6443"),
            ("accept", "text/html"),
        ] {
            client.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let seen = of_request(&client, &Uri::from_static("/api/v1/namespaces/a/pods/b/proxy/c?d"));
        let mut names: Vec<&str> = seen.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-uri"]);
        assert_eq!(seen["x-forwarded-uri"], "/api/v1/namespaces/a/pods/b/proxy/c");
    }
}
