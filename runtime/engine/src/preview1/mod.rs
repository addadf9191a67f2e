//! `wasi_snapshot_preview1` for core modules that are programs or reactors: what the module calls, over the same files, streams and
//! limits that components have.
//!
//! Such a module could be wrapped into a component with the preview-1 adapter, as those that carry an interface are (`adapt`):
//! they allocate by a function of their own. But without one the adapter
//! puts its own state into the program's memory by growing it, before the program's allocator has looked how large the
//! memory is. The C libraries of wasi-sdk up to 18, and Go's runtime, take all that is there for theirs, and overwrite it.

mod descriptors;
mod errno;
mod guest;
mod io;
mod listing;
mod paths;
mod poll;
mod process;
mod stat;

use wasmtime::{Caller, InstancePre, Linker, Module, Store};
use wasmtime_wasi::I32Exit;

pub(crate) use self::descriptors::Preview1;
use self::errno::{Errno, Outcome, Stop};
use self::guest::Guest;
use crate::host::Host;
use crate::imports::{NAMES_MAX, short};
use crate::prepare::PrepareError;

/// What modules import these functions from.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// What a program is entered by.
pub(crate) const START: &str = "_start";

const SUCCESS: i32 = 0;

fn told(outcome: Outcome<()>) -> wasmtime::Result<i32> {
    match outcome {
        Ok(()) => Ok(SUCCESS),
        Err(Stop::Errno(errno)) => Ok(i32::from(errno as u16)),
        Err(Stop::Trap(error)) => Err(error),
    }
}

/// Links functions that answer at once.
macro_rules! at_once {
    ($linker:ident: $($name:literal ($guest:ident $(, $argument:ident: $ty:ty)*) $body:expr;)*) => {$(
        $linker.func_wrap(MODULE, $name, |mut caller: Caller<'_, Host> $(, $argument: $ty)*| {
            let mut guest = Guest::of(&mut caller)?;
            let $guest = &mut guest;
            told($body)
        })?;
    )*};
}

/// Links functions that may take their time.
macro_rules! in_time {
    ($linker:ident: $($name:literal ($guest:ident $(, $argument:ident: $ty:ty)*) $body:expr;)*) => {$(
        $linker.func_wrap_async(MODULE, $name, |mut caller: Caller<'_, Host>, ($($argument,)*): ($($ty,)*)| {
            Box::new(async move {
                let mut guest = Guest::of(&mut caller)?;
                let $guest = &mut guest;
                told($body.await)
            })
        })?;
    )*};
}

/// All functions of preview 1.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    link_process(&mut linker)?;
    link_descriptors(&mut linker)?;
    link_paths(&mut linker)?;
    Ok(linker)
}

fn link_process(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    at_once! { linker:
        "args_get" (guest, pointers: u32, buffer: u32) process::args_get(guest, pointers, buffer);
        "args_sizes_get" (guest, count: u32, size: u32) process::args_sizes_get(guest, count, size);
        "environ_get" (guest, pointers: u32, buffer: u32) process::environ_get(guest, pointers, buffer);
        "environ_sizes_get" (guest, count: u32, size: u32) process::environ_sizes_get(guest, count, size);
        "clock_res_get" (guest, id: u32, at: u32) process::clock_res_get(guest, id, at);
        "clock_time_get" (guest, id: u32, _precision: u64, at: u32) process::clock_time_get(guest, id, at);
        "proc_raise" (_guest, _signal: u32) Err(Errno::Notsup.into());
        // A pod's sockets are those of WASI 0.2: preview 1 cannot open any, and none is given.
        "sock_accept" (_guest, _fd: u32, _flags: u32, _at: u32) Err(Errno::Notsock.into());
        "sock_recv" (_guest, _fd: u32, _vectors: u32, _len: u32, _flags: u32, _done: u32, _out: u32)
            Err(Errno::Notsock.into());
        "sock_send" (_guest, _fd: u32, _vectors: u32, _len: u32, _flags: u32, _done: u32) Err(Errno::Notsock.into());
        "sock_shutdown" (_guest, _fd: u32, _how: u32) Err(Errno::Notsock.into());
    }
    linker.func_wrap(MODULE, "proc_exit", |code: i32| Err::<(), _>(wasmtime::Error::from(I32Exit(code))))?;
    linker.func_wrap_async(MODULE, "sched_yield", |_: Caller<'_, Host>, (): ()| {
        Box::new(async {
            tokio::task::yield_now().await;
            SUCCESS
        })
    })?;
    in_time! { linker:
        "random_get" (guest, at: u32, len: u32) process::random_get(guest, at, len);
        "poll_oneoff" (guest, given: u32, events: u32, count: u32, done: u32)
            poll::poll_oneoff(guest, given, events, count, done);
    }
    Ok(())
}

