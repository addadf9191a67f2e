//! Streams of files and directories that wasmtime's would not do for. Each does one piece of work at a time, on a thread
//! that may wait for the disk, and only when the guest asks.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustix::fs::{Dir, FileType};
use rustix::io::{ReadWriteFlags, pwritev2};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult, VecBuffer};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p3::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::super::entries::{Found, batch};
use crate::disk::Room;
use crate::mounts::Late;
use crate::places::Place;
use crate::threads::{Apart, apart, begin};
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

/// An open file.
pub(super) struct Opened {
    pub(super) file: Arc<File>,
    /// It stays open for as long as the stream is there.
    pub(super) _place: Option<Arc<Place>>,
    pub(super) usage: Arc<Usage>,
    /// Of the instance's streams, so that the host holds so many pieces and no more.
    pub(super) turns: Arc<Semaphore>,
}

type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// A piece of work on another thread, in its turn.
enum Work<T> {
    /// None is asked for.
    Idle,
    /// The turn is waited for.
    Wanted(Turn),
    /// It may be done, and its outcome is not taken yet.
    Begun { apart: Apart<io::Result<T>>, _turn: OwnedSemaphorePermit },
}

/// How far it is.
enum Done<T> {
    /// It will be told.
    NotYet,
    /// The guest does not want it any more, and nothing was done.
    Cancelled,
    With(io::Result<T>),
}

impl<T: Send + 'static> Work<T> {
    /// Goes on with it, and begins with `work` when it is its turn.
    fn poll<F: FnOnce() -> io::Result<T> + Send + 'static>(
        &mut self,
        cx: &mut Context<'_>,
        opened: &Opened,
        finish: bool,
        work: impl FnOnce() -> F,
    ) -> Done<T> {
        if finish && !matches!(self, Self::Begun { .. }) {
            *self = Self::Idle;
            return Done::Cancelled;
        }
        if let Self::Idle = self {
            *self = Self::Wanted(Box::pin(Arc::clone(&opened.turns).acquire_owned()));
        }
        if let Self::Wanted(turn) = self {
            let Poll::Ready(turn) = turn.as_mut().poll(cx) else { return Done::NotYet };
            let turn = turn.expect("it is never closed");
            *self = Self::Begun { apart: begin(&opened.usage, work()), _turn: turn };
        }
        let Self::Begun { apart, .. } = self else { return Done::NotYet };
        if finish {
            apart.cancel();
        }
        let Poll::Ready(ended) = apart.poll_end(cx) else { return Done::NotYet };
        *self = Self::Idle;
        match ended {
            Ok(done) => Done::With(done),
            Err(_) if finish => Done::Cancelled,
            Err(error) => Done::With(Err(io::Error::other(error))),
        }
    }
}

/// What a guest reads of a file, a piece each time it asks.
pub(super) struct Reading {
    opened: Opened,
    position: u64,
    outcome: Outcome,
    work: Work<Vec<u8>>,
}

impl Reading {
    pub(super) fn new(opened: Opened, position: u64, outcome: Outcome) -> Self {
        Self { opened, position, outcome, work: Work::Idle }
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
        let Self { opened, position, outcome, work } = &mut *self;
        // No more than the guest takes: what is left of a piece stays with its stream, and no limit of the guest's sees it.
        let wanted = destination.remaining(store.as_context_mut()).unwrap_or(READ_BYTES).min(READ_BYTES);
        if wanted == 0 && matches!(work, Work::Idle) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let read = || {
            let (file, at) = (Arc::clone(&opened.file), *position);
            move || {
                let mut piece = vec![0; wanted];
                let read = file.read_at(&mut piece, at)?;
                piece.truncate(read);
                Ok(piece)
            }
        };
        Poll::Ready(Ok(match work.poll(cx, opened, finish, read) {
            Done::NotYet => return Poll::Pending,
            Done::Cancelled => StreamResult::Cancelled,
            Done::With(Ok(piece)) if piece.is_empty() => outcome.end(Ok(())),
            Done::With(Ok(piece)) => {
                *position = position.saturating_add(piece.len() as u64);
                destination.set_buffer(piece.into());
                StreamResult::Completed
            }
            Done::With(Err(error)) => outcome.end(Err(error.into())),
        }))
    }
}

