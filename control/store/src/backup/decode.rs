//! Reading a backup, from whoever sent it: bytes go in as they come, parts come out as they are whole.
//!
//! No length that a backup claims is believed: memory is taken for bytes that have come, up to the limit of a section.

use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{
    About, BackupError, FORMAT, Header, MAGIC, NOTES_MAX, PROLOGUE_BYTES, Part, SECTION_BYTES_MAX,
    SECTION_HEADER_BYTES, Summary,
};
use crate::codec::{Malformed, Reader};
use crate::model::Revision;
use crate::state;

/// Reads a backup that comes in pieces of any size.
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes taken out of the buffer.
    taken: u64,
    /// Where the section being read begins.
    section: u64,
    checksum: crc32fast::Hasher,
    has_prologue: bool,
    header: Option<Header>,
    collection: Option<Collection>,
    /// What is left of a section of objects.
    objects: Option<Reader>,
    objects_read: u64,
    /// Bytes of the present file yet to come.
    file_left: u64,
    files: u64,
    notes: Vec<String>,
    summary: Option<Summary>,
}

/// The collection being read.
struct Collection {
    name: Arc<str>,
    left: u64,
    last: Option<Arc<str>>,
}

/// The checksum of a section.
pub(super) fn checksum(kind: u8, length: u32, content: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&[kind]);
    checksum.update(&length.to_le_bytes());
    checksum.update(content);
    checksum.finalize()
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            taken: 0,
            section: 0,
            checksum: crc32fast::Hasher::new(),
            has_prologue: false,
            header: None,
            collection: None,
            objects: None,
            objects_read: 0,
            file_left: 0,
            files: 0,
            notes: Vec::new(),
            summary: None,
        }
    }
}

impl Decoder {
    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes taken so far.
    pub fn length(&self) -> u64 {
        self.taken + self.buffer.len() as u64
    }

    /// The next part; None when it needs more bytes, and after the end. An error is final.
    #[expect(clippy::should_implement_trait, reason = "None is not the end here")]
    pub fn next(&mut self) -> Result<Option<Part>, BackupError> {
        loop {
            if let Some(object) = self.object().map_err(|error| self.damaged(error.0))? {
                return Ok(Some(object));
            }
            if !self.has_prologue {
                if !self.prologue()? {
                    return Ok(None);
                }
                continue;
            }
            if self.summary.is_some() {
                let follows = !self.buffer.is_empty();
                return if follows { Err(self.damaged("something follows its end")) } else { Ok(None) };
            }
            let before = self.checksum.clone();
            let Some((kind, content)) = self.take_section()? else { return Ok(None) };
            let part = self.part(kind, content, before).map_err(|error| self.damaged(error.0))?;
            if part.is_some() {
                return Ok(part);
            }
        }
    }

    /// Says that no more bytes come: what the backup held, if it was whole.
    pub fn finish(&self) -> Result<Summary, BackupError> {
        match &self.summary {
            Some(summary) if self.buffer.is_empty() => Ok(summary.clone()),
            Some(_) => Err(self.damaged("something follows its end")),
            None => Err(BackupError::Truncated { length: self.length() }),
        }
    }

    fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged { offset: self.section, what }
    }

    /// Takes magic and format; false when they have not come yet.
    fn prologue(&mut self) -> Result<bool, BackupError> {
        let seen = self.buffer.len().min(MAGIC.len());
        if self.buffer[..seen] != MAGIC[..seen] {
            return Err(BackupError::NoBackup);
        }
        if self.buffer.len() < PROLOGUE_BYTES {
            return Ok(false);
        }
        let mut prologue = self.take(PROLOGUE_BYTES);
        prologue.advance(MAGIC.len());
        self.has_prologue = true;
        match prologue.get_u32_le() {
            0 => Err(self.damaged("it has no format")),
            FORMAT => Ok(true),
            found => Err(BackupError::NewerFormat { found }),
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.taken += length as u64;
        let taken = self.buffer.split_to(length).freeze();
        self.checksum.update(&taken);
        taken
    }

    /// Kind and content of the next section when all of it has come.
    fn take_section(&mut self) -> Result<Option<(u8, Bytes)>, BackupError> {
        self.section = self.taken;
        let Some(header) = self.buffer.first_chunk::<SECTION_HEADER_BYTES>() else { return Ok(None) };
        let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
        let (length, expected) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > SECTION_BYTES_MAX {
            return Err(self.damaged("a section is longer than any that is written"));
        }
        if self.buffer.len() < SECTION_HEADER_BYTES + size {
            return Ok(None);
        }
        let content = &self.buffer[SECTION_HEADER_BYTES..SECTION_HEADER_BYTES + size];
        if checksum(kind, length, content) != expected {
            return Err(self.damaged("the checksum of a section does not match"));
        }
        let mut section = self.take(SECTION_HEADER_BYTES + size);
        Ok(Some((kind, section.split_off(SECTION_HEADER_BYTES))))
    }

    /// The part that a section is, if it is one by itself. `before` is the checksum of all before the section.
    fn part(&mut self, kind: u8, content: Bytes, before: crc32fast::Hasher) -> Result<Option<Part>, Malformed> {
        if self.header.is_none() != (kind == 1) {
            return Err(Malformed("its header is not where it should be"));
        }
        if self.file_left > 0 && kind != 5 {
            return Err(Malformed("a file is shorter than it says"));
        }
        if kind != 3 && self.collection.as_ref().is_some_and(|collection| collection.left > 0) {
            return Err(Malformed("a collection has fewer objects than it says"));
        }
        if kind == 5 {
            let left = self.file_left.checked_sub(content.len() as u64);
            self.file_left = left.ok_or(Malformed("a file is longer than it says"))?;
            return Ok(Some(Part::Data(content)));
        }
        if kind == 6 {
            let note = String::from_utf8(content.to_vec()).map_err(|_| Malformed("a text is not UTF-8"))?;
            if self.notes.len() >= NOTES_MAX {
                return Err(Malformed("it has more notes than any that is written"));
            }
            self.notes.push(note.clone());
            return Ok(Some(Part::Note(note)));
        }
        let mut reader = Reader::new(content);
        let part = match kind {
            1 => {
                let header = read_header(&mut reader)?;
                self.header = Some(header.clone());
                Some(Part::Header(header))
            }
            2 => {
                self.begin_collection(reader.text()?, reader.varint()?)?;
                None
            }
            3 => {
                self.objects = Some(reader);
                return Ok(None);
            }
            4 => {
                let (name, size) = (reader.text()?.as_ref().to_owned(), reader.varint()?);
                self.files += 1;
                self.file_left = size;
                Some(Part::File { name, size })
            }
            7 => Some(Part::End(self.end(&mut reader, before)?)),
            _ => return Err(Malformed("no such section")),
        };
        if reader.is_empty() { Ok(part) } else { Err(Malformed("a section is longer than what it holds")) }
    }

    fn begin_collection(&mut self, name: Arc<str>, left: u64) -> Result<(), Malformed> {
        if self.collection.as_ref().is_some_and(|before| before.name >= name) || self.files > 0 {
            return Err(Malformed("its collections are not in order"));
        }
        self.collection = Some(Collection { name, left, last: None });
        Ok(())
    }

    /// The next object of a section of objects.
    fn object(&mut self) -> Result<Option<Part>, Malformed> {
        let Some(reader) = self.objects.as_mut().filter(|reader| !reader.is_empty()) else {
            self.objects = None;
            return Ok(None);
        };
        let newest = self.header.as_ref().map_or(Revision(0), |header| header.revision);
        let collection = self.collection.as_mut().ok_or(Malformed("an object is in no collection"))?;
        let stored = state::read_object(reader, &collection.name)?;
        collection.left =
            collection.left.checked_sub(1).ok_or(Malformed("a collection has more objects than it says"))?;
        let name = stored.key().shared_name();
        if collection.last.as_ref().is_some_and(|last| last >= name) {
            return Err(Malformed("its objects are not in order"));
        }
        if stored.revision() > newest || stored.created() > stored.revision() {
            return Err(Malformed("an object is newer than the backup"));
        }
        collection.last = Some(Arc::clone(name));
        self.objects_read += 1;
        Ok(Some(Part::Object(Arc::new(stored))))
    }

    fn end(&mut self, reader: &mut Reader, before: crc32fast::Hasher) -> Result<Summary, Malformed> {
        let header = self.header.clone().ok_or(Malformed("it has no header"))?;
        let (objects, files) = (reader.varint()?, reader.varint()?);
        if objects != self.objects_read || objects != header.objects || files != self.files {
            return Err(Malformed("it holds something else than it says"));
        }
        let mut checksum = 0;
        for place in 0..4 {
            checksum |= u32::from(reader.byte()?) << (8 * place);
        }
        if checksum != before.finalize() {
            return Err(Malformed("the checksum of the whole does not match"));
        }
        let notes = std::mem::take(&mut self.notes);
        let summary = Summary { header, files, notes, bytes: self.taken };
        self.summary = Some(summary.clone());
        Ok(summary)
    }
}

fn read_header(reader: &mut Reader) -> Result<Header, Malformed> {
    let mut text = || reader.text().map(|text| text.as_ref().to_owned());
    let about = About { cluster: text()?, version: text()?, time: text()? };
    let (revision, term, objects) = (Revision(reader.varint()?), reader.varint()?, reader.varint()?);
    Ok(Header { about, revision, term, objects })
}
