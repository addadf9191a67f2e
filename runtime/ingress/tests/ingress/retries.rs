//! Which requests are sent again, where to, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use futures::future::join_all;
use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use wk_base::body::{self, Body};
use wk_ingress::{Limits, Routes, UpstreamError};

use crate::support::{Door, Reply, THREE, broken, h2, not_sent, ok, request, table, within};

/// Fails the first call of all with what `error` makes after reading the body, and answers every other with its body.
async fn first_call_fails(error: fn() -> UpstreamError, limits: Limits) -> Door {
    let called = Arc::new(AtomicBool::new(false));
    Door::open(THREE, limits, move |_, request| {
        let first = !called.swap(true, Ordering::Relaxed);
        async move {
            let bytes = read(request.into_body()).await;
            if first { Err(error()) } else { ok(bytes) }
        }
    })
    .await
}

async fn read(body: Body) -> bytes::Bytes {
    body.collect().await.expect("a body").to_bytes()
}

/// Streams `pieces` pieces of 10 KiB.
fn upload(pieces: usize) -> Body {
    let piece = || Ok::<_, std::io::Error>(http_body::Frame::data(bytes::Bytes::from(vec![b'x'; 10 * 1024])));
    body::boxed(http_body_util::StreamBody::new(futures::stream::iter((0..pieces).map(move |_| piece()))))
}

#[tokio::test]
async fn idempotent_request_that_broke_is_sent_again_with_its_body() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        let door = first_call_fails(broken, Limits::default()).await;
        let body = if method == "PUT" { upload(6) } else { body::empty() };
        let (status, text) = door.send(request(method, "/", body)).await;
        assert_eq!((status, text.len()), (200, if method == "PUT" { 6 * 10 * 1024 } else { 0 }), "{method}");
        let calls = door.fake.calls();
        assert_eq!(calls.len(), 2);
        assert_ne!(calls[0], calls[1], "on another endpoint");
    }
}

#[tokio::test]
async fn post_that_broke_is_not_sent_again() {
    let door = first_call_fails(broken, Limits::default()).await;
    let (status, text) = door.send(request("POST", "/", body::full("order"))).await;
    assert_eq!(status, 502);
    assert_eq!(
        text,
        "502 app failed: the connection to default/web:80 broke before it answered for host web.localhost\n"
    );
    assert_eq!(door.fake.calls().len(), 1);
}

#[tokio::test]
async fn post_that_was_surely_not_sent_is_sent_again_with_its_body() {
    let door = first_call_fails(not_sent, Limits::default()).await;
    assert_eq!(door.send(request("POST", "/", body::full("order"))).await, (200, "order".to_owned()));
}

#[tokio::test]
async fn upload_larger_than_what_is_kept_is_not_sent_again_once_it_was_read() {
    for error in [broken, not_sent] {
        let door = first_call_fails(error, Limits::default()).await;
        let (status, _) = door.send(request("PUT", "/", upload(7))).await;
        assert!([502, 503].contains(&status), "{status}");
        assert_eq!(door.fake.calls().len(), 1);
    }
}

#[tokio::test]
async fn upload_of_any_size_that_was_not_read_is_sent_again() {
    let called = Arc::new(AtomicBool::new(false));
    let door = Door::open(THREE, Limits::default(), move |_, request| {
        let first = !called.swap(true, Ordering::Relaxed);
        async move {
            if first {
                return Err(not_sent());
            }
            ok(read(request.into_body()).await.len().to_string())
        }
    })
    .await;
    assert_eq!(door.send(request("POST", "/", upload(50))).await, (200, (50 * 10 * 1024).to_string()));
}

#[tokio::test]
async fn second_break_is_final_and_each_replica_is_looked_for_once() {
    let door = Door::open(THREE, Limits::default(), |_, _| async { Err(broken()) }).await;
    assert_eq!(door.get("/").await.0, 502);
    assert_eq!(door.fake.calls().len(), 2);
    let door = Door::open(THREE, Limits::default(), |_, _| async { Err(not_sent()) }).await;
    let expected =
        "503 no replica: no replica of default/web:80 could be reached for host web.localhost; try again shortly\n";
    assert_eq!(door.get("/").await, (503, expected.to_owned()));
    let mut calls = door.fake.calls();
    calls.sort();
    assert_eq!(calls, ["a", "b", "c"]);
}

