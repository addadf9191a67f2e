//! `fd_readdir`: a directory's entries by their numbers, which a guest may ask for in any order.
//!
//! Nothing is kept of a directory but where its reading is, and the entry that was read last: it is asked for again when
//! it was cut off. Who goes back has it read again from its beginning.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DirectoryEntry, DirectoryEntryStream, HostDescriptor as _, HostDirectoryEntryStream, PathFlags,
};

use super::descriptors::{Entry, Preview1, directory};
use super::errno::{Errno, Outcome};
use super::guest::Guest;
use super::stat::{DIRECTORY, file_type};
use crate::capabilities::filesystem::view;
use crate::host::Host;

const DIRENT_BYTES: usize = 24;

/// The numbers of `.` and `..`; those of all others come after them.
const OWN: u64 = 2;

/// A directory that is being read.
pub(super) struct Listing {
    /// In the host's table.
    stream: u32,
    /// The number of the entry that is read next.
    next: u64,
    last: Option<DirectoryEntry>,
}

impl Listing {
    async fn open(host: &mut Host, fd: u32) -> Outcome<Self> {
        let descriptor = directory(host, fd)?;
        let stream = view(host).read_directory(descriptor).await?.rep();
        Ok(Self { stream, next: OWN, last: None })
    }

    /// Gives back what the host holds for it.
    pub(super) fn close(&self, host: &mut Host) -> Outcome<()> {
        Ok(HostDirectoryEntryStream::drop(&mut view(host), Resource::new_own(self.stream))?)
    }

    /// Whether the entry is the one that was read last, or comes after it.
    fn reaches(&self, number: u64) -> bool {
        number.saturating_add(1) >= self.next
    }

    /// The entry of this number, which it [reaches](Self::reaches).
    async fn at(&mut self, host: &mut Host, number: u64) -> Outcome<Option<DirectoryEntry>> {
        while self.next <= number {
            let stream = Resource::<DirectoryEntryStream>::new_borrow(self.stream);
            let Some(entry) = view(host).read_directory_entry(stream).await? else { return Ok(None) };
            self.last = Some(entry);
            self.next += 1;
            if self.next.is_multiple_of(ENTRIES_A_TURN) {
                tokio::task::yield_now().await;
            }
        }
        Ok(self.last.clone())
    }
}

/// Entries that are passed over in one go: others want the thread too.
const ENTRIES_A_TURN: u64 = 256;

/// Entries from the one that `cookie` counts to: as many as fit, the last cut off if it does not, which tells the guest to
/// ask again from there.
pub(super) async fn fd_readdir(
    guest: &mut Guest<'_>,
    fd: u32,
    buffer: (u32, u32),
    cookie: u64,
    done: u32,
) -> Outcome<()> {
    guest.piece(buffer.0, buffer.1)?;
    directory(guest.host, fd)?;
    let mut listing = match take(guest.host, fd)? {
        // Who begins anew wants to see what is there now.
        Some(listing) if cookie > 0 && listing.reaches(cookie) => listing,
        before => {
            before.map_or(Ok(()), |listing| listing.close(guest.host))?;
            Listing::open(guest.host, fd).await?
        }
    };
    let filled = fill(guest, fd, &mut listing, buffer, cookie).await;
    match Preview1::of(guest.host)?.get(fd)? {
        Entry::Directory { listing: place, .. } if filled.is_ok() => *place = Some(listing),
        _ => listing.close(guest.host)?,
    }
    guest.put_u32(done, filled?)
}

fn take(host: &mut Host, fd: u32) -> Outcome<Option<Listing>> {
    match Preview1::of(host)?.get(fd)? {
        Entry::Directory { listing, .. } => Ok(listing.take()),
        Entry::Input | Entry::Output(_) | Entry::File(_) => Ok(None),
    }
}

async fn fill(
    guest: &mut Guest<'_>,
    fd: u32,
    listing: &mut Listing,
    (at, len): (u32, u32),
    cookie: u64,
) -> Outcome<u32> {
    let mut filled = 0;
    let mut number = cookie;
    while filled < len {
        let (name, ty) = match number {
            0 => (".".to_owned(), DIRECTORY),
            1 => ("..".to_owned(), DIRECTORY),
            number => match listing.at(guest.host, number).await? {
                Some(entry) => (entry.name, file_type(entry.type_)),
                None => break,
            },
        };
        let descriptor = directory(guest.host, fd)?;
        let hash = if number < OWN {
            view(guest.host).metadata_hash(descriptor).await
        } else {
            view(guest.host).metadata_hash_at(descriptor, PathFlags::empty(), name.clone()).await
        };
        number += 1;
        // One that has gone meanwhile has no number any more.
        let inode = hash.map_or(0, |hash| hash.lower);
        let mut bytes = Vec::with_capacity(DIRENT_BYTES + name.len());
        bytes.extend(number.to_le_bytes());
        bytes.extend(inode.to_le_bytes());
        bytes.extend(u32::try_from(name.len()).map_err(|_| Errno::Overflow)?.to_le_bytes());
        bytes.extend([ty, 0, 0, 0]);
        bytes.extend(name.as_bytes());
        let room = guest.piece(at + filled, len - filled)?;
        filled += u32::try_from(guest.fill(room, &bytes)).map_err(|_| Errno::Overflow)?;
    }
    Ok(filled)
}
