//! `wasi:filesystem`: the sandbox' directories, opened when the guest asks for the first time, and what it does in them
//! by the interfaces of 0.2. Those of 0.3 are in [`next`]; descriptors of both lie in one table.
//!
//! Resolving `..`, links and trailing slashes within a directory is wasmtime's. Added here: room is taken before anything
//! is written where a directory has a limit, a file keeps to the directory it is in, as between two disks, and the
//! container pays for the work ([`apart`]).

mod apart;
pub(crate) mod entries;
mod next;
mod streams;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor as _;
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::disk::Room;
use crate::host::Host;
use crate::mounts::{Late, Mounts, Opened};
use crate::places::Place;
use crate::usage::Usage;

use apart::call;
use entries::{LISTING_BYTES, Listing};
use streams::{Reading, Writing};

/// What a store knows of its guest's files.
#[derive(Default)]
pub(crate) struct Files {
    opened: Option<Arc<Vec<Opened>>>,
    /// Where descriptors come from. The table of handles bounds it.
    origins: HashMap<u32, Origin>,
    /// Pieces that streams of 0.3 may read or write beside each other.
    turns: Option<Arc<Semaphore>>,
    /// Directories that are being read by 0.3: streams are in no table of the host's.
    listings: Arc<AtomicU64>,
    wasi: WasiFilesystemCtx,
}

impl Files {
    /// Bytes that the host holds beside those behind its handles.
    pub(crate) fn held(&self) -> u64 {
        self.listings.load(Ordering::Relaxed).saturating_mul(LISTING_BYTES as u64)
    }
}

/// How a file is to be opened.
#[derive(Clone, Copy)]
struct How {
    path: types::PathFlags,
    open: types::OpenFlags,
    descriptor: types::DescriptorFlags,
}

/// Where a descriptor comes from.
struct Origin {
    /// The mount that it is below.
    mount: Option<usize>,
    /// Its place among those of guests; mounts themselves are open once for all.
    place: Option<Arc<Place>>,
}

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<_, Given>(linker, view)?;
    types::add_to_linker::<_, Given>(linker, view)?;
    next::link(linker)
}

pub(crate) fn view(host: &mut Host) -> View<'_> {
    host.called();
    let Files { opened, origins, turns, listings, wasi } = &mut host.files;
    let inner = WasiFilesystemCtxView { ctx: wasi, table: &mut host.table };
    View { mounts: &host.sandbox.mounts, usage: &host.sandbox.usage, opened, origins, turns, listings, inner }
}

struct Given;

impl HasData for Given {
    type Data<'a> = View<'a>;
}

pub(crate) struct View<'a> {
    mounts: &'a Mounts,
    usage: &'a Arc<Usage>,
    opened: &'a mut Option<Arc<Vec<Opened>>>,
    origins: &'a mut HashMap<u32, Origin>,
    turns: &'a mut Option<Arc<Semaphore>>,
    listings: &'a Arc<AtomicU64>,
    inner: WasiFilesystemCtxView<'a>,
}

