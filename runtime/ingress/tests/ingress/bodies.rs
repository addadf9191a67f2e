//! Bodies in both directions: streamed, cut off, standing still.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wk_base::body::{self, Body, BoxError};
use wk_ingress::Limits;

use crate::support::{Door, THREE, eventually, h1, h2, ok, request, rest, until, within};

/// A body fed by hand.
fn fed() -> (mpsc::Sender<Result<&'static str, BoxError>>, Body) {
    let (feed, pieces) = mpsc::channel::<Result<&'static str, BoxError>>(4);
    let frames = ReceiverStream::new(pieces).map(|piece| piece.map(|piece| Frame::data(Bytes::from(piece))));
    (feed, body::boxed(StreamBody::new(frames)))
}

/// Sends every piece of the request's body back as it comes.
async fn echoing_door() -> Door {
    Door::open(THREE, Limits::default(), |_, request| async move { Ok(Response::new(request.into_body())) }).await
}

async fn next<B>(body: &mut B) -> String
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Debug,
{
    let frame = within(body.frame()).await.expect("more").expect("no error");
    String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text")
}

#[tokio::test]
async fn response_begins_before_the_request_ends() {
    let door = echoing_door().await;
    for version in ["h1", "h2"] {
        let (feed, body) = fed();
        feed.send(Ok("one")).await.expect("fed");
        let response = if version == "h1" {
            within(h1(door.connect().await).await.send_request(request("POST", "/", body))).await
        } else {
            let request = http::Request::post("http://web.localhost/").body(body).expect("a request");
            within(h2(door.connect().await).await.0.send_request(request)).await
        };
        let mut body = response.expect("a response").into_body();
        assert_eq!(next(&mut body).await, "one", "{version}");
        feed.send(Ok("two")).await.expect("fed");
        assert_eq!(next(&mut body).await, "two", "{version}");
        drop(feed);
        assert!(within(body.collect()).await.expect("ended in order").to_bytes().is_empty(), "{version}");
    }
}

#[tokio::test]
async fn large_body_passes_in_both_directions() {
    let door = echoing_door().await;
    let large = "0123456789abcdef".repeat(256 * 1024);
    let (status, text) = door.send(request("POST", "/", body::full(large.clone()))).await;
    assert!(status == 200 && text == large);
}

