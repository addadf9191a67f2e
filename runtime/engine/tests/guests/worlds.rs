//! WASI 0.3 beside 0.2 on one engine, preview-1 reactors, and guests in other languages, as their toolchains make them.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Channel};
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body};
use wk_engine::{Exit, Failure, HttpApp, Instances, Next, Reuse, Sandbox, World};

use crate::kit::{
    Kit, c_program, c_reactor, env, failure, get, middleware, program, request, sandbox, service, text, wstd,
};

async fn run(path: &std::path::Path, args: &[&str]) -> (Exit, String) {
    let kit = Kit::new();
    let prepared = kit.prepare(path).await;
    assert_eq!(prepared.world(), World::Command);
    let (mut sandbox, output) = sandbox();
    sandbox.args = std::iter::once("guest").chain(args.iter().copied()).map(ToOwned::to_owned).collect();
    sandbox.env = env(&[("ONLY", "this")]);
    let exit = kit.engine.run(&prepared, sandbox, CancellationToken::new()).await;
    (exit, output.out())
}

#[tokio::test]
async fn service_of_0_3_answers() {
    let kit = Kit::new();
    let app = kit.app(&service(), Sandbox::bare()).await;
    let response = app.handle(get("/some/where?x=1")).await.expect("answers");
    assert_eq!(response.status(), StatusCode::OK);
    let size = http_body::Body::size_hint(response.body()).exact();
    let body = text(response).await;
    assert_eq!(body, "0.3 says hello to /some/where?x=1\n");
    assert_eq!(size, Some(body.len() as u64), "a finished response has a known length");
    assert_eq!(text(app.handle(get("/host")).await.expect("answers")).await, "guest.localhost\n");
    kit.quiet().await;
}

#[tokio::test]
async fn bodies_of_0_3_are_streamed_both_ways() {
    let kit = Kit::new();
    let app = kit.app(&service(), Sandbox::bare()).await;
    let (mut sender, receiver) = Channel::<Bytes, body::BoxError>::new(1);
    let response = app.handle(request(Method::POST, "/echo", body::boxed(receiver))).await.expect("answers");
    let mut echoed = response.into_body();
    for piece in ["first", "second", "third"] {
        sender.send_data(Bytes::from(piece)).await.expect("the guest reads");
        let frame = echoed.frame().await.expect("more comes").expect("without an error");
        assert_eq!(frame.into_data().expect("is data"), piece);
    }
    drop(sender);
    assert!(echoed.frame().await.is_none(), "the end was not passed on");

    let response = app.handle(get("/large")).await.expect("answers");
    let bytes = response.into_body().collect().await.expect("the body is whole").to_bytes();
    assert_eq!(bytes.len(), 8 << 20);
    kit.quiet().await;
}

#[tokio::test]
async fn guest_of_0_3_may_go_on_after_its_response() {
    let kit = Kit::new();
    let (sandbox, output) = sandbox();
    let app = kit.app(&service(), sandbox).await;
    assert_eq!(text(app.handle(get("/after")).await.expect("answers")).await, "answered\n");
    kit.quiet().await;
    assert_eq!(output.out(), "after the response\n");
}

#[tokio::test]
async fn failures_of_0_3_have_the_same_names() {
    let kit = Kit::new();
    let deadline = std::time::Duration::from_millis(300);
    let app = kit.app(&service(), Sandbox { request_deadline: deadline, ..Sandbox::bare() }).await;
    assert_eq!(failure(&app, "/trap").await.reason(), "Trapped");
    assert_eq!(failure(&app, "/silent").await, Failure::Deadline(deadline));
    assert_eq!(failure(&app, "/loop").await, Failure::Deadline(deadline));
    assert!(failure(&app, "/refuse").await.to_string().contains("HttpResponseTimeout"));
    let response = app.handle(get("/stream-trap")).await.expect("sends its head");
    let error = response.into_body().collect().await.expect_err("the body is cut off");
    assert_eq!(error.downcast_ref::<Failure>().expect("is a failure").reason(), "Trapped");
    kit.quiet().await;
}

#[tokio::test]
async fn program_of_0_3_runs_with_what_it_is_given() {
    let (exit, output) = run(&program(), &["one"]).await;
    assert_eq!(exit, Exit::Code(0));
    assert_eq!(output, "[\"guest\", \"one\"] [(\"ONLY\", \"this\")]\n");
    assert_eq!(run(&program(), &["fail"]).await.0, Exit::Code(1));
    assert_eq!(run(&program(), &["exit"]).await.0, Exit::Code(7));
}