impl View<'_> {
    fn origin(&self, fd: &Resource<Descriptor>) -> Option<usize> {
        self.origins.get(&fd.rep())?.mount
    }

    /// What keeps the descriptor's place, for whoever keeps its file.
    fn place(&self, fd: &Resource<Descriptor>) -> Option<Arc<Place>> {
        self.origins.get(&fd.rep())?.place.clone()
    }

    fn mount(&self, fd: &Resource<Descriptor>) -> Option<&Opened> {
        self.opened.as_ref()?.get(self.origin(fd)?)
    }

    /// What makes the content of the directory that a descriptor is below, if that is made late.
    fn late(&self, fd: &Resource<Descriptor>) -> Option<Arc<Late>> {
        self.mount(fd)?.late.clone()
    }

    /// The guest looks into what it has.
    async fn look(&mut self, fd: &Resource<Descriptor>) -> io::Result<()> {
        match self.late(fd) {
            Some(late) => late.look().await,
            None => Ok(()),
        }
    }

    /// The room of the directory that a descriptor is below, if it has a limit.
    fn room(&self, fd: &Resource<Descriptor>) -> Option<Arc<Room>> {
        self.mount(fd)?.room.clone()
    }

    /// A file below a directory that has a limit.
    fn counted(&self, fd: &Resource<Descriptor>) -> Option<(Arc<Room>, Arc<File>)> {
        let room = self.room(fd)?;
        match self.inner.table.get(fd) {
            Ok(Descriptor::File(file)) => Some((room, Arc::clone(&file.file))),
            // What has no such descriptor says so itself.
            Ok(Descriptor::Dir(_)) | Err(_) => None,
        }
    }

    /// A name cannot lead from one mount into another.
    fn is_within_one(&self, one: &Resource<Descriptor>, other: &Resource<Descriptor>) -> bool {
        self.origin(one) == self.origin(other)
    }

    /// Opens a file; what it will be is not in the table yet.
    fn opening(
        &self,
        fd: &Fd,
        path: String,
        how: How,
    ) -> io::Result<(Origin, impl Future<Output = FsResult<Descriptor>> + Send + use<>)> {
        let origin = Origin { mount: self.origin(fd), place: Some(Arc::new(Place::take(self.usage)?)) };
        let room = self.room(fd).filter(|_| how.open.contains(types::OpenFlags::CREATE));
        let opening = self.of(fd, async move |view, fd| {
            add_name(room)?;
            let opened = view.open_at(fd, how.path, path, how.open, how.descriptor).await?;
            Ok(view.table.delete(opened)?)
        });
        Ok((origin, opening))
    }

    /// Removes a directory.
    fn removing(&self, fd: &Fd, mut path: String) -> impl Future<Output = FsResult<()>> + Send + use<> {
        // `rmdir dir/` is `rmdir dir`, and fails in both spellings where that is no directory.
        let plain = path.trim_end_matches('/').len();
        if plain > 0 {
            path.truncate(plain);
        }
        self.of(fd, async move |view, fd| view.remove_directory_at(fd, path).await)
    }

    /// Takes in what was opened below a mount; an error when it cannot be counted.
    fn take_in(&mut self, opened: Descriptor, origin: Origin, how: How) -> FsResult<Fd> {
        let opened = self.inner.table.push(opened)?;
        self.origins.insert(opened.rep(), origin);
        let counted = self.counted(&opened).filter(|_| how.descriptor.contains(types::DescriptorFlags::WRITE));
        if let Err(error) = counted.map_or(Ok(()), |(room, file)| room.remember(&file)) {
            types::HostDescriptor::drop(self, opened).map_err(FsError::trap)?;
            return Err(error.into());
        }
        Ok(opened)
    }

    fn forget(&mut self, fd: &Resource<Descriptor>) {
        self.origins.remove(&fd.rep());
    }

    /// The file of a descriptor that may be written.
    fn writable(&self, fd: &Fd) -> FsResult<Arc<File>> {
        match self.inner.table.get(fd)? {
            Descriptor::File(file) if file.perms == FsPerms::ReadOnly => Err(types::ErrorCode::NotPermitted.into()),
            Descriptor::File(file) => Ok(Arc::clone(&file.file)),
            Descriptor::Dir(_) => Err(types::ErrorCode::BadDescriptor.into()),
        }
    }

    fn write(&mut self, fd: &Fd, position: Option<u64>) -> FsResult<Resource<DynOutputStream>> {
        let file = (self.writable(fd)?, self.place(fd));
        let writing = Writing::new(file, Arc::clone(self.usage), self.room(fd), position);
        let stream: DynOutputStream = Box::new(writing);
        Ok(self.inner.table.push(stream)?)
    }

    /// One of wasmtime's calls about a descriptor.
    fn of<T, F>(&self, fd: &Fd, work: F) -> impl Future<Output = FsResult<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Fd) -> FsResult<T> + Send + 'static,
    {
        let (descriptor, usage) = (self.inner.table.get(fd).cloned(), Arc::clone(self.usage));
        async move { call(usage, [descriptor?], async move |view, [fd]| work(view, fd).await).await }
    }

    /// One of wasmtime's calls about two.
    fn of_both<T, F>(&self, one: &Fd, other: &Fd, work: F) -> impl Future<Output = FsResult<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, Fd, Fd) -> FsResult<T> + Send + 'static,
    {
        let (one, other) = (self.inner.table.get(one).cloned(), self.inner.table.get(other).cloned());
        let usage = Arc::clone(self.usage);
        async move { call(usage, [one?, other?], async move |view, [one, other]| work(view, one, other).await).await }
    }
}

