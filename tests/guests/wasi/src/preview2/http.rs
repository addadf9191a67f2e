//! `wasi:http`: its types, and requests that go out.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, HeaderError, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::check::{Fact, Outcome};
use crate::{ensure, given, same};

pub const FACTS: &[Fact] = &[
    ("http-fields-keep-values-in-order", fields),
    ("http-fields-refuse-what-is-no-header", bad_fields),
    ("http-fields-of-a-message-do-not-change", fixed_fields),
    ("http-request-takes-what-is-valid", request),
    ("http-response-takes-what-is-valid", response),
    ("http-options-are-kept-or-refused", options),
    ("http-get-is-answered", get),
    ("http-post-comes-back", post),
    ("http-large-body-comes-back-whole", large),
    ("http-methods-and-paths-arrive", methods),
    ("http-body-is-as-long-as-promised", lengths),
    ("http-to-strangers-is-denied", denied),
    ("http-without-an-authority-is-refused", no_authority),
    ("http-name-of-nobody-is-not-found", nobody),
];

const ECHO: &str = "echo.default.svc.cluster.local";

fn fields() -> Outcome {
    let fields = Fields::new();
    given!(fields.append("X-One", b"1"));
    given!(fields.append("x-one", b"2"));
    given!(fields.set("x-two", &[b"a".to_vec(), b"b".to_vec()]));
    same!(fields.get("x-ONE"), [b"1".to_vec(), b"2".to_vec()]);
    ensure!(fields.has("x-two") && !fields.has("x-three"));
    same!(fields.get("x-three"), Vec::<Vec<u8>>::new());
    given!(fields.delete("x-one"));
    given!(fields.delete("x-one"));
    same!(fields.entries().len(), 2);
    let copy = fields.clone();
    given!(copy.append("x-more", &[0xff, b'x']));
    same!(copy.get("x-more"), [vec![0xff, b'x']]);
    ensure!(!fields.has("x-more"));
    let from = given!(Fields::from_list(&[("a".into(), b"1".to_vec()), ("a".into(), b"2".to_vec())]));
    same!(from.get("a").len(), 2);
    Ok(())
}

fn bad_fields() -> Outcome {
    let fields = Fields::new();
    for (name, value) in [("", &b"x"[..]), ("with space", b"x"), ("x\n", b"x"), ("x", b"a\r\nb: c"), ("x", b"\0")] {
        ensure!(matches!(fields.append(name, value), Err(HeaderError::InvalidSyntax)));
        ensure!(matches!(fields.set(name, &[value.to_vec()]), Err(HeaderError::InvalidSyntax)));
    }
    for name in ["connection", "transfer-encoding", "host", "upgrade", "keep-alive"] {
        ensure!(matches!(fields.append(name, b"x"), Err(HeaderError::Forbidden)));
    }
    ensure!(!fields.has("with space") && fields.entries().is_empty());
    ensure!(Fields::from_list(&[("bad name".into(), b"x".to_vec())]).is_err());
    Ok(())
}

fn fixed_fields() -> Outcome {
    let fields = Fields::new();
    given!(fields.append("x", b"1"));
    let request = OutgoingRequest::new(fields);
    let headers = request.headers();
    same!(headers.get("x"), [b"1".to_vec()]);
    ensure!(matches!(headers.append("y", b"2"), Err(HeaderError::Immutable)));
    ensure!(matches!(headers.delete("x"), Err(HeaderError::Immutable)));
    Ok(())
}

fn request() -> Outcome {
    let request = OutgoingRequest::new(Fields::new());
    ensure!(matches!(request.method(), Method::Get));
    ensure!(request.scheme().is_none() && request.authority().is_none() && request.path_with_query().is_none());
    ensure!(request.set_method(&Method::Other("bad method".into())).is_err());
    given!(request.set_method(&Method::Other("PROPFIND".into())));
    ensure!(request.set_path_with_query(Some("bad path\n")).is_err());
    given!(request.set_path_with_query(Some("/a?b=c")));
    same!(request.path_with_query().as_deref(), Some("/a?b=c"));
    ensure!(request.set_authority(Some("bad host/")).is_err());
    given!(request.set_authority(Some("host:80")));
    ensure!(request.set_scheme(Some(&Scheme::Other("bad scheme".into()))).is_err());
    given!(request.set_scheme(Some(&Scheme::Https)));
    let body = given!(request.body());
    ensure!(request.body().is_err());
    let stream = given!(body.write());
    ensure!(body.write().is_err());
    drop((stream, body));
    Ok(())
}

fn response() -> Outcome {
    let response = OutgoingResponse::new(Fields::new());
    same!(response.status_code(), 200);
    given!(response.set_status_code(404));
    ensure!(response.set_status_code(99).is_err() && response.set_status_code(1000).is_err());
    same!(response.status_code(), 404);
    drop(given!(response.body()));
    ensure!(response.body().is_err());
    Ok(())
}

fn options() -> Outcome {
    let options = RequestOptions::new();
    same!(options.connect_timeout(), None);
    given!(options.set_connect_timeout(Some(5_000_000)));
    given!(options.set_first_byte_timeout(Some(6_000_000)));
    given!(options.set_between_bytes_timeout(Some(7_000_000)));
    same!(options.connect_timeout(), Some(5_000_000));
    same!((options.first_byte_timeout(), options.between_bytes_timeout()), (Some(6_000_000), Some(7_000_000)));
    Ok(())
}