/// What a guest writes to a file: room first, where its directory has a limit.
pub(super) struct Writing {
    opened: Opened,
    room: Option<Arc<Room>>,
    /// Where; None at the file's end.
    position: Option<u64>,
    outcome: Outcome,
    work: Work<usize>,
}

impl Writing {
    pub(super) fn new(opened: Opened, room: Option<Arc<Room>>, position: Option<u64>, outcome: Outcome) -> Self {
        Self { opened, room, position, outcome, work: Work::Idle }
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
        let Self { opened, room, position, outcome, work } = &mut *self;
        if source.remaining().is_empty() && matches!(work, Work::Idle) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let write = || {
            let (room, file, position) = (room.clone(), Arc::clone(&opened.file), *position);
            let bytes: Vec<u8> = source.remaining().iter().take(PIECE_BYTES).copied().collect();
            move || {
                if let Some(room) = room {
                    room.extend(&file, position, bytes.len() as u64)?;
                }
                match position {
                    Some(position) => file.write_at(&bytes, position),
                    None => Ok(pwritev2(&*file, &[IoSlice::new(&bytes)], 0, ReadWriteFlags::APPEND)?),
                }
            }
        };
        Poll::Ready(Ok(match work.poll(cx, opened, finish, write) {
            Done::NotYet => return Poll::Pending,
            Done::Cancelled => StreamResult::Cancelled,
            Done::With(Ok(written)) => {
                source.mark_read(written);
                *position = position.map(|position| position.saturating_add(written as u64));
                StreamResult::Completed
            }
            Done::With(Err(error)) => outcome.end(Err(error.into())),
        }))
    }
}

/// A directory that is being read, counted among what the host holds for its guest.
pub(super) struct Listed(Arc<AtomicU64>);

impl Listed {
    pub(super) fn one_more(all: &Arc<AtomicU64>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Batch = Result<(Dir, Vec<DirectoryEntry>), ErrorCode>;

/// The entries of a directory.
pub(super) struct Entries {
    usage: Arc<Usage>,
    outcome: Outcome,
    state: State,
    /// Its own descriptor, and its buffer.
    held: Option<Arc<(Place, Listed)>>,
}

enum State {
    /// Nothing was read.
    New(Arc<File>, Option<Arc<Late>>),
    Reading(AbortOnDropJoinHandle<Batch>),
    /// Some were, and more may follow.
    More(Dir),
    Over(Result<(), ErrorCode>),
}

impl Entries {
    pub(super) fn new(
        usage: Arc<Usage>,
        (dir, place, listed): (Arc<File>, Place, Listed),
        late: Option<Arc<Late>>,
        outcome: Outcome,
    ) -> Self {
        Self { usage, outcome, state: State::New(dir, late), held: Some(Arc::new((place, listed))) }
    }

    /// None, for this reason.
    pub(super) fn none(why: ErrorCode, usage: Arc<Usage>, outcome: Outcome) -> Self {
        Self { usage, outcome, state: State::Over(Err(why)), held: None }
    }

    fn begin(&self, open: impl FnOnce() -> io::Result<Dir> + Send + 'static, late: Option<Arc<Late>>) -> State {
        let (usage, held) = (Arc::clone(&self.usage), self.held.clone());
        State::Reading(spawn(async move {
            if let Some(late) = late {
                late.look().await?;
            }
            let read = move || {
                // A stream that is dropped leaves this behind, with its descriptor.
                let _held = held;
                batch(open()?)
            };
            let (dir, found) = apart(&usage, read).await?;
            let entry = |found: Found| DirectoryEntry { type_: named(found.kind), name: found.name };
            Ok((dir, found.into_iter().map(entry).collect()))
        }))
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
                    let Poll::Ready(batch) = Pin::new(&mut *task).poll(cx) else {
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
