//! A guest's standard input, as wasmtime wants it.

use std::sync::OnceLock;

use tokio::io::AsyncRead;
use wasmtime_wasi::cli::{AsyncStdinStream, IsTerminal, StdinStream};
use wasmtime_wasi::p2::InputStream;

use crate::sandbox::Input;

/// Bytes that come from outside, and whether the guest is to take them for a person's. Taken when the guest asks for them:
/// until then they are there for preview 1, which reads them by functions of its own.
pub(crate) struct GuestInput {
    input: Input,
    stream: OnceLock<AsyncStdinStream>,
    terminal: bool,
}

impl GuestInput {
    pub(crate) fn new(input: Input, terminal: bool) -> Self {
        Self { input, stream: OnceLock::new(), terminal }
    }

    fn stream(&self) -> &AsyncStdinStream {
        self.stream
            .get_or_init(|| AsyncStdinStream::new(self.input.take().unwrap_or_else(|| Box::new(tokio::io::empty()))))
    }
}

impl IsTerminal for GuestInput {
    fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl StdinStream for GuestInput {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        self.stream().async_stream()
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        self.stream().p2_stream()
    }
}
