//! Discovery documents, with ETags: kubectl keeps them for hours and asks whether they are still right.

use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wk_api::discovery;
use wk_base::body::{Body, empty, full};

use crate::negotiate::{self, Encoding, Shape};
use crate::query::Query;
use crate::respond::{Reply, respond};
use crate::route::Document;

const AGGREGATED: HeaderValue =
    HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");

/// The document, in the form that was asked for; None when there is none.
pub(crate) fn answer(document: &Document, headers: &HeaderMap, query: &Query) -> Option<Response<Body>> {
    let aggregated = negotiate::wants_aggregated_discovery(headers);
    let value = match document {
        Document::CoreVersions if aggregated => return Some(tagged(&discovery::aggregated_core(), headers)),
        Document::Groups if aggregated => return Some(tagged(&discovery::aggregated_groups(), headers)),
        Document::CoreVersions => discovery::api_versions(),
        Document::Groups => discovery::api_group_list(),
        Document::Group(group) => discovery::api_group(group)?,
        Document::Resources { group, version } => discovery::api_resource_list(group, version)?,
    };
    let encoding = match negotiate::format(headers, query, &[Shape::Full]) {
        Ok(format) => format.encoding,
        Err(status) => return Some(respond(Err(status), Encoding::Json)),
    };
    let mut response = respond(Ok(Reply::ok(value)), encoding);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Some(response)
}

/// The aggregated document, or 304 if the client has it.
fn tagged(value: &Value, headers: &HeaderMap) -> Response<Body> {
    let text = value.to_string();
    let tag = format!("\"{:X}\"", Sha256::digest(&text));
    let known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().trim_start_matches("W/") == tag);
    let mut response = Response::new(if known { empty() } else { full(text) });
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let own = response.headers_mut();
    own.insert(VARY, HeaderValue::from_static("Accept"));
    own.insert(ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits and quotes are a header value"));
    // kubectl's cache takes over the headers of a 304: another content type than before would change what it reads.
    own.insert(CONTENT_TYPE, AGGREGATED);
    response
}
