//! The bytes of a TCP connection, and the connections of a listener, as streams of the component model. Nothing is read
//! before the guest asks, and nothing of what it writes is kept here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::oneshot;
use wasmtime::component::{Destination, Resource, Source, StreamConsumer, StreamProducer, StreamResult};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p3::bindings::sockets::types::{ErrorCode, TcpSocket as Theirs};

use super::super::{Sockets, theirs};
use super::tcp::TcpSocket;
use crate::network::{Duplex, Listener};

/// What one look takes in when the guest left the size to the host.
const LOOK_BYTES: usize = 16 << 10;

/// Where a stream's outcome is told.
type Outcome = oneshot::Sender<Result<(), ErrorCode>>;

fn told(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ErrorCode::ConnectionBroken,
        io::ErrorKind::ConnectionReset => ErrorCode::ConnectionReset,
        io::ErrorKind::ConnectionAborted => ErrorCode::ConnectionAborted,
        io::ErrorKind::TimedOut => ErrorCode::Timeout,
        _ => ErrorCode::Other(Some(error.to_string())),
    }
}

/// What comes in.
pub(super) struct Incoming {
    half: ReadHalf<Box<dyn Duplex>>,
    outcome: Option<Outcome>,
}

impl Incoming {
    pub(super) fn new(half: ReadHalf<Box<dyn Duplex>>, outcome: Outcome) -> Self {
        Self { half, outcome: Some(outcome) }
    }

    fn end(&mut self, outcome: Result<(), ErrorCode>) -> StreamResult {
        if let Some(tell) = self.outcome.take() {
            let _ = tell.send(outcome);
        }
        StreamResult::Dropped
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl<T: 'static> StreamProducer<T> for Incoming {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(store.as_context_mut()) == Some(0) {
            // It asks whether there is something, and will learn that when it asks for bytes.
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let mut destination = destination.as_direct(store, LOOK_BYTES);
        let mut buffer = ReadBuf::new(destination.remaining());
        let polled = Pin::new(&mut self.half).poll_read(cx, &mut buffer);
        let filled = buffer.filled().len();
        Poll::Ready(Ok(match polled {
            Poll::Ready(Ok(())) if filled == 0 => self.end(Ok(())),
            Poll::Ready(Ok(())) => {
                destination.mark_written(filled);
                StreamResult::Completed
            }
            Poll::Ready(Err(error)) => self.end(Err(told(&error))),
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
        }))
    }
}

/// What goes out. Its end is told to the other side.
pub(super) struct Outgoing {
    half: Option<WriteHalf<Box<dyn Duplex>>>,
    outcome: Option<Outcome>,
}

impl Outgoing {
    pub(super) fn new(half: WriteHalf<Box<dyn Duplex>>, outcome: Outcome) -> Self {
        Self { half: Some(half), outcome: Some(outcome) }
    }

    fn end(&mut self, outcome: Result<(), ErrorCode>) -> StreamResult {
        if let Some(half) = self.half.take() {
            super::super::streams::shut_down(half);
        }
        if let Some(tell) = self.outcome.take() {
            let _ = tell.send(outcome);
        }
        StreamResult::Dropped
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl<T: 'static> StreamConsumer<T> for Outgoing {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, T>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let Some(half) = self.half.as_mut() else { return Poll::Ready(Ok(StreamResult::Dropped)) };
        if source.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        Poll::Ready(Ok(match Pin::new(half).poll_write(cx, source.remaining()) {
            Poll::Ready(Ok(0)) => self.end(Err(ErrorCode::ConnectionBroken)),
            Poll::Ready(Ok(written)) => {
                source.mark_read(written);
                StreamResult::Completed
            }
            Poll::Ready(Err(error)) => self.end(Err(told(&error))),
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
        }))
    }
}

/// The connections of a listener.
pub(super) struct Accepting<T: 'static> {
    pub(super) listener: Box<dyn Listener>,
    pub(super) sockets: fn(&mut T) -> Sockets<'_>,
}

impl<T: 'static> StreamProducer<T> for Accepting<T> {
    type Item = Resource<Theirs>;
    type Buffer = Option<Resource<Theirs>>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(store.as_context_mut()) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let connection = match self.listener.poll_accept(cx) {
            Poll::Ready(connection) => connection,
            Poll::Pending if finish => return Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => return Poll::Pending,
        };
        let Sockets { table, .. } = (self.sockets)(store.data_mut());
        let socket = table.push(TcpSocket::connected(connection))?;
        destination.set_buffer(Some(theirs(&socket)));
        Poll::Ready(Ok(StreamResult::Completed))
    }
}
