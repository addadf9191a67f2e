//! A guest's standard input, as wasmtime wants it.

use tokio::io::AsyncRead;
use wasmtime_wasi::cli::{AsyncStdinStream, IsTerminal, StdinStream};
use wasmtime_wasi::p2::InputStream;

/// Bytes that come from outside, and whether the guest is to take them for a person's.
pub(crate) struct GuestInput {
    stream: AsyncStdinStream,
    terminal: bool,
}

impl GuestInput {
    pub(crate) fn new(source: impl AsyncRead + Send + Sync + 'static, terminal: bool) -> Self {
        Self { stream: AsyncStdinStream::new(source), terminal }
    }
}

impl IsTerminal for GuestInput {
    fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl StdinStream for GuestInput {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        self.stream.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        self.stream.p2_stream()
    }
}
