//! Streams of 0.2 into and out of files: like wasmtime's own, but that the container pays for the reading and writing, and
//! that room is taken first where a directory has a limit.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use rustix::io::{ReadWriteFlags, pwritev2};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::disk::Room;
use crate::places::Place;
use crate::threads::{Apart, begin};
use crate::usage::Usage;

/// The most that is read at once, however much a guest asks for: the host holds it.
const READ_BYTES_MAX: usize = 64 << 10;
/// What is read ahead of a guest that waits without having said how much it wants.
const AHEAD_BYTES: usize = 4 << 10;
/// What one write takes at most.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// What a file holds from a position on.
pub(super) struct Reading {
    file: Arc<File>,
    /// The file stays open as long as this is there, whatever becomes of its descriptor.
    _place: Option<Arc<Place>>,
    usage: Arc<Usage>,
    position: u64,
    state: Read,
}

enum Read {
    Idle,
    Waiting(Apart<Read>),
    There(Bytes),
    Failed(io::Error),
    Over,
}

impl Reading {
    pub(super) fn new((file, place): (Arc<File>, Option<Arc<Place>>), usage: Arc<Usage>, position: u64) -> Self {
        Self { file, _place: place, usage, position, state: Read::Idle }
    }

    fn begin(&mut self, bytes: usize) {
        let (file, position) = (Arc::clone(&self.file), self.position);
        self.state = Read::Waiting(begin(&self.usage, move || read(&file, position, bytes)));
    }

    async fn settled(&mut self) {
        if let Read::Waiting(task) = &mut self.state {
            self.state = task.await;
        }
    }
}

fn read(file: &File, position: u64, bytes: usize) -> Read {
    let mut buffer = BytesMut::zeroed(bytes.min(READ_BYTES_MAX));
    loop {
        match file.read_at(&mut buffer, position) {
            Ok(0) => return Read::Over,
            Ok(bytes) => {
                buffer.truncate(bytes);
                return Read::There(buffer.freeze());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Read::Failed(error),
        }
    }
}

#[async_trait]
impl Pollable for Reading {
    async fn ready(&mut self) {
        if let Read::Idle = self.state {
            self.begin(AHEAD_BYTES);
        }
        self.settled().await;
    }
}

#[async_trait]
impl InputStream for Reading {
    fn read(&mut self, bytes: usize) -> StreamResult<Bytes> {
        match std::mem::replace(&mut self.state, Read::Over) {
            Read::Idle => {
                self.state = Read::Idle;
                if bytes > 0 {
                    self.begin(bytes);
                }
                Ok(Bytes::new())
            }
            Read::There(mut there) => {
                let taken = there.split_to(there.len().min(bytes));
                self.position = self.position.saturating_add(taken.len() as u64);
                self.state = if there.is_empty() { Read::Idle } else { Read::There(there) };
                Ok(taken)
            }
            waiting @ Read::Waiting(_) => {
                self.state = waiting;
                Ok(Bytes::new())
            }
            Read::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            Read::Over => Err(StreamError::Closed),
        }
    }

    async fn blocking_read(&mut self, bytes: usize) -> StreamResult<Bytes> {
        self.settled().await;
        if bytes > 0 && matches!(self.state, Read::Idle) {
            self.begin(bytes);
            self.settled().await;
        }
        self.read(bytes)
    }
}

/// Into a file.
pub(super) struct Writing {
    file: Arc<File>,
    _place: Option<Arc<Place>>,
    usage: Arc<Usage>,
    /// What is left of the limit of its directory.
    room: Option<Arc<Room>>,
    /// Where; None at the file's end.
    position: Option<u64>,
    state: Written,
}

enum Written {
    Ready,
    Waiting(Apart<io::Result<()>>),
    Failed(io::Error),
    Over,
}

impl Writing {
    pub(super) fn new(
        (file, place): (Arc<File>, Option<Arc<Place>>),
        usage: Arc<Usage>,
        room: Option<Arc<Room>>,
        position: Option<u64>,
    ) -> Self {
        Self { file, _place: place, usage, room, position, state: Written::Ready }
    }

    /// What went wrong with what was written before; that is told once.
    fn look(&mut self) -> StreamResult<()> {
        match std::mem::replace(&mut self.state, Written::Over) {
            Written::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            Written::Over => Err(StreamError::Closed),
            good @ (Written::Ready | Written::Waiting(_)) => {
                self.state = good;
                Ok(())
            }
        }
    }
}

/// Writes all of it.
fn write(file: &File, mut bytes: Bytes, mut position: Option<u64>) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match position {
            Some(position) => file.write_at(&bytes, position)?,
            None => pwritev2(file, &[IoSlice::new(&bytes)], 0, ReadWriteFlags::APPEND)?,
        };
        position = position.map(|position| position.saturating_add(written as u64));
        let _ = bytes.split_to(written);
    }
    Ok(())
}

#[async_trait]
impl Pollable for Writing {
    async fn ready(&mut self) {
        if let Written::Waiting(task) = &mut self.state {
            self.state = task.await.map_or_else(Written::Failed, |()| Written::Ready);
        }
    }
}

#[async_trait]
impl OutputStream for Writing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.look()?;
        if !matches!(self.state, Written::Ready) {
            return Err(StreamError::Trap(wasmtime::format_err!("a write before the last one is done")));
        }
        let (file, room, position) = (Arc::clone(&self.file), self.room.clone(), self.position);
        self.position = position.map(|position| position.saturating_add(bytes.len() as u64));
        self.state = Written::Waiting(begin(&self.usage, move || {
            if let Some(room) = room {
                room.extend(&file, position, bytes.len() as u64)?;
            }
            write(&file, bytes, position)
        }));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Nothing is kept back.
        self.look()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.look()?;
        Ok(if matches!(self.state, Written::Ready) { WRITE_BYTES_MAX } else { 0 })
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.ready().await;
        self.write(bytes)?;
        self.ready().await;
        self.look()
    }

    async fn cancel(&mut self) {
        // What it has taken is written, also where a thread is waited for.
        self.ready().await;
    }
}
