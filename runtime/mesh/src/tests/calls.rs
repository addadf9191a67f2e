//! The calling side while all goes well: multiplexing, streaming, limits.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use wk_base::body::{BoxError, boxed};

use super::*;
use crate::{Lane, MeshError};

/// A body that is fed by hand.
fn hand_fed() -> (mpsc::Sender<Bytes>, Body) {
    let (feed, fed) = mpsc::channel::<Bytes>(1);
    let frames = futures::stream::unfold(fed, |mut fed| async move {
        fed.recv().await.map(|bytes| (Ok::<_, BoxError>(Frame::data(bytes)), fed))
    });
    (feed, boxed(StreamBody::new(frames)))
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let authority = Authority::create("c1").expect("an authority");
    let server = Server::start(&identity(&authority, "n1"), echo()).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let (feed, body) = hand_fed();
    let request = Request::post("/echo").body(body).expect("a request");
    let response = mesh.request(&name("n1"), request, LONG).await.expect("a head, before the body is sent");
    let mut body = response.into_body();
    for word in ["one", "two", "three"] {
        feed.send(Bytes::from(word)).await.expect("taken");
        let frame = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), word);
    }
    drop(feed);
    assert!(body.collect().await.expect("an end").to_bytes().is_empty());
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    const PIECES: usize = 512;
    let authority = Authority::create("c1").expect("an authority");
    let server = Server::start(&identity(&authority, "n1"), echo()).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let (feed, body) = hand_fed();
    let request = Request::post("/echo").body(body).expect("a request");
    let mut body = mesh.request(&name("n1"), request, LONG).await.expect("a head").into_body();
    let feeding = tokio::spawn(async move {
        for piece in 0..PIECES {
            feed.send(Bytes::from(vec![piece as u8; 64 * 1024])).await.expect("taken");
        }
    });
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        for byte in frame.expect("no error").into_data().expect("data") {
            assert_eq!(byte, (received / (64 * 1024)) as u8);
            received += 1;
        }
    }
    feeding.await.expect("all fed");
    assert_eq!(received, PIECES * 64 * 1024);
}

#[tokio::test]
async fn what_a_request_says_arrives_except_for_scheme_and_authority() {
    let authority = Authority::create("c1").expect("an authority");
    let handler = answers(|_, request| {
        Box::pin(async move {
            let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or("none");
            Response::new(full(format!("{} {} {host}", request.method(), request.uri())))
        })
    });
    let server = Server::start(&identity(&authority, "n1"), handler).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let request = Request::put("http://elsewhere:1/a%20b?c=d").header("host", "app.example.org");
    let request = request.body(wk_base::body::empty()).expect("a request");
    let response = mesh.request(&name("n1"), request, LONG).await.expect("an answer");
    assert_eq!(text(response).await, "PUT https://n1.nodes.wk.internal/a%20b?c=d app.example.org");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_share_one_connection() {
    let authority = Authority::create("c1").expect("an authority");
    let barrier = Arc::new(tokio::sync::Barrier::new(1000));
    let handler = answers(move |_, request| {
        let barrier = Arc::clone(&barrier);
        Box::pin(async move {
            // Nobody is answered before all are here: they are in flight together.
            barrier.wait().await;
            Response::new(full(request.uri().path().to_owned()))
        })
    });
    let server = Server::start(&identity(&authority, "n1"), handler).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let requests = (0..1000).map(|number| {
        let mesh = mesh.clone();
        tokio::spawn(async move {
            let path = format!("/{number}");
            let response = mesh.request(&name("n1"), get(&path), LONG).await.expect("an answer");
            assert_eq!(text(response).await, path);
        })
    });
    for done in join_all(requests).await {
        done.expect("the right answer");
    }
    assert_eq!(server.count("connections_accepted_total"), 1);
    assert_eq!(mesh.metrics().read()[0], ("wk_mesh_dials_total", 1));
}

#[tokio::test]
async fn readers_who_stopped_reading_do_not_stop_the_others() {
    let authority = Authority::create("c1").expect("an authority");
    let handler = answers(|_, request| {
        Box::pin(async move {
            if request.uri().path() == "/quick" {
                return Response::new(full("quick"));
            }
            let piece = Bytes::from(vec![0; 64 * 1024]);
            let frames = futures::stream::repeat_with(move || Ok::<_, BoxError>(Frame::data(piece.clone())));
            Response::new(boxed(StreamBody::new(frames)))
        })
    });
    let server = Server::start(&identity(&authority, "n1"), handler).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(mesh.request(&name("n1"), get("/endless"), LONG).await.expect("a head"));
    }
    for _ in 0..20 {
        let response = mesh.request(&name("n1"), get("/quick"), LONG).await.expect("an answer");
        assert_eq!(tokio::time::timeout(LONG, text(response)).await.expect("in time"), "quick");
    }
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_bulk_is_refused_unsent_and_does_not_keep_control_out() {
    let authority = Authority::create("c1").expect("an authority");
    let in_flight = Arc::new(AtomicUsize::new(0));
    let handler = {
        let in_flight = Arc::clone(&in_flight);
        answers(move |_, request| {
            let in_flight = Arc::clone(&in_flight);
            Box::pin(async move {
                if request.uri().path() == "/raft" {
                    return Response::new(full("vote"));
                }
                in_flight.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            })
        })
    };
    let server = Server::start(&identity(&authority, "n1"), handler).await;
    let mesh = mesh(&identity(&authority, "n2"), "n1", server.address);
    let limit = crate::client::BULK_REQUESTS_MAX;
    let bulk: Vec<_> = (0..limit)
        .map(|_| {
            let mesh = mesh.clone();
            tokio::spawn(async move { mesh.request(&name("n1"), get("/work"), LONG).await.map(|_| ()) })
        })
        .collect();
    until("the node is full", || in_flight.load(Ordering::SeqCst) == limit).await;
    let error = mesh.request(&name("n1"), get("/work"), LONG).await.expect_err("too much");
    assert!(matches!(error, MeshError::NotSent { .. }), "{error:?}");

    let mut control = get("/raft");
    control.extensions_mut().insert(Lane::Control);
    let response = mesh.request(&name("n1"), control, LONG).await.expect("a vote");
    assert_eq!(text(response).await, "vote");

    for request in bulk {
        request.abort();
    }
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let short = Duration::from_millis(50);
    // Cancelled requests give their places back: this one gets as far as being muted.
    while !matches!(mesh.request(&name("n1"), get("/work"), short).await, Err(MeshError::Deadline { .. })) {
        tick.tick().await;
    }
}
