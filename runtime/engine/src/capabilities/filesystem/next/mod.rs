//! `wasi:filesystem` 0.3, over the same directories and descriptors as 0.2, with the same rules.
//!
//! Calls are wasmtime's own once they are allowed; what they take on other threads the container pays for by an estimate.
//! Ours are the streams: they take room before they write, and are paid for as they are. That of a directory's entries:
//! wasmtime's keeps a thread for each until the guest has read it, and a guest need not read.

mod streams;

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::AsContextMut as _;
use wasmtime::component::{Access, Accessor, FutureReader, HasData, Linker, Resource, StreamReader};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p3::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::apart::apart;
use super::places::Place;
use super::{Given, Origin, View, add_name, grow, view};
use crate::host::Host;
use crate::usage::Usage;
use streams::{Entries, Listed, Opened, Outcome, Reading, Writing};

/// Calls of one instance that run beside each other, each on a thread that other pods need too. The rest wait.
const CALLS_MAX: usize = 8;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<_, Given>(linker, view)?;
    types::add_to_linker::<_, Given>(linker, view)
}

type Fd = Resource<Descriptor>;
type Store = Accessor<Host, Given>;
type Told = FutureReader<Result<(), types::ErrorCode>>;

fn inner(host: &mut Host) -> <WasiFilesystem as HasData>::Data<'_> {
    view(host).inner
}

fn theirs(store: &Store) -> Accessor<Host, WasiFilesystem> {
    store.with_getter::<WasiFilesystem>(|host| inner(host))
}

impl View<'_> {
    fn turns(&mut self) -> Arc<Semaphore> {
        Arc::clone(self.turns.get_or_insert_with(|| Arc::new(Semaphore::new(CALLS_MAX))))
    }

    /// The file of a descriptor, for a stream.
    fn opened(&mut self, fd: &Fd, file: Arc<File>) -> Opened {
        Opened { file, _place: self.place(fd), usage: Arc::clone(self.usage), turns: self.turns() }
    }
}

async fn taken(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.acquire_owned().await.expect("it is never closed")
}

/// What a call costs on a core at most, besides its path: a system call or two, and the way to another thread.
const CALL_NANOS: u64 = 5_000;
/// What each byte of a path costs at most: a name of one letter and its slash are a system call.
const PATH_BYTE_NANOS: u64 = 1_000;

/// A call's turn on another thread, which the container pays for at its end.
struct Turn {
    _permit: OwnedSemaphorePermit,
    usage: Arc<Usage>,
    began: Instant,
    nanos_max: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let took = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.usage.ran(took.min(self.nanos_max));
    }
}

/// Waits for a turn; `paths` are what the call resolves.
async fn turn(store: &Store, paths: &[&str]) -> Turn {
    let (turns, usage) = store.with(|mut store| {
        let mut view = store.get();
        (view.turns(), Arc::clone(view.usage))
    });
    let bytes: usize = paths.iter().map(|path| path.len()).sum();
    let nanos_max = CALL_NANOS + u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(PATH_BYTE_NANOS);
    Turn { _permit: taken(turns).await, usage, began: Instant::now(), nanos_max }
}

/// Waits for a turn, and for the content of what the guest looks into.
async fn look(store: &Store, fd: &Fd, path: &str) -> FilesystemResult<Turn> {
    let turn = turn(store, &[path]).await;
    if let Some(late) = store.with(|mut store| store.get().late(fd)) {
        late.look().await?;
    }
    Ok(turn)
}

/// Takes room before anything is written. A full directory is looked through, which takes long, at the container's cost.
async fn take_room(
    store: &Store,
    needed: bool,
    take: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> std::io::Result<()> {
    if !needed {
        return Ok(());
    }
    let usage = store.with(|mut store| Arc::clone(store.get().usage));
    apart(&usage, take).await
}

/// Takes room for a new name below `fd`.
async fn room_for_name(store: &Store, fd: &Fd) -> std::io::Result<()> {
    let room = store.with(|mut store| store.get().room(fd));
    take_room(store, room.is_some(), move || add_name(room)).await
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Fd, String)>> {
        self.directories()
    }
}

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<types::ErrorCode> {
        error.downcast()
    }
}

