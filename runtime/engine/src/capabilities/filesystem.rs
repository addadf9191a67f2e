//! `wasi:filesystem`: the sandbox' directories, opened when the guest asks for the first time, and what it does in them.
//!
//! Resolving `..`, links and trailing slashes within a directory is wasmtime's. Added here: room is taken before anything
//! is written where a directory has a limit, and a file keeps to the directory it is in, as between two disks.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::disk::Room;
use crate::host::Host;
use crate::mounts::{Mounts, Opened};

/// What a store knows of its guest's files.
#[derive(Default)]
pub(crate) struct Files {
    opened: Option<Arc<Vec<Opened>>>,
    /// Which mount a descriptor is below. The table of handles bounds it.
    origins: HashMap<u32, usize>,
    wasi: WasiFilesystemCtx,
}

pub(crate) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<_, Given>(linker, view)?;
    types::add_to_linker::<_, Given>(linker, view)
}

pub(crate) fn view(host: &mut Host) -> View<'_> {
    host.called();
    let Files { opened, origins, wasi } = &mut host.files;
    let inner = WasiFilesystemCtxView { ctx: wasi, table: &mut host.table };
    View { mounts: &host.sandbox.mounts, opened, origins, inner }
}

struct Given;

impl HasData for Given {
    type Data<'a> = View<'a>;
}

pub(crate) struct View<'a> {
    mounts: &'a Mounts,
    opened: &'a mut Option<Arc<Vec<Opened>>>,
    origins: &'a mut HashMap<u32, usize>,
    inner: WasiFilesystemCtxView<'a>,
}

impl View<'_> {
    fn origin(&self, fd: &Resource<Descriptor>) -> Option<usize> {
        self.origins.get(&fd.rep()).copied()
    }

    /// The room of the directory that a descriptor is below, if it has a limit.
    fn room(&self, fd: &Resource<Descriptor>) -> Option<Arc<Room>> {
        let opened = self.opened.as_ref()?;
        opened.get(self.origin(fd)?)?.room.clone()
    }

    /// A file below a directory that has a limit.
    fn counted(&self, fd: &Resource<Descriptor>) -> wasmtime::Result<Option<(Arc<Room>, Arc<File>)>> {
        let Some(room) = self.room(fd) else { return Ok(None) };
        Ok(match self.inner.table.get(fd)? {
            Descriptor::File(file) => Some((room, Arc::clone(&file.file))),
            Descriptor::Dir(_) => None,
        })
    }

    fn add_name(&self, fd: &Resource<Descriptor>) -> FsResult<()> {
        if let Some(room) = self.room(fd) {
            room.add_name()?;
        }
        Ok(())
    }

    /// A name cannot lead from one mount into another.
    fn within_one(&self, one: &Resource<Descriptor>, other: &Resource<Descriptor>) -> FsResult<()> {
        if self.origin(one) == self.origin(other) { Ok(()) } else { Err(types::ErrorCode::CrossDevice.into()) }
    }

    /// Has `stream` take room for what it writes.
    fn count(
        &mut self,
        stream: Resource<DynOutputStream>,
        counted: Option<(Arc<Room>, Arc<File>)>,
        position: Option<u64>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let Some((room, file)) = counted else { return Ok(stream) };
        let inner = self.inner.table.delete(stream)?;
        let counted: DynOutputStream = Box::new(Counted { inner, room, file, position });
        Ok(self.inner.table.push(counted)?)
    }
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
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
            self.origins.insert(directory.rep(), index);
            directories.push((directory, mount.path.clone()));
        }
        Ok(directories)
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

