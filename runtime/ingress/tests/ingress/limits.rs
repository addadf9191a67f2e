//! Clients that take their time, or come in numbers.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use wk_base::body;
use wk_ingress::Limits;

use crate::support::{Door, THREE, collect, eventually, h2, ok, request, rest, until, within};

#[tokio::test]
async fn client_that_never_ends_its_first_head_is_closed() {
    let limits = Limits { head_read: Duration::from_millis(50), ..Limits::default() };
    let door = Door::open(THREE, limits, |_, _| async { ok("") }).await;
    // Nothing, part of HTTP/2's preface, part of a head, and HTTP/2 without any request.
    for sent in ["", "PRI * HTT", "GET / HTTP/1.1\r\nHost: web.localh", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = door.connect().await;
        stream.write_all(sent.as_bytes()).await.expect("write");
        within(tokio::io::copy(&mut stream, &mut tokio::io::sink())).await.ok();
    }
    assert_eq!(door.ingress.metrics().connections_timed_out.get(), 4);
    eventually(|| door.ingress.metrics().connections_open.get() == 0).await;
}

#[tokio::test]
async fn client_that_drips_its_head_is_closed_all_the_same() {
    let limits = Limits { head_read: Duration::from_millis(50), ..Limits::default() };
    let door = Door::open(THREE, limits, |_, _| async { ok("") }).await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n").await.expect("write");
    // Goes on for as long as the ingress takes it.
    within(async {
        while stream.write_all(b"x: 1\r\n").await.is_ok() && door.ingress.metrics().connections_timed_out.get() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(door.fake.calls().is_empty());
}

#[tokio::test]
async fn kept_connection_that_does_nothing_is_closed() {
    let limits = Limits { connection_idle: Duration::from_millis(20), ..Limits::default() };
    let limits = Limits { head_read: Duration::from_millis(20), ..limits };
    let door = Door::open(THREE, limits, |_, _| async { ok("hi") }).await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.expect("write");
    assert!(rest(&mut stream).await.ends_with("\r\n\r\nhi"));
    let (mut client, connection) = h2(door.connect().await).await;
    let get = http::Request::get("http://web.localhost/").body(body::empty()).expect("a request");
    assert_eq!(collect(within(client.send_request(get)).await.expect("a response")).await.0, 200);
    within(connection).await.expect("task").expect("closed in order");
}

#[tokio::test]
async fn client_that_does_not_read_its_response_is_closed() {
    let limits = Limits {
        head_read: Duration::from_millis(20),
        connection_idle: Duration::from_millis(20),
        connection_stalled: Duration::from_millis(60),
        ..Limits::default()
    };
    // More than all buffers between the two take.
    let door = Door::open(THREE, limits, |_, _| async { ok(vec![b'x'; 64 << 20]) }).await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.expect("write");
    eventually(|| door.ingress.metrics().connections_timed_out.get() == 1).await;
    eventually(|| door.ingress.metrics().requests_open.get() == 0).await;
}

#[tokio::test]
async fn connection_over_the_limit_is_told_so_and_closed() {
    let door = Door::open(THREE, Limits { connections: 1, ..Limits::default() }, |_, _| async { ok("hi") }).await;
    let mut first = door.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.expect("write");
    until(&mut first, "\r\n\r\nhi").await;
    let refused = rest(&mut door.connect().await).await;
    let (head, text) = refused.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 503 ") && text.starts_with("503 connections: "), "{refused}");
    assert!(head.contains(&format!("content-length: {}", text.len())), "{refused}");
    assert_eq!(door.ingress.metrics().connections_over_limit.get(), 1);
    drop(first);
    eventually(|| door.ingress.metrics().connections_open.get() == 0).await;
    assert_eq!(door.send(request("GET", "/", body::empty())).await.0, 200);
}

#[tokio::test]
async fn metrics_read_as_prometheus_text() {
    let door = Door::open(THREE, Limits::default(), |_, _| async { ok("") }).await;
    door.get("/").await;
    let text = door.ingress.metrics().render();
    assert!(text.contains("wk_ingress_requests_total{code=\"2xx\"} 1\n"), "{text}");
    assert!(text.contains("# TYPE wk_ingress_connections_open gauge\n"), "{text}");
}
