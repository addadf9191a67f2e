//! A backup: the whole state at one revision as one file, to be kept elsewhere and to found a new cluster with.
//!
//! ```text
//! magic 8 bytes | format 4 bytes, little-endian | sections
//! section: kind 1 byte | length 4 bytes | CRC-32 of kind, length and content 4 bytes, little-endian | content
//! 1 header      cluster | version | time | revision | term | number of objects          the first one
//! 2 collection  name | number of objects
//! 3 objects     each: name | revision | created | stamp + 1 or 0 | bytes                of the collection before
//! 4 file        name | size
//! 5 data        bytes of the file before
//! 6 note        text, for whoever restores
//! 7 end         number of objects | number of files | CRC-32 of all before this section, 4 bytes    the last one
//! ```
//!
//! Numbers are LEB128, texts and bytes come after their length. Collections and names rise. Files are whatever the
//! caller needs beside the objects; the store does not look inside.
//!
//! A backup without its end is not whole and is refused. Start at [`crate::Store::backup`] to make one, at
//! [`parts_of`] to read one. Not here: making a store of it ([`crate::recovery`]).

mod decode;
mod encode;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use self::decode::Decoder;
pub use self::encode::Backup;
use crate::model::{Revision, Stored};

/// Begins each backup, as the other files of the store begin.
const MAGIC: [u8; 8] = *b"\x8fwkB\r\n\x1a\n";

/// The format written, and the newest read.
pub(crate) const FORMAT: u32 = 1;

const PROLOGUE_BYTES: usize = 12;

const SECTION_HEADER_BYTES: usize = 9;

/// Content of a section read at most. Sections are written at a sixty-fourth of this and hold one object at least,
/// which the largest log entry bounds.
const SECTION_BYTES_MAX: usize = 16 << 20;

/// Notes taken at most: one for each thing that is missing, and who restores reads them all.
const NOTES_MAX: usize = 10_000;

/// Bytes read from a file at a time.
const READ_BYTES: usize = 256 << 10;

/// What the caller says of the cluster that a backup is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The cluster's id.
    pub cluster: String,
    /// The version of wk that makes the backup.
    pub version: String,
    /// When, RFC 3339.
    pub time: String,
}

/// What a backup says of itself at its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whose, by what, when.
    pub about: About,
    /// Every write up to this one is in it, and none after it.
    pub revision: Revision,
    /// Raft's term when it was made.
    pub term: u64,
    /// How many objects it has.
    pub objects: u64,
}

/// What a backup held, known at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its header.
    pub header: Header,
    /// How many files are in it.
    pub files: u64,
    /// Its notes.
    pub notes: Vec<String>,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A piece of a backup, in the order of the file.
#[derive(Debug)]
pub enum Part {
    /// The header, first.
    Header(Header),
    /// An object.
    Object(Arc<Stored>),
    /// A file begins; its data follows.
    File {
        /// Its name, as the caller gave it when the backup was made.
        name: String,
        /// How many bytes of data follow.
        size: u64,
    },
    /// The next bytes of the file.
    Data(Bytes),
    /// A note.
    Note(String),
    /// The end: all that came before was checked and is whole.
    End(Summary),
}

/// Why bytes are no whole backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else.
    #[error("this is no backup of wk: it does not begin like one")]
    NoBackup,
    /// Written by a newer version.
    #[error("the backup has format {found} and this version of wk reads formats up to {FORMAT}: use the newer version")]
    NewerFormat {
        /// Its format.
        found: u32,
    },
    /// It does not hold what was written.
    #[error("the backup is damaged at byte {offset}: {what}; use another one")]
    Damaged {
        /// Where the section that does not read begins.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Its end is missing.
    #[error("the backup is cut short: it ends at byte {length}, and its end is missing; use another one")]
    Truncated {
        /// How many bytes there are.
        length: u64,
    },
    /// It could not be read.
    #[error("read {}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The parts of a backup file, as they are read. The last one is [`Part::End`]; nothing before it is to be relied on
/// until it has come.
pub struct Parts {
    path: PathBuf,
    file: File,
    decoder: Decoder,
    buffer: Vec<u8>,
    is_over: bool,
}

/// Opens the backup in `path`.
pub fn parts_of(path: &Path) -> Result<Parts, BackupError> {
    let file = File::open(path).map_err(|source| BackupError::Io { file: path.to_owned(), source })?;
    let buffer = vec![0; READ_BYTES];
    Ok(Parts { path: path.to_owned(), file, decoder: Decoder::default(), buffer, is_over: false })
}

/// The header of the backup in `path`. Says nothing of the rest.
pub fn read_header(path: &Path) -> Result<Header, BackupError> {
    match parts_of(path)?.next() {
        Some(Ok(Part::Header(header))) => Ok(header),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Err(BackupError::NoBackup),
    }
}

/// Reads the backup in `path` to its end: it is whole when this is Ok.
pub fn verify(path: &Path) -> Result<Summary, BackupError> {
    for part in parts_of(path)? {
        if let Part::End(summary) = part? {
            return Ok(summary);
        }
    }
    Err(BackupError::NoBackup)
}

impl Parts {
    /// The next part; None after the end of the file.
    fn advance(&mut self) -> Result<Option<Part>, BackupError> {
        loop {
            if let Some(part) = self.decoder.next()? {
                if matches!(part, Part::End(_)) {
                    // Nothing may follow.
                    self.read()?;
                    self.decoder.finish()?;
                }
                return Ok(Some(part));
            }
            if self.read()? == 0 {
                return self.decoder.finish().map(|_| None);
            }
        }
    }

    fn read(&mut self) -> Result<usize, BackupError> {
        let read = loop {
            match self.file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read.map_err(|source| BackupError::Io { file: self.path.clone(), source })?,
            }
        };
        self.decoder.feed(&self.buffer[..read]);
        Ok(read)
    }
}

impl Iterator for Parts {
    type Item = Result<Part, BackupError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let part = self.advance();
        self.is_over = !matches!(&part, Ok(Some(_)));
        part.transpose()
    }
}

/// `bytes` with the checksums of all its sections set right, and that of the whole: a fuzzer guesses none.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn seal(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    let mut at = PROLOGUE_BYTES;
    while let Some(&[kind, l0, l1, l2, l3]) = sealed.get(at..).and_then(|rest| rest.first_chunk()) {
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let start = at + SECTION_HEADER_BYTES;
        let Some(end) = usize::try_from(length).ok().and_then(|length| start.checked_add(length)) else { break };
        if sealed.len() < end {
            break;
        }
        if kind == 7 && length >= 4 {
            let whole = crc32fast::hash(&sealed[..at]);
            sealed[end - 4..end].copy_from_slice(&whole.to_le_bytes());
        }
        let checksum = decode::checksum(kind, length, &sealed[start..end]);
        sealed[at + 5..start].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
    sealed
}

#[cfg(test)]
mod tests;