fn asked(method: &Method, authority: &str, path: &str, headers: Fields) -> Result<OutgoingRequest, String> {
    let request = OutgoingRequest::new(headers);
    request.set_method(method).map_err(|()| "method")?;
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "path")?;
    Ok(request)
}

/// Sends a request with this body, and waits for the head of the answer.
fn send(request: OutgoingRequest, text: &[u8]) -> Result<IncomingResponse, ErrorCode> {
    let body = request.body().expect("a new request has its body");
    let answer = outgoing_handler::handle(request, None)?;
    if !text.is_empty() {
        let stream = body.write().expect("a new body has its stream");
        for piece in text.chunks(4096) {
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    let finished = OutgoingBody::finish(body, None);
    answer.subscribe().block();
    let response = answer.get().expect("it is ready").expect("it is taken once")?;
    finished.map(|()| response)
}

fn text(response: IncomingResponse) -> Result<Vec<u8>, String> {
    let body = response.consume().map_err(|()| "consumed")?;
    if response.consume().is_ok() {
        return Err("a body was had twice".into());
    }
    let stream = body.stream().map_err(|()| "streamed")?;
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => all.extend(piece),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(format!("{error:?} after {} bytes", all.len())),
        }
    }
    drop(stream);
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    match trailers.get() {
        Some(Ok(Ok(None))) => Ok(all),
        other => Err(format!("trailers are {other:?}")),
    }
}

fn get() -> Outcome {
    let response = given!(send(asked(&Method::Get, ECHO, "/some/where?x=1", Fields::new())?, b""));
    same!(response.status(), 200);
    let headers = response.headers();
    ensure!(headers.has("wk-pod") && headers.has("content-type"));
    ensure!(matches!(headers.append("x", b"y"), Err(HeaderError::Immutable)));
    drop(headers);
    let text = String::from_utf8_lossy(&text(response)?).into_owned();
    ensure!(text.starts_with("Hello from echo-") && text.ends_with(": GET /some/where?x=1\n"));
    Ok(())
}

fn post() -> Outcome {
    let response = given!(send(asked(&Method::Post, ECHO, "/echo", Fields::new())?, b"there and back"));
    same!(text(response)?, b"there and back");
    Ok(())
}

fn large() -> Outcome {
    let content: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
    let request = asked(&Method::Post, ECHO, "/echo", Fields::new())?;
    let body = given!(request.body());
    let answer = given!(outgoing_handler::handle(request, None));
    let stream = given!(body.write());
    // What comes back is read while the rest goes there: an echo waits for whoever does not read.
    let (mut sent, mut back, mut input) = (0, Vec::new(), None);
    while sent < content.len() {
        let room = usize::try_from(given!(stream.check_write())).unwrap_or(usize::MAX).min(content.len() - sent);
        if room > 0 {
            given!(stream.write(&content[sent..sent + room]));
            sent += room;
        }
        given!(stream.flush());
        if input.is_none()
            && let Some(Ok(Ok(response))) = answer.get()
        {
            let incoming = given!(response.consume());
            let from = given!(incoming.stream());
            input = Some((from, incoming, response));
        }
        match &input {
            Some((from, ..)) => back.extend(given!(from.read(64 << 10))),
            None => answer.subscribe().block(),
        }
    }
    drop(stream);
    given!(OutgoingBody::finish(body, None));
    let (from, ..) = input.as_ref().ok_or("no answer")?;
    loop {
        match from.blocking_read(64 << 10) {
            Ok(piece) => back.extend(piece),
            Err(StreamError::Closed) => break,
            Err(error) => return Err(format!("{error:?}")),
        }
    }
    ensure!(back == content);
    drop(input);
    Ok(())
}

fn methods() -> Outcome {
    for (method, name) in
        [(Method::Put, "PUT"), (Method::Delete, "DELETE"), (Method::Options, "OPTIONS"), (Method::Patch, "PATCH")]
    {
        let response = given!(send(asked(&method, &format!("{ECHO}:80"), "/m", Fields::new())?, b""));
        let text = String::from_utf8_lossy(&text(response)?).into_owned();
        ensure!(text.ends_with(&format!(": {name} /m\n")));
    }
    Ok(())
}

fn lengths() -> Outcome {
    let headers = Fields::new();
    given!(headers.append("content-length", b"5"));
    same!(text(given!(send(asked(&Method::Post, ECHO, "/echo", headers)?, b"12345")))?, b"12345");
    for wrong in [&b"1234"[..], b"123456"] {
        let headers = Fields::new();
        given!(headers.append("content-length", b"5"));
        ensure!(send(asked(&Method::Post, ECHO, "/echo", headers)?, wrong).is_err());
    }
    Ok(())
}

fn denied() -> Outcome {
    for authority in ["192.0.2.1", "example.com", "169.254.169.254", "localhost.example:8080"] {
        let answer = send(asked(&Method::Get, authority, "/", Fields::new())?, b"").map(drop);
        ensure!(matches!(answer, Err(ErrorCode::HttpRequestDenied)));
    }
    Ok(())
}

fn no_authority() -> Outcome {
    let request = OutgoingRequest::new(Fields::new());
    given!(request.set_path_with_query(Some("/")));
    ensure!(send(request, b"").is_err());
    Ok(())
}

fn nobody() -> Outcome {
    let answer = send(asked(&Method::Get, "nobody.default.svc.cluster.local", "/", Fields::new())?, b"").map(drop);
    ensure!(matches!(answer, Err(ErrorCode::DnsError(_) | ErrorCode::HttpRequestDenied)));
    Ok(())
}
