//! What a descriptor is and what is known of a file: `fdstat`, `filestat`, `prestat`, and times.

use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, HostDescriptor as _, MetadataHashValue, NewTimestamp, PathFlags,
};

use super::descriptors::{Entry, File, Preview1, file_or_directory, lend};
use super::errno::{Errno, Outcome};
use super::guest::Guest;
use super::paths::below;
use crate::capabilities::filesystem::view;

const UNKNOWN: u8 = 0;
const CHARACTER_DEVICE: u8 = 2;
pub(super) const DIRECTORY: u8 = 3;

/// Flags of an open file.
pub(super) const APPEND: u16 = 1;
pub(super) const DSYNC: u16 = 1 << 1;
pub(super) const NONBLOCK: u16 = 1 << 2;
pub(super) const RSYNC: u16 = 1 << 3;
pub(super) const SYNC: u16 = 1 << 4;

/// Rights, which libraries look at and nobody enforces: what a descriptor may do its flags and its mount say.
pub(super) const FD_READ: u64 = 1 << 1;
pub(super) const FD_WRITE: u64 = 1 << 6;
const FD_READDIR: u64 = 1 << 14;
const ALL: u64 = (1 << 30) - 1;
const SIZES: u64 = 1 << 19 | 1 << 22;
const FD_SEEK: u64 = 1 << 2;
const FD_TELL: u64 = 1 << 5;
/// Of a directory: all that is done by path, reading it, its own times, and polling.
const OF_DIRECTORY: u64 = ALL & !(FD_READ | FD_WRITE | FD_SEEK | FD_TELL | SIZES | SOCKETS | 1 << 7 | 1 << 8);
const SOCKETS: u64 = 1 << 28 | 1 << 29;

/// What is followed: a link at the end of a path.
pub(super) fn path_flags(lookup: u32) -> PathFlags {
    if lookup & 1 == 1 { PathFlags::SYMLINK_FOLLOW } else { PathFlags::empty() }
}

pub(super) fn file_type(ty: DescriptorType) -> u8 {
    match ty {
        DescriptorType::Unknown | DescriptorType::Fifo => UNKNOWN,
        DescriptorType::BlockDevice => 1,
        DescriptorType::CharacterDevice => CHARACTER_DEVICE,
        DescriptorType::Directory => DIRECTORY,
        DescriptorType::RegularFile => 4,
        DescriptorType::Socket => 6,
        DescriptorType::SymbolicLink => 7,
    }
}

pub(super) async fn fd_fdstat_get(guest: &mut Guest<'_>, fd: u32, at: u32) -> Outcome<()> {
    let terminal = if guest.host.sandbox.terminal { CHARACTER_DEVICE } else { UNKNOWN };
    let (ty, flags, rights, inheriting) = match Preview1::of(guest.host)?.get(fd)? {
        Entry::Input => (terminal, 0, FD_READ, FD_READ),
        Entry::Output(_) => (terminal, 0, FD_WRITE, FD_WRITE),
        Entry::Directory { .. } => (DIRECTORY, 0, OF_DIRECTORY, ALL & !SOCKETS),
        Entry::File(file) => {
            let File { rep, append, nonblock, .. } = *file;
            let opened = view(guest.host).get_flags(lend(rep)).await?;
            let ty = file_type(view(guest.host).get_type(lend(rep)).await?);
            let mut rights = ALL & !SOCKETS;
            if !opened.contains(DescriptorFlags::READ) {
                rights &= !(FD_READ | FD_READDIR);
            }
            if !opened.contains(DescriptorFlags::WRITE) {
                rights &= !FD_WRITE;
            }
            let flags = if append { APPEND } else { 0 } | if nonblock { NONBLOCK } else { 0 };
            (ty, flags, rights, rights)
        }
    };
    let mut bytes = [0; 24];
    bytes[0] = ty;
    bytes[2..4].copy_from_slice(&flags.to_le_bytes());
    bytes[8..16].copy_from_slice(&rights.to_le_bytes());
    bytes[16..24].copy_from_slice(&inheriting.to_le_bytes());
    guest.write(at, &bytes)
}

pub(super) fn fd_fdstat_set_flags(guest: &mut Guest<'_>, fd: u32, flags: u32) -> Outcome<()> {
    let flags = u16::try_from(flags).map_err(|_| Errno::Inval)?;
    match Preview1::of(guest.host)?.get(fd)? {
        Entry::File(file) if flags & (DSYNC | RSYNC | SYNC) == 0 => {
            file.append = flags & APPEND != 0;
            file.nonblock = flags & NONBLOCK != 0;
            Ok(())
        }
        Entry::File(_) => Err(Errno::Inval.into()),
        _ => Err(Errno::Badf.into()),
    }
}