fn link_descriptors(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    at_once! { linker:
        "fd_close" (guest, fd: u32) io::fd_close(guest, fd);
        "fd_renumber" (guest, from: u32, to: u32) io::fd_renumber(guest, from, to);
        "fd_tell" (guest, fd: u32, at: u32) io::fd_tell(guest, fd, at);
        "fd_fdstat_set_flags" (guest, fd: u32, flags: u32) stat::fd_fdstat_set_flags(guest, fd, flags);
        "fd_fdstat_set_rights" (guest, fd: u32, _base: u64, _inheriting: u64) stat::fd_fdstat_set_rights(guest, fd);
        "fd_prestat_get" (guest, fd: u32, at: u32) stat::fd_prestat_get(guest, fd, at);
        "fd_prestat_dir_name" (guest, fd: u32, at: u32, len: u32) stat::fd_prestat_dir_name(guest, fd, at, len);
    }
    in_time! { linker:
        "fd_advise" (guest, fd: u32, offset: u64, len: u64, advice: u32)
            io::fd_advise(guest, fd, offset, len, advice);
        "fd_allocate" (guest, fd: u32, offset: u64, len: u64) io::fd_allocate(guest, fd, offset, len);
        "fd_datasync" (guest, fd: u32) io::fd_datasync(guest, fd);
        "fd_sync" (guest, fd: u32) io::fd_sync(guest, fd);
        "fd_seek" (guest, fd: u32, offset: i64, whence: u32, at: u32) io::fd_seek(guest, fd, offset, whence, at);
        "fd_read" (guest, fd: u32, vectors: u32, len: u32, done: u32) io::fd_read(guest, fd, vectors, len, done);
        "fd_pread" (guest, fd: u32, vectors: u32, len: u32, offset: u64, done: u32)
            io::fd_pread(guest, fd, vectors, len, offset, done);
        "fd_write" (guest, fd: u32, vectors: u32, len: u32, done: u32) io::fd_write(guest, fd, vectors, len, done);
        "fd_pwrite" (guest, fd: u32, vectors: u32, len: u32, offset: u64, done: u32)
            io::fd_pwrite(guest, fd, vectors, len, offset, done);
        "fd_readdir" (guest, fd: u32, buffer: u32, len: u32, cookie: u64, done: u32)
            listing::fd_readdir(guest, fd, (buffer, len), cookie, done);
        "fd_fdstat_get" (guest, fd: u32, at: u32) stat::fd_fdstat_get(guest, fd, at);
        "fd_filestat_get" (guest, fd: u32, at: u32) stat::fd_filestat_get(guest, fd, at);
        "fd_filestat_set_size" (guest, fd: u32, size: u64) io::fd_filestat_set_size(guest, fd, size);
        "fd_filestat_set_times" (guest, fd: u32, accessed: u64, modified: u64, flags: u32)
            stat::fd_filestat_set_times(guest, fd, stat::Times { accessed, modified, flags });
    }
    Ok(())
}

fn link_paths(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    in_time! { linker:
        "path_create_directory" (guest, fd: u32, path: u32, len: u32)
            paths::path_create_directory(guest, fd, (path, len));
        "path_filestat_get" (guest, fd: u32, lookup: u32, path: u32, len: u32, at: u32)
            stat::path_filestat_get(guest, fd, lookup, (path, len), at);
        "path_filestat_set_times"
            (guest, fd: u32, lookup: u32, path: u32, len: u32, accessed: u64, modified: u64, flags: u32)
            stat::path_filestat_set_times(guest, fd, lookup, (path, len), stat::Times { accessed, modified, flags });
        "path_link" (guest, from: u32, lookup: u32, old: u32, old_len: u32, to: u32, new: u32, new_len: u32)
            paths::path_link(guest, from, lookup, (old, old_len), to, (new, new_len));
        "path_open"
            (guest, fd: u32, lookup: u32, path: u32, len: u32, flags: u32, rights: u64, _inheriting: u64,
             fd_flags: u32, opened: u32)
            paths::path_open(guest, fd, (path, len), paths::Open { lookup, flags, rights, fd_flags }, opened);
        "path_readlink" (guest, fd: u32, path: u32, len: u32, buffer: u32, buffer_len: u32, done: u32)
            paths::path_readlink(guest, fd, (path, len), (buffer, buffer_len), done);
        "path_remove_directory" (guest, fd: u32, path: u32, len: u32)
            paths::path_remove_directory(guest, fd, (path, len));
        "path_rename" (guest, from: u32, old: u32, old_len: u32, to: u32, new: u32, new_len: u32)
            paths::path_rename(guest, from, (old, old_len), to, (new, new_len));
        "path_symlink" (guest, old: u32, old_len: u32, fd: u32, new: u32, new_len: u32)
            paths::path_symlink(guest, (old, old_len), fd, (new, new_len));
        "path_unlink_file" (guest, fd: u32, path: u32, len: u32) paths::path_unlink_file(guest, fd, (path, len));
    }
    Ok(())
}

/// A program or reactor, linked.
pub(crate) fn link(linker: &Linker<Host>, module: &Module) -> Result<InstancePre<Host>, PrepareError> {
    let link = |error: wasmtime::Error| PrepareError::Link { message: format!("{error:#}") };
    let mut probe = linker.clone();
    let missing: Vec<String> = module
        .imports()
        // A linker does not say what it has, but refuses to have it twice.
        .filter(|import| {
            let nothing = |_: Caller<'_, Host>, _: &[wasmtime::Val], _: &mut [wasmtime::Val]| Ok(());
            let ty = wasmtime::FuncType::new(module.engine(), [], []);
            import.module() != MODULE || probe.func_new(import.module(), import.name(), ty, nothing).is_ok()
        })
        .take(NAMES_MAX)
        .map(|import| format!("{} {}", short(import.module()), short(import.name())))
        .collect();
    if !missing.is_empty() {
        return Err(PrepareError::CoreImports { missing });
    }
    // Now rather than at the first start.
    module.initialize_copy_on_write_image().map_err(link)?;
    linker.instantiate_pre(module).map_err(link)
}

/// Runs it from start to end.
pub(crate) async fn run(pre: &InstancePre<Host>, store: &mut Store<Host>) -> wasmtime::Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    store.data_mut().limits.started();
    let start = instance.get_typed_func::<(), ()>(&mut *store, START)?;
    start.call_async(store, ()).await
}
