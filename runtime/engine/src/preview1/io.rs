//! Reading and writing what is open.

use tokio::io::AsyncBufReadExt as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{Advice, HostDescriptor as _};

use super::descriptors::{self, Entry, File, Preview1, close, file, file_or_directory, lend};
use super::errno::{Errno, Outcome};
use super::guest::Guest;
use crate::capabilities::filesystem::view;
use crate::host::Host;
use crate::output::PIECE_BYTES_MAX;
use crate::sandbox::Stream;

/// The most that one call reads or writes. Whoever wants more calls again, as POSIX lets it.
const CALL_BYTES_MAX: usize = 1 << 20;

const WHENCE_SET: u32 = 0;
const WHENCE_CURRENT: u32 = 1;
const WHENCE_END: u32 = 2;

fn count(bytes: usize) -> Outcome<u32> {
    u32::try_from(bytes).map_err(|_| Errno::Overflow.into())
}

pub(super) async fn fd_read(guest: &mut Guest<'_>, fd: u32, vectors: u32, len: u32, done: u32) -> Outcome<()> {
    let pieces = guest.vectors(vectors, len, CALL_BYTES_MAX)?;
    let wanted: usize = pieces.iter().map(|piece| piece.len).sum();
    let File { rep, position, .. } = match Preview1::of(guest.host)?.get(fd)? {
        Entry::File(file) => *file,
        Entry::Input => {
            let bytes = take_input(guest.host, wanted).await?;
            guest.scatter(&pieces, &bytes);
            return guest.put_u32(done, count(bytes.len())?);
        }
        Entry::Output(_) | Entry::Directory { .. } => return Err(Errno::Badf.into()),
    };
    let (bytes, _) = view(guest.host).read(lend(rep), wanted as u64, position).await?;
    guest.scatter(&pieces, &bytes);
    file(guest.host, fd)?.position = position.saturating_add(bytes.len() as u64);
    guest.put_u32(done, count(bytes.len())?)
}

async fn take_input(host: &mut Host, wanted: usize) -> Outcome<Vec<u8>> {
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let input = descriptors::input(host).await?;
    let there = input.fill_buf().await.map_err(|_| Errno::Io)?;
    let bytes = there[..wanted.min(there.len())].to_vec();
    input.consume(bytes.len());
    Ok(bytes)
}

pub(super) async fn fd_pread(
    guest: &mut Guest<'_>,
    fd: u32,
    vectors: u32,
    len: u32,
    offset: u64,
    done: u32,
) -> Outcome<()> {
    let pieces = guest.vectors(vectors, len, CALL_BYTES_MAX)?;
    let wanted: usize = pieces.iter().map(|piece| piece.len).sum();
    let rep = file(guest.host, fd)?.rep;
    let (bytes, _) = view(guest.host).read(lend(rep), wanted as u64, offset).await?;
    guest.scatter(&pieces, &bytes);
    guest.put_u32(done, count(bytes.len())?)
}

pub(super) async fn fd_write(guest: &mut Guest<'_>, fd: u32, vectors: u32, len: u32, done: u32) -> Outcome<()> {
    let pieces = guest.vectors(vectors, len, CALL_BYTES_MAX)?;
    let File { rep, position, append, .. } = match Preview1::of(guest.host)?.get(fd)? {
        Entry::File(file) => *file,
        Entry::Output(stream) => {
            let stream = *stream;
            let mut written = 0;
            for piece in pieces {
                print(guest, stream, guest.bytes(piece));
                written += piece.len;
            }
            return guest.put_u32(done, count(written)?);
        }
        Entry::Input | Entry::Directory { .. } => return Err(Errno::Badf.into()),
    };
    let bytes = guest.gather(&pieces);
    let at = if append { view(guest.host).stat(lend(rep)).await?.size } else { position };
    let written = view(guest.host).write(lend(rep), bytes, at).await?;
    file(guest.host, fd)?.position = at.saturating_add(written);
    guest.put_u32(done, u32::try_from(written).map_err(|_| Errno::Overflow)?)
}

/// In pieces, since an output takes no more at once.
fn print(guest: &Guest<'_>, stream: Stream, bytes: &[u8]) {
    for piece in bytes.chunks(PIECE_BYTES_MAX) {
        guest.host.sandbox.output.write(stream, piece);
    }
}

