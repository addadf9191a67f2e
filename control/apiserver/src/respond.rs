//! From an answer to an HTTP response. The one place where a `Status` becomes a status code.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;
use serde_json::{Value, json};
use wk_api::Status;
use wk_base::body::{Body, empty, full};

use crate::negotiate::Encoding;

/// What a verb answers.
pub(crate) struct Reply {
    pub code: StatusCode,
    pub content: Content,
    /// Told in `Warning` headers.
    pub warnings: Vec<String>,
}

/// The body of an answer.
pub(crate) enum Content {
    /// To be written in the encoding that was asked for.
    Value(Value),
    /// JSON text.
    Json(Bytes),
    /// Something that is no object, or goes on.
    Stream { media_type: &'static str, body: Body },
    /// An answer that is whole already: somebody else's, passed on.
    Whole(Response<Body>),
}

impl Reply {
    pub(crate) fn new(code: StatusCode, content: Content) -> Self {
        Self { code, content, warnings: Vec::new() }
    }

    /// 201 for what leaves no object behind.
    pub(crate) fn created_nothing() -> Self {
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Self::new(StatusCode::CREATED, Content::Value(status))
    }

    pub(crate) fn ok(value: Value) -> Self {
        Self::new(StatusCode::OK, Content::Value(value))
    }
}

/// Bytes of `Warning` headers together: Kubernetes cuts at the same, for proxies that have small header buffers.
const WARNINGS_BYTES_MAX: usize = 4096;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The response for an answer or a refusal.
pub(crate) fn respond(result: Result<Reply, Status>, encoding: Encoding) -> Response<Body> {
    let reply = match result {
        Ok(reply) => reply,
        Err(status) => return refuse(&status, encoding),
    };
    let (media_type, body) = match reply.content {
        Content::Value(value) => write(&value, encoding),
        Content::Json(text) if encoding == Encoding::Json => (JSON, full(text)),
        Content::Json(text) => match serde_json::from_slice(&text) {
            Ok(value) => write(&value, encoding),
            Err(_) => (JSON, full(text)),
        },
        Content::Stream { media_type, body } => (HeaderValue::from_static(media_type), body),
        Content::Whole(response) => return response,
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.code;
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    let mut left = WARNINGS_BYTES_MAX;
    for warning in &reply.warnings {
        let Some(value) = warning_header(warning) else { continue };
        let Some(rest) = left.checked_sub(value.len()) else { break };
        left = rest;
        response.headers_mut().append(WARNING, value);
    }
    response
}

/// A refusal, with `Retry-After` where trying again helps.
fn refuse(status: &Status, encoding: Encoding) -> Response<Body> {
    let (media_type, body) = write(&status.to_value(), encoding);
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    // For the audit log.
    response.extensions_mut().insert(status.clone());
    response
}

/// A short text, as Kubernetes answers where there is no object.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// The answer to a HEAD: the same without its body, which HTTP/2 takes for a broken stream.
pub(crate) fn without_body(mut response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(length.into());
    }
    response.map(|_| empty())
}

fn write(value: &Value, encoding: Encoding) -> (HeaderValue, Body) {
    match encoding {
        Encoding::Json => (JSON, full(value.to_string())),
        Encoding::PrettyJson => (JSON, full(format!("{value:#}\n"))),
        Encoding::Yaml => match serde_yaml::to_string(value) {
            Ok(text) => (YAML, full(text)),
            // Every JSON value is a YAML value; if not, JSON is YAML too.
            Err(_) => (YAML, full(value.to_string())),
        },
    }
}

/// `299 - "text"` (RFC 7234, section 5.5).
fn warning_header(text: &str) -> Option<HeaderValue> {
    let printable: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let quoted = printable.replace('\\', "\\\\").replace('"', "\\\"");
    HeaderValue::from_str(&format!("299 - \"{quoted}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_bounded() {
        let header = warning_header("unknown field \"spec.x\"").expect("a header");
        assert_eq!(header, "299 - \"unknown field \\\"spec.x\\\"\"");
        let reply = Reply { warnings: vec!["w".repeat(1000); 10], ..Reply::ok(Value::Null) };
        let response = respond(Ok(reply), Encoding::Json);
        assert_eq!(response.headers().get_all(WARNING).iter().count(), 4);
    }

    #[test]
    fn an_answer_to_head_has_the_length_of_a_body_that_is_not_there() {
        let response = without_body(text(StatusCode::OK, "ok"));
        assert_eq!(
            (&response.headers()[CONTENT_LENGTH], response.body().size_hint().exact()),
            (&"2".parse().unwrap(), Some(0))
        );
    }

    #[test]
    fn a_refusal_says_when_to_try_again() {
        let response = respond(Err(Status::unavailable("no leader").retry_after(1)), Encoding::Json);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }
}
