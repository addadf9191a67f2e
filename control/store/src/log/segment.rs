//! One file of the log.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft::eraftpb::HardState;

use super::frame::{self, Found};
use super::record::{self, Record};
use crate::disk::{self, Disk, DiskFile};
use crate::error::OpenError;
use crate::model::MemberId;
use crate::room::{is_full, lasting};

/// Begins each segment: the first byte is no text, the line ends show a transfer as text.
const MAGIC: [u8; 8] = *b"\x8fwkL\r\n\x1a\n";

/// The format written, and the newest read.
pub(crate) const FORMAT: u32 = 1;

const HEADER_BYTES: usize = 12;

/// The end of a segment's name.
pub(crate) const EXTENSION: &str = "log";

/// A segment open for appending.
pub(crate) struct Segment {
    number: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
    buffer: Vec<u8>,
}

/// The payload of the first frame of a segment.
pub(crate) fn head(member: MemberId, hard_state: &HardState, reset: Option<(u64, u64)>) -> Vec<u8> {
    let mut head = Vec::new();
    Record::Head { member, hard_state: hard_state.clone() }.put(&mut head);
    if let Some((index, term)) = reset {
        Record::Reset { index, term }.put(&mut head);
    }
    head
}

impl Segment {
    /// Creates the segment `number` of `dir` with its first frame.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, number: u64, head: &[u8]) -> io::Result<Self> {
        let path = dir.join(format!("{number:016x}.{EXTENSION}"));
        let mut content = MAGIC.to_vec();
        content.extend_from_slice(&FORMAT.to_le_bytes());
        frame::put(&mut content, head);
        let file = disk::write_whole(disk, &path, &content).inspect_err(|_| {
            // It has no name that counts yet, and takes room.
            let _ = disk.remove(&disk::temporary(&path));
        })?;
        Ok(Self { number, path, file, len: content.len() as u64, buffer: Vec::new() })
    }

    /// Opens the segment for appending after `whole`, which was read from it; what is behind that is cut off.
    ///
    /// It is written anew: when an fsync failed before the restart, what was read may be in the page cache only, which
    /// takes it for written, and no later fsync would tell.
    ///
    /// A disk that has no room for that is taken as it is: nothing is promised on it before it has room again.
    pub(crate) fn reopen(disk: &dyn Disk, path: PathBuf, number: u64, whole: &[u8]) -> io::Result<Self> {
        let file = match disk::write_whole(disk, &path, whole) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                disk.remove(&disk::temporary(&path))?;
                let mut file = disk.extend(&path, whole.len() as u64)?;
                file.sync()?;
                file
            }
            written => written?,
        };
        Ok(Self { number, path, file, len: whole.len() as u64, buffer: Vec::new() })
    }

    /// Appends a frame and waits until it is on disk. Where that has no room for it, nothing of it stays, and it may be
    /// tried again; all other errors are final.
    pub(crate) fn write(&mut self, disk: &dyn Disk, payload: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        frame::put(&mut self.buffer, payload);
        if let Err(error) = self.file.write(&self.buffer) {
            if is_full(&error) {
                self.file = disk.extend(&self.path, self.len).map_err(lasting)?;
            }
            return Err(error);
        }
        self.file.sync().map_err(lasting)?;
        self.len += self.buffer.len() as u64;
        // One huge batch must not hold on to its memory for ever.
        self.buffer.shrink_to(1 << 20);
        Ok(())
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

/// What a segment holds.
pub(crate) struct Content {
    /// All records, with the offsets of their frames.
    pub(crate) records: Vec<(u64, Record)>,
    /// All up to the end of the last whole frame.
    pub(crate) whole: Bytes,
    /// Bytes after that which a crash left behind.
    pub(crate) torn: u64,
}

/// Reads a whole segment. Only the `last` one may have a torn tail.
pub(crate) fn read(disk: &dyn Disk, path: &Path, last: bool) -> Result<Content, OpenError> {
    let file = disk.read(path).map_err(|source| OpenError::Io { act: "read", file: path.to_owned(), source })?;
    parse(&file, path, last)
}

/// Reads the bytes of a segment; `path` is for messages.
pub(crate) fn parse(file: &Bytes, path: &Path, last: bool) -> Result<Content, OpenError> {
    let damaged = |offset: usize, what: &str| OpenError::Corrupt {
        file: path.to_owned(),
        offset: offset as u64,
        what: what.to_owned(),
    };
    if file.len() < HEADER_BYTES || file[..8] != MAGIC {
        return Err(damaged(0, "it does not begin like a log of wk"));
    }
    let format = u32::from_le_bytes([file[8], file[9], file[10], file[11]]);
    if format > FORMAT {
        return Err(OpenError::NewerFormat { file: path.to_owned(), found: format, known: FORMAT });
    }
    if format == 0 {
        return Err(damaged(8, "it has no format"));
    }
    let mut records = Vec::new();
    let mut at = HEADER_BYTES;
    let torn = loop {
        match frame::read(file, at) {
            Found::Frame(Range { start, end }) => {
                let frame = record::read_all(file.slice(start..end)).map_err(|error| damaged(at, error.0))?;
                records.extend(frame.into_iter().map(|record| (at as u64, record)));
                at = end;
            }
            Found::End => break file.len() - at,
            // The first frame was on disk before the file got its name.
            Found::Torn if last && at > HEADER_BYTES => break file.len() - at,
            Found::Torn => return Err(damaged(at, "a frame is cut short")),
            Found::Damaged(what) => return Err(damaged(at, what)),
        }
    };
    Ok(Content { records, whole: file.slice(..at), torn: torn as u64 })
}

/// A segment of one frame with this payload.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn of_frame(payload: &[u8]) -> Bytes {
    let mut content = MAGIC.to_vec();
    content.extend_from_slice(&FORMAT.to_le_bytes());
    frame::put(&mut content, payload);
    content.into()
}
