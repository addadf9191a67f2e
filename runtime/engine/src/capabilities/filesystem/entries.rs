//! The entries of a directory, read while somebody asks for them: a guest can make a quarter of a million in a gibibyte, and
//! open their directory thousands of times. What is read ahead is a few of them.
//!
//! Not here: how 0.2 and 0.3 hand them on (`mod.rs`, `next/streams.rs`), and preview 1's numbers (`preview1/listing.rs`).

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry};

use crate::places::Place;
use crate::threads::apart;
use crate::usage::Usage;

/// Entries that are read ahead of the guest.
const AHEAD_MAX: usize = 64;

/// What a directory that is being read takes: its buffer, and names of 255 bytes.
pub(crate) const LISTING_BYTES: usize = 32 << 10;

/// An entry.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) kind: FileType,
}

/// A directory that is being read by the interface of 0.2.
pub(crate) struct Listing {
    usage: Arc<Usage>,
    dir: Option<Dir>,
    ahead: VecDeque<Found>,
    /// It is a descriptor of its own.
    _place: Place,
}

impl Listing {
    /// From the beginning.
    pub(super) async fn of(dir: Arc<File>, usage: Arc<Usage>) -> io::Result<Self> {
        let place = Place::take(&usage)?;
        let dir = apart(&usage, move || Dir::read_from(dir.as_fd())).await?;
        Ok(Self { usage, dir: Some(dir), ahead: VecDeque::new(), _place: place })
    }

    /// The next entry; None at the end, and after an error.
    pub(super) async fn next(&mut self) -> io::Result<Option<DirectoryEntry>> {
        if self.ahead.is_empty()
            && let Some(dir) = self.dir.take()
        {
            let (dir, found) = apart(&self.usage, move || batch(dir)).await?;
            if !found.is_empty() {
                self.dir = Some(dir);
                self.ahead = found.into();
            }
        }
        let entry = |Found { name, kind }| DirectoryEntry { type_: named(kind), name };
        Ok(self.ahead.pop_front().map(entry))
    }
}

/// The next entries, none at the end. Blocks.
pub(super) fn batch(mut dir: Dir) -> io::Result<(Dir, Vec<Found>)> {
    let mut entries = Vec::new();
    while entries.len() < AHEAD_MAX {
        let Some(entry) = dir.read() else { break };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            let stat = dir.fd().and_then(|fd| rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW));
            kind = stat.map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
        }
        let name = name.to_str().map_err(|_| rustix::io::Errno::ILSEQ)?.to_owned();
        entries.push(Found { name, kind });
    }
    Ok((dir, entries))
}

fn named(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sandbox::MemoryBytes;
    use crate::usage::CpuLimits;

    #[tokio::test]
    async fn all_entries_come_once_and_few_are_held() {
        let dir = tempfile::tempdir().unwrap();
        let names: BTreeSet<String> = (0..500).map(|number| format!("{number:0250}")).collect();
        for name in &names {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("below")).unwrap();
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let mut reading = Listing::of(Arc::new(File::open(dir.path()).unwrap()), usage).await.unwrap();
        let (mut found, mut most) = (BTreeSet::new(), 0);
        while let Some(entry) = reading.next().await.unwrap() {
            assert_eq!(entry.type_ == DescriptorType::Directory, entry.name == "below");
            assert!(found.insert(entry.name));
            most = most.max(reading.ahead.iter().map(|entry| entry.name.len() + size_of::<Found>()).sum());
        }
        assert!(reading.next().await.unwrap().is_none());
        assert_eq!(found.len(), 501);
        assert!(found.is_superset(&names) && most < LISTING_BYTES, "{most}");
    }
}