impl types::HostDescriptor for View<'_> {
    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.forget(&fd);
        types::HostDescriptor::drop(&mut self.inner, fd)
    }
}

/// Writes to a file.
fn write(
    mut store: Access<'_, Host, Given>,
    fd: Fd,
    data: StreamReader<u8>,
    position: Option<u64>,
) -> wasmtime::Result<Told> {
    let mut view = store.get();
    // What cannot be written is told in wasmtime's words.
    let Ok(file) = view.writable(&fd) else {
        let theirs: Access<'_, Host, WasiFilesystem> = Access::new(store.as_context_mut(), |host| inner(host));
        return match position {
            Some(position) => WasiFilesystem::write_via_stream(theirs, fd, data, position),
            None => WasiFilesystem::append_via_stream(theirs, fd, data),
        };
    };
    let (opened, room) = (view.opened(&fd, file), view.room(&fd));
    let (outcome, told) = oneshot::channel();
    data.pipe(&mut store, Writing::new(opened, room, position, Outcome::new(outcome)))?;
    FutureReader::new(&mut store, told)
}

use types::HostDescriptorWithStore as _;

impl types::HostDescriptorWithStore<Host> for Given {
    fn read_via_stream(
        mut store: Access<'_, Host, Self>,
        fd: Fd,
        offset: u64,
    ) -> wasmtime::Result<(StreamReader<u8>, Told)> {
        let mut view = store.get();
        let file = match view.inner.table.get(&fd)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(_) => {
                let theirs = Access::new(store.as_context_mut(), |host| inner(host));
                return WasiFilesystem::read_via_stream(theirs, fd, offset);
            }
        };
        let opened = view.opened(&fd, file);
        let (outcome, told) = oneshot::channel();
        let reading = Reading::new(opened, offset, Outcome::new(outcome));
        Ok((StreamReader::new(&mut store, reading)?, FutureReader::new(&mut store, told)?))
    }

    fn write_via_stream(
        store: Access<'_, Host, Self>,
        fd: Fd,
        data: StreamReader<u8>,
        offset: u64,
    ) -> wasmtime::Result<Told> {
        write(store, fd, data, Some(offset))
    }

    fn append_via_stream(store: Access<'_, Host, Self>, fd: Fd, data: StreamReader<u8>) -> wasmtime::Result<Told> {
        write(store, fd, data, None)
    }

    async fn advise(store: &Store, fd: Fd, offset: u64, length: u64, advice: types::Advice) -> FilesystemResult<()> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::advise(&theirs(store), fd, offset, length, advice).await
    }

    async fn sync_data(store: &Store, fd: Fd) -> FilesystemResult<()> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::sync_data(&theirs(store), fd).await
    }

    async fn get_flags(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorFlags> {
        WasiFilesystem::get_flags(&theirs(store), fd).await
    }

    async fn get_type(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorType> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::get_type(&theirs(store), fd).await
    }

    async fn set_size(store: &Store, fd: Fd, size: u64) -> FilesystemResult<()> {
        let _turn = turn(store, &[]).await;
        let counted = store.with(|mut store| store.get().counted(&fd));
        take_room(store, counted.is_some(), move || grow(counted, size)).await?;
        WasiFilesystem::set_size(&theirs(store), fd, size).await
    }

    async fn set_times(
        store: &Store,
        fd: Fd,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FilesystemResult<()> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::set_times(&theirs(store), fd, accessed, modified).await
    }

    fn read_directory(
        mut store: Access<'_, Host, Self>,
        fd: Fd,
    ) -> wasmtime::Result<(StreamReader<types::DirectoryEntry>, Told)> {
        let (outcome, told) = oneshot::channel();
        let outcome = Outcome::new(outcome);
        let mut view = store.get();
        let (turns, late, usage) = (view.turns(), view.late(&fd), Arc::clone(view.usage));
        let listed = Listed::one_more(view.listings);
        let entries = match (view.inner.table.get(&fd)?, Place::take(&usage)) {
            (Descriptor::Dir(dir), Ok(place)) => {
                Entries::new(usage, (Arc::clone(&dir.dir), place, listed), late, turns, outcome)
            }
            (Descriptor::Dir(_), Err(error)) => Entries::none(error.into(), usage, turns, outcome),
            (Descriptor::File(_), _) => Entries::none(types::ErrorCode::NotDirectory, usage, turns, outcome),
        };
        Ok((StreamReader::new(&mut store, entries)?, FutureReader::new(&mut store, told)?))
    }

    async fn sync(store: &Store, fd: Fd) -> FilesystemResult<()> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::sync(&theirs(store), fd).await
    }

    async fn create_directory_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let _turn = turn(store, &[&path]).await;
        room_for_name(store, &fd).await?;
        WasiFilesystem::create_directory_at(&theirs(store), fd, path).await
    }

    async fn stat(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorStat> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::stat(&theirs(store), fd).await
    }

    async fn stat_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::DescriptorStat> {
        let _turn = look(store, &fd, &path).await?;
        WasiFilesystem::stat_at(&theirs(store), fd, flags, path).await
    }

    async fn set_times_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FilesystemResult<()> {
        let _turn = turn(store, &[&path]).await;
        WasiFilesystem::set_times_at(&theirs(store), fd, flags, path, accessed, modified).await
    }

    async fn link_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        new_fd: Fd,
        new_path: String,
    ) -> FilesystemResult<()> {
        let _turn = turn(store, &[&path, &new_path]).await;
        if !store.with(|mut store| store.get().is_within_one(&fd, &new_fd)) {
            return Err(types::ErrorCode::CrossDevice.into());
        }
        room_for_name(store, &new_fd).await?;
        WasiFilesystem::link_at(&theirs(store), fd, flags, path, new_fd, new_path).await
    }

    async fn open_at(
        store: &Store,
        fd: Fd,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FilesystemResult<Fd> {
        let _turn = look(store, &fd, &path).await?;
        let origin = store.with(|mut store| -> std::io::Result<Origin> {
            let view = store.get();
            Ok(Origin { mount: view.origin(&fd), place: Some(Arc::new(Place::take(view.usage)?)) })
        })?;
        if open_flags.contains(types::OpenFlags::CREATE) {
            room_for_name(store, &fd).await?;
        }
        let opened = WasiFilesystem::open_at(&theirs(store), fd, path_flags, path, open_flags, flags).await?;
        store.with(|mut store| {
            let mut view = store.get();
            if let Err(error) = view.enter(&opened, origin, flags.contains(types::DescriptorFlags::WRITE)) {
                types::HostDescriptor::drop(&mut view, opened).map_err(FilesystemError::trap)?;
                return Err(error.into());
            }
            Ok(opened)
        })
    }

    async fn readlink_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<String> {
        let _turn = look(store, &fd, &path).await?;
        WasiFilesystem::readlink_at(&theirs(store), fd, path).await
    }

    async fn remove_directory_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let _turn = turn(store, &[&path]).await;
        WasiFilesystem::remove_directory_at(&theirs(store), fd, path).await
    }

    async fn rename_at(store: &Store, fd: Fd, path: String, new_fd: Fd, new_path: String) -> FilesystemResult<()> {
        let _turn = turn(store, &[&path, &new_path]).await;
        if !store.with(|mut store| store.get().is_within_one(&fd, &new_fd)) {
            return Err(types::ErrorCode::CrossDevice.into());
        }
        WasiFilesystem::rename_at(&theirs(store), fd, path, new_fd, new_path).await
    }

    async fn symlink_at(store: &Store, fd: Fd, target: String, path: String) -> FilesystemResult<()> {
        let _turn = turn(store, &[&target, &path]).await;
        room_for_name(store, &fd).await?;
        WasiFilesystem::symlink_at(&theirs(store), fd, target, path).await
    }

    async fn unlink_file_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let _turn = turn(store, &[&path]).await;
        WasiFilesystem::unlink_file_at(&theirs(store), fd, path).await
    }

    async fn is_same_object(store: &Store, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::is_same_object(&theirs(store), one, other).await
    }

    async fn metadata_hash(store: &Store, fd: Fd) -> FilesystemResult<types::MetadataHashValue> {
        let _turn = turn(store, &[]).await;
        WasiFilesystem::metadata_hash(&theirs(store), fd).await
    }

    async fn metadata_hash_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::MetadataHashValue> {
        let _turn = look(store, &fd, &path).await?;
        WasiFilesystem::metadata_hash_at(&theirs(store), fd, flags, path).await
    }
}
