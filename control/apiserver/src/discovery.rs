//! Discovery documents, with ETags: kubectl keeps them for hours and asks whether they are still right.

use http::header::VARY;
use http::{HeaderMap, HeaderValue, Response};
use wk_api::{Kind, discovery};
use wk_base::body::Body;

use crate::negotiate::{self, Encoding, Shape};
use crate::query::Query;
use crate::respond::{Reply, respond};
use crate::route::Document;
use crate::tagged::Tagged;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The document, in the form that was asked for; None when there is none.
pub(crate) fn answer(
    kinds: &[&'static Kind],
    document: &Document,
    headers: &HeaderMap,
    query: &Query,
) -> Option<Response<Body>> {
    let aggregated = negotiate::wants_aggregated_discovery(headers);
    let tagged = |value: serde_json::Value| Some(Tagged::new(value.to_string(), AGGREGATED).answer(headers));
    let value = match document {
        Document::CoreVersions if aggregated => return tagged(discovery::aggregated_core(kinds)),
        Document::Groups if aggregated => return tagged(discovery::aggregated_groups(kinds)),
        Document::CoreVersions => discovery::api_versions(),
        Document::Groups => discovery::api_group_list(kinds),
        Document::Group(group) => discovery::api_group(kinds, group)?,
        Document::Resources { group, version } => discovery::api_resource_list(kinds, group, version)?,
    };
    let encoding = match negotiate::format(headers, query, &[Shape::Full]) {
        Ok(format) => format.encoding,
        Err(status) => return Some(respond(Err(status), Encoding::Json)),
    };
    let mut response = respond(Ok(Reply::ok(value)), encoding);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Some(response)
}
