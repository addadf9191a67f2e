//! Numbers, text and bytes as they stand in commands, log records and snapshots.
//!
//! Written by hand and not by a serializer, so that the bytes on disk are ours to keep still and that a decoded object
//! shares the buffer it came in. Varints are LEB128.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};

/// Bytes that do not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The longest LEB128 of 64 bits.
const VARINT_BYTES_MAX: u32 = 10;

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An absent number as 0 and a present one as itself plus one, which does not overflow for the 32 bits given.
pub(crate) fn put_optional(out: &mut Vec<u8>, value: Option<u32>) {
    put_varint(out, value.map_or(0, |value| u64::from(value) + 1));
}

pub(crate) fn put_list(out: &mut Vec<u8>, values: &[u64]) {
    put_varint(out, values.len() as u64);
    for &value in values {
        put_varint(out, value);
    }
}

/// Reads what the functions above wrote.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Malformed("ends before a byte"))
    }

    pub(crate) fn fixed32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32_le().map_err(|_| Malformed("ends before a number"))
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64_le().map_err(|_| Malformed("ends before a number"))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for place in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if place == VARINT_BYTES_MAX - 1 && bits > 1 {
                break;
            }
            value |= bits << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number has more than 64 bits"))
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed("a length is out of range"))?;
        if length > self.0.len() {
            return Err(Malformed("a length runs past the end"));
        }
        Ok(self.0.split_to(length))
    }

    pub(crate) fn text(&mut self) -> Result<Arc<str>, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).map(Arc::from).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(crate) fn optional(&mut self) -> Result<Option<u32>, Malformed> {
        match self.varint()? {
            0 => Ok(None),
            value => u32::try_from(value - 1).map(Some).map_err(|_| Malformed("a number has more than 32 bits")),
        }
    }

    pub(crate) fn list(&mut self) -> Result<Vec<u64>, Malformed> {
        let count = self.count()?;
        (0..count).map(|_| self.varint()).collect()
    }

    /// A number of things that follow, each of which takes a byte at least: so that a damaged count cannot make us
    /// reserve memory for things that are not there.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed("a count is out of range"))?;
        if count > self.0.len() { Err(Malformed("a count runs past the end")) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_at_the_edges_come_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(out.into());
            assert_eq!(reader.varint(), Ok(value));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert!(Reader::new(Bytes::copy_from_slice(&bytes)).varint().is_err());
    }

    #[test]
    fn a_length_past_the_end_is_refused() {
        assert!(Reader::new(Bytes::from_static(&[5, 1, 2])).bytes().is_err());
        assert!(Reader::new(Bytes::from_static(&[5, 1, 2])).list().is_err());
    }
}
