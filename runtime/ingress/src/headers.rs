//! Headers that concern one hop only, and headers that tell the application about the hop it does not see.
//!
//! What a client says in `X-Forwarded-*` and `Forwarded` is replaced, not extended: whoever reaches this node can write
//! anything there, and applications believe it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Says inside the cluster which pod a request is for: nobody outside may.
const WK_POD: HeaderName = HeaderName::from_static("wk-pod");

const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Removes what RFC 9110, 7.6.1 keeps to one hop, from a request or a response: the well-known ones and those that
/// `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        // Collected first, since a header cannot be removed while the list of names is read from the same map.
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            // Naming these is an attempt to make us misread or misroute the message.
            if name != header::HOST && name != header::CONTENT_LENGTH && name != header::TE {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
}

/// Makes a client's headers those an application gets. `host` is the authority asked for.
pub(crate) fn forward(headers: &mut HeaderMap, host: HeaderValue, client: &HeaderValue, scheme: &'static str) {
    strip_hop_by_hop(headers);
    headers.remove(header::PROXY_AUTHORIZATION);
    // We answer `100 Continue` ourselves, as soon as the body is asked for.
    headers.remove(header::EXPECT);
    if let Some(te) = headers.remove(header::TE)
        && te.to_str().is_ok_and(|te| te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
    {
        headers.insert(header::TE, TRAILERS);
    }
    headers.remove(header::FORWARDED);
    headers.remove(X_FORWARDED_PORT);
    headers.remove(X_REAL_IP);
    headers.remove(WK_POD);
    headers.insert(X_FORWARDED_FOR, client.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(header::HOST, host);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderMap;

    use super::{forward, strip_hop_by_hop};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for &(name, value) in lines {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    fn forwarded(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = headers(lines);
        forward(
            &mut map,
            HeaderValue::from_static("web.localhost:8080"),
            &HeaderValue::from_static("192.0.2.1"),
            "http",
        );
        map
    }

    #[test]
    fn headers_of_one_hop_and_those_connection_names_go_no_further() {
        let mut map = headers(&[
            ("connection", "keep-alive, X-Internal"),
            ("connection", "x-other"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-internal", "1"),
            ("x-other", "1"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn connection_cannot_name_away_the_host_or_the_length() {
        let map = forwarded(&[("connection", "host, content-length, x-forwarded-for"), ("content-length", "3")]);
        assert_eq!(map["host"], "web.localhost:8080");
        assert_eq!(map["content-length"], "3");
        assert_eq!(map["x-forwarded-for"], "192.0.2.1");
    }

    #[test]
    fn only_trailers_are_left_of_te() {
        assert_eq!(forwarded(&[("connection", "TE"), ("te", "gzip, Trailers")])["te"], "trailers");
        assert!(forwarded(&[("te", "gzip")]).get("te").is_none());
    }

    #[test]
    fn what_a_client_claims_about_itself_is_replaced() {
        let map = forwarded(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "admin.internal"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("wk-pod", "another"),
        ]);
        assert_eq!(map.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["192.0.2.1"]);
        assert_eq!(map["x-forwarded-proto"], "http");
        assert_eq!(map["x-forwarded-host"], "web.localhost:8080");
        for gone in ["forwarded", "x-real-ip", "wk-pod"] {
            assert!(!map.contains_key(gone), "{gone}");
        }
    }
}
