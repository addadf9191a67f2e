//! The body of a guest's response, on its way out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wk_base::body::{self, Body, BoxError};

use crate::http::Verdict;

/// The body of a guest that has ended: what it wrote is all here, so a short one goes out in one piece with its length
/// known, instead of in chunks.
pub(crate) fn gathered(mut rest: HyperOutgoingBody) -> Body {
    let mut frames = VecDeque::with_capacity(2);
    loop {
        match rest.frame().now_or_never() {
            None => break,
            Some(None) => {
                if frames.is_empty() {
                    return body::empty();
                }
                match (frames.len(), frames.pop_front()) {
                    (1, Some(frame)) => match Frame::into_data(frame) {
                        Ok(bytes) => return body::full(bytes),
                        Err(frame) => frames.push_front(frame),
                    },
                    (_, Some(frame)) => frames.push_front(frame),
                    (_, None) => {}
                }
                break;
            }
            Some(Some(Ok(frame))) => frames.push_back(frame),
            Some(Some(Err(error))) => return body::boxed(Gathered { frames, rest, error: Some(error) }),
        }
    }
    body::boxed(Gathered { frames, rest, error: None })
}

/// Frames taken already, then an error or the rest.
struct Gathered {
    frames: VecDeque<Frame<Bytes>>,
    rest: HyperOutgoingBody,
    error: Option<Error>,
}

impl http_body::Body for Gathered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        Pin::new(&mut self.rest).poll_frame(cx).map_err(Into::into)
    }
}

/// The body of a guest that is still at work.
pub(crate) struct Streaming {
    body: HyperOutgoingBody,
    guest: Guest,
    verdict: Verdict,
    state: State,
}

/// Who works on the rest of the body.
enum Guest {
    /// An instance of its own, which has nothing else to do.
    Own(JoinHandle<()>),
    /// One that others use as well: dropping this tells it that the body is done with.
    Shared { _reading: oneshot::Sender<()> },
}

/// How far the body is.
#[derive(PartialEq)]
enum State {
    Open,
    /// It is complete; the guest may go on until its deadline with what it does after.
    Complete,
    Failed,
}

impl Streaming {
    pub(crate) fn new(body: HyperOutgoingBody, guest: JoinHandle<()>, verdict: Verdict) -> Self {
        Self { body, guest: Guest::Own(guest), verdict, state: State::Open }
    }

    /// Of an instance that outlives the request.
    pub(crate) fn shared(body: HyperOutgoingBody, reading: oneshot::Sender<()>, verdict: Verdict) -> Self {
        Self { body, guest: Guest::Shared { _reading: reading }, verdict, state: State::Open }
    }

    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.state = State::Failed;
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for Streaming {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.state != State::Open {
            return Poll::Ready(None);
        }
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            // The end of a body whose guest was cut off looks like any other, so ask how the guest fared: a client
            // must not take half an answer for a whole one.
            end => match (self.verdict.get().cloned(), end) {
                (Some(failure), _) => self.fail(failure.into()),
                (None, Some(Err(error))) => self.fail(error.into()),
                (None, _) => {
                    self.state = State::Complete;
                    Poll::Ready(None)
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.state != State::Open
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if self.state != State::Complete
            && let Guest::Own(guest) = &self.guest
        {
            // The client is gone, and what the guest still makes is for nobody.
            guest.abort();
        }
    }
}
