//! The answers the ingress gives itself: one table from what went wrong to a status and a sentence.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::target::Refusal;

/// What a client is told instead of an application's response. `service` is `namespace/service:port`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Answer {
    #[error("bad request: {0}")]
    Refused(Refusal),
    #[error("bad request: the request's body broke off")]
    BodyBroke,
    #[error("method not allowed: {0} is not for this server")]
    Method(http::Method),
    #[error("request timeout: the request's body stood still for {0:?}")]
    BodyIdle(Duration),
    #[error("content too large: a request's body may have up to {0} bytes")]
    BodyTooLarge(u64),
    #[error("misdirected request: this connection was made for {sni}, and {host} has another certificate")]
    Misdirected { sni: String, host: String },
    #[error("headers too many: a request may have up to {0}")]
    HeadersTooMany(usize),
    #[error("no route: nothing is served for host {host} at path {path}; `wk get ingress` lists what is")]
    NoRoute { host: String, path: String },
    #[error("app failed: {service} failed to answer for host {host}: {why}")]
    AppFailed { service: String, host: String, why: String },
    #[error("app failed: the connection to {service} broke before it answered for host {host}")]
    Broken { service: String, host: String },
    #[error("no replica: {service} has no ready replica for host {host}; try again shortly")]
    NoReplica { service: String, host: String },
    #[error("no replica: {host} is served by {service}, and {why}")]
    NoService { service: String, host: String, why: String },
    #[error("no replica: no replica of {service} could be reached for host {host}; try again shortly")]
    Unreachable { service: String, host: String },
    #[error("deadline: {service} gave no answer for host {host} within {after:?}")]
    Deadline { service: String, host: String, after: Duration },
}

/// Longest piece of a request or of an application's message that an answer repeats.
const QUOTED_MAX: usize = 200;

/// Text from outside, fit for one line of an answer.
pub(crate) fn quoted(text: &str) -> String {
    let mut out: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED_MAX).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        out.push('…');
    }
    out
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Refused(_) | Self::BodyBroke => StatusCode::BAD_REQUEST,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyIdle(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadersTooMany(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NoRoute { .. } => StatusCode::NOT_FOUND,
            Self::AppFailed { .. } | Self::Broken { .. } => StatusCode::BAD_GATEWAY,
            Self::NoReplica { .. } | Self::NoService { .. } | Self::Unreachable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// As a response: `404 no route: …` in plain text.
    pub(crate) fn response(&self) -> Response<Bytes> {
        let status = self.status();
        let mut response = Response::new(Bytes::from(format!("{} {self}\n", status.as_u16())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        // The text repeats what the client sent: no browser is to take it for a page, no cache to keep it.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::SERVER, SERVER);
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");
                headers.insert(header::ALLOW, allow);
            }
            _ => {}
        }
        response
    }
}

/// Who we are.
pub(crate) const SERVER: HeaderValue = HeaderValue::from_static("wk");

#[cfg(test)]
mod tests {
    use super::{Answer, quoted};

    #[test]
    fn answer_says_its_status_what_and_for_whom() {
        let answer = Answer::NoReplica { service: "default/web:80".into(), host: "web.localhost".into() };
        let response = answer.response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["server"], "wk");
        assert_eq!(
            response.body(),
            "503 no replica: default/web:80 has no ready replica for host web.localhost; try again shortly\n"
        );
    }

    #[test]
    fn text_from_outside_stays_one_short_line() {
        assert_eq!(quoted("a\r\nb"), "a  b");
        assert_eq!(quoted(&"ü".repeat(500)).chars().count(), 201);
    }
}
