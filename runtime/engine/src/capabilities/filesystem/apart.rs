//! Calls of 0.2 on threads that may wait for the disk, at the container's cost.
//!
//! wasmtime's own calls go to such threads as well, but what they take there is nobody's: a guest with a hundredth of a
//! core would keep whole cores busy with reads of a cached file. So each call is made there as a whole, with descriptors of
//! its own that do their work where they are asked.

use std::fs::File;
use std::sync::Arc;

use futures::FutureExt as _;
use wasmtime::component::{Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi::filesystem::{self, Descriptor, Dir, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::{FsError, FsResult};

use super::View;
use crate::threads::apart;
use crate::usage::Usage;

/// Makes one of wasmtime's calls there, about `descriptors`, which `call` finds in a table of its own.
pub(super) async fn call<const N: usize, T, F>(usage: Arc<Usage>, descriptors: [Descriptor; N], call: F) -> FsResult<T>
where
    T: Send + 'static,
    F: AsyncFnOnce(&mut WasiFilesystemCtxView<'_>, [Resource<Descriptor>; N]) -> FsResult<T> + Send + 'static,
{
    apart(&usage, move || {
        let mut table = ResourceTable::new();
        let mut handles = Vec::with_capacity(N);
        for descriptor in &descriptors {
            handles.push(table.push(here(descriptor)?)?);
        }
        let handles = handles.try_into().expect("one for each");
        let mut ctx = WasiFilesystemCtx::default();
        let mut view = WasiFilesystemCtxView { ctx: &mut ctx, table: &mut table };
        let done = call(&mut view, handles).now_or_never();
        done.unwrap_or_else(|| Err(FsError::trap(wasmtime::format_err!("a call waits for another thread"))))
    })
    .await
}

/// The same file or directory, which does its work on the thread that asks.
fn here(descriptor: &Descriptor) -> std::io::Result<Descriptor> {
    // wasmtime takes the flag with a file of its own only.
    let any = |file: &Arc<File>| file.try_clone();
    Ok(match descriptor {
        Descriptor::File(of) => Descriptor::File(filesystem::File::new(any(&of.file)?, of.perms, of.open_mode, true)),
        Descriptor::Dir(of) => Descriptor::Dir(Dir::new(any(&of.dir)?, of.perms, of.open_mode, true)),
    })
}

impl View<'_> {
    /// Whether it is a directory: known without the disk, and guests of preview 1 ask it of each one as they begin.
    pub(super) fn is_directory(&self, fd: &Resource<Descriptor>) -> Result<bool, ResourceTableError> {
        Ok(matches!(self.inner.table.get(fd)?, Descriptor::Dir(_)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor as _;
    use wasmtime_wasi::{FsPerms, OpenMode};

    use super::*;
    use crate::sandbox::MemoryBytes;
    use crate::usage::CpuLimits;

    /// So long on a core.
    fn spin(time: Duration) {
        let clock = || Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime));
        let began = clock().expect("after 1970");
        while clock().expect("after 1970") < began + time {}
    }

    #[tokio::test]
    async fn what_a_call_takes_on_another_thread_is_the_containers() {
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![7; 64 << 10]).expect("writes");
        let given = filesystem::File::new(file, FsPerms::ReadOnly, OpenMode::READ, false);
        let read = call(Arc::clone(&usage), [Descriptor::File(given)], async |view, [fd]| {
            spin(Duration::from_millis(20));
            view.read(fd, 1 << 20, 0).await
        });
        assert_eq!(read.await.expect("reads").0, vec![7; 64 << 10]);
        assert!(usage.used().cpu >= Duration::from_millis(19), "{:?}", usage.used());
    }
}
