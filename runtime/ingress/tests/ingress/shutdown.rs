//! How the ingress stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use wk_base::body;
use wk_ingress::Limits;

use crate::support::{Door, THREE, collect, eventually, h1, h2, ok, request, rest, until, within};

/// A door whose requests wait until they are let go.
async fn holding_door(limits: Limits) -> (Door, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let door = Door::open(THREE, limits, {
        let go = Arc::clone(&go);
        move |_, _| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                ok("finished")
            }
        }
    })
    .await;
    (door, go)
}

#[tokio::test]
async fn request_in_flight_finishes_and_nothing_new_is_accepted() {
    let (door, go) = holding_door(Limits::default()).await;
    let mut client = h1(door.connect().await).await;
    let response = tokio::spawn(client.send_request(request("GET", "/", body::empty())));
    eventually(|| door.ingress.metrics().requests_open.get() == 1).await;
    door.shutdown.cancel();
    within(async { while TcpStream::connect(door.address).await.is_ok() {} }).await;
    assert!(!door.server.is_finished());
    go.notify_one();
    let response = within(response).await.expect("task").expect("a response");
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(collect(response).await, (200, "finished".to_owned()));
    within(door.server).await.expect("served");
    assert_eq!(door.ingress.metrics().requests_open.get(), 0);
    assert_eq!(door.ingress.metrics().connections_open.get(), 0);
}

#[tokio::test]
async fn idle_connections_are_closed_and_what_comes_before_that_is_told_that_it_is_the_last() {
    let door = Door::open(THREE, Limits::default(), |_, _| async { ok("hi") }).await;
    let mut used = door.connect().await;
    used.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.expect("write");
    until(&mut used, "\r\n\r\nhi").await;
    let mut fresh = door.connect().await;
    let mut asks = door.connect().await;
    asks.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.expect("write");
    until(&mut asks, "\r\n\r\nhi").await;
    eventually(|| door.ingress.metrics().connections_open.get() == 3).await;
    door.shutdown.cancel();
    within(async { while TcpStream::connect(door.address).await.is_ok() {} }).await;
    asks.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.expect("write");
    let answer = rest(&mut asks).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(rest(&mut used).await, "");
    assert_eq!(rest(&mut fresh).await, "");
    within(door.server).await.expect("served");
}

#[tokio::test]
async fn http2_client_is_told_to_go_and_its_request_finishes() {
    let (door, go) = holding_door(Limits::default()).await;
    let (mut client, connection) = h2(door.connect().await).await;
    let get = http::Request::get("http://web.localhost/").body(body::empty()).expect("a request");
    let response = tokio::spawn(client.send_request(get));
    eventually(|| door.ingress.metrics().requests_open.get() == 1).await;
    door.shutdown.cancel();
    within(async { while TcpStream::connect(door.address).await.is_ok() {} }).await;
    go.notify_one();
    let response = within(response).await.expect("task").expect("a response");
    assert_eq!(collect(response).await, (200, "finished".to_owned()));
    within(connection).await.expect("task").expect("closed in order");
    within(door.server).await.expect("served");
}

#[tokio::test]
async fn request_that_does_not_finish_in_time_is_cut() {
    let (door, _go) = holding_door(Limits { drain: Duration::from_millis(20), ..Limits::default() }).await;
    let mut client = h1(door.connect().await).await;
    let response = tokio::spawn(client.send_request(request("GET", "/", body::empty())));
    eventually(|| door.ingress.metrics().requests_open.get() == 1).await;
    door.shutdown.cancel();
    within(door.server).await.expect("served");
    assert!(within(response).await.expect("task").is_err());
}
