//! Clients that mean no good: framing that two readers would read differently, and connections that only take room.

use std::sync::{Arc, Mutex, PoisonError};

use http::Response;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wk_base::body::full;

use super::serving::http1;
use super::*;

/// Idle connections of one client: the number.
const IDLE_MAX: u64 = 1_000;

/// As many of them as this process has descriptors for, two each, with some for the tests beside.
fn idle_connections() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    let files: u64 = files.and_then(|files| files.parse().ok()).unwrap_or(1024);
    (files.saturating_sub(256) / 2).min(IDLE_MAX)
}

/// A server for clients of the API that keeps what it was asked: method, path, body.
async fn start(authority: &Authority) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let handler = answers(move |_, request| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let told = format!("{} {} {}", parts.method, parts.uri.path(), String::from_utf8_lossy(&body));
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(told);
            Response::new(full("ok"))
        })
    });
    let address = SocketAddr::new(LOOPBACK, 0);
    let server = Server::start_with(&identity(authority, "n1"), Alpn::Api, handler, address, Limits::api()).await;
    (server, asked)
}

#[tokio::test]
async fn a_request_within_a_request_is_never_read_as_one_of_its_own() {
    let authority = Authority::create("c1").expect("an authority");
    let (server, asked) = start(&authority).await;
    let inner = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let length = inner.len();
    let whole = format!("{length:x}\r\n{inner}\r\n0\r\n\r\n");
    for head in [
        // Two lengths: who takes the first one reads a second request, who takes the second one does not.
        format!("content-length: 0\r\ncontent-length: {length}"),
        format!("content-length: 0, {length}"),
        // A length that only some read as a number.
        format!("content-length: +{length}"),
        format!("content-length: 0x{length:x}"),
        "content-length: -1".to_owned(),
        // Chunks for some and not for others.
        "transfer-encoding: xchunked".to_owned(),
        "transfer-encoding: chunked, identity".to_owned(),
        "transfer-encoding : chunked".to_owned(),
        "transfer-encoding:\x0bchunked".to_owned(),
        " transfer-encoding: chunked".to_owned(),
        // A line that goes on.
        "x: y\r\n content-length: 0".to_owned(),
    ] {
        let mut stream = http1(&authority, &server).await;
        let request = format!("POST /outer HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n{inner}");
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        // A connection whose framing is in doubt is at its end; how it is cut does not matter.
        let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{head:?} is still waited for");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
    assert_eq!(*asked.lock().unwrap_or_else(PoisonError::into_inner), Vec::<String>::new());

    // With both, chunks are what counts (RFC 9112, 6.3), and what is in them is a body.
    let mut stream = http1(&authority, &server).await;
    let head =
        "POST /outer HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\ntransfer-encoding: chunked";
    stream.write_all(format!("{head}\r\n\r\n{whole}").as_bytes()).await.expect("it is sent");
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "{}", String::from_utf8_lossy(&answer));
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(asked.iter().all(|told| *told == format!("POST /outer {inner}")), "{asked:?}");
}

#[tokio::test]
async fn a_request_says_once_which_host_it_means_and_how_it_is_framed() {
    let authority = Authority::create("c1").expect("an authority");
    let (server, asked) = start(&authority).await;
    for (head, answered) in [
        ("HTTP/1.1", "HTTP/1.1 400 "),
        ("HTTP/1.1\r\nhost: x\r\nhost: y", "HTTP/1.1 400 "),
        ("HTTP/1.1\r\nhost: x", "HTTP/1.1 200 "),
        ("HTTP/1.1\r\nhost: a b/@", "HTTP/1.1 400 "),
        ("HTTP/1.1\r\nhost: x\r\ntransfer-encoding: x, chunked", "HTTP/1.1 501 "),
        ("HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked", "HTTP/1.1 501 "),
        ("HTTP/1.0", "HTTP/1.0 200 "),
    ] {
        let mut stream = http1(&authority, &server).await;
        stream.write_all(format!("GET /a {head}\r\nconnection: close\r\n\r\n").as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
        assert!(answer.starts_with(answered.as_bytes()), "{head:?}: {}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(asked.lock().unwrap_or_else(PoisonError::into_inner).len(), 2);
}

#[tokio::test]
async fn a_thousand_idle_connections_keep_nobody_out() {
    let authority = Authority::create("c1").expect("an authority");
    let (server, asked) = start(&authority).await;
    let (mut idle, count) = (Vec::new(), idle_connections());
    for _ in 0..count {
        idle.push(http1(&authority, &server).await);
    }
    until("all of them are in", || server.count("connections_accepted_total") >= count).await;
    let mut stream = http1(&authority, &server).await;
    let request = b"GET /now HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it is sent");
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(server.count("connections_refused_total"), 0);
    assert_eq!(*asked.lock().unwrap_or_else(PoisonError::into_inner), ["GET /now "]);
    // A head that never ends takes its connection and nothing else: the time for it is the time to idle.
    let (first, rest) = idle.split_first_mut().expect("hundreds");
    first.write_all(b"GET /never HTTP/1.1\r\nx: ").await.expect("it is sent");
    rest[0].write_all(request).await.expect("it is sent");
    let mut answer = Vec::new();
    tokio::time::timeout(LONG, rest[0].read_to_end(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));
}
