//! A stream of 0.2 into a file below a directory that has a limit: it takes room before it writes.

use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::disk::Room;

/// A stream into a file that takes room first.
pub(super) struct Counted {
    pub(super) inner: DynOutputStream,
    pub(super) room: Arc<Room>,
    pub(super) file: Arc<File>,
    /// Where it writes; None at the file's end.
    pub(super) position: Option<u64>,
}

impl Counted {
    fn take(&mut self, bytes: usize) -> StreamResult<()> {
        let taken = self.room.extend(&self.file, self.position, bytes as u64);
        if let Some(position) = self.position.as_mut().filter(|_| taken.is_ok()) {
            *position = position.saturating_add(bytes as u64);
        }
        taken.map_err(|error| StreamError::LastOperationFailed(error.into()))
    }
}

#[async_trait]
impl Pollable for Counted {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Counted {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
