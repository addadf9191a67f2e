//! How a request gets to a worker: over one of a few HTTP/1.1 connections that are kept, or over the one HTTP/2
//! connection.
//!
//! Measured between two processes of one machine, with hyper on both sides and a short answer: HTTP/1.1 takes 26 us of
//! CPU a request and half the time when requests come one by one (HTTP/2: 76 us), 19 us with 32 at once (HTTP/2: 23 us).
//! So HTTP/1.1 is the way as long as its connections last; what it cannot carry (trailers), and what comes when all of
//! them are busy, goes over HTTP/2, which costs the same at 256 at once.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::header::{TE, TRAILER, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use wk_base::body::{self, Body, BoxError};

use crate::worker::door::Door;
use crate::worker::wire::{self, Handed};

/// Connections to one worker. Each is a descriptor and some buffers on both sides; as many requests at once are beyond
/// what its engine works on at a time.
const CONNECTIONS_MAX: usize = 64;
/// Headers of a request that HTTP/1.1 is given: hyper's limit is 100, ours among them.
const REQUEST_HEADERS_MAX: usize = 90;
/// Headers of a guest's response.
const RESPONSE_HEADERS_MAX: usize = 256;

/// A body of no more bytes, whose length is known, is waited for,
const SHORT_BYTES: u64 = 64 << 10;
/// but no longer than nobody notices: a guest may say how long its answer will be, and take its time with it.
const SHORT_WAIT: Duration = Duration::from_millis(2);

/// The ways to one worker.
pub(super) struct Pool {
    shared: http2::SendRequest<Body>,
    kept: Arc<Kept>,
    door: Arc<Door>,
}

/// The HTTP/1.1 connections.
#[derive(Default)]
struct Kept {
    idle: Mutex<Vec<http1::SendRequest<Body>>>,
    open: AtomicUsize,
}

impl Kept {
    fn idle(&self) -> MutexGuard<'_, Vec<http1::SendRequest<Body>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    pub(super) fn new(shared: http2::SendRequest<Body>, door: Arc<Door>) -> Self {
        Self { shared, kept: Arc::default(), door }
    }

    /// Passes a request on. One that surely did not get there comes back.
    pub(super) async fn request(&self, request: Request<Body>) -> Result<Response<Body>, Option<Request<Body>>> {
        let headers = request.headers();
        let simple =
            headers.len() <= REQUEST_HEADERS_MAX && !headers.contains_key(TE) && !headers.contains_key(TRAILER);
        let kept = if simple { self.connection().await } else { None };
        if let Some(connection) = kept {
            return self.alone(connection, request).await;
        }
        let response = self.shared.clone().try_send_request(request).await;
        response.map(|response| response.map(body::boxed)).map_err(|mut error| error.take_message())
    }

    /// An HTTP/1.1 connection for one request, if there is one to be had.
    async fn connection(&self) -> Option<http1::SendRequest<Body>> {
        loop {
            // The one used last: what it needs is in the processor's caches.
            let Some(mut idle) = self.kept.idle().pop() else { break };
            if idle.ready().await.is_ok() {
                return Some(idle);
            }
        }
        if self.kept.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            self.kept.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let opened = self.open().await;
        if opened.is_none() {
            self.kept.open.fetch_sub(1, Ordering::Relaxed);
        }
        opened
    }

    async fn open(&self) -> Option<http1::SendRequest<Body>> {
        let (here, there) = UnixStream::pair().ok()?;
        here.set_nonblocking(true).ok()?;
        self.door.send(&wire::encode(&Handed::Connection), &[there.as_fd()]).ok()?;
        let here = tokio::net::UnixStream::from_std(here).ok()?;
        let mut builder = http1::Builder::new();
        builder.max_headers(RESPONSE_HEADERS_MAX);
        let (sender, connection) = builder.handshake::<_, Body>(TokioIo::new(here)).await.ok()?;
        let kept = Arc::clone(&self.kept);
        tokio::spawn(connection.map(move |_| {
            kept.open.fetch_sub(1, Ordering::Relaxed);
        }));
        Some(sender)
    }

    async fn alone(
        &self,
        mut connection: http1::SendRequest<Body>,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Option<Request<Body>>> {
        let sent = Arc::new(AtomicBool::new(request.body().is_end_stream()));
        // As another one, which says how it came here, hyper would send it without its body.
        *request.version_mut() = http::Version::HTTP_11;
        let request = if sent.load(Ordering::Relaxed) {
            request
        } else {
            request.map(|body| body::boxed(Sent { body, sent: Arc::clone(&sent) }))
        };
        let mut response = connection.try_send_request(request).await.map_err(|mut error| error.take_message())?;
        // It says how the bytes travelled here, and nothing of the answer.
        response.headers_mut().remove(TRANSFER_ENCODING);
        let (head, body) = response.into_parts();
        let mut received = Received { body, connection: Some(connection), sent, kept: Arc::clone(&self.kept) };
        let body = match received.body.size_hint().exact() {
            Some(0) => {
                received.keep();
                body::empty()
            }
            Some(length) if length <= SHORT_BYTES => gathered(received).await.map_err(|_| None)?,
            Some(_) | None => body::boxed(received),
        };
        Ok(Response::from_parts(head, body))
    }
}

/// A short body in one piece. Its worker wrote it with the head: what goes on from here goes on as a whole too, and an
/// answer that breaks off here was none. One that takes its time is streamed.
async fn gathered(mut received: Received) -> Result<Body, BoxError> {
    let mut pieces = VecDeque::new();
    let gather = async {
        while let Some(frame) = received.frame().await {
            pieces.extend(frame?.into_data().ok());
            if received.is_end_stream() {
                break;
            }
        }
        Ok::<_, BoxError>(())
    };
    match tokio::time::timeout(SHORT_WAIT, gather).await {
        Err(_) => Ok(body::boxed(Begun { pieces, rest: received })),
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) if pieces.len() == 1 => Ok(pieces.pop_front().map_or_else(body::empty, body::full)),
        Ok(Ok(())) => Ok(body::full(Bytes::from(pieces.into_iter().flatten().collect::<Vec<u8>>()))),
    }
}

/// A body of which some has come already.
struct Begun {
    pieces: VecDeque<Bytes>,
    rest: Received,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_end_stream()
    }
}

/// A request's body that tells when all of it was sent.
struct Sent {
    body: Body,
    sent: Arc<AtomicBool>,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.sent.store(true, Ordering::Release);
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

/// A response's body whose end frees its connection. Dropped before that it closes it, which ends the guest.
struct Received {
    body: Incoming,
    connection: Option<http1::SendRequest<Body>>,
    sent: Arc<AtomicBool>,
    kept: Arc<Kept>,
}

impl Received {
    /// The next request may have the connection, unless this one is still being sent.
    fn keep(&mut self) {
        let connection = self.connection.take().filter(|it| !it.is_closed());
        if let Some(connection) = connection.filter(|_| self.sent.load(Ordering::Acquire)) {
            self.kept.idle().push(connection);
        }
    }
}

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.keep();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
