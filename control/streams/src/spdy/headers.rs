//! Header blocks: one zlib stream in each direction for a whole connection, begun with the protocol's dictionary.

use bytes::{Buf as _, BufMut as _, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;

/// Bytes of one block when it is inflated. A stream of kubectl's has four short headers; zlib can make a thousand
/// bytes of one.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024;
/// Headers of one block.
pub const HEADERS_MAX: usize = 64;

/// A block that cannot be read. The connection cannot go on: the compression's state is lost.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// zlib refused it.
    #[error("headers that do not inflate")]
    Inflate(#[source] flate2::DecompressError),
    /// More than [`BLOCK_BYTES_MAX`] or [`HEADERS_MAX`].
    #[error("too many headers")]
    TooMany,
    /// Lengths that do not add up, or text that is none.
    #[error("malformed headers")]
    Malformed,
}

/// Names in lower case, and values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The value of a header; empty when it is missing.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }

    /// Reads an inflated block.
    pub fn parse(mut block: &[u8]) -> Result<Self, HeaderError> {
        let count = usize::try_from(block.try_get_u32().map_err(|_| HeaderError::Malformed)?);
        let count = count.ok().filter(|count| *count <= HEADERS_MAX).ok_or(HeaderError::TooMany)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = text(&mut block)?.to_ascii_lowercase();
            if name.is_empty() {
                return Err(HeaderError::Malformed);
            }
            headers.push((name, text(&mut block)?));
        }
        if block.is_empty() { Ok(Self(headers)) } else { Err(HeaderError::Malformed) }
    }

    /// Writes a block, not deflated yet.
    pub fn write(&self) -> Vec<u8> {
        let mut block = BytesMut::new();
        put(&mut block, self.0.len());
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            put(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
        block.to_vec()
    }
}

fn put(block: &mut BytesMut, length: usize) {
    block.put_u32(u32::try_from(length).expect("headers of ours are short"));
}

fn text(block: &mut &[u8]) -> Result<String, HeaderError> {
    let length = usize::try_from(block.try_get_u32().map_err(|_| HeaderError::Malformed)?);
    let (text, rest) = length.ok().and_then(|length| block.split_at_checked(length)).ok_or(HeaderError::Malformed)?;
    *block = rest;
    str::from_utf8(text).map(str::to_owned).map_err(|_| HeaderError::Malformed)
}

/// Reads the client's blocks, in their order.
#[derive(Debug)]
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Inflater {
    /// Inflates and reads one block.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, HeaderError> {
        // One byte more than may come: so a block that is too long shows.
        let mut inflated = Vec::with_capacity(BLOCK_BYTES_MAX + 1);
        let mut rest = block;
        loop {
            let (before, had) = (self.0.total_in(), inflated.len());
            let result = self.0.decompress_vec(rest, &mut inflated, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken.min(rest.len())..];
            match result {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&DICTIONARY).map_err(HeaderError::Inflate)?;
                }
                Err(error) => return Err(HeaderError::Inflate(error)),
                Ok(_) if inflated.len() > BLOCK_BYTES_MAX => return Err(HeaderError::TooMany),
                // A stream that ended could carry no further block.
                Ok(Status::StreamEnd) => return Err(HeaderError::Malformed),
                Ok(Status::Ok | Status::BufError) if rest.is_empty() => return Headers::parse(&inflated),
                Ok(_) if taken == 0 && inflated.len() == had => return Err(HeaderError::Malformed),
                Ok(_) => {}
            }
        }
    }
}

/// Writes our blocks, in their order.
#[derive(Debug)]
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&DICTIONARY).expect("a new stream takes a dictionary");
        Self(compress)
    }
}

impl Deflater {
    /// Writes and deflates one block.
    pub fn write(&mut self, headers: &Headers) -> Vec<u8> {
        let block = headers.write();
        // Stored as it is, a block grows by a few bytes.
        let mut deflated = Vec::with_capacity(block.len() + 256);
        let (mut rest, mut done) = (block.as_slice(), false);
        while !done {
            let before = self.0.total_in();
            let status = self.0.compress_vec(rest, &mut deflated, FlushCompress::Sync);
            status.expect("deflating into memory cannot fail");
            rest = &rest[usize::try_from(self.0.total_in() - before).unwrap_or(rest.len())..];
            done = rest.is_empty() && deflated.len() < deflated.capacity();
            deflated.reserve(256);
        }
        deflated
    }
}
