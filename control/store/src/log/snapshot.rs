//! Snapshot files:
//!
//! ```text
//! magic 8 bytes | format 4 bytes | term, vote of the member 8 bytes each | CRC-32 of the 16 bytes before
//! then the state as in `crate::state`, which has its own format and checksum
//! ```
//!
//! The hard state stands here too, so that a snapshot, the members in it and the hard state it came with are durable in
//! one step: the rename of this file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use raft::eraftpb::HardState;

use crate::disk;
use crate::error::OpenError;
use crate::machine::Machine;
use crate::state::{self, StateError};

const MAGIC: [u8; 8] = *b"\x8fwkS\r\n\x1a\n";

/// The format written, and the newest read.
pub(crate) const FORMAT: u32 = 1;

const HEADER_BYTES: usize = 8 + 4 + 16 + 4;

/// The end of a snapshot's name.
pub(crate) const EXTENSION: &str = "snap";

/// An encoded state on its way to disk.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    /// The last entry in it.
    pub(crate) index: u64,
    /// Its term.
    pub(crate) term: u64,
    /// The state, as in [`crate::state`].
    pub(crate) body: Bytes,
}

impl SnapshotFile {
    /// Writes the snapshot to `dir`, durable when this returns, then deletes the ones before it.
    pub(crate) fn write(&self, dir: &Path, hard_state: &HardState) -> io::Result<()> {
        let path = dir.join(format!("{:016x}-{:016x}.{EXTENSION}", self.index, self.term));
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.extend_from_slice(&hard_state.term.to_le_bytes());
        header.extend_from_slice(&hard_state.vote.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header[12..]).to_le_bytes());
        disk::write_whole(&path, &[&header, &self.body])?;
        for (old, index) in list(dir)? {
            if index < self.index {
                match fs::remove_file(old) {
                    // Two may be written at a time, one of our own and one of the leader's, and both clean up.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    done => done?,
                }
            }
        }
        Ok(())
    }
}

/// The snapshots in `dir` with their indexes, oldest first.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION)
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

/// Reads a snapshot, and the term and vote of the member when it was written.
pub(crate) fn read(path: &Path) -> Result<(Machine, HardState), OpenError> {
    let mut file: Bytes =
        fs::read(path).map_err(|source| OpenError::Io { act: "read", file: path.to_owned(), source })?.into();
    let damaged = |offset: u64, what: String| OpenError::Corrupt { file: path.to_owned(), offset, what };
    if file.len() < HEADER_BYTES || file[..8] != MAGIC {
        return Err(damaged(0, "it does not begin like a snapshot of wk".to_owned()));
    }
    let mut header = file.split_to(HEADER_BYTES);
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
    let hard_state = HardState { term: header.get_u64_le(), vote: header.get_u64_le(), ..HardState::default() };
    match state::decode(file) {
        Ok(machine) => Ok((machine, hard_state)),
        Err(StateError::NewerFormat(found)) => Err(OpenError::NewerFormat {
            file: path.to_owned(),
            found: u32::from(found),
            known: u32::from(state::FORMAT),
        }),
        Err(error @ (StateError::Checksum { .. } | StateError::Malformed(_))) => {
            Err(damaged(HEADER_BYTES as u64, error.to_string()))
        }
    }
}
