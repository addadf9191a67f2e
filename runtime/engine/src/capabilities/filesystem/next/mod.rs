//! `wasi:filesystem` 0.3, over the same directories and descriptors as 0.2, with the same rules: its calls are those of 0.2,
//! made by descriptors of their own, so that one which its guest gives up has its thread until it is done. `words` says
//! their types as 0.3 does.
//!
//! Ours are the streams: they take room before they write, and are paid for as they are. That of a directory's entries:
//! wasmtime's keeps a thread for each until the guest has read it, and a guest need not read.

mod streams;
mod words;

use std::fs::File;
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};
use wasmtime::AsContextMut as _;
use wasmtime::component::{Access, Accessor, FutureReader, HasData, Linker, Resource, StreamReader};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor as _;
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::p3::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::{Given, View, add_name, grow, view};
use crate::host::Host;
use crate::places::Place;
use streams::{Entries, Listed, Opened, Outcome, Reading, Writing};

/// Pieces that the streams of one instance read or write beside each other. The rest wait.
const PIECES_MAX: usize = 8;

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

impl View<'_> {
    /// The file of a descriptor, for a stream.
    fn opened(&mut self, fd: &Fd, file: Arc<File>) -> Opened {
        let turns = Arc::clone(self.turns.get_or_insert_with(|| Arc::new(Semaphore::new(PIECES_MAX))));
        Opened { file, _place: self.place(fd), usage: Arc::clone(self.usage), turns }
    }
}

/// One of 0.2's calls about a descriptor.
async fn call<T, F>(store: &Store, fd: &Fd, work: F) -> FilesystemResult<T>
where
    T: Send + 'static,
    F: AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Fd) -> FsResult<T> + Send + 'static,
{
    let done = store.with(|mut store| store.get().of(fd, work));
    done.await.map_err(words::error)
}

/// One of 0.2's calls about two.
async fn call_both<T, F>(store: &Store, one: &Fd, other: &Fd, work: F) -> FilesystemResult<T>
where
    T: Send + 'static,
    F: AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Fd, Fd) -> FsResult<T> + Send + 'static,
{
    let done = store.with(|mut store| store.get().of_both(one, other, work));
    done.await.map_err(words::error)
}

