//! HTTP guests: answers, limits, streams.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Channel};
use wk_base::body;
use wk_engine::{Failure, MemoryBytes, Sandbox};

use crate::kit::{Kit, env, failure, get, hello, misbehaving_http, request, sandbox, text};

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn hello_answers_with_its_pod_method_and_path() {
    let kit = Kit::new();
    let app = kit.app(&hello(), Sandbox { env: env(&[("WK_POD_NAME", "hello-7")]), ..Sandbox::bare() }).await;
    let response = app.handle(get("/some/where?x=1")).await.expect("answers");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["wk-pod"], "hello-7");
    assert_eq!(text(response).await, "Hello from hello-7: GET /some/where?x=1\n");
    kit.quiet().await;
}

#[tokio::test]
async fn request_without_host_is_answered() {
    let kit = Kit::new();
    let app = kit.app(&hello(), Sandbox::bare()).await;
    let bare = http::Request::builder().uri("/").body(body::empty()).expect("is a request");
    let response = app.handle(bare).await.expect("answers");
    assert_eq!(text(response).await, "Hello from nobody: GET /\n");
}

#[tokio::test]
async fn finished_response_has_a_known_length() {
    let kit = Kit::new();
    let app = kit.app(&hello(), Sandbox::bare()).await;
    // A guest that took longer than a slice, on a machine that is busy, has gone elsewhere, and its body is a stream.
    for _ in 0..100 {
        let response = app.handle(get("/")).await.expect("answers");
        let size = http_body::Body::size_hint(response.body()).exact();
        let length = text(response).await.len() as u64;
        if let Some(size) = size {
            assert_eq!(size, length);
            return;
        }
    }
    panic!("no response had a known length");
}

#[tokio::test]
async fn body_is_streamed_both_ways() {
    let kit = Kit::new();
    let app = kit.app(&hello(), Sandbox::bare()).await;
    let (mut sender, receiver) = Channel::<Bytes, body::BoxError>::new(1);
    let response = app.handle(request(Method::POST, "/echo", body::boxed(receiver))).await.expect("answers");
    let mut echoed = response.into_body();
    for piece in ["first", "second", "third"] {
        sender.send_data(Bytes::from(piece)).await.expect("the guest reads");
        // It is back before the next one is sent.
        let frame = echoed.frame().await.expect("more comes").expect("without an error");
        assert_eq!(frame.into_data().expect("is data"), piece);
    }
    drop(sender);
    assert!(echoed.frame().await.is_none(), "the end was not passed on");
    kit.quiet().await;
}

#[tokio::test]
async fn large_response_arrives_whole() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    let response = app.handle(get("/large")).await.expect("answers");
    let bytes = response.into_body().collect().await.expect("the body is whole").to_bytes();
    assert_eq!(bytes.len(), 8 << 20);
    assert!((0..128_u8).all(|piece| bytes[usize::from(piece) << 16] == piece), "pieces are out of order");
}

#[tokio::test]
async fn head_comes_before_a_slow_body() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    let response = app.handle(get("/stream")).await.expect("answers");
    assert_eq!(kit.engine.instances(), 1, "the guest was done before its head was there");
    assert_eq!(text(response).await, "piece 0\npiece 1\npiece 2\npiece 3\npiece 4\n");
    kit.quiet().await;
}

#[tokio::test]
async fn guest_may_go_on_after_its_response() {
    let kit = Kit::new();
    let (sandbox, output) = sandbox();
    let app = kit.app(&misbehaving_http(), sandbox).await;
    let response = app.handle(get("/after")).await.expect("answers");
    assert_eq!(text(response).await, "piece 0\n");
    kit.quiet().await;
    assert_eq!(output.out(), "after the response\n");
}

#[tokio::test]
async fn trap_is_reported_with_the_names_of_its_functions() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    let failure = failure(&app, "/trap").await;
    assert_eq!(failure.reason(), "Trapped");
    let Failure::Trap { message, backtrace } = failure else { panic!("not a trap: {failure}") };
    assert!(message.contains("unreachable"), "{message}");
    let inner = backtrace.find("inner_of_trap").expect("names the innermost function");
    let outer = backtrace.find("outer_of_trap").expect("names the outer function");
    assert!(inner < outer, "{backtrace}");
    assert!(backtrace.len() < 5000);
}

#[tokio::test]
async fn panic_is_a_trap_and_its_message_is_on_standard_error() {
    let kit = Kit::new();
    let (sandbox, output) = sandbox();
    let app = kit.app(&misbehaving_http(), sandbox).await;
    assert_eq!(failure(&app, "/panic").await.reason(), "Trapped");
    assert!(output.err().contains("as the path says"), "{}", output.err());
}

#[tokio::test]
async fn deep_recursion_is_a_trap() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    assert_eq!(failure(&app, "/recurse").await.reason(), "Trapped");
}

#[tokio::test]
async fn allocating_guest_ends_as_out_of_memory_with_its_limit() {
    let kit = Kit::new();
    let limit = MemoryBytes::mebibytes(16);
    let app = kit.app(&misbehaving_http(), Sandbox { memory_max: limit, ..Sandbox::bare() }).await;
    let failure = failure(&app, "/alloc").await;
    assert!(matches!(failure, Failure::OutOfMemory { limit: of, instances: 1, .. } if of == limit), "{failure}");
    assert_eq!(failure.reason(), "OOMKilled");
}