pub(super) async fn fd_pwrite(
    guest: &mut Guest<'_>,
    fd: u32,
    vectors: u32,
    len: u32,
    offset: u64,
    done: u32,
) -> Outcome<()> {
    let bytes = guest.gather(&guest.vectors(vectors, len, CALL_BYTES_MAX)?);
    let File { rep, append, .. } = *file(guest.host, fd)?;
    // As Linux does: who opened it to append, appends.
    let at = if append { view(guest.host).stat(lend(rep)).await?.size } else { offset };
    let written = view(guest.host).write(lend(rep), bytes, at).await?;
    guest.put_u32(done, u32::try_from(written).map_err(|_| Errno::Overflow)?)
}

pub(super) async fn fd_seek(guest: &mut Guest<'_>, fd: u32, offset: i64, whence: u32, at: u32) -> Outcome<()> {
    let File { rep, position, .. } = *file(guest.host, fd)?;
    let from = match whence {
        WHENCE_SET => 0,
        WHENCE_CURRENT => position,
        WHENCE_END => view(guest.host).stat(lend(rep)).await?.size,
        _ => return Err(Errno::Inval.into()),
    };
    let to = from.checked_add_signed(offset).ok_or(Errno::Inval)?;
    file(guest.host, fd)?.position = to;
    guest.put_u64(at, to)
}

pub(super) fn fd_tell(guest: &mut Guest<'_>, fd: u32, at: u32) -> Outcome<()> {
    let position = file(guest.host, fd)?.position;
    guest.put_u64(at, position)
}

pub(super) fn fd_close(guest: &mut Guest<'_>, fd: u32) -> Outcome<()> {
    let entry = Preview1::of(guest.host)?.take(fd)?;
    close(guest.host, &entry)
}

pub(super) fn fd_renumber(guest: &mut Guest<'_>, from: u32, to: u32) -> Outcome<()> {
    let this = Preview1::of(guest.host)?;
    this.get(from)?;
    this.get(to)?;
    if from == to {
        return Ok(());
    }
    let entry = this.take(from)?;
    match this.put(to, entry) {
        Some(before) => close(guest.host, &before),
        None => Ok(()),
    }
}

pub(super) async fn fd_advise(guest: &mut Guest<'_>, fd: u32, offset: u64, len: u64, advice: u32) -> Outcome<()> {
    let advice = match advice {
        0 => Advice::Normal,
        1 => Advice::Sequential,
        2 => Advice::Random,
        3 => Advice::WillNeed,
        4 => Advice::DontNeed,
        5 => Advice::NoReuse,
        _ => return Err(Errno::Inval.into()),
    };
    let rep = file(guest.host, fd)?.rep;
    Ok(view(guest.host).advise(lend(rep), offset, len, advice).await?)
}

/// Makes the file as long as it has to be; a file system that keeps room for it is nothing WASI knows.
pub(super) async fn fd_allocate(guest: &mut Guest<'_>, fd: u32, offset: u64, len: u64) -> Outcome<()> {
    let rep = file(guest.host, fd)?.rep;
    if len == 0 {
        return Err(Errno::Inval.into());
    }
    let end = offset.checked_add(len).ok_or(Errno::Fbig)?;
    if view(guest.host).stat(lend(rep)).await?.size >= end {
        return Ok(());
    }
    Ok(view(guest.host).set_size(lend(rep), end).await?)
}

pub(super) async fn fd_sync(guest: &mut Guest<'_>, fd: u32) -> Outcome<()> {
    let descriptor = file_or_directory(guest.host, fd)?;
    Ok(view(guest.host).sync(descriptor).await?)
}

pub(super) async fn fd_datasync(guest: &mut Guest<'_>, fd: u32) -> Outcome<()> {
    let descriptor = file_or_directory(guest.host, fd)?;
    Ok(view(guest.host).sync_data(descriptor).await?)
}

pub(super) async fn fd_filestat_set_size(guest: &mut Guest<'_>, fd: u32, size: u64) -> Outcome<()> {
    let rep = file(guest.host, fd)?.rep;
    Ok(view(guest.host).set_size(lend(rep), size).await?)
}