#[tokio::test]
async fn broken_response_does_not_look_complete() {
    let (feeds, mut fed_by) = mpsc::channel(4);
    let door = Door::open(THREE, Limits::default(), move |_, request| {
        let feeds = feeds.clone();
        async move {
            let (feed, body) = fed();
            feed.send(Ok("half")).await.expect("fed");
            feeds.send(feed).await.expect("given to the test");
            let response = match request.uri().path().strip_prefix("/length/") {
                Some(length) => Response::builder().header("content-length", length),
                None => Response::builder(),
            };
            Ok(response.body(body).expect("a response"))
        }
    })
    .await;
    // Chunked: the last chunk never comes. With a length: fewer bytes than promised.
    for path in ["/", "/length/10"] {
        let mut stream = door.connect().await;
        let head = format!("GET {path} HTTP/1.1\r\nHost: web.localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("write");
        until(&mut stream, "half").await;
        let feed = within(fed_by.recv()).await.expect("a feed");
        feed.send(Err("the pod died".into())).await.expect("fed");
        assert_eq!(rest(&mut stream).await.trim(), "", "{path}");
    }
    let get = http::Request::get("http://web.localhost/").body(body::empty()).expect("a request");
    let (mut client, _connection) = h2(door.connect().await).await;
    let mut body = within(client.send_request(get)).await.expect("a response").into_body();
    assert_eq!(next(&mut body).await, "half");
    let feed = within(fed_by.recv()).await.expect("a feed");
    feed.send(Err("the pod died".into())).await.expect("fed");
    assert!(within(body.collect()).await.is_err());
    assert_eq!(door.ingress.metrics().responses_broken.get(), 3);
}

#[tokio::test]
async fn response_shorter_or_longer_than_its_length_is_cut() {
    let door = Door::open(THREE, Limits::default(), |_, request| async move {
        let (feed, body) = fed();
        feed.send(Ok("four")).await.expect("fed");
        let length = request.uri().path().trim_start_matches('/').to_owned();
        Ok(Response::builder().header("content-length", length).body(body).expect("a response"))
    })
    .await;
    for (path, whole) in [("/4", true), ("/5", false), ("/3", false)] {
        let get = http::Request::get(format!("http://web.localhost{path}")).body(body::empty()).expect("a request");
        let (mut client, _connection) = h2(door.connect().await).await;
        // What breaks at once may break before the head was on its way.
        let came = match within(client.send_request(get)).await {
            Ok(response) => within(response.into_body().collect()).await.is_ok(),
            Err(_) => false,
        };
        assert_eq!(came, whole, "{path}");
    }
}

#[tokio::test]
async fn response_that_stands_still_is_cut() {
    let limits = Limits { body_idle: Duration::from_millis(20), ..Limits::default() };
    let feeds = Arc::new(std::sync::Mutex::new(Vec::new()));
    let door = Door::open(THREE, limits, move |_, _| {
        let (feed, body) = fed();
        feed.try_send(Ok("half")).expect("fed");
        feeds.lock().expect("lock").push(feed);
        async move { Ok(Response::new(body)) }
    })
    .await;
    let answer = door.raw("GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await;
    assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn request_body_that_stands_still_is_408() {
    let limits = Limits { body_idle: Duration::from_millis(20), ..Limits::default() };
    let door = Door::open(THREE, limits, |_, request| async move {
        request.into_body().collect().await.map_or_else(|_| Err(crate::support::broken()), |_| ok(""))
    })
    .await;
    let answer = door.raw("PUT / HTTP/1.1\r\nHost: web.localhost\r\nContent-Length: 9\r\n\r\nhalf").await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert_eq!(door.fake.calls().len(), 1, "the client was slow, not the endpoint");
    assert_eq!(door.ingress.metrics().ejections.get(), 0);
}

#[tokio::test]
async fn request_body_over_the_limit_is_413() {
    let limits = Limits { request_body: 8, ..Limits::default() };
    let door = Door::open(THREE, limits, |_, request| async move {
        request.into_body().collect().await.map_or_else(|_| Err(crate::support::broken()), |_| ok("fits"))
    })
    .await;
    assert_eq!(door.send(request("POST", "/", body::full("8 bytes!"))).await, (200, "fits".to_owned()));
    assert_eq!(door.send(request("POST", "/", body::full("nine byte"))).await.0, 413);
    assert_eq!(door.fake.calls().len(), 1, "a length that is too large is refused before anybody is asked");
    let chunked =
        "POST / HTTP/1.1\r\nHost: web.localhost\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nnine byte\r\n0\r\n\r\n";
    let answer = door.raw(&chunked.replace("Host", "Connection: close\r\nHost")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn endpoint_hears_when_the_client_goes() {
    let (gone, mut heard) = mpsc::channel::<()>(1);
    let door = Door::open(THREE, Limits::default(), move |_, _| {
        let gone = gone.clone();
        async move {
            let _dropped_with_the_call = gone;
            std::future::pending().await
        }
    })
    .await;
    let mut stream = door.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n").await.expect("write");
    eventually(|| door.ingress.metrics().requests_open.get() == 1).await;
    drop(stream);
    eventually(|| door.ingress.metrics().requests_open.get() == 0).await;
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let door = echoing_door().await;
    let (mut client, _connection) = h2(door.connect().await).await;
    let frames = ["data", ""].map(|piece| {
        let trailers =
            || http::HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), "42".parse().expect("value"))]);
        Ok::<_, BoxError>(if piece.is_empty() { Frame::trailers(trailers()) } else { Frame::data(Bytes::from(piece)) })
    });
    let body = body::boxed(StreamBody::new(futures::stream::iter(frames)));
    let request = http::Request::post("http://web.localhost/").body(body).expect("a request");
    let response = within(client.send_request(request)).await.expect("a response");
    let collected = within(response.into_body().collect()).await.expect("a body");
    assert_eq!(collected.trailers().expect("trailers")["x-sum"], "42");
}

#[tokio::test]
async fn client_that_waits_for_100_continue_gets_it() {
    let door = Door::open(THREE, Limits::default(), |_, request| async move {
        ok(request.into_body().collect().await.expect("a body").to_bytes())
    })
    .await;
    let mut stream = door.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("write");
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 100 Continue"));
    stream.write_all(b"body").await.expect("write");
    assert!(rest(&mut stream).await.ends_with("body"));
}
