//! Between HTTP guests, which have no sockets, and programs, which have nothing else: a byte stream to the one is read
//! as HTTP/1.1 and each request handed to the guest; a request to the other is written to a connection.

use std::convert::Infallible;
use std::time::Duration;

use ::http::header::{self, HOST};
use ::http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, uri};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::OwnedSemaphorePermit;
use wk_base::body::{self, Body, boxed};
use wk_base::error::Chain;
use wk_engine::{Duplex, Failure};

use super::http::handshake;
use super::pods::Pod;
use super::ports::{Caller, PIPE_BYTES};
use crate::traffic::{Apps, CallError};

/// The head of a request, and what is read at a time.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long a client may take to send the head of a request, the first one or the next: nginx's figure.
const HEAD_MAX: Duration = Duration::from_mins(1);

/// A connection to the HTTP guest that serves `port` of `pod`. It holds `place` until it ends.
pub(crate) fn connect(apps: &Apps, pod: &str, port: u16, place: Option<OwnedSemaphorePermit>) -> Box<dyn Duplex> {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let (apps, pod) = (apps.clone(), pod.to_owned());
    let service = service_fn(move |request| {
        let (apps, pod) = (apps.clone(), pod.clone());
        async move { Ok::<_, Infallible>(call(&apps, &pod, port, request).await) }
    });
    tokio::spawn(async move {
        let _place = place;
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            // A client that has sent all it has still wants its answer.
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(far), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(error = %Chain(&error), "connection to an HTTP guest ended");
        }
    });
    Box::new(near)
}

/// Headers that are this connection's alone (RFC 9110, section 7.6.1): the answer goes on over another.
const HOP_BY_HOP: [HeaderName; 4] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, HeaderName::from_static("keep-alive")];

/// Sends one request of `caller` to the program of `pod` that listens at `port`.
pub(crate) async fn call_program(
    pod: &Pod,
    port: u16,
    caller: Caller,
    request: Request<Body>,
) -> Result<Response<Body>, CallError> {
    let gone = || CallError::Gone(pod.uid.to_string());
    let stream = pod.connect(port, caller).map_err(|_| gone())?;
    let mut sender = handshake(stream).await.map_err(|_| gone())?;
    let patience = pod.patience();
    let answered = tokio::time::timeout(patience, sender.try_send_request(origin(request))).await;
    match answered {
        Ok(Ok(mut response)) => {
            for name in HOP_BY_HOP {
                response.headers_mut().remove(name);
            }
            Ok(response.map(boxed))
        }
        Ok(Err(mut error)) => Err(if error.take_message().is_some() { gone() } else { CallError::Cut }),
        Err(_) => Err(CallError::Failed(Failure::Deadline(patience))),
    }
}

/// The request as HTTP/1.1 has it: the path alone, and the host in its header.
fn origin(mut request: Request<Body>) -> Request<Body> {
    let authority = request.uri().authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, authority.unwrap_or_else(|| HeaderValue::from_static("localhost")));
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| uri::PathAndQuery::from_static("/")));
    *request.version_mut() = Version::HTTP_11;
    request
}

async fn call(apps: &Apps, pod: &str, port: u16, request: Request<Incoming>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    let path = parts.uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build();
    let Ok(uri) = uri else { return refuse(StatusCode::BAD_REQUEST, "not a request for a host") };
    parts.uri = uri;
    match apps.call(pod, port, Request::from_parts(parts, boxed(body))).await {
        Ok(response) => response,
        Err(CallError::Failed(failure @ (Failure::Busy { .. } | Failure::Crowded { .. }))) => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, &failure.to_string())
        }
        Err(CallError::Failed(failure @ Failure::Deadline(_))) => {
            refuse(StatusCode::GATEWAY_TIMEOUT, &failure.to_string())
        }
        Err(error) => refuse(StatusCode::BAD_GATEWAY, &error.to_string()),
    }
}

fn refuse(code: StatusCode, why: &str) -> Response<Body> {
    let mut response = Response::new(body::full(Bytes::from(format!("{why}\n"))));
    *response.status_mut() = code;
    response
}
