//! What is done by path.

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, HostDescriptor as _, OpenFlags};

use super::descriptors::{Entry, File, Preview1, directory, is_directory};
use super::errno::{Errno, Outcome};
use super::guest::Guest;
use super::stat::{APPEND, DSYNC, FD_READ, FD_WRITE, NONBLOCK, RSYNC, SYNC, path_flags};
use crate::capabilities::filesystem::view;

/// The directory that is meant, and the path below it.
pub(super) fn below(guest: &mut Guest<'_>, fd: u32, (at, len): (u32, u32)) -> Outcome<(Resource<Descriptor>, String)> {
    let path = guest.path(at, len)?;
    Ok((directory(guest.host, fd)?, path))
}

/// How a file is to be opened.
pub(super) struct Open {
    pub(super) lookup: u32,
    pub(super) flags: u32,
    pub(super) rights: u64,
    pub(super) fd_flags: u32,
}

pub(super) async fn path_open(
    guest: &mut Guest<'_>,
    fd: u32,
    path: (u32, u32),
    open: Open,
    opened: u32,
) -> Outcome<()> {
    let path = guest.path(path.0, path.1)?;
    let fd_flags = u16::try_from(open.fd_flags).map_err(|_| Errno::Inval)?;
    let mut how = DescriptorFlags::empty();
    for (wanted, flag) in [
        (open.rights & FD_READ != 0, DescriptorFlags::READ),
        (open.rights & FD_WRITE != 0, DescriptorFlags::WRITE),
        (fd_flags & SYNC != 0, DescriptorFlags::FILE_INTEGRITY_SYNC),
        (fd_flags & DSYNC != 0, DescriptorFlags::DATA_INTEGRITY_SYNC),
        (fd_flags & RSYNC != 0, DescriptorFlags::REQUESTED_WRITE_SYNC),
    ] {
        if wanted {
            how |= flag;
        }
    }
    let flags = [OpenFlags::CREATE, OpenFlags::DIRECTORY, OpenFlags::EXCLUSIVE, OpenFlags::TRUNCATE];
    let flags = (0..).zip(flags).filter(|(bit, _)| open.flags >> bit & 1 == 1);
    let flags = flags.fold(OpenFlags::empty(), |all, (_, flag)| all | flag);

    // Where the number goes is looked at first: a file that nobody knows would stay open.
    guest.piece(opened, 4)?;
    let descriptor = directory(guest.host, fd)?;
    let made = view(guest.host).open_at(descriptor, path_flags(open.lookup), path, flags, how).await?;
    let entry = if is_directory(guest.host, &made)? {
        Entry::Directory { rep: made.rep(), given: None, listing: None }
    } else {
        let (append, nonblock) = (fd_flags & APPEND != 0, fd_flags & NONBLOCK != 0);
        Entry::File(File { rep: made.rep(), position: 0, append, nonblock })
    };
    let number = Preview1::of(guest.host)?.add(entry)?;
    guest.put_u32(opened, number)
}

pub(super) async fn path_create_directory(guest: &mut Guest<'_>, fd: u32, path: (u32, u32)) -> Outcome<()> {
    let (descriptor, path) = below(guest, fd, path)?;
    Ok(view(guest.host).create_directory_at(descriptor, path).await?)
}

pub(super) async fn path_remove_directory(guest: &mut Guest<'_>, fd: u32, path: (u32, u32)) -> Outcome<()> {
    let (descriptor, path) = below(guest, fd, path)?;
    Ok(view(guest.host).remove_directory_at(descriptor, path).await?)
}

pub(super) async fn path_unlink_file(guest: &mut Guest<'_>, fd: u32, path: (u32, u32)) -> Outcome<()> {
    let (descriptor, path) = below(guest, fd, path)?;
    Ok(view(guest.host).unlink_file_at(descriptor, path).await?)
}

pub(super) async fn path_symlink(guest: &mut Guest<'_>, old: (u32, u32), fd: u32, new: (u32, u32)) -> Outcome<()> {
    let old = guest.path(old.0, old.1)?;
    let (descriptor, new) = below(guest, fd, new)?;
    Ok(view(guest.host).symlink_at(descriptor, old, new).await?)
}

pub(super) async fn path_link(
    guest: &mut Guest<'_>,
    from: u32,
    lookup: u32,
    old: (u32, u32),
    to: u32,
    new: (u32, u32),
) -> Outcome<()> {
    let ((from, old), (to, new)) = (below(guest, from, old)?, below(guest, to, new)?);
    Ok(view(guest.host).link_at(from, path_flags(lookup), old, to, new).await?)
}

pub(super) async fn path_rename(
    guest: &mut Guest<'_>,
    from: u32,
    old: (u32, u32),
    to: u32,
    new: (u32, u32),
) -> Outcome<()> {
    let ((from, old), (to, new)) = (below(guest, from, old)?, below(guest, to, new)?);
    Ok(view(guest.host).rename_at(from, old, to, new).await?)
}

pub(super) async fn path_readlink(
    guest: &mut Guest<'_>,
    fd: u32,
    path: (u32, u32),
    buffer: (u32, u32),
    done: u32,
) -> Outcome<()> {
    let buffer = guest.piece(buffer.0, buffer.1)?;
    let (descriptor, path) = below(guest, fd, path)?;
    let target = view(guest.host).readlink_at(descriptor, path).await?;
    let count = guest.fill(buffer, target.as_bytes());
    guest.put_u32(done, u32::try_from(count).map_err(|_| Errno::Overflow)?)
}
