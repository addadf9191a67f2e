//! Discovery documents, with ETags: kubectl keeps them for hours and asks whether they are still right.

use http::header::VARY;
use http::{HeaderMap, HeaderValue, Response};
use serde::Serialize;
use wk_api::{Kind, discovery};
use wk_base::body::Body;

use crate::negotiate::{self, Encoding, Shape};
use crate::query::Query;
use crate::respond::{Reply, respond};
use crate::route::Document;
use crate::tagged::Tagged;

const JSON: &str = "application/json";

/// What clients tell the forms of an answer by.
fn aggregated_type(version: &str) -> &'static str {
    match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    }
}

/// The document, in the form that was asked for; None when there is none.
pub(crate) fn answer(
    kinds: &[&'static Kind],
    document: &Document,
    headers: &HeaderMap,
    query: &Query,
) -> Option<Response<Body>> {
    let (value, media_type) = match (document, negotiate::aggregated_discovery(headers)) {
        (Document::CoreVersions, Some(version)) => {
            (discovery::aggregated_core(kinds, version), Some(aggregated_type(version)))
        }
        (Document::Groups, Some(version)) => {
            (discovery::aggregated_groups(kinds, version), Some(aggregated_type(version)))
        }
        (Document::CoreVersions, None) => (discovery::api_versions(), None),
        (Document::Groups, None) => (discovery::api_group_list(kinds), None),
        (Document::Group(group), _) => (discovery::api_group(kinds, group)?, None),
        (Document::Resources { group, version }, _) => {
            return Some(plain(&discovery::ResourceList::of(kinds, group, version)?, headers, query));
        }
    };
    if let Some(media_type) = media_type {
        return Some(Tagged::new(value.to_string(), media_type).answer(headers));
    }
    Some(plain(&value, headers, query))
}

/// A document of the old form. Its members stay in their order in JSON.
fn plain(document: &impl Serialize, headers: &HeaderMap, query: &Query) -> Response<Body> {
    match negotiate::format(headers, query, &[Shape::Full]) {
        Ok(format) if format.encoding == Encoding::Json => {
            let text = serde_json::to_string(document).expect("a document is text");
            Tagged::new(text, JSON).answer(headers)
        }
        Ok(format) => {
            let value = serde_json::to_value(document).expect("a document is a value");
            let mut response = respond(Ok(Reply::ok(value)), format.encoding);
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
            response
        }
        Err(status) => respond(Err(status), Encoding::Json),
    }
}
