//! A connection to a pod's port. HTTP guests have no sockets: what comes is read as HTTP/1.1 here, and each request
//! handed to the guest.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::header::HOST;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::io::{ReaderStream, StreamReader};
use wk_base::body::{self, Body, boxed};
use wk_base::error::Chain;
use wk_engine::Failure;

use crate::traffic::{Apps, CallError};

/// Bytes that wait for a slow client; the guest waits with them.
const BEHIND_BYTES_MAX: usize = 64 * 1024;
/// The head of a request, and what is read at a time.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Connects to `port` of `pod`; None when nothing serves it.
pub(super) fn open(apps: &Apps, pod: &str, port: u16, input: Body) -> Option<Body> {
    if !apps.listens(pod, port) {
        return None;
    }
    let pieces = BodyStream::new(input).map_err(io::Error::other);
    let pieces = pieces.try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
    let reader = StreamReader::new(Box::pin(pieces));
    let (writer, output) = tokio::io::duplex(BEHIND_BYTES_MAX);
    let (apps, pod) = (apps.clone(), pod.to_owned());
    let service = service_fn(move |request| {
        let (apps, pod) = (apps.clone(), pod.clone());
        async move { Ok::<_, Infallible>(call(&apps, &pod, port, request).await) }
    });
    tokio::spawn(async move {
        let served = http1::Builder::new()
            // A client that has sent all it has still wants its answer.
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(tokio::io::join(reader, writer)), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(error = %Chain(&error), "forwarded connection ended");
        }
    });
    Some(boxed(StreamBody::new(ReaderStream::new(output).map_ok(Frame::data))))
}

async fn call(apps: &Apps, pod: &str, port: u16, request: Request<Incoming>) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build();
    let Ok(uri) = uri else { return refuse(StatusCode::BAD_REQUEST, "not a request for a host") };
    parts.uri = uri;
    match apps.call(pod, port, Request::from_parts(parts, boxed(body))).await {
        Ok(response) => response,
        Err(CallError::Failed(Failure::Busy { message })) => refuse(StatusCode::SERVICE_UNAVAILABLE, &message),
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