/// Rights are not enforced, so giving them up would promise what is not so.
pub(super) fn fd_fdstat_set_rights(guest: &mut Guest<'_>, fd: u32) -> Outcome<()> {
    Preview1::of(guest.host)?.get(fd)?;
    Err(Errno::Notsup.into())
}

pub(super) fn fd_prestat_get(guest: &mut Guest<'_>, fd: u32, at: u32) -> Outcome<()> {
    let Entry::Directory { given: Some(path), .. } = Preview1::of(guest.host)?.get(fd)? else {
        return Err(Errno::Badf.into());
    };
    let len = u32::try_from(path.len()).map_err(|_| Errno::Overflow)?;
    let mut bytes = [0; 8];
    bytes[4..].copy_from_slice(&len.to_le_bytes());
    guest.write(at, &bytes)
}

pub(super) fn fd_prestat_dir_name(guest: &mut Guest<'_>, fd: u32, at: u32, len: u32) -> Outcome<()> {
    let Entry::Directory { given: Some(path), .. } = Preview1::of(guest.host)?.get(fd)? else {
        return Err(Errno::Notdir.into());
    };
    let path = path.clone();
    if path.len() > len as usize {
        return Err(Errno::Nametoolong.into());
    }
    guest.write(at, path.as_bytes())
}

pub(super) async fn fd_filestat_get(guest: &mut Guest<'_>, fd: u32, at: u32) -> Outcome<()> {
    if let Entry::Input | Entry::Output(_) = Preview1::of(guest.host)?.get(fd)? {
        let mut bytes = [0; FILESTAT_BYTES];
        bytes[16] = if guest.host.sandbox.terminal { CHARACTER_DEVICE } else { UNKNOWN };
        return guest.write(at, &bytes);
    }
    let rep = file_or_directory(guest.host, fd)?.rep();
    let stat = view(guest.host).stat(lend(rep)).await?;
    let hash = view(guest.host).metadata_hash(lend(rep)).await?;
    guest.write(at, &filestat(&stat, &hash))
}

pub(super) async fn path_filestat_get(
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: (u32, u32),
    at: u32,
) -> Outcome<()> {
    let (descriptor, path) = below(guest, fd, path)?;
    let (flags, rep) = (path_flags(lookup), descriptor.rep());
    let stat = view(guest.host).stat_at(lend(rep), flags, path.clone()).await?;
    let hash = view(guest.host).metadata_hash_at(lend(rep), flags, path).await?;
    guest.write(at, &filestat(&stat, &hash))
}

const FILESTAT_BYTES: usize = 64;

fn filestat(stat: &DescriptorStat, hash: &MetadataHashValue) -> [u8; FILESTAT_BYTES] {
    let time = |time: &Option<Datetime>| {
        time.as_ref()
            .map_or(0, |time| time.seconds.saturating_mul(1_000_000_000).saturating_add(u64::from(time.nanoseconds)))
    };
    let mut bytes = [0; FILESTAT_BYTES];
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    // One device: which disk a mount is on is not for a guest to know.
    put(0, 1);
    put(8, hash.lower);
    put(24, stat.link_count);
    put(32, stat.size);
    put(40, time(&stat.data_access_timestamp));
    put(48, time(&stat.data_modification_timestamp));
    put(56, time(&stat.status_change_timestamp));
    bytes[16] = file_type(stat.type_);
    bytes
}

/// Which times are set, and to what.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) accessed: u64,
    pub(super) modified: u64,
    pub(super) flags: u32,
}

impl Times {
    fn both(self) -> Outcome<(NewTimestamp, NewTimestamp)> {
        Ok((time(self.accessed, self.flags)?, time(self.modified, self.flags >> 2)?))
    }
}

fn time(nanoseconds: u64, flags: u32) -> Outcome<NewTimestamp> {
    match flags & 3 {
        0 => Ok(NewTimestamp::NoChange),
        1 => Ok(NewTimestamp::Timestamp(Datetime {
            seconds: nanoseconds / 1_000_000_000,
            nanoseconds: u32::try_from(nanoseconds % 1_000_000_000).map_err(|_| Errno::Overflow)?,
        })),
        2 => Ok(NewTimestamp::Now),
        _ => Err(Errno::Inval.into()),
    }
}

pub(super) async fn fd_filestat_set_times(guest: &mut Guest<'_>, fd: u32, times: Times) -> Outcome<()> {
    let (accessed, modified) = times.both()?;
    let descriptor = file_or_directory(guest.host, fd)?;
    Ok(view(guest.host).set_times(descriptor, accessed, modified).await?)
}

pub(super) async fn path_filestat_set_times(
    guest: &mut Guest<'_>,
    fd: u32,
    lookup: u32,
    path: (u32, u32),
    times: Times,
) -> Outcome<()> {
    let (accessed, modified) = times.both()?;
    let (descriptor, path) = below(guest, fd, path)?;
    Ok(view(guest.host).set_times_at(descriptor, path_flags(lookup), path, accessed, modified).await?)
}