/// Waits for the content of what the guest looks into.
async fn look(store: &Store, fd: &Fd) -> FilesystemResult<()> {
    match store.with(|mut store| store.get().late(fd)) {
        Some(late) => Ok(late.look().await?),
        None => Ok(()),
    }
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
        let advice = words::advice(advice);
        call(store, &fd, async move |view, fd| view.advise(fd, offset, length, advice).await).await
    }

    async fn sync_data(store: &Store, fd: Fd) -> FilesystemResult<()> {
        call(store, &fd, async move |view, fd| view.sync_data(fd).await).await
    }

    async fn get_flags(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorFlags> {
        let flags = call(store, &fd, async move |view, fd| view.get_flags(fd).await).await?;
        Ok(words::descriptor_flags_told(flags))
    }

    async fn get_type(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorType> {
        if store.with(|mut store| store.get().is_directory(&fd)).map_err(FilesystemError::trap)? {
            return Ok(types::DescriptorType::Directory);
        }
        let kind = call(store, &fd, async move |view, fd| view.get_type(fd).await).await?;
        Ok(words::descriptor_type(kind))
    }

    async fn set_size(store: &Store, fd: Fd, size: u64) -> FilesystemResult<()> {
        let counted = store.with(|mut store| store.get().counted(&fd));
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd| {
            grow(counted, size)?;
            view.set_size(fd, size).await
        };
        call(store, &fd, work).await
    }

    async fn set_times(
        store: &Store,
        fd: Fd,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FilesystemResult<()> {
        let (accessed, modified) = (words::time(accessed)?, words::time(modified)?);
        call(store, &fd, async move |view, fd| view.set_times(fd, accessed, modified).await).await
    }

    fn read_directory(
        mut store: Access<'_, Host, Self>,
        fd: Fd,
    ) -> wasmtime::Result<(StreamReader<types::DirectoryEntry>, Told)> {
        let (outcome, told) = oneshot::channel();
        let outcome = Outcome::new(outcome);
        let view = store.get();
        let (late, usage) = (view.late(&fd), Arc::clone(view.usage));
        let listed = Listed::one_more(view.listings);
        let entries = match (view.inner.table.get(&fd)?, Place::take(&usage)) {
            (Descriptor::Dir(dir), Ok(place)) => {
                Entries::new(usage, (Arc::clone(&dir.dir), place, listed), late, outcome)
            }
            (Descriptor::Dir(_), Err(error)) => Entries::none(error.into(), usage, outcome),
            (Descriptor::File(_), _) => Entries::none(types::ErrorCode::NotDirectory, usage, outcome),
        };
        Ok((StreamReader::new(&mut store, entries)?, FutureReader::new(&mut store, told)?))
    }

    async fn sync(store: &Store, fd: Fd) -> FilesystemResult<()> {
        call(store, &fd, async move |view, fd| view.sync(fd).await).await
    }

    async fn create_directory_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let room = store.with(|mut store| store.get().room(&fd));
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd| {
            add_name(room)?;
            view.create_directory_at(fd, path).await
        };
        call(store, &fd, work).await
    }

    async fn stat(store: &Store, fd: Fd) -> FilesystemResult<types::DescriptorStat> {
        let stat = call(store, &fd, async move |view, fd| view.stat(fd).await).await?;
        Ok(words::stat(stat))
    }

    async fn stat_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::DescriptorStat> {
        look(store, &fd).await?;
        let flags = words::path_flags(flags);
        let stat = call(store, &fd, async move |view, fd| view.stat_at(fd, flags, path).await).await?;
        Ok(words::stat(stat))
    }

    async fn set_times_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FilesystemResult<()> {
        let (flags, accessed, modified) = (words::path_flags(flags), words::time(accessed)?, words::time(modified)?);
        call(store, &fd, async move |view, fd| view.set_times_at(fd, flags, path, accessed, modified).await).await
    }

    async fn link_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        new_fd: Fd,
        new_path: String,
    ) -> FilesystemResult<()> {
        let room = store.with(|mut store| {
            let view = store.get();
            view.is_within_one(&fd, &new_fd).then(|| view.room(&new_fd))
        });
        let (room, flags) = (room.ok_or(types::ErrorCode::CrossDevice)?, words::path_flags(flags));
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd, new_fd| {
            add_name(room)?;
            view.link_at(fd, flags, path, new_fd, new_path).await
        };
        call_both(store, &fd, &new_fd, work).await
    }

    async fn open_at(
        store: &Store,
        fd: Fd,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FilesystemResult<Fd> {
        look(store, &fd).await?;
        let how = super::How {
            path: words::path_flags(path_flags),
            open: words::open_flags(open_flags),
            descriptor: words::descriptor_flags(flags),
        };
        let (origin, opening) = store.with(|mut store| store.get().opening(&fd, path, how))?;
        let opened = opening.await.map_err(words::error)?;
        store.with(|mut store| store.get().take_in(opened, origin, how)).map_err(words::error)
    }

    async fn readlink_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<String> {
        look(store, &fd).await?;
        call(store, &fd, async move |view, fd| view.readlink_at(fd, path).await).await
    }

    async fn remove_directory_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        let removing = store.with(|mut store| store.get().removing(&fd, path));
        removing.await.map_err(words::error)
    }

    async fn rename_at(store: &Store, fd: Fd, path: String, new_fd: Fd, new_path: String) -> FilesystemResult<()> {
        if !store.with(|mut store| store.get().is_within_one(&fd, &new_fd)) {
            return Err(types::ErrorCode::CrossDevice.into());
        }
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd, new_fd| {
            view.rename_at(fd, path, new_fd, new_path).await
        };
        call_both(store, &fd, &new_fd, work).await
    }

    async fn symlink_at(store: &Store, fd: Fd, target: String, path: String) -> FilesystemResult<()> {
        let room = store.with(|mut store| store.get().room(&fd));
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd| {
            add_name(room)?;
            view.symlink_at(fd, target, path).await
        };
        call(store, &fd, work).await
    }

    async fn unlink_file_at(store: &Store, fd: Fd, path: String) -> FilesystemResult<()> {
        call(store, &fd, async move |view, fd| view.unlink_file_at(fd, path).await).await
    }

    async fn is_same_object(store: &Store, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, one, other| {
            view.is_same_object(one, other).await.map_err(FsError::trap)
        };
        let same = store.with(|mut store| store.get().of_both(&one, &other, work));
        same.await.map_err(Into::into)
    }

    async fn metadata_hash(store: &Store, fd: Fd) -> FilesystemResult<types::MetadataHashValue> {
        let hash = call(store, &fd, async move |view, fd| view.metadata_hash(fd).await).await?;
        Ok(words::hash(hash))
    }

    async fn metadata_hash_at(
        store: &Store,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::MetadataHashValue> {
        look(store, &fd).await?;
        let flags = words::path_flags(flags);
        let hash = call(store, &fd, async move |view, fd| view.metadata_hash_at(fd, flags, path).await).await?;
        Ok(words::hash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Load;
    use crate::mounts::{Mount, Mounts};
    use crate::sandbox::Sandbox;
    use crate::ticker::Ticker;

    #[tokio::test]
    async fn directory_is_removed_with_a_slash_after_its_name_as_in_0_2_and_a_file_is_not() {
        let dir = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(dir.path().join("below")).expect("makes");
        std::fs::write(dir.path().join("file"), "").expect("writes");
        let (path, root, below) = ("/data".to_owned(), dir.path().to_owned(), "".into());
        let mounts = vec![Mount { path, root, below, read_only: false, limit: None, late: false }];
        let sandbox = Sandbox { mounts: Mounts::new(mounts).expect("opens"), ..Sandbox::bare() };
        let engine = wasmtime::Engine::default();
        let ticker =
            Ticker::start(engine.weak(), Arc::new(Load::new(1, &tokio::runtime::Handle::current()))).expect("a thread");
        let mut store = Host::store(&engine, &Arc::new(sandbox), ticker.running());
        for (name, goes) in [("file/", false), ("below/", true)] {
            let (fd, _) = view(store.data_mut()).directories().expect("opens").remove(0);
            let remove = async |store: &Accessor<Host>| {
                Given::remove_directory_at(&store.with_getter::<Given>(view), fd, name.to_owned()).await
            };
            let removed = store.run_concurrent(remove).await.expect("concurrency");
            assert_eq!(removed.is_ok(), goes, "{name}");
        }
        assert!(!dir.path().join("below").exists() && dir.path().join("file").exists());
    }
}
