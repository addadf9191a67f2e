//! The numbers a guest knows its files by.

use tokio::io::{AsyncBufReadExt as _, BufReader};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor as Inner;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::HostDescriptor;

use super::errno::{Errno, Outcome};
use super::listing::Listing;
use crate::capabilities::filesystem::view;
use crate::host::{HANDLES_MAX, Host};
use crate::sandbox::{Input, Source, Stream};

/// What preview 1 knows of one guest beside what all guests have.
pub(crate) struct Preview1 {
    entries: Vec<Option<Entry>>,
    pub(super) born: std::time::Instant,
    /// Standard input, once it was looked at.
    pub(super) input: Option<BufReader<Source>>,
}

/// What one number stands for.
pub(super) enum Entry {
    Input,
    Output(Stream),
    Directory {
        /// In the host's table.
        rep: u32,
        /// The path it was given under; None for one that the guest opened.
        given: Option<String>,
        /// How far it was read.
        listing: Option<Listing>,
    },
    File(File),
}

/// An open file.
#[derive(Clone, Copy)]
pub(super) struct File {
    pub(super) rep: u32,
    pub(super) position: u64,
    pub(super) append: bool,
    pub(super) nonblock: bool,
}

/// The descriptor of the host's table, for the time of a call.
pub(super) fn lend(rep: u32) -> Resource<Inner> {
    Resource::new_borrow(rep)
}

impl Preview1 {
    /// The guest's descriptors, made at the first look: its three streams and the directories it was given.
    pub(super) fn of(host: &mut Host) -> Outcome<&mut Self> {
        if host.preview1.is_none() {
            let directories = view(host).get_directories()?;
            let given = directories.into_iter().map(|(directory, path)| Entry::Directory {
                rep: directory.rep(),
                given: Some(path),
                listing: None,
            });
            let streams = [Entry::Input, Entry::Output(Stream::Out), Entry::Output(Stream::Err)];
            let entries = streams.into_iter().chain(given).map(Some).collect();
            host.preview1 = Some(Box::new(Self { entries, born: std::time::Instant::now(), input: None }));
        }
        host.preview1.as_deref_mut().ok_or(Errno::Badf.into())
    }

    pub(super) fn get(&mut self, fd: u32) -> Outcome<&mut Entry> {
        self.entries.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf.into())
    }

    /// The lowest number that is free.
    pub(super) fn add(&mut self, entry: Entry) -> Outcome<u32> {
        let free = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        // The host's table bounds files; this bounds numbers.
        if free >= HANDLES_MAX {
            return Err(Errno::Nomem.into());
        }
        if free == self.entries.len() {
            self.entries.push(None);
        }
        self.entries[free] = Some(entry);
        u32::try_from(free).map_err(|_| Errno::Overflow.into())
    }

    pub(super) fn take(&mut self, fd: u32) -> Outcome<Entry> {
        self.entries.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::Badf.into())
    }

    pub(super) fn put(&mut self, fd: u32, entry: Entry) -> Option<Entry> {
        self.entries.get_mut(fd as usize).and_then(|slot| slot.replace(entry))
    }
}

/// Gives back what the host holds for an entry.
pub(super) fn close(host: &mut Host, entry: &Entry) -> Outcome<()> {
    match entry {
        Entry::Input | Entry::Output(_) => Ok(()),
        Entry::Directory { rep, listing, .. } => {
            listing.as_ref().map_or(Ok(()), |listing| listing.close(host))?;
            Ok(HostDescriptor::drop(&mut view(host), Resource::new_own(*rep))?)
        }
        Entry::File(File { rep, .. }) => Ok(HostDescriptor::drop(&mut view(host), Resource::new_own(*rep))?),
    }
}

/// A directory's descriptor in the host's table.
pub(super) fn directory(host: &mut Host, fd: u32) -> Outcome<Resource<Inner>> {
    match Preview1::of(host)?.get(fd)? {
        Entry::Directory { rep, .. } => Ok(lend(*rep)),
        Entry::File(_) => Err(Errno::Notdir.into()),
        Entry::Input | Entry::Output(_) => Err(Errno::Badf.into()),
    }
}

/// A file.
pub(super) fn file(host: &mut Host, fd: u32) -> Outcome<&mut File> {
    match Preview1::of(host)?.get(fd)? {
        Entry::File(file) => Ok(file),
        Entry::Directory { .. } => Err(Errno::Badf.into()),
        Entry::Input | Entry::Output(_) => Err(Errno::Spipe.into()),
    }
}

/// Either of both.
pub(super) fn file_or_directory(host: &mut Host, fd: u32) -> Outcome<Resource<Inner>> {
    match Preview1::of(host)?.get(fd)? {
        Entry::File(File { rep, .. }) | Entry::Directory { rep, .. } => Ok(lend(*rep)),
        Entry::Input | Entry::Output(_) => Err(Errno::Badf.into()),
    }
}

/// What standard input has by now: waits until there is something, and is empty at its end.
pub(super) async fn input(host: &mut Host) -> Outcome<&mut BufReader<Source>> {
    let given = host.sandbox.input.as_ref().and_then(Input::take);
    let this = Preview1::of(host)?;
    if let Some(source) = given {
        this.input = Some(BufReader::new(source));
    }
    let input = this.input.get_or_insert_with(|| BufReader::new(Box::new(tokio::io::empty())));
    input.fill_buf().await.map_err(|_| Errno::Io)?;
    Ok(input)
}

/// Whether the host's table has a directory there.
pub(super) fn is_directory(host: &Host, descriptor: &Resource<Inner>) -> wasmtime::Result<bool> {
    Ok(matches!(host.table.get(descriptor)?, Inner::Dir(_)))
}
