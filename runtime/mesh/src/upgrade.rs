//! A connection of HTTP/1.1 that its request asks to take over for another protocol.

use std::fmt;

use http::Extensions;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use wk_base::body::BoxError;

/// What remains of a request's connection once it was answered with 101. It is its taker's alone: no limit of the
/// server counts it any more, and no shutdown waits for it.
#[derive(Clone)]
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    /// The upgrade that a request offers, by its extensions; None over HTTP/2, and where nothing was asked for.
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get::<OnUpgrade>().cloned().map(Self)
    }

    /// The connection, as soon as the answer with 101 is on its way.
    pub async fn stream(self) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, BoxError> {
        Ok(TokioIo::new(self.0.await?))
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upgrade").finish()
    }
}
