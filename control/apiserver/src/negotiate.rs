//! What the client wants to read (`Accept`) and what it sends (`Content-Type`).

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use wk_api::{Status, protobuf};

use crate::query::Query;

/// In which form objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As they are.
    Full,
    /// As a `meta.k8s.io/v1` Table.
    Table,
    /// Only their metadata.
    Metadata,
}

/// The text form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    PrettyJson,
    Yaml,
}

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub shape: Shape,
    pub encoding: Encoding,
}

/// The form of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Json,
    Yaml,
    /// Kubernetes' own; built-in kinds only.
    Protobuf,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// Clauses of an `Accept` header that are looked at: kubectl sends three, browsers eight.
const CLAUSES_MAX: usize = 32;

/// One clause of an `Accept` header.
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| *value).unwrap_or_default()
    }
}

fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let mut clauses: Vec<_> = values
        .flat_map(|value| value.split(','))
        .take(CLAUSES_MAX)
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
            Clause { media, parameters, quality: quality.unwrap_or(1.0) }
        })
        .filter(|clause| !clause.media.is_empty())
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

/// How to answer this request, in one of the `offered` shapes; 406 when nothing that is asked for can be had.
pub(crate) fn format(headers: &HeaderMap, query: &Query, offered: &[Shape]) -> Result<Format, Status> {
    let json = if wants_pretty(headers, query) { Encoding::PrettyJson } else { Encoding::Json };
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Ok(Format { shape: Shape::Full, encoding: json });
    }
    let fits = |clause: &Clause<'_>| {
        let encoding = match clause.media {
            "*/*" | "application/*" | JSON => json,
            YAML => Encoding::Yaml,
            _ => return None,
        };
        let meta = clause.get("g") == "meta.k8s.io" && matches!(clause.get("v"), "v1" | "v1beta1");
        let shape = match clause.get("as") {
            "" => Shape::Full,
            "Table" if meta => Shape::Table,
            "PartialObjectMetadata" | "PartialObjectMetadataList" if meta => Shape::Metadata,
            _ => return None,
        };
        offered.contains(&shape).then_some(Format { shape, encoding })
    };
    clauses.iter().find_map(fits).ok_or_else(|| Status::not_acceptable(&[JSON, YAML]))
}

/// The first of the `offered` media types that the client takes; None when it takes none.
pub(crate) fn media(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return offered.first().copied();
    }
    clauses.iter().find_map(|clause| match clause.media {
        "*/*" | "application/*" => offered.first().copied(),
        media => offered.iter().copied().find(|offer| *offer == media),
    })
}

/// In which version the client asks for the aggregated form of discovery before any other; None when it does not.
pub(crate) fn aggregated_discovery(headers: &HeaderMap) -> Option<&'static str> {
    let first = |clause: &Clause<'_>| {
        if !matches!(clause.media, JSON | "*/*" | "application/*") {
            return None;
        }
        match (clause.get("g"), clause.get("v"), clause.get("as")) {
            ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList") => Some(Some("v2")),
            ("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList") => Some(Some("v2beta1")),
            ("", "", "") => Some(None),
            _ => None,
        }
    };
    clauses(headers).iter().find_map(first).flatten()
}

/// People's tools get indented answers, as in Kubernetes.
pub(crate) fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    query.optional_flag("pretty").unwrap_or_else(|| {
        let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        ["curl", "Wget", "Mozilla/5.0"].iter().any(|tool| agent.starts_with(tool))
    })
}

/// The media type of the body without its parameters; empty when it is not told.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("unreadable")).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// How to read the body of a create or update. Without a `Content-Type` it is JSON: kubectl's scale sends none.
pub(crate) fn body_format(headers: &HeaderMap) -> Result<BodyFormat, Status> {
    match content_type(headers) {
        "" | JSON | "*/*" => Ok(BodyFormat::Json),
        YAML => Ok(BodyFormat::Yaml),
        protobuf::MEDIA_TYPE => Ok(BodyFormat::Protobuf),
        _ => Err(Status::unsupported_media_type(&[JSON, YAML, protobuf::MEDIA_TYPE])),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn accept(value: &'static str) -> Result<Format, Status> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(value))]);
        format(&headers, &Query::default(), &[Shape::Full, Shape::Table, Shape::Metadata])
    }

    fn shape(value: &'static str) -> Shape {
        accept(value).expect("acceptable").shape
    }

    #[test]
    fn the_first_form_that_can_be_had_is_taken() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(shape(kubectl), Shape::Table);
        assert_eq!(shape("application/vnd.kubernetes.protobuf,application/json"), Shape::Full);
        assert_eq!(shape("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"), Shape::Metadata);
        assert_eq!(accept("application/yaml").expect("acceptable").encoding, Encoding::Yaml);
        assert_eq!(accept("application/json;q=0.1, application/yaml").expect("acceptable").encoding, Encoding::Yaml);
        assert_eq!(shape("text/html, */*;q=0.8"), Shape::Full);
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_what_can() {
        let refused = accept("text/html").expect_err("no HTML here");
        assert_eq!(refused.code, 406);
        assert_eq!(refused.message, "only the following media types are accepted: application/json, application/yaml");
        assert_eq!(accept("application/json;as=Chart;v=v1;g=meta.k8s.io").expect_err("no such form").code, 406);
    }

    #[test]
    fn curl_gets_indented_json_unless_it_says_otherwise() {
        let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static("curl/8.5"))]);
        assert!(wants_pretty(&headers, &Query::default()));
        assert!(!wants_pretty(&headers, &Query::parse(Some("pretty=false"))));
    }
}
