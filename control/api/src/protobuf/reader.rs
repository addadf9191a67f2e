//! The bytes of a message, field by field. Nothing is copied, and every length is checked against what is left.

use super::DecodeError;

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// A number of up to ten bytes.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length and as many bytes.
    Bytes,
    /// Fields up to the end of the group.
    GroupStart,
    /// The end of a group.
    GroupEnd,
    /// Four bytes.
    Fixed32,
}

impl Wire {
    /// Its number.
    pub(super) fn number(self) -> u8 {
        self as u8
    }
}

/// What is left of a message.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next field's number and how it is written; None at the end.
    pub(super) fn tag(&mut self) -> Result<Option<(u32, Wire)>, DecodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Fixed64,
            2 => Wire::Bytes,
            3 => Wire::GroupStart,
            4 => Wire::GroupEnd,
            5 => Wire::Fixed32,
            _ => return Err(DecodeError::Tag(tag)),
        };
        match u32::try_from(tag >> 3) {
            Ok(field) if field > 0 => Ok(Some((field, wire))),
            _ => Err(DecodeError::Tag(tag)),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
            self.0 = rest;
            let bits = u64::from(first & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Overflow);
            }
            value |= bits << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Overflow)
    }

    /// A whole number: negative ones take ten bytes.
    pub(super) fn int(&mut self) -> Result<i64, DecodeError> {
        self.varint().map(u64::cast_signed)
    }

    pub(super) fn double(&mut self) -> Result<f64, DecodeError> {
        let (first, rest) = self.0.split_first_chunk::<8>().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(f64::from_le_bytes(*first))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.varint()?).map_err(|_| DecodeError::Truncated)?;
        let (found, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(found)
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| DecodeError::Text(field))
    }

    /// Passes over a field that nobody knows. Groups are counted and not called, so they cannot be too deep.
    pub(super) fn skip(&mut self, wire: Wire) -> Result<(), DecodeError> {
        let mut wire = wire;
        let mut open = 0_usize;
        loop {
            match wire {
                Wire::Varint => drop(self.varint()?),
                Wire::Fixed64 => self.take(8)?,
                Wire::Bytes => drop(self.bytes()?),
                Wire::Fixed32 => self.take(4)?,
                Wire::GroupStart => open += 1,
                Wire::GroupEnd => open = open.checked_sub(1).ok_or(DecodeError::Tag(4))?,
            }
            if open == 0 {
                return Ok(());
            }
            wire = self.tag()?.ok_or(DecodeError::Truncated)?.1;
        }
    }

    fn take(&mut self, count: usize) -> Result<(), DecodeError> {
        self.0 = self.0.get(count..).ok_or(DecodeError::Truncated)?;
        Ok(())
    }
}
