//! Reading an answer of any length piece by piece.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use kube::client::Body;

use super::{Client, REQUEST_DEADLINE};

/// A body on its way.
pub(crate) struct Download {
    client: Client,
    path: String,
    body: Body,
}

impl Download {
    pub(super) fn new(client: Client, path: &str, body: Body) -> Self {
        Self { client, path: path.to_owned(), body }
    }

    /// The next bytes; None at the end. A body that breaks off is an error.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(REQUEST_DEADLINE, self.body.frame()).await;
            match frame.map_err(|_| self.client.hung(&self.path))? {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(self.client.unreachable(&self.path, &error).into()),
                None => return Ok(None),
            }
        }
    }
}
