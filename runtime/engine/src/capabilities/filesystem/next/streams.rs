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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult, VecBuffer};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p3::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::super::entries::{Found, batch};
use crate::disk::Room;
use crate::mounts::Late;
use crate::places::Place;
use crate::threads::{Thread, apart};
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

impl Opened {
    /// A turn and a thread, where there are both.
    fn try_take(&self) -> Option<(OwnedSemaphorePermit, Thread)> {
        let turn = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        Some((turn, Thread::try_take(&self.usage)?))
    }

    /// Waits for them.
    fn take(&self) -> Taking {
        let (turns, usage) = (Arc::clone(&self.turns), Arc::clone(&self.usage));
        Box::pin(async move {
            let turn = turns.acquire_owned().await.expect("it is never closed");
            (turn, Thread::take(&usage).await)
        })
    }
}

type Taking = Pin<Box<dyn Future<Output = (OwnedSemaphorePermit, Thread)> + Send>>;

/// A piece of work on another thread, in its turn.
enum Work<T> {
    /// None is asked for.
    Idle,
    /// The turn is waited for.
    Wanted(Taking),
    /// It may be done, and its outcome is not taken yet.
    Begun(AbortOnDropJoinHandle<io::Result<T>>, OwnedSemaphorePermit),
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
        let mut work = Some(work);
        loop {
            match std::mem::replace(self, Self::Idle) {
                Self::Idle | Self::Wanted(_) if finish => return Done::Cancelled,
                Self::Idle => {
                    *self = match opened.try_take() {
                        Some(taken) => Self::begun(taken, &mut work),
                        None => Self::Wanted(opened.take()),
                    };
                }
                Self::Wanted(mut taking) => match taking.as_mut().poll(cx) {
                    Poll::Ready(taken) => *self = Self::begun(taken, &mut work),
                    Poll::Pending => {
                        *self = Self::Wanted(taking);
                        return Done::NotYet;
                    }
                },
                Self::Begun(mut task, turn) => {
                    if finish {
                        // Only what has not begun ends by this.
                        task.abort();
                    }
                    return match Pin::new(&mut *task).poll(cx) {
                        Poll::Pending => {
                            *self = Self::Begun(task, turn);
                            Done::NotYet
                        }
                        Poll::Ready(Ok(done)) => Done::With(done),
                        Poll::Ready(Err(_)) if finish => Done::Cancelled,
                        Poll::Ready(Err(error)) => Done::With(Err(io::Error::other(error))),
                    };
                }
            }
        }
    }

    fn begun<F, W>((turn, thread): (OwnedSemaphorePermit, Thread), work: &mut Option<W>) -> Self
    where
        F: FnOnce() -> io::Result<T> + Send + 'static,
        W: FnOnce() -> F,
    {
        let Some(work) = work.take().map(|work| work()) else { return Self::Idle };
        Self::Begun(thread.work(work), turn)
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