impl View<'_> {
    fn directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        if self.mounts.list().is_empty() {
            return Ok(Vec::new());
        }
        let opened = match self.opened {
            Some(opened) => opened,
            None => self.opened.insert(self.mounts.open()?),
        };
        let mut directories = Vec::with_capacity(opened.len());
        for (index, mount) in opened.iter().enumerate() {
            let (perms, mode) = if mount.read_only {
                (FsPerms::ReadOnly, OpenMode::READ)
            } else {
                (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
            };
            let mut dir = Dir::new(mount.dir.try_clone()?, perms, mode, false);
            dir.dir = Arc::clone(&mount.dir);
            let directory = self.inner.table.push(Descriptor::Dir(dir))?;
            self.origins.insert(directory.rep(), Origin { mount: Some(index), place: None });
            directories.push((directory, mount.path.clone()));
        }
        Ok(directories)
    }
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.directories()
    }
}

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<types::ErrorCode> {
        types::Host::convert_error_code(&mut self.inner, error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<types::ErrorCode>> {
        types::Host::filesystem_error_code(&mut self.inner, error)
    }
}

type Fd = Resource<Descriptor>;

/// Takes room for a file that is to hold so much. Blocks: a directory that is full is looked through.
fn grow(counted: Option<(Arc<Room>, Arc<File>)>, bytes: u64) -> io::Result<()> {
    counted.map_or(Ok(()), |(room, file)| room.grow(&file, bytes))
}

/// The same for a new name.
fn add_name(room: Option<Arc<Room>>) -> io::Result<()> {
    room.map_or(Ok(()), |room| room.add_name())
}

impl types::HostDescriptor for View<'_> {
    fn read_via_stream(&mut self, fd: Fd, offset: u64) -> FsResult<Resource<DynInputStream>> {
        let file = match self.inner.table.get(&fd)? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(_) => return Err(types::ErrorCode::IsDirectory.into()),
        };
        let stream: DynInputStream = Box::new(Reading::new((file, self.place(&fd)), Arc::clone(self.usage), offset));
        Ok(self.inner.table.push(stream)?)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        self.write(&fd, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        self.write(&fd, None)
    }

    async fn advise(&mut self, fd: Fd, offset: u64, length: u64, advice: types::Advice) -> FsResult<()> {
        self.of(&fd, async move |view, fd| view.advise(fd, offset, length, advice).await).await
    }

    async fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        self.of(&fd, async move |view, fd| view.sync_data(fd).await).await
    }

    async fn get_flags(&mut self, fd: Fd) -> FsResult<types::DescriptorFlags> {
        self.of(&fd, async move |view, fd| view.get_flags(fd).await).await
    }

    async fn get_type(&mut self, fd: Fd) -> FsResult<types::DescriptorType> {
        if self.is_directory(&fd)? {
            return Ok(types::DescriptorType::Directory);
        }
        self.of(&fd, async move |view, fd| view.get_type(fd).await).await
    }

    async fn set_size(&mut self, fd: Fd, size: u64) -> FsResult<()> {
        let counted = self.counted(&fd);
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd| {
            grow(counted, size)?;
            view.set_size(fd, size).await
        };
        self.of(&fd, work).await
    }

    async fn set_times(
        &mut self,
        fd: Fd,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        self.of(&fd, async move |view, fd| view.set_times(fd, accessed, modified).await).await
    }

    async fn read(&mut self, fd: Fd, length: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        self.of(&fd, async move |view, fd| view.read(fd, length, offset).await).await
    }

    async fn write(&mut self, fd: Fd, buffer: Vec<u8>, offset: u64) -> FsResult<u64> {
        let counted = self.counted(&fd);
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd| {
            grow(counted, offset.saturating_add(buffer.len() as u64))?;
            view.write(fd, buffer, offset).await
        };
        self.of(&fd, work).await
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<types::DirectoryEntryStream>> {
        self.look(&fd).await?;
        let dir = match self.inner.table.get(&fd)? {
            Descriptor::Dir(dir) => Arc::clone(&dir.dir),
            Descriptor::File(_) => return Err(types::ErrorCode::NotDirectory.into()),
        };
        let listing = Listing::of(dir, Arc::clone(self.usage)).await?;
        Ok(Resource::new_own(self.inner.table.push(listing)?.rep()))
    }

    async fn sync(&mut self, fd: Fd) -> FsResult<()> {
        self.of(&fd, async move |view, fd| view.sync(fd).await).await
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let room = self.room(&fd);
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd| {
            add_name(room)?;
            view.create_directory_at(fd, path).await
        };
        self.of(&fd, work).await
    }

    async fn stat(&mut self, fd: Fd) -> FsResult<types::DescriptorStat> {
        self.of(&fd, async move |view, fd| view.stat(fd).await).await
    }

    async fn stat_at(&mut self, fd: Fd, flags: types::PathFlags, path: String) -> FsResult<types::DescriptorStat> {
        self.look(&fd).await?;
        self.of(&fd, async move |view, fd| view.stat_at(fd, flags, path).await).await
    }

    async fn set_times_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        self.of(&fd, async move |view, fd| view.set_times_at(fd, flags, path, accessed, modified).await).await
    }

    async fn link_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        new_fd: Fd,
        new_path: String,
    ) -> FsResult<()> {
        if !self.is_within_one(&fd, &new_fd) {
            return Err(types::ErrorCode::CrossDevice.into());
        }
        let room = self.room(&new_fd);
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd, new_fd| {
            add_name(room)?;
            view.link_at(fd, flags, path, new_fd, new_path).await
        };
        self.of_both(&fd, &new_fd, work).await
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Fd> {
        self.look(&fd).await?;
        let how = How { path: path_flags, open: open_flags, descriptor: flags };
        let (origin, opening) = self.opening(&fd, path, how)?;
        let opened = opening.await?;
        self.take_in(opened, origin, how)
    }

    async fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        self.look(&fd).await?;
        self.of(&fd, async move |view, fd| view.readlink_at(fd, path).await).await
    }

    async fn remove_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.removing(&fd, path).await
    }

    async fn rename_at(&mut self, fd: Fd, path: String, new_fd: Fd, new_path: String) -> FsResult<()> {
        if !self.is_within_one(&fd, &new_fd) {
            return Err(types::ErrorCode::CrossDevice.into());
        }
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd, new_fd| {
            view.rename_at(fd, path, new_fd, new_path).await
        };
        self.of_both(&fd, &new_fd, work).await
    }

    async fn symlink_at(&mut self, fd: Fd, target: String, path: String) -> FsResult<()> {
        let room = self.room(&fd);
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, fd| {
            add_name(room)?;
            view.symlink_at(fd, target, path).await
        };
        self.of(&fd, work).await
    }

    async fn unlink_file_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.of(&fd, async move |view, fd| view.unlink_file_at(fd, path).await).await
    }

    async fn is_same_object(&mut self, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        let work = async move |view: &mut WasiFilesystemCtxView<'_>, one, other| {
            view.is_same_object(one, other).await.map_err(FsError::trap)
        };
        self.of_both(&one, &other, work).await.map_err(Into::into)
    }

    async fn metadata_hash(&mut self, fd: Fd) -> FsResult<types::MetadataHashValue> {
        self.of(&fd, async move |view, fd| view.metadata_hash(fd).await).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        self.look(&fd).await?;
        self.of(&fd, async move |view, fd| view.metadata_hash_at(fd, flags, path).await).await
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.forget(&fd);
        types::HostDescriptor::drop(&mut self.inner, fd)
    }
}

impl types::HostDirectoryEntryStream for View<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        let listing = self.inner.table.get_mut(&Resource::<Listing>::new_borrow(stream.rep()))?;
        Ok(listing.next().await?)
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.inner.table.delete(Resource::<Listing>::new_own(stream.rep()))?;
        Ok(())
    }
}
