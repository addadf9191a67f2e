//! A response's body whose failure is told to the node as what it is: over the connection it is a broken body and no more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::SizeHint;
use wk_base::body::{self, Body, BoxError};
use wk_engine::Failure;

use crate::worker::frames::Frame;
use crate::worker::output::Frames;

/// The body, and where its failure is told.
pub(super) struct Watched {
    body: Body,
    frames: Frames,
}

impl Watched {
    /// Tells of `body` in `frames`. One that is there whole cannot fail.
    pub(super) fn wrap(body: Body, frames: Frames) -> Body {
        if http_body::Body::size_hint(&body).exact().is_some() { body } else { body::boxed(Self { body, frames }) }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &frame
            && let Some(failure) = error.downcast_ref::<Failure>()
        {
            self.frames.hint(Frame::Failed(failure.clone()));
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