#[tokio::test]
async fn cancelling_ends_a_program_of_0_3_that_waits() {
    let kit = Kit::new();
    let prepared = kit.prepare(&program()).await;
    let cancel = CancellationToken::new();
    let sandbox = Sandbox { args: vec!["guest".into(), "wait".into()], ..Sandbox::bare() };
    let running = tokio::spawn({
        let (engine, cancel) = (kit.engine.clone(), cancel.clone());
        async move { engine.run(&prepared, sandbox, cancel).await }
    });
    while kit.engine.instances() == 0 {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    assert_eq!(running.await.expect("no panic"), Exit::Cancelled);
    kit.quiet().await;
}

/// Answers with the path it is asked for.
struct Last;

#[async_trait::async_trait]
impl Next for Last {
    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        Ok(Response::new(body::full(format!("{} {}", request.method(), request.uri()))))
    }
}

/// The module is a core one that carries its interface, as bindings generators leave it.
#[tokio::test]
async fn middleware_refuses_or_passes_on_to_the_next() {
    let kit = Kit::new();
    let (mut sandbox, output) = sandbox();
    sandbox.next = Some(Arc::new(Last));
    let app = kit.app(&middleware(), sandbox).await;
    let response = app.handle(get("/public?x=1")).await.expect("answers");
    assert_eq!(text(response).await, "GET http://guest.localhost/public?x=1");
    assert_eq!(output.out(), "passed on: 200\n");
    assert!(failure(&app, "/private").await.to_string().contains("HttpRequestDenied"));

    let alone = kit.app(&middleware(), Sandbox::bare()).await;
    assert!(failure(&alone, "/public").await.to_string().contains("HttpRequestDenied"));
}

/// Passes a request on to another guest, in the same poll, as a pod's chain does.
struct Onward(HttpApp);

#[async_trait::async_trait]
impl Next for Onward {
    async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        self.0.handle(request).await.map_err(|failure| failure.to_string())
    }
}

#[tokio::test]
async fn middleware_and_the_guest_behind_it_run_in_every_mode_and_version() {
    let kit = Kit::new();
    let guests: [PathBuf; 3] = [service(), wstd(), middleware()];
    for guest in guests {
        for first in [Instances::PerRequest, Instances::Pooled(Reuse::default()), Instances::Single] {
            for second in [Instances::PerRequest, Instances::Pooled(Reuse::default()), Instances::Single] {
                let mut behind = Sandbox { instances: second, ..Sandbox::bare() };
                // A chain of three.
                behind.next = (guest == middleware()).then(|| Arc::new(Last) as Arc<dyn Next>);
                let next: Arc<dyn Next> = Arc::new(Onward(kit.app(&guest, behind).await));
                let sandbox = Sandbox { instances: first, next: Some(next), ..Sandbox::bare() };
                let app = kit.app(&middleware(), sandbox).await;
                for _ in 0..3 {
                    let response = app.handle(get("/public")).await.expect("the chain answers");
                    assert_eq!(response.status(), 200, "{first:?} {second:?}");
                    assert!(!text(response).await.is_empty());
                }
            }
        }
    }
}

/// A defect of ours.
struct Defect;

#[async_trait::async_trait]
impl Next for Defect {
    async fn handle(&self, _request: Request<Body>) -> Result<Response<Body>, String> {
        panic!("a bug of ours");
    }
}

#[tokio::test]
async fn panic_of_the_host_ends_its_request_with_a_failure() {
    let kit = Kit::new();
    for instances in [Instances::PerRequest, Instances::Pooled(Reuse::default()), Instances::Single] {
        let sandbox = Sandbox { instances, next: Some(Arc::new(Defect)), ..Sandbox::bare() };
        let app = kit.app(&middleware(), sandbox).await;
        for _ in 0..2 {
            let failure = failure(&app, "/public").await;
            assert_eq!(failure, Failure::Panicked { message: "a bug of ours".into() }, "{instances:?}");
            assert_eq!(failure.reason(), "EngineFailed");
        }
    }
    kit.quiet().await;
}

#[tokio::test]
async fn program_in_c_runs() {
    let (exit, output) = run(&c_program(), &["one", "two"]).await;
    assert_eq!((exit, output.as_str()), (Exit::Code(0), "one\ntwo\n"));
    assert_eq!(run(&c_program(), &[]).await.0, Exit::Code(3));
}

#[tokio::test]
async fn functions_of_a_reactor_are_called_after_it_is_initialized() {
    let kit = Kit::new();
    let prepared = kit.prepare(&c_reactor()).await;
    assert_eq!(prepared.world(), World::Functions);
    let (sandbox, output) = sandbox();
    for (function, args, code) in [("answer", &[][..], 42), ("add_up", &["40", "-35"], 5), ("greet", &[], 0)] {
        let args = args.iter().map(|&text: &&str| text.to_owned()).collect();
        let exit = kit.engine.invoke(&prepared, sandbox.clone(), function, args, CancellationToken::new()).await;
        assert_eq!(exit, Ok(Exit::Code(code)), "{function}");
    }
    assert_eq!(output.out(), "hello from a reactor\n");
}
