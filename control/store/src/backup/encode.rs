//! Writing a backup, piece by piece: what is in memory at a time is one section.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{About, FORMAT, Header, MAGIC};
use crate::codec::{put_bytes, put_varint};
use crate::state;
use crate::view::{Collection, View};

/// Size at which a section of objects is followed by the next: large against its header, small in memory.
const OBJECTS_BYTES: usize = 256 << 10;

/// Bytes of a file in one section.
const DATA_BYTES: usize = 256 << 10;

/// A backup on its way out. The state in it does not change any more; writes go on beside it.
///
/// First [`Backup::next`] until it has no more, then files and notes, then [`Backup::end`]. The bytes returned make the
/// file when they are put one after the other.
pub struct Backup {
    header: Header,
    view: View,
    has_begun: bool,
    waiting: VecDeque<(Arc<str>, Collection)>,
    /// The collection being written, and the last name of it that was.
    current: Option<(Collection, Option<Arc<str>>)>,
    files: u64,
    checksum: crc32fast::Hasher,
}

impl Backup {
    pub(crate) fn new(view: View, term: u64, about: About) -> Self {
        let waiting: VecDeque<_> =
            view.collections().iter().map(|(name, objects)| (Arc::clone(name), objects.clone())).collect();
        let objects = waiting.iter().map(|(_, objects)| objects.len() as u64).sum();
        let header = Header { about, revision: view.revision(), term, objects };
        Self { header, view, has_begun: false, waiting, current: None, files: 0, checksum: crc32fast::Hasher::new() }
    }

    /// What the backup says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The state it is of.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The next bytes of the objects; None when all are written.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not be asked for files in between")]
    pub fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.has_begun, true) {
            return Some(self.begin());
        }
        if let Some((objects, last)) = self.current.take() {
            let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = objects.range::<(Bound<&str>, Bound<&str>), str>((from, Bound::Unbounded));
            let mut content = Vec::new();
            let mut last = None;
            for (name, stored) in rest {
                state::put_object(&mut content, stored);
                last = Some(Arc::clone(name));
                if content.len() >= OBJECTS_BYTES {
                    break;
                }
            }
            if last.is_some() {
                self.current = Some((objects, last));
                return Some(self.section(3, &content));
            }
        }
        let (name, objects) = self.waiting.pop_front()?;
        let mut content = Vec::new();
        put_bytes(&mut content, name.as_bytes());
        put_varint(&mut content, objects.len() as u64);
        self.current = Some((objects, None));
        Some(self.section(2, &content))
    }

    fn begin(&mut self) -> Bytes {
        let mut prologue = MAGIC.to_vec();
        prologue.extend_from_slice(&FORMAT.to_le_bytes());
        self.checksum.update(&prologue);
        let Header { about, revision, term, objects } = &self.header;
        let mut content = Vec::new();
        for text in [&about.cluster, &about.version, &about.time] {
            put_bytes(&mut content, text.as_bytes());
        }
        for number in [revision.0, *term, *objects] {
            put_varint(&mut content, number);
        }
        let header = self.section(1, &content);
        prologue.extend_from_slice(&header);
        prologue.into()
    }

    /// Begins a file of `size` bytes: as many are to be given to [`Backup::data`] next.
    pub fn file(&mut self, name: &str, size: u64) -> Bytes {
        self.files += 1;
        let mut content = Vec::new();
        put_bytes(&mut content, name.as_bytes());
        put_varint(&mut content, size);
        self.section(4, &content)
    }

    /// Bytes of the file that was begun last.
    pub fn data(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len() + super::SECTION_HEADER_BYTES);
        for piece in bytes.chunks(DATA_BYTES) {
            out.extend_from_slice(&self.section(5, piece));
        }
        out.into()
    }

    /// Something that whoever restores should know.
    pub fn note(&mut self, text: &str) -> Bytes {
        self.section(6, text.as_bytes())
    }

    /// The end, which makes the backup whole.
    pub fn end(mut self) -> Bytes {
        let mut content = Vec::new();
        put_varint(&mut content, self.header.objects);
        put_varint(&mut content, self.files);
        content.extend_from_slice(&self.checksum.clone().finalize().to_le_bytes());
        self.section(7, &content)
    }

    fn section(&mut self, kind: u8, content: &[u8]) -> Bytes {
        let length = u32::try_from(content.len()).expect("a section holds little more than one object");
        let mut out = Vec::with_capacity(super::SECTION_HEADER_BYTES + content.len());
        out.push(kind);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&super::decode::checksum(kind, length, content).to_le_bytes());
        out.extend_from_slice(content);
        self.checksum.update(&out);
        out.into()
    }
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "backup of {:?}", self.header)
    }
}
