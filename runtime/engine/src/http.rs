//! A request's way through a `wasi:http` guest: a fresh instance, its response's head as soon as it is set, the body
//! streamed while the instance runs on.
//!
//! The instance runs inside the caller's own future for as long as the response has no head. A guest that answers and
//! returns, as most do, is done by then: no task is spawned, nothing crosses threads. A guest that streams goes on in
//! a task of its own, which ends with the guest, the deadline, or the client.

use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{WasiHttpView as _, p2::types::HostResponseOutparam};
use wk_base::body::Body;

use crate::engine::Engine;
use crate::failure::Failure;
use crate::host::Host;
use crate::prepare::Prepared;
use crate::response::{self, Streaming};
use crate::sandbox::Sandbox;

/// One pod's HTTP guest. Cheap to clone; costs nothing while no request is there.
#[derive(Clone)]
pub struct HttpApp {
    engine: Engine,
    prepared: Arc<Prepared>,
    sandbox: Arc<Sandbox>,
}

/// What the guest sets as its response.
type Answer = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// Why the guest failed, written before its store, and with it the body's sender, is gone.
pub(crate) type Verdict = Arc<OnceLock<Failure>>;

impl HttpApp {
    pub(crate) fn new(engine: Engine, prepared: Arc<Prepared>, sandbox: Sandbox) -> Self {
        Self { engine, prepared, sandbox: Arc::new(sandbox.resolved()) }
    }

    /// Hands one request to a fresh instance and returns its response.
    ///
    /// The response is returned as soon as the guest has set its head. Its body ends with an error that is a
    /// [`Failure`] when the guest fails before it is complete. Dropping this future, or the body before its end, ends
    /// the instance.
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let patience = self.sandbox.request_deadline;
        let deadline = Instant::now() + patience;
        let verdict = Verdict::default();
        let (set, mut answer) = oneshot::channel();
        let mut instance = self.engine.guest(&self.sandbox, run(self.clone(), request, set, Arc::clone(&verdict)));

        // Ends when the instance does or when the head is there, whichever is first.
        let mut head = None;
        let until_head = std::future::poll_fn(|cx| {
            if instance.poll_unpin(cx).is_ready() {
                return Poll::Ready(Done::Yes);
            }
            // A guest that runs elsewhere wakes this task at its end; its answer may come long before.
            if head.is_none()
                && let Poll::Ready(set) = answer.poll_unpin(cx)
            {
                head = Some(set.ok());
            }
            if matches!(head, Some(Some(_))) { Poll::Ready(Done::No) } else { Poll::Pending }
        });
        let done = tokio::time::timeout_at(deadline, until_head).await.map_err(|_| Failure::Deadline(patience))?;

        if let (Done::Yes, Some(failure)) = (&done, verdict.get()) {
            return Err(failure.clone());
        }
        let response = match head.unwrap_or_else(|| answer.try_recv().ok()) {
            Some(Ok(response)) => response,
            Some(Err(code)) => return Err(Failure::Refused { code: format!("{code:?}") }),
            None => return Err(Failure::NoResponse),
        };
        let (head, body) = response.into_parts();
        let body = match done {
            Done::Yes => response::gathered(body),
            Done::No => {
                let task = tokio::spawn(finish(instance, deadline, patience, Arc::clone(&verdict)));
                wk_base::body::boxed(Streaming::new(body, task, verdict))
            }
        };
        Ok(Response::from_parts(head, body))
    }

    fn pre(&self) -> &ProxyPre<Host> {
        self.prepared.http.as_ref().expect("Engine::http makes an HttpApp of HTTP components only")
    }
}

/// Whether the instance has ended.
enum Done {
    Yes,
    No,
}

/// The whole life of one instance.
async fn run(app: HttpApp, request: Request<Body>, set: oneshot::Sender<Answer>, verdict: Verdict) {
    let mut store = Host::store(app.engine.wasmtime(), &app.sandbox, app.engine.running());
    let outcome = async {
        let proxy = app.pre().instantiate_async(&mut store).await?;
        store.data_mut().limits.started();
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, incoming(request))?;
        let answer: wasmtime::component::Resource<HostResponseOutparam> = http.new_response_outparam(set)?;
        proxy.wasi_http_incoming_handler().call_handle(&mut store, request, answer).await
    }
    .await;
    if let Err(error) = outcome {
        let _ = verdict.set(Failure::of(&error, &store.data().limits));
    }
}

/// Lets an instance whose head was sent come to its end.
async fn finish(
    mut instance: impl Future<Output = ()> + Unpin,
    deadline: Instant,
    patience: Duration,
    verdict: Verdict,
) {
    if tokio::time::timeout_at(deadline, &mut instance).await.is_err() {
        let _ = verdict.set(Failure::Deadline(patience));
    }
}

/// The request as the guest sees it: `wasi:http` wants an authority, which HTTP/1.0 and internal callers may lack.
fn incoming(request: Request<Body>) -> Request<impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static> {
    let (mut head, body) = request.into_parts();
    let named = head.uri.authority().is_some() || head.headers.get(HOST).is_some_and(|host| host.to_str().is_ok());
    if !named {
        head.headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    let body = body.map_err(|error| Error::InternalError(Some(error.to_string())));
    Request::from_parts(head, body)
}

impl std::fmt::Debug for HttpApp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpApp")
            .field("prepared", &self.prepared)
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}