#[tokio::test]
async fn request_finds_the_one_replica_that_lives() {
    let door = Door::open(THREE, Limits::default(), |endpoint, _| async move {
        if &*endpoint.pod == "c" { ok("") } else { Err(not_sent()) }
    })
    .await;
    for _ in 0..50 {
        assert_eq!(door.get("/").await.0, 200);
    }
}

#[tokio::test]
async fn only_replica_is_not_asked_twice() {
    let door = Door::open(&[("a", "n1")], Limits::default(), |_, _| async { Err(not_sent()) }).await;
    assert_eq!(door.get("/").await.0, 503);
    assert_eq!(door.fake.calls(), ["a"]);
}

#[tokio::test]
async fn failed_app_is_not_asked_again() {
    let door =
        Door::open(THREE, Limits::default(), |_, _| async { Err(UpstreamError::Failed("trapped".into())) }).await;
    assert_eq!(door.get("/").await.0, 502);
    assert_eq!(door.fake.calls().len(), 1);
}

#[tokio::test]
async fn two_replicas_on_a_dead_node_fail_no_request() {
    let pods = &[("a", "n1"), ("b", "n1"), ("c", "n2")];
    let door = Door::open(pods, Limits::default(), |endpoint, _| async move {
        if &*endpoint.node == "n1" { Err(broken()) } else { ok("") }
    })
    .await;
    for _ in 0..50 {
        assert_eq!(door.get("/").await.0, 200);
    }
}

/// Law L2: everything in flight on a node that dies is answered by another one.
#[tokio::test]
async fn killing_a_node_fails_no_idempotent_request_in_flight() {
    const REQUESTS: usize = 600;
    let arrived = Arc::new(AtomicUsize::new(0));
    let all_there = Arc::new(Notify::new());
    let dead = Arc::new(AtomicBool::new(false));
    let limits = Limits { streams_per_connection: 1000, ..Limits::default() };
    let door = Door::open(THREE, limits, {
        let (arrived, all_there, dead) = (Arc::clone(&arrived), Arc::clone(&all_there), Arc::clone(&dead));
        move |endpoint, _| {
            let (all_there, dead) = (Arc::clone(&all_there), Arc::clone(&dead));
            let number = arrived.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                let wait = all_there.notified();
                if number < REQUESTS && !dead.load(Ordering::Relaxed) {
                    wait.await;
                }
                dead.store(true, Ordering::Relaxed);
                all_there.notify_waiters();
                if &*endpoint.node == "n1" { Err(broken()) } else { ok("") }
            }
        }
    })
    .await;
    let (client, _connection) = h2(door.connect().await).await;
    let send = || {
        let mut client = client.clone();
        async move {
            let request = http::Request::get("http://web.localhost/").body(body::empty()).expect("a request");
            client.send_request(request).await.expect("a response").status().as_u16()
        }
    };
    let statuses = within(join_all((0..REQUESTS).map(|_| send()))).await;
    assert!(statuses.iter().all(|&status| status == 200), "{statuses:?}");
    let retries = door.ingress.metrics().retries.get();
    assert!((150..=250).contains(&retries), "a third was on that node: {retries}");
    assert_eq!(door.ingress.metrics().ejections.get(), 1);
}

#[tokio::test]
async fn retries_stop_at_the_budget() {
    let limits = Limits { retry_burst: 5, retry_percent: 0, retry_floor: 0, ..Limits::default() };
    let door = Door::open(THREE, limits, |_, _| async { Err(broken()) }).await;
    for _ in 0..10 {
        assert_eq!(door.get("/").await.0, 502);
    }
    assert_eq!(door.fake.calls().len(), 15);
    assert_eq!(door.ingress.metrics().retries.get(), 5);
    assert_eq!(door.ingress.metrics().retries_over_budget.get(), 5);
}

#[tokio::test]
async fn retry_goes_to_a_replica_that_came_while_the_first_failed() {
    let routes: Arc<ArcSwap<Option<Arc<ArcSwap<Routes>>>>> = Arc::default();
    let door = Door::open(&[("old", "n1")], Limits::default(), {
        let routes = Arc::clone(&routes);
        move |endpoint, _| {
            let routes = routes.load_full();
            let reply: Reply = if &*endpoint.pod == "old" {
                let routes = Option::as_ref(&routes).expect("set below");
                routes.store(Arc::new(table(&[("new", "n1")])));
                Err(not_sent())
            } else {
                ok("new")
            };
            async move { reply }
        }
    })
    .await;
    routes.store(Arc::new(Some(Arc::clone(&door.routes))));
    assert_eq!(door.get("/").await, (200, "new".to_owned()));
}
