//! `wasi:filesystem` 0.3, over the same directories and descriptors as 0.2, with the same rules.
//!
//! Calls are wasmtime's own once they are allowed. Ours are the streams that take room before they write, and those of a
//! directory's entries: wasmtime's keeps a thread for each until the guest has read it, and a guest need not read.

mod streams;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::AsContextMut as _;
use wasmtime::component::{Access, Accessor, FutureReader, HasData, Linker, Resource, StreamReader};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p3::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::{Given, View, view};
use crate::host::Host;
use streams::{Entries, Outcome, Writing};

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
}

async fn taken(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.acquire_owned().await.expect("it is never closed")
}

/// Waits for a turn.
async fn turn(store: &Store) -> OwnedSemaphorePermit {
    taken(store.with(|mut store| store.get().turns())).await
}

/// Waits for a turn, and for the content of what the guest looks into.
async fn look(store: &Store, fd: &Fd) -> FilesystemResult<OwnedSemaphorePermit> {
    let turn = turn(store).await;
    if let Some(late) = store.with(|mut store| store.get().late(fd)) {
        late.look().await?;
    }
    Ok(turn)
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

/// Writes to a file below a directory that has a limit, or leaves it to wasmtime.
fn write(
    mut store: Access<'_, Host, Given>,
    fd: Fd,
    data: StreamReader<u8>,
    position: Option<u64>,
) -> wasmtime::Result<Told> {
    let Some((room, file)) = store.get().counted(&fd) else {
        let theirs: Access<'_, Host, WasiFilesystem> = Access::new(store.as_context_mut(), |host| inner(host));
        return match position {
            Some(position) => WasiFilesystem::write_via_stream(theirs, fd, data, position),
            None => WasiFilesystem::append_via_stream(theirs, fd, data),
        };
    };
    let (outcome, told) = oneshot::channel();
    data.pipe(&mut store, Writing::new(room, file, position, Outcome::new(outcome)))?;
    FutureReader::new(&mut store, told)
}

use types::HostDescriptorWithStore as _;

impl types::HostDescriptorWithStore<Host> for Given {
    fn read_via_stream(
        mut store: Access<'_, Host, Self>,
        fd: Fd,
        offset: u64,
    ) -> wasmtime::Result<(StreamReader<u8>, Told)> {
        WasiFilesystem::read_via_stream(Access::new(store.as_context_mut(), |host| inner(host)), fd, offset)
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
        let _turn = turn(store).await;
        WasiFilesystem::advise(&theirs(store), fd, offset, length, advice).await
    }

    async fn sync_data(store: &Store, fd: Fd) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        WasiFilesystem::sync_data(&theirs(store), fd).await
    }

    async fn get_flags(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorFlags> {
        WasiFilesystem::get_flags(&theirs(store), fd).await
    }

    async fn get_type(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorType> {
        let _turn = turn(store).await;
        WasiFilesystem::get_type(&theirs(store), fd).await
    }

    async fn set_size(store: &Store, fd: Fd, size: u64) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        store.with(|mut store| store.get().grow(&fd, size))?;
        WasiFilesystem::set_size(&theirs(store), fd, size).await
    }

    async fn set_times(
        store: &Store,
        fd: Fd,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        WasiFilesystem::set_times(&theirs(store), fd, accessed, modified).await
    }

    fn read_directory(
        mut store: Access<'_, Host, Self>,
        fd: Fd,
    ) -> wasmtime::Result<(StreamReader<types::DirectoryEntry>, Told)> {
        let (outcome, told) = oneshot::channel();
        let outcome = Outcome::new(outcome);
        let mut view = store.get();
        let (turns, late) = (view.turns(), view.late(&fd));
        let entries = match view.inner.table.get(&fd)? {
            Descriptor::Dir(dir) => Entries::new(Arc::clone(&dir.dir), late, turns, outcome),
            Descriptor::File(_) => Entries::none(types::ErrorCode::NotDirectory, turns, outcome),
        };
        Ok((StreamReader::new(&mut store, entries)?, FutureReader::new(&mut store, told)?))
    }

    async fn sync(store: &Store, fd: Fd) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        WasiFilesystem::sync(&theirs(store), fd).await
    }

    async fn create_directory_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        store.with(|mut store| store.get().add_name(&fd))?;
        WasiFilesystem::create_directory_at(&theirs(store), fd, path).await
    }

    async fn stat(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorStat> {
        let _turn = turn(store).await;
        WasiFilesystem::stat(&theirs(store), fd).await
    }

    async fn stat_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::DescriptorStat> {
        let _turn = look(store, &fd).await?;
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
        let _turn = turn(store).await;
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
        let _turn = turn(store).await;
        store.with(|mut store| -> FilesystemResult<()> {
            let view = store.get();
            if !view.is_within_one(&fd, &new_fd) {
                return Err(types::ErrorCode::CrossDevice.into());
            }
            Ok(view.add_name(&new_fd)?)
        })?;
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
        let _turn = look(store, &fd).await?;
        let origin = store.with(|mut store| -> FilesystemResult<Option<usize>> {
            let view = store.get();
            if open_flags.contains(types::OpenFlags::CREATE) {
                view.add_name(&fd)?;
            }
            Ok(view.origin(&fd))
        })?;
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
        let _turn = look(store, &fd).await?;
        WasiFilesystem::readlink_at(&theirs(store), fd, path).await
    }

    async fn remove_directory_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        WasiFilesystem::remove_directory_at(&theirs(store), fd, path).await
    }

    async fn rename_at(store: &Store, fd: Fd, path: String, new_fd: Fd, new_path: String) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        if !store.with(|mut store| store.get().is_within_one(&fd, &new_fd)) {
            return Err(types::ErrorCode::CrossDevice.into());
        }
        WasiFilesystem::rename_at(&theirs(store), fd, path, new_fd, new_path).await
    }

    async fn symlink_at(store: &Store, fd: Fd, target: String, path: String) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        store.with(|mut store| store.get().add_name(&fd))?;
        WasiFilesystem::symlink_at(&theirs(store), fd, target, path).await
    }

    async fn unlink_file_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let _turn = turn(store).await;
        WasiFilesystem::unlink_file_at(&theirs(store), fd, path).await
    }

    async fn is_same_object(store: &Store, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        let _turn = turn(store).await;
        WasiFilesystem::is_same_object(&theirs(store), one, other).await
    }

    async fn metadata_hash(store: &Store, fd: Fd) -> FilesystemResult<types::MetadataHashValue> {
        let _turn = turn(store).await;
        WasiFilesystem::metadata_hash(&theirs(store), fd).await
    }

    async fn metadata_hash_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::MetadataHashValue> {
        let _turn = look(store, &fd).await?;
        WasiFilesystem::metadata_hash_at(&theirs(store), fd, flags, path).await
    }
}
