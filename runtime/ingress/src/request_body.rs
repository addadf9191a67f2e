//! A request's body on its way to an endpoint: streamed, and kept as long as it is small, so that it can be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use wk_base::body::{self, Body, BoxError};

use crate::Limits;
use crate::connection::Connection;
use crate::idle::Idle;

/// What is wrong with a body, on the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the client's body stood still for {0:?}")]
    Idle(Duration),
    #[error("the client's body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the client's body broke off")]
    Broke,
}

#[derive(Debug, thiserror::Error)]
#[error("this attempt was given up for another one")]
struct Superseded;

/// Where the bodies of a request's attempts come from.
pub(crate) enum Source {
    /// The request has none: nothing is allocated.
    Empty,
    Streamed(Arc<Mutex<Stream>>),
}

/// The client's body and what was read of it. One attempt reads it at a time; the lock is never contended.
pub(crate) struct Stream {
    connection: Arc<Connection>,
    incoming: Incoming,
    idle: Idle,
    limits: BodyLimits,
    received: u64,
    /// What `incoming` said it would give in all.
    announced: Option<u64>,
    ended: bool,
    fault: Option<Fault>,
    keep: Keep,
    kept: Vec<Kept>,
    kept_bytes: usize,
    /// Which attempt may read, and how many of `kept` and how many bytes in all it has.
    attempt: u32,
    next: usize,
    delivered: u64,
}

struct BodyLimits {
    total: u64,
    replay: usize,
}

/// Whether frames are kept for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// All that was read is in `kept`.
    Yes,
    /// Something was read and is gone, or the response has begun: there will be no other attempt.
    No,
}

enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Source {
    pub(crate) fn new(incoming: Incoming, connection: &Arc<Connection>, limits: &Limits) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let announced = incoming.size_hint().exact();
        Self::Streamed(Arc::new(Mutex::new(Stream {
            connection: Arc::clone(connection),
            incoming,
            idle: Idle::new(limits.body_idle),
            limits: BodyLimits { total: limits.request_body, replay: limits.replay_body },
            received: 0,
            announced,
            ended: false,
            fault: None,
            keep: Keep::Yes,
            kept: Vec::new(),
            kept_bytes: 0,
            attempt: 0,
            next: 0,
            delivered: 0,
        })))
    }

    /// The body for one more attempt; those given out before end with an error when they are read on.
    pub(crate) fn attempt(&self) -> Body {
        match self {
            Self::Empty => body::empty(),
            Self::Streamed(stream) => {
                let mut locked = lock(stream);
                locked.attempt += 1;
                locked.next = 0;
                locked.delivered = 0;
                body::boxed(Attempt { stream: Arc::clone(stream), number: locked.attempt })
            }
        }
    }

    /// Whether another attempt would send the very same body.
    pub(crate) fn replayable(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(stream) => {
                let stream = lock(stream);
                stream.keep == Keep::Yes && stream.fault.is_none()
            }
        }
    }

    /// What went wrong on the client's side, if something did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Empty => None,
            Self::Streamed(stream) => lock(stream).fault,
        }
    }

    /// The response has begun: nothing is kept from here on.
    pub(crate) fn settle(&self) {
        if let Self::Streamed(stream) = self {
            lock(stream).keep = Keep::No;
        }
    }
}

fn lock(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    /// The next frame for the attempt whose turn it is.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Some(kept) = self.kept.get(self.next) {
            self.next += 1;
            let frame = match kept {
                Kept::Data(data) => Frame::data(data.clone()),
                Kept::Trailers(trailers) => Frame::trailers(trailers.clone()),
            };
            return Poll::Ready(Some(Ok(frame)));
        }
        if self.keep == Keep::No && !self.kept.is_empty() {
            (self.kept, self.next) = (Vec::new(), 0);
        }
        if let Some(fault) = self.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.poll_client(cx)) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Err(fault) => {
                self.fault = Some(fault);
                return Poll::Ready(Some(Err(fault)));
            }
        };
        self.keep(&frame);
        Poll::Ready(Some(Ok(frame)))
    }

    /// The next frame from the client, within the limits of time and size.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Fault>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            return self.idle.poll_expired(cx).map(|()| Err(Fault::Idle(self.idle.limit())));
        };
        self.idle.moved();
        self.connection.moved();
        let frame = match frame.transpose() {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(%error, "a client's body broke off");
                return Poll::Ready(Err(Fault::Broke));
            }
        };
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            self.received += data.len() as u64;
            if self.received > self.limits.total {
                return Poll::Ready(Err(Fault::TooLarge(self.limits.total)));
            }
        }
        Poll::Ready(Ok(frame))
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.keep == Keep::No {
            return;
        }
        let size = frame.data_ref().map_or(0, Bytes::len);
        if self.kept_bytes + size > self.limits.replay {
            self.keep = Keep::No;
            (self.kept, self.next) = (Vec::new(), 0);
            return;
        }
        self.kept_bytes += size;
        if let Some(data) = frame.data_ref() {
            self.kept.push(Kept::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.kept.push(Kept::Trailers(trailers.clone()));
        }
        self.next = self.kept.len();
    }
}

/// The body of one attempt.
struct Attempt {
    stream: Arc<Mutex<Stream>>,
    number: u32,
}

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut stream = lock(&self.stream);
        if stream.attempt != self.number {
            return Poll::Ready(Some(Err(Superseded.into())));
        }
        let frame = ready!(stream.poll_next(cx));
        if let Some(Ok(frame)) = &frame {
            stream.delivered += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let stream = lock(&self.stream);
        let at_end = stream.ended || stream.incoming.is_end_stream();
        stream.attempt == self.number && stream.fault.is_none() && at_end && stream.next >= stream.kept.len()
    }

    fn size_hint(&self) -> SizeHint {
        let stream = lock(&self.stream);
        match stream.announced {
            Some(all) => SizeHint::with_exact(all.saturating_sub(stream.delivered)),
            None => SizeHint::default(),
        }
    }
}
