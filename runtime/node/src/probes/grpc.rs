//! The health service of gRPC, version 1, as much as a probe asks of it: one message each way.
//!
//! Source: gRPC's *Health Checking Protocol* and *gRPC over HTTP2*.

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Request, Version};
use http_body_util::BodyStream;
use wk_base::body::{self, Body};

use super::own::{Own, Target};

/// The method asked.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// An answer is one byte of flags, four of length and two of message.
const ANSWER_BYTES_MAX: usize = 1024;
/// `HealthCheckResponse.ServingStatus`.
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Whether the server, or the service of it, says that it is serving.
pub(super) async fn check(own: &Own, target: &Target, port: u16, service: &str) -> Result<(), String> {
    let url = format!("http://{}{CHECK}", target.address(port));
    let request = Request::post(url)
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(body::full(message(service)))
        .map_err(|error| error.to_string())?;
    let response = own.ask_h2(target, port, request).await?;
    let (head, body) = response.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(format!("health rpc failed: unexpected HTTP status code: {}", head.status.as_u16()));
    }
    let (answer, trailers) = read(body).await?;
    // A call that fails at once says so in its head.
    let code =
        |headers: &HeaderMap| headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u32>().ok());
    match code(&trailers).or_else(|| code(&head.headers)) {
        Some(0) => {}
        Some(12) => {
            return Err("this server does not implement the grpc health protocol (grpc.health.v1.Health)".into());
        }
        Some(code) => {
            let why = trailers.get("grpc-message").or_else(|| head.headers.get("grpc-message"));
            let why = why.and_then(|why: &HeaderValue| why.to_str().ok()).unwrap_or_default();
            return Err(format!("health rpc failed: code {code}: {why}"));
        }
        None => return Err("health rpc failed: no grpc-status".to_owned()),
    }
    match status(&answer) {
        Some(1) => Ok(()),
        status => {
            let name = STATUSES.get(usize::from(status.unwrap_or(0))).unwrap_or(&"UNKNOWN");
            Err(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

/// `HealthCheckRequest { service }` with gRPC's prefix.
fn message(service: &str) -> Bytes {
    // Names of services are as long as Kubernetes lets them be; more would need a longer length than one byte.
    let service = &service.as_bytes()[..service.len().min(127)];
    let mut text = Vec::new();
    if !service.is_empty() {
        text.extend([0x0a, u8::try_from(service.len()).unwrap_or_default()]);
        text.extend_from_slice(service);
    }
    let mut framed = vec![0, 0, 0, 0, u8::try_from(text.len()).unwrap_or_default()];
    framed.append(&mut text);
    framed.into()
}

/// `HealthCheckResponse.status`: None for an answer that is none. A field that is left out is 0.
fn status(answer: &[u8]) -> Option<u8> {
    let [0, 0, 0, 0, length, message @ ..] = answer else { return None };
    match (usize::from(*length) == message.len(), message) {
        (true, []) => Some(0),
        (true, [0x08, status]) => Some(*status),
        _ => None,
    }
}

async fn read(body: Body) -> Result<(Vec<u8>, HeaderMap), String> {
    let (mut answer, mut trailers) = (Vec::new(), HeaderMap::new());
    let mut frames = BodyStream::new(body);
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|error| format!("health rpc failed: {error}"))?;
        match frame.into_data() {
            Ok(data) if answer.len() + data.len() <= ANSWER_BYTES_MAX => answer.extend_from_slice(&data),
            Ok(_) => return Err("health rpc failed: the answer is too long".to_owned()),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((answer, trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_health_protocol() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("db")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'd', b'b']);
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        for wrong in [&[][..], &[0, 0, 0, 0, 2, 8], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1]] {
            assert_eq!(status(wrong), None, "{wrong:?}");
        }
    }
}
