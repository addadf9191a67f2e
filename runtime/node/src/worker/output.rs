//! What a container's guest writes, on its way to the node.
//!
//! A guest that writes faster than the node takes it waits a little; what still finds no room is counted and lost.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use wk_base::body::BoxError;
use wk_engine::{Output, Record, Stream};

use crate::worker::frames::{Frame, Message};

/// What waits for the node, for each container: what a watcher of its console may be behind.
const BEHIND_BYTES_MAX: usize = 1 << 20;
/// How long a guest that fills it waits for room: the node empties it into a file within milliseconds, unless its
/// machine is in trouble.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// Frames that wait for the node before others are given up that it can do without.
const HINTS_MAX: usize = 1024;

/// The frames of one container. Clones share them; they end with [`Frames::end`].
#[derive(Clone, Default)]
pub(super) struct Frames(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Frame>,
    bytes: usize,
    lost: u64,
    ended: bool,
    reader: Option<Waker>,
}

impl Frames {
    /// Adds one that must not be lost: each container has a few in its life.
    pub(super) fn tell(&self, frame: Frame) {
        self.state().push(frame);
    }

    /// Adds one that is of no use to a node that does not read.
    pub(super) fn hint(&self, frame: Frame) {
        let mut state = self.state();
        if state.waiting.len() < HINTS_MAX {
            state.push(frame);
        }
    }

    /// No more come.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.wake();
        drop(state);
        self.0.room.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for so many bytes, or long enough.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, bytes: usize) -> MutexGuard<'a, State> {
        let full = |state: &mut State| !state.ended && state.bytes + bytes > BEHIND_BYTES_MAX;
        let waited = self.0.room.wait_timeout_while(state, WAIT_MAX, full);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    fn push(&mut self, frame: Frame) {
        self.bytes += weight(&frame);
        self.waiting.push_back(frame);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// What of the room a frame takes: output does, the few others have no say in it.
fn weight(frame: &Frame) -> usize {
    match frame {
        Frame::Output(_, piece) => piece.len(),
        Frame::Log(message) => message.context.len() + message.message.len(),
        _ => 0,
    }
}

impl Frames {
    /// Adds output, if there is room for it soon.
    fn give(&self, frame: Frame) {
        let size = weight(&frame);
        let mut state = self.state();
        if state.bytes + size > BEHIND_BYTES_MAX {
            drop(state);
            // Other guests of this thread go on meanwhile.
            state = tokio::task::block_in_place(|| self.wait(self.state(), size));
        }
        if state.ended || state.bytes + size > BEHIND_BYTES_MAX {
            state.lost += size as u64;
            return;
        }
        let lost = std::mem::take(&mut state.lost);
        if lost > 0 {
            state.push(Frame::Lost(lost));
        }
        state.push(frame);
    }
}

/// The longest context and message of a log, as the engine shows them.
const CONTEXT_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 64 << 10;

fn start(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

impl Output for Frames {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        self.give(Frame::Output(stream, Bytes::copy_from_slice(bytes)));
    }

    fn log(&self, record: &Record<'_>) {
        let (context, message) = (start(record.context, CONTEXT_BYTES_MAX), start(record.message, MESSAGE_BYTES_MAX));
        self.give(Frame::Log(Message { level: record.level, context, message }));
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let mut state = self.state();
        let Some(frame) = state.waiting.pop_front() else {
            if state.ended {
                return Poll::Ready(None);
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.bytes -= weight(&frame);
        self.0.room.notify_all();
        drop(state);
        Poll::Ready(Some(Ok(http_body::Frame::data(frame.bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::frames::Reader;

    #[tokio::test(flavor = "multi_thread")]
    async fn output_past_its_limit_is_counted_and_the_rest_arrives_in_order() {
        const PIECE: usize = 64 << 10;
        let frames = Frames::default();
        for _ in 0..=BEHIND_BYTES_MAX / PIECE {
            frames.write(Stream::Out, &vec![0; PIECE]);
        }
        let mut reader = Reader::new(frames.clone());
        for _ in 0..BEHIND_BYTES_MAX / PIECE {
            assert!(matches!(reader.frame().await.unwrap(), Some(Frame::Output(Stream::Out, _))));
        }
        frames.write(Stream::Err, b"after");
        frames.end();
        assert_eq!(reader.frame().await.unwrap(), Some(Frame::Lost(PIECE as u64)));
        assert_eq!(reader.frame().await.unwrap(), Some(Frame::Output(Stream::Err, Bytes::from_static(b"after"))));
        assert_eq!(reader.frame().await.unwrap(), None);
    }
}
