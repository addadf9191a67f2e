//! What the ingress says when there is no application's answer.

use std::time::Duration;

use wk_base::body;
use wk_ingress::{Limits, UpstreamError};

use crate::support::{Door, THREE, h2, ok, within};

async fn answering_door() -> Door {
    Door::open(THREE, Limits::default(), |_, _| async { ok("hello") }).await
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn unknown_host_is_404_and_says_what_is_not_served() {
    let answer = answering_door().await.raw(&get("shop.localhost:8080", "/cart?x=1")).await;
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains("\r\nserver: wk\r\n") && answer.contains("\r\ncontent-type: text/plain"), "{answer}");
    let body = "\r\n\r\n404 no route: nothing is served for host shop.localhost at path /cart; `wk get ingress` lists what is\n";
    assert!(answer.ends_with(body), "{answer}");
}

#[tokio::test]
async fn failed_app_is_502_and_says_which_and_why() {
    let door =
        Door::open(THREE, Limits::default(), |_, _| async { Err(UpstreamError::Failed("wasm\ntrap".into())) }).await;
    let expected = "502 app failed: default/web:80 failed to answer for host web.localhost: wasm trap\n";
    assert_eq!(door.get("/").await, (502, expected.to_owned()));
}

#[tokio::test]
async fn response_that_cannot_be_sent_is_502() {
    let response = |status: u16, length: &'static str| {
        move |_, _| async move {
            let response = http::Response::builder().status(status).header("content-length", length);
            Ok(response.body(body::full("five!")).expect("a response"))
        }
    };
    for (status, length) in [(101, "5"), (200, "6"), (200, "+5"), (200, "x")] {
        let door = Door::open(THREE, Limits::default(), response(status, length)).await;
        assert_eq!(door.get("/").await.0, 502, "{status} {length}");
    }
    let door = Door::open(THREE, Limits::default(), response(200, "5")).await;
    assert_eq!(door.get("/").await, (200, "five!".to_owned()));
}

#[tokio::test]
async fn service_without_replicas_is_503_and_says_when_to_come_back() {
    let door = Door::open(&[], Limits::default(), |_, _| async { ok("") }).await;
    let answer = door.raw(&get("web.localhost", "/")).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    let body = "503 no replica: default/web:80 has no ready replica for host web.localhost; try again shortly\n";
    assert!(answer.ends_with(body), "{answer}");
}

#[tokio::test]
async fn late_app_is_504_and_is_not_asked_again() {
    let limits = Limits { response_head: Duration::from_millis(20), ..Limits::default() };
    let door = Door::open(THREE, limits, |_, _| std::future::pending()).await;
    let expected = "504 deadline: default/web:80 gave no answer for host web.localhost within 20ms\n";
    assert_eq!(door.get("/").await, (504, expected.to_owned()));
    assert_eq!(door.fake.calls().len(), 1);
    let own = |_, _| async { Err(UpstreamError::Deadline(Duration::from_secs(5))) };
    let door = Door::open(THREE, Limits::default(), own).await;
    assert!(door.get("/").await.1.ends_with("within 5s\n"));
}

#[tokio::test]
async fn request_that_names_no_host_or_two_is_refused() {
    let door = answering_door().await;
    for (request, why) in [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "the request names no host"),
        ("GET / HTTP/1.0\r\n\r\n", "the request names no host"),
        ("GET / HTTP/1.1\r\nHost: web.localhost\r\nHost: other\r\nConnection: close\r\n\r\n", "more than one host"),
        ("GET http://other/ HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n", "more than one host"),
        ("GET / HTTP/1.1\r\nHost: web.localhost/x\r\nConnection: close\r\n\r\n", "not a host name"),
        ("GET /../x HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n", "climbs above the root"),
        ("OPTIONS * HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n", "not a path"),
    ] {
        let answer = door.raw(request).await;
        assert!(answer.contains(" 400 Bad Request\r\n") && answer.contains(why), "{request}: {answer}");
    }
    assert!(
        door.raw("CONNECT web.localhost:443 HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n")
            .await
            .contains(" 405 ")
    );
    assert!(door.fake.calls().is_empty());
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_431() {
    let door = answering_door().await;
    let many = (0..101).map(|number| format!("x-{number}: 1\r\n")).collect::<Vec<_>>().concat();
    let large = format!("x: {}\r\n", "x".repeat(70_000));
    for headers in [&many, &large] {
        let answer = door.raw(&format!("GET / HTTP/1.1\r\nHost: web.localhost\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let (mut client, _connection) = h2(door.connect().await).await;
    let mut request = http::Request::get("http://web.localhost/");
    for number in 0..101 {
        request = request.header(format!("x-{number}"), "1");
    }
    let response = within(client.send_request(request.body(body::empty()).expect("a request"))).await;
    assert_eq!(response.expect("a response").status(), 431);
    assert!(door.fake.calls().is_empty());
}
