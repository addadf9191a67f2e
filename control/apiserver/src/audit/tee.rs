//! A body that is kept while it passes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use wk_base::body::{Body, BoxError};

/// What passed so far; nothing when it was too much.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Option<BytesMut>>>);

impl Kept {
    fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(BytesMut::new());
    }

    fn add(&self, bytes: &[u8], limit: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *kept {
            Some(all) if all.len() + bytes.len() <= limit => all.extend_from_slice(bytes),
            _ => *kept = None,
        }
    }

    /// All of it; None when it was more than may be kept, or nothing was to be.
    pub(super) fn take(&self) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(BytesMut::freeze)
    }
}

/// What is done when a body has ended.
type Ended = Box<dyn FnOnce() + Send>;

/// The body, and what is done when it has ended or was dropped.
pub(super) struct Tee {
    inner: Body,
    kept: Kept,
    limit: usize,
    ended: Option<Ended>,
}

impl Tee {
    pub(super) fn new(inner: Body, kept: Kept, limit: usize, ended: Option<Ended>) -> Self {
        if limit > 0 {
            kept.begin();
        }
        let mut tee = Self { inner, kept, limit, ended };
        if tee.inner.is_end_stream() {
            tee.finish();
        }
        tee
    }

    fn finish(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended();
        }
    }
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref()
                    && self.limit > 0
                {
                    self.kept.add(data, self.limit);
                }
                if self.inner.is_end_stream() {
                    self.finish();
                }
            }
            Poll::Ready(None | Some(Err(_))) => self.finish(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.finish();
    }
}
