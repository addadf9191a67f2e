//! One HTTP container that serves: its requests in flight, how they went, and its end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body, BoxError};
use wk_engine::{Failure, Usage};

use super::CallError;
use crate::place::{FailureSink, Guest};
use crate::recent::{Noted, Outcome, Recent};
use crate::spec::ContainerSpec;

/// Another container of the pod has the port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("listen on port {port}: address in use: container {container:?} of this pod serves it")]
pub struct PortTaken {
    /// The port.
    pub port: u16,
    /// Who has it.
    pub container: Arc<str>,
}

/// One HTTP container that serves.
pub struct App {
    guest: Guest,
    /// Its place among the pod's containers.
    pub(super) index: usize,
    pub(super) spec: Arc<ContainerSpec>,
    /// Whether it may pass requests on to the HTTP containers after it.
    is_middleware: bool,
    in_flight: Arc<InFlight>,
    cut: CancellationToken,
    failed: FailureSink,
    usage: Arc<Usage>,
    recent: Arc<Recent>,
}

/// A replica of which nothing was asked for so long is not the last of its kind any more: tables follow a write within
/// 0.2 s.
const QUIET: Duration = Duration::from_millis(300);

#[derive(Debug, Default)]
struct InFlight {
    count: AtomicUsize,
    /// Requests that ever came.
    begun: AtomicUsize,
    idle: Notify,
}

impl App {
    /// An app for the pod's container `index`; without ports in its spec it serves any. What it does is counted in `usage`
    /// and told in `recent`.
    pub fn new(
        guest: Guest,
        (index, spec, is_middleware): (usize, Arc<ContainerSpec>, bool),
        failed: FailureSink,
        usage: Arc<Usage>,
        recent: Arc<Recent>,
    ) -> Self {
        let (in_flight, cut) = (Arc::default(), CancellationToken::new());
        Self { guest, index, spec, is_middleware, in_flight, cut, failed, usage, recent }
    }

    /// Why `other` cannot serve beside it: two that declare one port, of which the first passes nothing on.
    pub(super) fn in_the_way_of(&self, other: &Self) -> Option<PortTaken> {
        let first = if self.index < other.index { self } else { other };
        let port = other.spec.ports.iter().find(|port| self.spec.ports.contains(port)).filter(|_| !first.is_middleware);
        port.map(|port| PortTaken { port: *port, container: self.spec.name.clone() })
    }

    /// Cuts off the requests in flight.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until the process under the guest ends, and tells how.
    pub async fn crashed(&self) -> String {
        self.guest.crashed().await
    }

    /// Waits until no request is in flight.
    pub async fn idle(&self) {
        loop {
            let notified = self.in_flight.idle.notified();
            if self.in_flight.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Waits until nobody asks it any more.
    pub async fn unasked(&self) {
        let mut before = self.in_flight.begun.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.in_flight.begun.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn note(&self, failure: &Failure) {
        self.usage.failure();
        // The node's own troubles are not the guest's, and a crash is told once for all requests.
        if !matches!(failure, Failure::Busy { .. } | Failure::Crashed(_) | Failure::Io(_)) {
            (self.failed)(failure);
        }
    }

    /// Asks the guest on this node's own behalf: counted and told nowhere.
    pub(super) async fn ask(&self, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let answer = self.cut.run_until_cancelled(self.guest.handle(request)).await;
        Ok(answer.ok_or(CallError::Cut)??)
    }

    pub(super) async fn call(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Body>, CallError> {
        let guard = Guard::enter(&self.in_flight);
        self.usage.request();
        let begun = self.recent.begin(&request);
        let request = request.map(|body| counted(body, &self.usage, Usage::received));
        let answer = self.cut.run_until_cancelled(self.guest.handle(request)).await;
        let outcome = match &answer {
            None => Outcome::Failed("Stopped"),
            Some(Ok(response)) => Outcome::Answered(response.status().as_u16()),
            Some(Err(failure)) => Outcome::Failed(failure.reason()),
        };
        let noted = self.recent.end(begun, outcome);
        let response = answer.ok_or(CallError::Cut)?.inspect_err(|failure| self.note(failure))?;
        Ok(response.map(|body| {
            let body = counted(body, &self.usage, Usage::sent);
            let (app, cut) = (Arc::clone(self), Box::pin(self.cut.clone().cancelled_owned()));
            body::boxed(Guarded { body, app, cut, noted, _guard: guard })
        }))
    }
}

/// A body whose bytes are counted as they pass.
struct Counted {
    body: Body,
    usage: Arc<Usage>,
    count: fn(&Usage, u64),
}

fn counted(body: Body, usage: &Arc<Usage>, count: fn(&Usage, u64)) -> Body {
    match http_body::Body::size_hint(&body).exact() {
        // As most requests: nothing has to be wrapped.
        Some(0) => body,
        _ => body::boxed(Counted { body, usage: Arc::clone(usage), count }),
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            (self.count)(&self.usage, u64::try_from(data.len()).unwrap_or(u64::MAX));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Guard(Arc<InFlight>);

impl Guard {
    fn enter(in_flight: &Arc<InFlight>) -> Self {
        in_flight.count.fetch_add(1, Ordering::AcqRel);
        in_flight.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(in_flight))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// A response body that counts as in flight until it ends, and breaks when its pod is cut off.
struct Guarded {
    body: Body,
    app: Arc<App>,
    cut: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
    noted: Noted,
    _guard: Guard,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            self.app.recent.broke(self.noted, "Stopped");
            return Poll::Ready(Some(Err(CallError::Cut.into())));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &frame
            && let Some(failure) = error.downcast_ref()
        {
            self.app.recent.broke(self.noted, Failure::reason(failure));
            self.app.note(failure);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
