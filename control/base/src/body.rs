//! The one HTTP body type that ingress, mesh, engine and API server hand to each other.

use std::error::Error;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};

/// Any error a body may end with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A streamed HTTP body. Frames are [`Bytes`], so passing it on copies nothing.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body without bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of one piece that is already in memory.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Any other body as ours.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// The body was longer than whoever reads it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The most bytes it may have.
    pub limit: usize,
}

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "longer than {} bytes", self.limit)
    }
}

impl Error for TooLong {}

/// Reads a whole body of at most `limit` bytes; ends with [`TooLong`] at the first byte too many.
pub async fn collect(mut body: Body, limit: usize) -> Result<Bytes, BoxError> {
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if data.len() > limit - first.len() - rest.len() {
            return Err(TooLong { limit }.into());
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    // Most bodies are one frame and are not copied; the others are joined here.
    Ok([&*first, &rest].concat().into())
}
