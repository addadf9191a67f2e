//! Snapshot files:
//!
//! ```text
//! magic 8 bytes | format 4 bytes | 16 bytes of 0 | CRC-32 of the 16 bytes before
//! then the state as in `crate::state`, which has its own format and checksum
//! ```
//!
//! The 16 bytes were the term and vote of the member in files of earlier versions, and are still read as that. A file
//! whose name ends in `part` is on its way from the leader; it gets its name when it is whole and checked.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use raft::eraftpb::HardState;

use crate::disk::{self, Disk};
use crate::error::OpenError;
use crate::machine::Machine;
use crate::state::{self, StateError};

const MAGIC: [u8; 8] = *b"\x8fwkS\r\n\x1a\n";

/// The format written, and the newest read.
pub(crate) const FORMAT: u32 = 1;

/// Before the state in a snapshot file.
pub(crate) const HEADER_BYTES: u64 = 8 + 4 + 16 + 4;

/// The end of a snapshot's name.
pub(crate) const EXTENSION: &str = "snap";

/// The end of the name of a snapshot that the leader is sending.
pub(crate) const PART: &str = "part";

/// Bytes of a state gathered before they are written and synced. Were all synced at once, the log's own fsyncs would wait
/// behind it: file systems order what they write.
const WRITE_BYTES: usize = 1 << 20;

/// Which snapshot: two of the same index and term hold the same state, and the same bytes when the checksums agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotId {
    /// The last entry in it.
    pub(crate) index: u64,
    /// Its term.
    pub(crate) term: u64,
    /// Bytes of the state.
    pub(crate) bytes: u64,
    /// The checksum at the end of the state.
    pub(crate) checksum: u32,
}

impl SnapshotId {
    /// Where it is in `dir`.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:016x}-{:016x}.{EXTENSION}", self.index, self.term))
    }

    /// Where it is while it comes from the leader.
    pub(crate) fn part(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:016x}-{:016x}-{:x}-{:08x}.{PART}", self.index, self.term, self.bytes, self.checksum))
    }
}

/// What every snapshot file begins with.
pub(crate) fn header() -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES as usize);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&[0; 16]);
    header.extend_from_slice(&crc32fast::hash(&header[12..]).to_le_bytes());
    header
}

/// Writes the state of `machine` to `dir`, durable when this returns.
pub(crate) fn write(disk: &dyn Disk, dir: &Path, machine: &Machine) -> io::Result<SnapshotId> {
    let path = SnapshotId { index: machine.applied, term: machine.term, bytes: 0, checksum: 0 }.path(dir);
    // What there is of it takes room that it may have lacked.
    write_to(disk, dir, machine, &path).inspect_err(|_| drop(disk.remove(&disk::temporary(&path))))
}

fn write_to(disk: &dyn Disk, dir: &Path, machine: &Machine, path: &Path) -> io::Result<SnapshotId> {
    let mut id = SnapshotId { index: machine.applied, term: machine.term, bytes: 0, checksum: 0 };
    let temporary = disk::temporary(path);
    let mut file = disk.create(&temporary)?;
    file.write(&header())?;
    (id.bytes, id.checksum) = state::write(machine, WRITE_BYTES, &mut |bytes| {
        file.write(bytes)?;
        file.sync()
    })?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(dir)?;
    Ok(id)
}

/// Deletes the snapshots in `dir` from before the index `newest`, but those at the indexes in `kept`.
pub(crate) fn prune(disk: &dyn Disk, dir: &Path, newest: u64, kept: &[u64]) -> io::Result<()> {
    for (old, index) in list(disk, dir)? {
        if index < newest && !kept.contains(&index) {
            disk.remove(&old)?;
        }
    }
    Ok(())
}

/// Deletes the parts in `dir` of other snapshots than `wanted`, up to the index `last`.
pub(crate) fn prune_parts(disk: &dyn Disk, dir: &Path, wanted: Option<&SnapshotId>, last: u64) -> io::Result<()> {
    let wanted = wanted.map(|id| id.part(dir));
    for (path, index) in list_as(disk, dir, PART)? {
        if index <= last && Some(&path) != wanted.as_ref() {
            disk.remove(&path)?;
        }
    }
    Ok(())
}

/// The snapshots in `dir` with their indexes, oldest first.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    list_as(disk, dir, EXTENSION)
}

fn list_as(disk: &dyn Disk, dir: &Path, extension: &str) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for path in disk.list(dir)? {
        if path.extension().is_some_and(|found| found == extension)
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
            && let Some((index, _)) = name.split_once('-')
            && let Ok(index) = u64::from_str_radix(index, 16)
        {
            found.push((path, index));
        }
    }
    found.sort_by_key(|(_, index)| *index);
    Ok(found)
}

/// A snapshot that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) id: SnapshotId,
    pub(crate) machine: Machine,
    /// Term and vote of the member when it was written, in a file of an earlier version.
    pub(crate) promised: HardState,
}

/// Reads and checks a snapshot.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> Result<Read, OpenError> {
    let file = disk.read(path).map_err(|source| OpenError::Io { act: "read", file: path.to_owned(), source })?;
    parse(file, path)
}

/// Reads and checks the bytes of a snapshot; `path` is for messages.
pub(crate) fn parse(mut file: Bytes, path: &Path) -> Result<Read, OpenError> {
    let damaged = |offset: u64, what: String| OpenError::Corrupt { file: path.to_owned(), offset, what };
    if (file.len() as u64) < HEADER_BYTES || file[..8] != MAGIC {
        return Err(damaged(0, "it does not begin like a snapshot of wk".to_owned()));
    }
    let mut header = file.split_to(HEADER_BYTES as usize);
    header.advance(8);
    let format = header.get_u32_le();
    if format > FORMAT {
        return Err(OpenError::NewerFormat { file: path.to_owned(), found: format, known: FORMAT });
    }
    if format == 0
        || crc32fast::hash(&header[..16]) != u32::from_le_bytes([header[16], header[17], header[18], header[19]])
    {
        return Err(damaged(8, "the checksum of its header does not match".to_owned()));
    }
    let promised = HardState { term: header.get_u64_le(), vote: header.get_u64_le(), ..HardState::default() };
    let bytes = file.len() as u64;
    let checksum = file.last_chunk().map_or(0, |checksum| u32::from_le_bytes(*checksum));
    match state::decode(file) {
        Ok(machine) => {
            let id = SnapshotId { index: machine.applied, term: machine.term, bytes, checksum };
            Ok(Read { id, machine, promised })
        }
        Err(StateError::NewerFormat(found)) => Err(OpenError::NewerFormat {
            file: path.to_owned(),
            found: u32::from(found),
            known: u32::from(state::FORMAT),
        }),
        Err(error @ (StateError::Checksum { .. } | StateError::Malformed(_))) => {
            Err(damaged(HEADER_BYTES, error.to_string()))
        }
    }
}
