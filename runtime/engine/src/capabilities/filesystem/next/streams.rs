//! Streams of files and directories that wasmtime's would not do for. Each does one piece of work at a time, on a thread
//! that may wait for the disk, and only when the guest asks.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustix::fs::{Dir, FileType};
use rustix::io::{ReadWriteFlags, pwritev2};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult, VecBuffer};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p3::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use super::super::entries::{Found, batch};
use crate::cpu::charged;
use crate::disk::Room;
use crate::mounts::Late;
use crate::usage::Usage;

/// What one piece of work writes at most: as much as the host copies for it.
const PIECE_BYTES: usize = 64 << 10;
/// What one piece of work reads at most.
const READ_BYTES: usize = 64 << 10;

/// Where a stream's end is told, once. A stream that is dropped has ended well.
pub(super) struct Outcome(Option<oneshot::Sender<Result<(), ErrorCode>>>);

impl Outcome {
    pub(super) fn new(sender: oneshot::Sender<Result<(), ErrorCode>>) -> Self {
        Self(Some(sender))
    }

    fn end(&mut self, outcome: Result<(), ErrorCode>) -> StreamResult {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(outcome);
        }
        StreamResult::Dropped
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

/// What a guest reads of a file, a piece each time it asks.
pub(super) struct Reading {
    usage: Arc<Usage>,
    file: Arc<File>,
    position: u64,
    outcome: Outcome,
    task: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl Reading {
    pub(super) fn new(usage: Arc<Usage>, file: Arc<File>, position: u64, outcome: Outcome) -> Self {
        Self { usage, file, position, outcome, task: None }
    }

    fn begin(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (file, position) = (Arc::clone(&self.file), self.position);
        spawn_blocking(charged(&self.usage, move || {
            let mut piece = vec![0; READ_BYTES];
            let read = file.read_at(&mut piece, position)?;
            piece.truncate(read);
            Ok(piece)
        }))
    }
}

impl<T: 'static> StreamProducer<T> for Reading {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if self.task.is_none() && destination.remaining(store.as_context_mut()) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let this = &mut *self;
        let mut task = this.task.take().unwrap_or_else(|| this.begin());
        if finish {
            // Only what has not begun ends by this.
            task.abort();
        }
        let Poll::Ready(read) = Pin::new(&mut task).poll(cx) else {
            this.task = Some(task);
            return Poll::Pending;
        };
        Poll::Ready(Ok(match read {
            Ok(Ok(piece)) if piece.is_empty() => this.outcome.end(Ok(())),
            Ok(Ok(piece)) => {
                this.position = this.position.saturating_add(piece.len() as u64);
                destination.set_buffer(piece.into());
                StreamResult::Completed
            }
            Ok(Err(error)) => this.outcome.end(Err(error.into())),
            Err(_) if finish => StreamResult::Cancelled,
            Err(error) => this.outcome.end(Err(io::Error::other(error).into())),
        }))
    }
}

/// What a guest writes to a file: room first, where its directory has a limit.
pub(super) struct Writing {
    usage: Arc<Usage>,
    room: Option<Arc<Room>>,
    file: Arc<File>,
    /// Where; None at the file's end.
    position: Option<u64>,
    outcome: Outcome,
    task: Option<JoinHandle<io::Result<usize>>>,
}

impl Writing {
    pub(super) fn new(
        usage: Arc<Usage>,
        room: Option<Arc<Room>>,
        file: Arc<File>,
        position: Option<u64>,
        outcome: Outcome,
    ) -> Self {
        Self { usage, room, file, position, outcome, task: None }
    }

    fn begin(&self, bytes: Vec<u8>) -> JoinHandle<io::Result<usize>> {
        let (room, file, position) = (self.room.clone(), Arc::clone(&self.file), self.position);
        spawn_blocking(charged(&self.usage, move || {
            if let Some(room) = room {
                room.extend(&file, position, bytes.len() as u64)?;
            }
            match position {
                Some(position) => file.write_at(&bytes, position),
                None => Ok(pwritev2(&*file, &[IoSlice::new(&bytes)], 0, ReadWriteFlags::APPEND)?),
            }
        }))
    }
}