#[tokio::test]
async fn guest_that_does_not_even_start_within_its_limit_is_out_of_memory() {
    let kit = Kit::new();
    let limit = MemoryBytes(64 << 10);
    let app = kit.app(&misbehaving_http(), Sandbox { memory_max: limit, ..Sandbox::bare() }).await;
    let failure = failure(&app, "/").await;
    assert!(matches!(failure, Failure::OutOfMemory { limit: of, instances: 1, .. } if of == limit), "{failure}");
}

#[tokio::test]
async fn exit_error_and_no_response_each_have_their_name() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    // WASI 0.2 has only success and failure to exit with.
    assert_eq!(failure(&app, "/exit").await, Failure::Exited { code: 1 });
    assert_eq!(failure(&app, "/nothing").await, Failure::NoResponse);
    let refused = failure(&app, "/error").await;
    assert!(refused.to_string().contains("InternalError"), "{refused}");
    assert_eq!(text(app.handle(get("/")).await.expect("answers")).await, "well behaved\n");
}

#[tokio::test]
async fn looping_and_silent_guests_end_at_their_deadline() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox { request_deadline: SHORT, ..Sandbox::bare() }).await;
    for path in ["/loop", "/silent"] {
        let started = Instant::now();
        assert_eq!(failure(&app, path).await, Failure::Deadline(SHORT), "{path}");
        assert!(started.elapsed() < SHORT * 10, "{path} took {:?}", started.elapsed());
    }
    kit.quiet().await;
}

/// L3, on a single thread, where a guest that did not yield would stop everything.
#[tokio::test]
async fn neighbour_answers_while_others_loop_trap_and_allocate() {
    let kit = Kit::new();
    let limits =
        Sandbox { request_deadline: Duration::from_mins(1), memory_max: MemoryBytes::mebibytes(8), ..Sandbox::bare() };
    let bad = kit.app(&misbehaving_http(), limits).await;
    let good = kit.app(&hello(), Sandbox::bare()).await;
    let loops: Vec<_> = (0..3)
        .map(|_| {
            let bad = bad.clone();
            tokio::spawn(async move { bad.handle(get("/loop")).await.map(|_| ()) })
        })
        .collect();
    while kit.engine.instances() < 3 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        assert_eq!(failure(&bad, "/trap").await.reason(), "Trapped");
        assert_eq!(failure(&bad, "/alloc").await.reason(), "OOMKilled");
        let response = good.handle(get("/")).await.expect("answers");
        assert_eq!(response.status(), StatusCode::OK);
    }
    for task in loops {
        assert!(!task.is_finished(), "a loop ended by itself");
        task.abort();
    }
    kit.quiet().await;
}

#[tokio::test]
async fn trap_in_the_middle_of_a_body_ends_it_with_the_failure() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    let response = app.handle(get("/stream-trap")).await.expect("sends its head");
    let error = response.into_body().collect().await.expect_err("the body is cut off");
    let failure = error.downcast_ref::<Failure>().expect("is a failure");
    assert_eq!(failure.reason(), "Trapped");
    kit.quiet().await;
}

#[tokio::test]
async fn deadline_covers_the_body_too() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox { request_deadline: SHORT, ..Sandbox::bare() }).await;
    for path in ["/stream-loop", "/endless"] {
        let response = app.handle(get(path)).await.expect("sends its head");
        let error = response.into_body().collect().await.expect_err("the body is cut off");
        assert_eq!(error.downcast_ref::<Failure>(), Some(&Failure::Deadline(SHORT)), "{path}");
    }
    kit.quiet().await;
}

#[tokio::test]
async fn client_that_leaves_ends_the_instance() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    let mut response = app.handle(get("/endless")).await.expect("sends its head");
    assert!(response.body_mut().frame().await.is_some());
    assert_eq!(kit.engine.instances(), 1);
    drop(response);
    kit.quiet().await;

    let waiting = tokio::time::timeout(Duration::from_millis(20), app.handle(get("/silent"))).await;
    assert!(waiting.is_err(), "a silent guest answered");
    kit.quiet().await;
}

#[tokio::test]
async fn guest_sees_its_arguments_and_variables_and_no_others() {
    let kit = Kit::new();
    let args = vec!["guest".to_owned(), "--flag".to_owned()];
    let env = env(&[("B", "old"), ("A", "1"), ("B", "2")]);
    let app = kit.app(&misbehaving_http(), Sandbox { args, env, ..Sandbox::bare() }).await;
    let response = app.handle(get("/env")).await.expect("answers");
    assert_eq!(text(response).await, "[\"guest\", \"--flag\"]\nA=1\nB=2\n");
}

#[tokio::test]
async fn output_goes_where_the_sandbox_says() {
    let kit = Kit::new();
    let (sandbox, output) = sandbox();
    let app = kit.app(&misbehaving_http(), sandbox).await;
    app.handle(get("/print")).await.expect("answers");
    assert_eq!((output.out().as_str(), output.err().as_str()), ("to standard output\n", "to standard error\n"));
}

#[tokio::test]
async fn guest_reaches_no_file_address_or_name() {
    let kit = Kit::new();
    let app = kit.app(&misbehaving_http(), Sandbox::bare()).await;
    let lines = text(app.handle(get("/escape")).await.expect("answers")).await;
    let expected = "directories 0\nread denied\nread above denied\nwrite denied\ntcp denied\nudp denied\nname denied\n\
                    http denied\n";
    assert_eq!(lines, expected);
}
