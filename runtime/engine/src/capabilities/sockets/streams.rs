//! The two streams of a TCP connection, as `wasi:io` has them.
//!
//! Reading happens while the guest asks or waits; nothing is read ahead but what one look brings. What a guest wrote goes
//! out whether it waits or not, in a task of its own when the other side is slow.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::network::Duplex;

type Stream = Box<dyn Duplex>;

/// The most that one read takes in, and that one write hands over: what one socket makes the host hold is twice this.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// What a guest wrote and left behind is sent on this long: a slow link's minute, and no forgotten socket stays.
const LINGER_MAX: Duration = Duration::from_mins(1);

/// What one look at the connection takes in while the guest waits.
const LOOK_BYTES: usize = 4 << 10;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // Held for single steps, which leave it whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The reading half; clones share it.
#[derive(Clone)]
pub(super) struct Reader(Arc<Mutex<Reading>>);

enum Reading {
    /// What came while the guest waited lies in `seen`.
    Open {
        half: ReadHalf<Stream>,
        seen: Bytes,
    },
    Failed(Option<io::Error>),
    Closed,
}

impl Reader {
    pub(super) fn new(half: ReadHalf<Stream>) -> Self {
        Self(Arc::new(Mutex::new(Reading::Open { half, seen: Bytes::new() })))
    }

    pub(super) fn shutdown(&self) {
        *lock(&self.0) = Reading::Closed;
    }
}

impl Reading {
    /// Takes in up to `size` bytes if nothing is there.
    fn poll_look(&mut self, cx: &mut Context<'_>, size: usize) -> Poll<()> {
        let Self::Open { half, seen } = self else { return Poll::Ready(()) };
        if !seen.is_empty() {
            return Poll::Ready(());
        }
        let mut buffer = BytesMut::zeroed(size);
        let mut read = ReadBuf::new(&mut buffer);
        let outcome = std::task::ready!(Pin::new(half).poll_read(cx, &mut read));
        let filled = read.filled().len();
        match outcome {
            Ok(()) if filled == 0 => *self = Self::Closed,
            Ok(()) => {
                buffer.truncate(filled);
                *seen = buffer.freeze();
            }
            Err(error) => *self = Self::Failed(Some(error)),
        }
        Poll::Ready(())
    }
}

impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut reading = lock(&self.0);
        if size > 0 {
            let _ = reading.poll_look(&mut nobody(), size.min(PIECE_BYTES_MAX));
        }
        match &mut *reading {
            Reading::Open { seen, .. } => Ok(seen.split_to(size.min(seen.len()))),
            Reading::Failed(error) => Err(match error.take() {
                Some(error) => StreamError::LastOperationFailed(error.into()),
                None => StreamError::Closed,
            }),
            Reading::Closed => Err(StreamError::Closed),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        poll_fn(|cx| lock(&self.0).poll_look(cx, LOOK_BYTES)).await;
    }
}

/// The writing half; clones share it.
#[derive(Clone)]
pub(super) struct Writer(Arc<End>);

struct End(Mutex<Writing>);

enum Writing {
    Ready(WriteHalf<Stream>),
    /// The rest of a piece is on its way.
    Busy(JoinHandle<io::Result<WriteHalf<Stream>>>),
    Failed(Option<io::Error>),
    Closed,
}

impl Writer {
    pub(super) fn new(half: WriteHalf<Stream>) -> Self {
        Self(Arc::new(End(Mutex::new(Writing::Ready(half)))))
    }

    /// No more comes: told to the other side once what was written is gone.
    pub(super) fn shutdown(&self) {
        let before = std::mem::replace(&mut *lock(&self.0.0), Writing::Closed);
        finish(before);
    }
}

/// Sends what is on its way, then the end. What the other side does not take within [`LINGER_MAX`] is lost.
fn finish(writing: Writing) {
    // Without a runtime there are no connections either.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let closing = async {
        let half = match writing {
            Writing::Ready(half) => half,
            Writing::Busy(mut task) => match tokio::time::timeout(LINGER_MAX, &mut task).await {
                Ok(Ok(Ok(half))) => half,
                Ok(_) => return,
                Err(_) => return task.abort(),
            },
            Writing::Failed(_) | Writing::Closed => return,
        };
        let mut half = half;
        let _ = tokio::time::timeout(LINGER_MAX, half.shutdown()).await;
    };
    // Most are done at once.
    let mut closing = Box::pin(closing);
    if closing.as_mut().poll(&mut nobody()).is_pending() {
        runtime.spawn(closing);
    }
}

/// Tells the other side that no more comes.
pub(super) fn shut_down(half: WriteHalf<Stream>) {
    finish(Writing::Ready(half));
}

impl Drop for End {
    fn drop(&mut self) {
        let writing = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        finish(std::mem::replace(writing, Writing::Closed));
    }
}

impl Writing {
    /// Ready when a piece may be written, or none ever again.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Busy(task) = self {
            let ended = std::task::ready!(Pin::new(task).poll(cx));
            *self = match ended {
                Ok(Ok(half)) => Self::Ready(half),
                Ok(Err(error)) => Self::Failed(Some(error)),
                Err(_) => Self::Closed,
            };
        }
        Poll::Ready(())
    }

    fn failure(&mut self) -> Option<StreamError> {
        match self {
            Self::Ready(_) | Self::Busy(_) => None,
            Self::Failed(error) => Some(match error.take() {
                Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    StreamError::LastOperationFailed(error.into())
                }
                _ => StreamError::Closed,
            }),
            Self::Closed => Some(StreamError::Closed),
        }
    }

    fn write(&mut self, mut bytes: Bytes) {
        let Self::Ready(half) = self else { return };
        while !bytes.is_empty() {
            match Pin::new(&mut *half).poll_write(&mut nobody(), &bytes) {
                Poll::Ready(Ok(0)) => return *self = Self::Failed(Some(io::ErrorKind::BrokenPipe.into())),
                Poll::Ready(Ok(written)) => drop(bytes.split_to(written)),
                Poll::Ready(Err(error)) => return *self = Self::Failed(Some(error)),
                Poll::Pending => break,
            }
        }
        if bytes.is_empty() {
            return;
        }
        let Self::Ready(mut half) = std::mem::replace(self, Self::Closed) else { return };
        *self = Self::Busy(tokio::spawn(async move {
            half.write_all(&bytes).await?;
            Ok(half)
        }));
    }
}

impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut writing = lock(&self.0.0);
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > PIECE_BYTES_MAX || matches!(*writing, Writing::Busy(_)) {
            return Err(StreamError::trap("wrote more to a socket than it was permitted to"));
        }
        writing.write(bytes);
        writing.failure().map_or(Ok(()), Err)
    }

    fn flush(&mut self) -> StreamResult<()> {
        lock(&self.0.0).failure().map_or(Ok(()), Err)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut writing = lock(&self.0.0);
        if writing.poll_turn(&mut nobody()).is_pending() {
            return Ok(0);
        }
        writing.failure().map_or(Ok(PIECE_BYTES_MAX), Err)
    }
}

#[async_trait::async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        poll_fn(|cx| lock(&self.0.0).poll_turn(cx)).await;
    }
}