impl types::HostDescriptor for View<'_> {
    fn read_via_stream(&mut self, fd: Fd, offset: u64) -> FsResult<Resource<DynInputStream>> {
        self.inner.read_via_stream(fd, offset)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: u64) -> FsResult<Resource<DynOutputStream>> {
        let counted = self.counted(&fd).map_err(FsError::trap)?;
        let stream = self.inner.write_via_stream(fd, offset)?;
        self.count(stream, counted, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        let counted = self.counted(&fd).map_err(FsError::trap)?;
        let stream = self.inner.append_via_stream(fd)?;
        self.count(stream, counted, None)
    }

    async fn advise(&mut self, fd: Fd, offset: u64, length: u64, advice: types::Advice) -> FsResult<()> {
        self.inner.advise(fd, offset, length, advice).await
    }

    async fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        self.inner.sync_data(fd).await
    }

    async fn get_flags(&mut self, fd: Fd) -> FsResult<types::DescriptorFlags> {
        self.inner.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Fd) -> FsResult<types::DescriptorType> {
        self.inner.get_type(fd).await
    }

    async fn set_size(&mut self, fd: Fd, size: u64) -> FsResult<()> {
        if let Some((room, file)) = self.counted(&fd).map_err(FsError::trap)? {
            room.grow(&file, size)?;
        }
        self.inner.set_size(fd, size).await
    }

    async fn set_times(
        &mut self,
        fd: Fd,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        self.inner.set_times(fd, accessed, modified).await
    }

    async fn read(&mut self, fd: Fd, length: u64, offset: u64) -> FsResult<(Vec<u8>, bool)> {
        self.inner.read(fd, length, offset).await
    }

    async fn write(&mut self, fd: Fd, buffer: Vec<u8>, offset: u64) -> FsResult<u64> {
        if let Some((room, file)) = self.counted(&fd).map_err(FsError::trap)? {
            room.grow(&file, offset.saturating_add(buffer.len() as u64))?;
        }
        self.inner.write(fd, buffer, offset).await
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<types::DirectoryEntryStream>> {
        self.inner.read_directory(fd).await
    }

    async fn sync(&mut self, fd: Fd) -> FsResult<()> {
        self.inner.sync(fd).await
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.add_name(&fd)?;
        self.inner.create_directory_at(fd, path).await
    }

    async fn stat(&mut self, fd: Fd) -> FsResult<types::DescriptorStat> {
        self.inner.stat(fd).await
    }

    async fn stat_at(&mut self, fd: Fd, flags: types::PathFlags, path: String) -> FsResult<types::DescriptorStat> {
        self.inner.stat_at(fd, flags, path).await
    }

    async fn set_times_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        accessed: types::NewTimestamp,
        modified: types::NewTimestamp,
    ) -> FsResult<()> {
        self.inner.set_times_at(fd, flags, path, accessed, modified).await
    }

    async fn link_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
        new_fd: Fd,
        new_path: String,
    ) -> FsResult<()> {
        self.within_one(&fd, &new_fd)?;
        self.add_name(&new_fd)?;
        self.inner.link_at(fd, flags, path, new_fd, new_path).await
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: types::PathFlags,
        path: String,
        open_flags: types::OpenFlags,
        flags: types::DescriptorFlags,
    ) -> FsResult<Fd> {
        let (origin, room) = (self.origin(&fd), self.room(&fd));
        if let Some(room) = room.as_ref().filter(|_| open_flags.contains(types::OpenFlags::CREATE)) {
            room.add_name()?;
        }
        let opened = self.inner.open_at(fd, path_flags, path, open_flags, flags).await?;
        if let Some(origin) = origin {
            self.origins.insert(opened.rep(), origin);
        }
        if let Some((room, file)) = self.counted(&opened).map_err(FsError::trap)?
            && flags.contains(types::DescriptorFlags::WRITE)
            && let Err(error) = room.remember(&file)
        {
            types::HostDescriptor::drop(self, opened).map_err(FsError::trap)?;
            return Err(error.into());
        }
        Ok(opened)
    }

    async fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        self.inner.readlink_at(fd, path).await
    }

    async fn remove_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.inner.remove_directory_at(fd, path).await
    }

    async fn rename_at(&mut self, fd: Fd, path: String, new_fd: Fd, new_path: String) -> FsResult<()> {
        self.within_one(&fd, &new_fd)?;
        self.inner.rename_at(fd, path, new_fd, new_path).await
    }

    async fn symlink_at(&mut self, fd: Fd, target: String, path: String) -> FsResult<()> {
        self.add_name(&fd)?;
        self.inner.symlink_at(fd, target, path).await
    }

    async fn unlink_file_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.inner.unlink_file_at(fd, path).await
    }

    async fn is_same_object(&mut self, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        self.inner.is_same_object(one, other).await
    }

    async fn metadata_hash(&mut self, fd: Fd) -> FsResult<types::MetadataHashValue> {
        self.inner.metadata_hash(fd).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Fd,
        flags: types::PathFlags,
        path: String,
    ) -> FsResult<types::MetadataHashValue> {
        self.inner.metadata_hash_at(fd, flags, path).await
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        self.origins.remove(&fd.rep());
        types::HostDescriptor::drop(&mut self.inner, fd)
    }
}

impl types::HostDirectoryEntryStream for View<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        self.inner.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        types::HostDirectoryEntryStream::drop(&mut self.inner, stream)
    }
}

/// A stream into a file that takes room first.
struct Counted {
    inner: DynOutputStream,
    room: Arc<Room>,
    file: Arc<File>,
    /// Where it writes; None at the file's end.
    position: Option<u64>,
}

impl Counted {
    fn take(&mut self, bytes: usize) -> StreamResult<()> {
        let bytes = bytes as u64;
        let taken = match &mut self.position {
            Some(position) => {
                let end = position.saturating_add(bytes);
                self.room.grow(&self.file, end).map(|()| *position = end)
            }
            None => self.file.metadata().and_then(|it| self.room.grow(&self.file, it.len().saturating_add(bytes))),
        };
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
