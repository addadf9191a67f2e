//! Reading a streamed answer line by line.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;

/// Longest line read: one watch event holds one object, and an object is below this.
const LINE_MAX: usize = 16 << 20;

/// The lines of a body. Asking for the next line can be given up at any time without losing one.
pub(crate) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer is known to have no line end.
    scanned: usize,
    ended: bool,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), scanned: 0, ended: false }
    }

    /// The next line without its end; `None` when the stream is over, also when the connection broke.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.scanned + at + 1);
                line.truncate(self.scanned + at);
                self.scanned = 0;
                return Ok(Some(line.freeze()));
            }
            self.scanned = self.buffer.len();
            if self.ended {
                let rest = self.buffer.split().freeze();
                self.scanned = 0;
                return Ok((!rest.is_empty()).then_some(rest));
            }
            anyhow::ensure!(self.buffer.len() <= LINE_MAX, "the server sent a line of more than {LINE_MAX} bytes");
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                // A broken stream ends like a finished one: whoever follows asks again and learns why.
                Some(Err(_)) | None => self.ended = true,
            }
        }
    }
}
