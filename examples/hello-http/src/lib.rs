//! Answers any request with the name of the pod it runs in, so that one can see requests being balanced.
//!
//! `POST /echo` sends the request's body back as it arrives.

use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let pod = pod_name();
        let method = request.method();
        let path = request.path_with_query().unwrap_or_else(|| "/".to_owned());
        let body = start(response, &pod);
        if matches!(method, Method::Post) && path == "/echo" {
            echo(&request, &body);
        } else {
            write(&body, &format!("Hello from {pod}: {} {path}\n", name_of(&method)));
        }
        // Whoever asked may be gone; then there is nobody to tell.
        let _ = OutgoingBody::finish(body, None);
    }
}

/// The cluster tells a pod its name in `WK_POD_NAME`.
fn pod_name() -> String {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    named("WK_POD_NAME").or_else(|| named("HOSTNAME")).unwrap_or_else(|| "nobody".to_owned())
}

/// Sends the head of the response; what is written to the body afterwards follows at once.
fn start(response: ResponseOutparam, pod: &str) -> OutgoingBody {
    let headers = Fields::new();
    for (name, value) in [("content-type", "text/plain; charset=utf-8"), ("wk-pod", pod)] {
        // A name that is no header value is left out.
        let _ = headers.append(name, value.as_bytes());
    }
    let head = OutgoingResponse::new(headers);
    let body = head.body().expect("a new response has its body");
    ResponseOutparam::set(response, Ok(head));
    body
}

fn write(body: &OutgoingBody, text: &str) {
    let stream = body.write().expect("a new body has its stream");
    for piece in text.as_bytes().chunks(4096) {
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
}

fn echo(request: &IncomingRequest, body: &OutgoingBody) {
    let incoming: IncomingBody = request.consume().expect("a new request has its body");
    let input = incoming.stream().expect("a new body has its stream");
    let output = body.write().expect("a new body has its stream");
    loop {
        match output.blocking_splice(&input, 64 * 1024) {
            Ok(_) => {}
            Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => return,
        }
    }
}

fn name_of(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}