impl<T: 'static> StreamConsumer<T> for Writing {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, T>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        let this = &mut *self;
        let mut task = if let Some(task) = this.task.take() {
            task
        } else {
            let piece: Vec<u8> = source.remaining().iter().take(PIECE_BYTES).copied().collect();
            if piece.is_empty() {
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            this.begin(piece)
        };
        if finish {
            // Only what has not begun ends by this.
            task.abort();
        }
        let Poll::Ready(written) = Pin::new(&mut task).poll(cx) else {
            this.task = Some(task);
            return Poll::Pending;
        };
        Poll::Ready(Ok(match written {
            Ok(Ok(written)) => {
                source.mark_read(written);
                this.position = this.position.map(|position| position.saturating_add(written as u64));
                StreamResult::Completed
            }
            Ok(Err(error)) => this.outcome.end(Err(error.into())),
            Err(_) if finish => StreamResult::Cancelled,
            Err(error) => this.outcome.end(Err(io::Error::other(error).into())),
        }))
    }
}

type Batch = Result<(Dir, Vec<DirectoryEntry>), ErrorCode>;

/// The entries of a directory.
pub(super) struct Entries {
    usage: Arc<Usage>,
    turns: Arc<Semaphore>,
    outcome: Outcome,
    state: State,
}

enum State {
    /// Nothing was read.
    New(Arc<File>, Option<Arc<Late>>),
    Reading(JoinHandle<Batch>),
    /// Some were, and more may follow.
    More(Dir),
    Over(Result<(), ErrorCode>),
}

impl Entries {
    pub(super) fn new(
        usage: Arc<Usage>,
        dir: Arc<File>,
        late: Option<Arc<Late>>,
        turns: Arc<Semaphore>,
        outcome: Outcome,
    ) -> Self {
        Self { usage, turns, outcome, state: State::New(dir, late) }
    }

    /// None, for this reason.
    pub(super) fn none(why: ErrorCode, usage: Arc<Usage>, turns: Arc<Semaphore>, outcome: Outcome) -> Self {
        Self { usage, turns, outcome, state: State::Over(Err(why)) }
    }

    fn begin(&self, open: impl FnOnce() -> io::Result<Dir> + Send + 'static, late: Option<Arc<Late>>) -> State {
        let turns = Arc::clone(&self.turns);
        let work = charged(&self.usage, move || batch(open()?));
        State::Reading(tokio::spawn(async move {
            let _turn = super::taken(turns).await;
            if let Some(late) = late {
                late.look().await?;
            }
            let (dir, found) = spawn_blocking(work).await.map_err(io::Error::other)??;
            let entry = |found: Found| DirectoryEntry { type_: named(found.kind), name: found.name };
            Ok((dir, found.into_iter().map(entry).collect()))
        }))
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        if let State::Reading(task) = &self.state {
            task.abort();
        }
    }
}

impl<T: 'static> StreamProducer<T> for Entries {
    type Item = DirectoryEntry;
    type Buffer = VecBuffer<DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(store.as_context_mut()) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.state, State::Over(Ok(()))) {
                State::New(dir, late) => this.state = this.begin(move || Ok(Dir::read_from(dir.as_fd())?), late),
                State::More(dir) => this.state = this.begin(move || Ok(dir), None),
                State::Over(outcome) => return Poll::Ready(Ok(this.outcome.end(outcome))),
                State::Reading(mut task) => {
                    let Poll::Ready(batch) = Pin::new(&mut task).poll(cx) else {
                        this.state = State::Reading(task);
                        return if finish { Poll::Ready(Ok(StreamResult::Cancelled)) } else { Poll::Pending };
                    };
                    match batch.unwrap_or_else(|error| Err(io::Error::other(error).into())) {
                        Ok((_, entries)) if entries.is_empty() => {}
                        Ok((dir, entries)) => {
                            this.state = State::More(dir);
                            destination.set_buffer(entries.into());
                            return Poll::Ready(Ok(StreamResult::Completed));
                        }
                        Err(error) => this.state = State::Over(Err(error)),
                    }
                }
            }
        }
    }
}

fn named(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Other(None),
    }
}
