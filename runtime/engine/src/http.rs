//! A request's way through a `wasi:http` guest: to an instance, its response's head as soon as it is set, the body
//! streamed while the instance runs on.
//!
//! The instance runs inside the caller's own future for as long as the response has no head. A guest that answers and
//! returns, as most do, is done by then: no task is spawned, nothing crosses threads. A guest that streams goes on in
//! a task of its own, which ends with the guest, the deadline, or the client. Only a pod's `single` instance is owned
//! by a task from the start (`single.rs`).

use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wk_base::body::Body;

use crate::engine::Engine;
use crate::failure::{Failure, caught};
use crate::instance::{HttpPre, Instance};
use crate::pool::{Pool, Reuse};
use crate::prepare::Prepared;
use crate::response::{self, Streaming};
use crate::sandbox::Sandbox;
use crate::single::{Job, Single};

/// How a pod's requests share instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Instances {
    /// A fresh one for each request: nothing of one request is there for the next.
    #[default]
    PerRequest,
    /// Kept for further requests, one at a time, a bounded number of times. A trap or a missed deadline ends it.
    Pooled(Reuse),
    /// One, for as long as the pod lives or until it fails: one request after another for `wasi:http` 0.2, side by
    /// side for 0.3.
    Single,
}

/// One pod's HTTP guest. Cheap to clone; costs nothing while no request is there.
#[derive(Clone)]
pub struct HttpApp {
    engine: Engine,
    prepared: Arc<Prepared>,
    sandbox: Arc<Sandbox>,
    kept: Kept,
}

/// The instances that outlive a request.
#[derive(Clone)]
enum Kept {
    None,
    Pool(Arc<Pool>),
    Single(Arc<Single>),
}

/// How often an asynchronous guest is looked at again once its head is there, before its body counts as a stream: a short
/// body reaches us in the turns right after the head, and then goes out in one piece with its length known.
const TURNS_AFTER_HEAD: u32 = 4;

/// What the guest sets as its response.
pub(crate) type Answer = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// Why the guest failed, written before its store, and with it the body's sender, is gone.
pub(crate) type Verdict = Arc<OnceLock<Failure>>;

impl HttpApp {
    pub(crate) fn new(engine: Engine, prepared: Arc<Prepared>, sandbox: Arc<Sandbox>) -> Self {
        let kept = match sandbox.instances {
            Instances::PerRequest => Kept::None,
            Instances::Pooled(reuse) => Kept::Pool(Arc::new(Pool::new(reuse))),
            Instances::Single => Kept::Single(Arc::default()),
        };
        Self { engine, prepared, sandbox: Sandbox::resolved_of(sandbox), kept }
    }

    /// Hands one request to an instance and returns its response.
    ///
    /// The response is returned as soon as the guest has set its head. Its body ends with an error that is a
    /// [`Failure`] when the guest fails before it is complete. Dropping this future, or the body before its end, ends
    /// the instance, except a pod's single one.
    pub async fn handle(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let patience = self.sandbox.request_deadline;
        let deadline = Instant::now() + patience;
        if let Kept::Single(single) = &self.kept {
            return self.through_single(single, request, deadline).await;
        }
        let verdict = Verdict::default();
        let (set, mut answer) = oneshot::channel();
        let mut instance = self.engine.guest(&self.sandbox, run(self.clone(), request, set, Arc::clone(&verdict)));

        // Ends when the instance does or when the head is there, whichever is first.
        let mut head = None;
        let mut turns = if let HttpPre::Service(_) = self.pre() { TURNS_AFTER_HEAD } else { 0 };
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
            if !matches!(head, Some(Some(_))) {
                return Poll::Pending;
            }
            if turns == 0 {
                return Poll::Ready(Done::No);
            }
            turns -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
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

    /// The same through the pod's one instance, which goes on whatever becomes of this future.
    async fn through_single(
        &self,
        single: &Single,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Response<Body>, Failure> {
        let verdict = Verdict::default();
        let (set, answer) = oneshot::channel();
        let (over, ended) = oneshot::channel();
        let (reading, body) = oneshot::channel();
        let job = Job { request, set, verdict: Arc::clone(&verdict), deadline, body, over };
        single.put(&self.engine, &self.prepared, &self.sandbox, job)?;
        let answer = async {
            match answer.await {
                Ok(answer) => Some(answer),
                // The verdict comes last.
                Err(_) => ended.await.err().and(None),
            }
        };
        let late = Failure::Deadline(self.sandbox.request_deadline);
        match tokio::time::timeout_at(deadline, answer).await.map_err(|_| late)? {
            Some(Ok(response)) => {
                let (head, body) = response.into_parts();
                Ok(Response::from_parts(head, wk_base::body::boxed(Streaming::shared(body, reading, verdict))))
            }
            Some(Err(code)) => Err(Failure::Refused { code: format!("{code:?}") }),
            None => Err(verdict.get().cloned().unwrap_or(Failure::NoResponse)),
        }
    }

    fn pre(&self) -> &HttpPre {
        self.prepared.http.as_ref().expect("Engine::http makes an HttpApp of HTTP components only")
    }
}

/// Whether the instance has ended.
enum Done {
    Yes,
    No,
}

/// The whole of one request in an instance: a kept one or a fresh one, which is kept if it did well and may be.
async fn run(app: HttpApp, request: Request<Body>, set: oneshot::Sender<Answer>, verdict: Verdict) {
    let kept = if let Kept::Pool(pool) = &app.kept { pool.take(&app.engine) } else { None };
    let started = match kept {
        Some(instance) => Ok(Ok(instance)),
        None => caught(Instance::start(&app.engine, app.pre(), &app.sandbox)).await,
    };
    let mut instance = match started.flatten() {
        Ok(instance) => instance,
        Err(failure) => {
            let _ = verdict.set(failure);
            return;
        }
    };
    match caught(instance.answer(request, set, &verdict)).await.flatten() {
        Err(failure) => {
            let _ = verdict.set(failure);
        }
        Ok(()) => {
            if let Kept::Pool(pool) = &app.kept {
                pool.keep(instance);
            }
        }
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
pub(crate) fn incoming(
    request: Request<Body>,
) -> Request<impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static> {
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
