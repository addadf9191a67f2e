//! A response's body on its way to the client. It counts as in flight until its end, and what breaks off never looks
//! complete: an error here makes hyper cut the connection (HTTP/1) or reset the stream (HTTP/2).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use wk_base::body::{Body, BoxError};

use crate::balance::Held;
use crate::connection::Open;
use crate::idle::Idle;

/// Why a response's body cannot be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broke {
    #[error("the response's body stood still for {0:?}")]
    Idle(Duration),
    #[error("the response's body ended {0} bytes before its content-length")]
    Short(u64),
    #[error("the response's body is longer than its content-length")]
    Long,
    #[error("the application's response broke off")]
    Upstream(#[source] BoxError),
}

/// What hyper sends.
pub(crate) struct Outgoing {
    content: Content,
    /// Counts the request as open until the body is dropped.
    open: Open,
}

enum Content {
    /// Our own answer.
    Here(Option<Bytes>),
    /// An application's.
    App(App),
}

struct App {
    body: Body,
    idle: Idle,
    /// Bytes to come, where the head says how many.
    remaining: Option<u64>,
    _held: Held,
}

impl Outgoing {
    /// An answer of the ingress.
    pub(crate) fn here(body: Bytes, open: Open) -> Self {
        Self { content: Content::Here(Some(body)), open }
    }

    /// An application's response.
    pub(crate) fn app(body: Body, length: Option<u64>, idle: Duration, held: Held, open: Open) -> Self {
        let app = App { body, idle: Idle::new(idle), remaining: length, _held: held };
        Self { content: Content::App(app), open }
    }
}

impl App {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.idle.poll_expired(cx).map(|()| Some(Err(Broke::Idle(self.idle.limit()))));
        };
        self.idle.moved();
        let Some(frame) = frame else {
            return Poll::Ready(self.remaining.filter(|&bytes| bytes > 0).map(|bytes| Err(Broke::Short(bytes))));
        };
        let checked = frame.map_err(Broke::Upstream).and_then(|frame| {
            if let (Some(remaining), Some(data)) = (&mut self.remaining, frame.data_ref()) {
                *remaining = remaining.checked_sub(data.len() as u64).ok_or(Broke::Long)?;
            }
            Ok(frame)
        });
        Poll::Ready(Some(checked))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Broke;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broke>>> {
        let this = &mut *self;
        let app = match &mut this.content {
            Content::Here(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::App(app) => app,
        };
        let next = app.poll_next(cx);
        if let Poll::Ready(frame) = &next {
            this.open.connection().moved();
            if let Some(Err(error)) = frame {
                this.open.connection().ingress().metrics().responses_broken.up();
                tracing::warn!(error = error as &dyn std::error::Error, "a response broke off");
            }
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Here(bytes) => bytes.is_none(),
            Content::App(app) => app.body.is_end_stream() && app.remaining.is_none_or(|bytes| bytes == 0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Here(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::App(app) => app.body.size_hint(),
        }
    }
}
