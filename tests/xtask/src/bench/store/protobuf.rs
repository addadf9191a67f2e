//! As much of protobuf's encoding as five messages of etcd need: numbers and bytes in numbered fields.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

const NUMBER: u64 = 0;
const BYTES: u64 = 2;

/// A message being written.
#[derive(Default)]
pub(super) struct Message(BytesMut);

impl Message {
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        put_varint(&mut self.0, field << 3 | NUMBER);
        put_varint(&mut self.0, value);
        self
    }

    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        put_varint(&mut self.0, field << 3 | BYTES);
        put_varint(&mut self.0, value.len() as u64);
        self.0.put_slice(value);
        self
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

/// What a field holds.
#[derive(Debug, PartialEq)]
pub(super) enum Field {
    Number(u64),
    Bytes(Bytes),
}

/// The fields of a message with their numbers, up to one of another kind or the end.
pub(super) fn fields(mut message: Bytes) -> impl Iterator<Item = (u64, Field)> {
    std::iter::from_fn(move || {
        let key = varint(&mut message)?;
        let field = match key & 7 {
            NUMBER => Field::Number(varint(&mut message)?),
            BYTES => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                (length <= message.len()).then(|| Field::Bytes(message.split_to(length)))?
            }
            _ => return None,
        };
        Some((key >> 3, field))
    })
}

/// The number in a field, 0 if it is not there, as protobuf has it.
pub(super) fn number_in(message: &Bytes, wanted: u64) -> u64 {
    let found = fields(message.clone()).find_map(|(number, field)| match field {
        Field::Number(value) if number == wanted => Some(value),
        _ => None,
    });
    found.unwrap_or(0)
}

/// All messages or bytes in a field.
pub(super) fn bytes_in(message: &Bytes, wanted: u64) -> impl Iterator<Item = Bytes> {
    fields(message.clone()).filter_map(move |(number, field)| match field {
        Field::Bytes(value) if number == wanted => Some(value),
        _ => None,
    })
}

fn put_varint(bytes: &mut BytesMut, mut value: u64) {
    while value > 0x7f {
        bytes.put_u8(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    bytes.put_u8(u8::try_from(value).expect("seven bits"));
}

fn varint(bytes: &mut Bytes) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_they_were_written() {
        let message = Message::default().number(2, 300).bytes(11, b"ab").finish();
        assert_eq!(&*message, b"\x10\xac\x02\x5a\x02ab");
        assert_eq!((number_in(&message, 2), number_in(&message, 3)), (300, 0));
        assert_eq!(bytes_in(&message, 11).collect::<Vec<_>>(), ["ab"]);
        assert_eq!(fields(message.slice(..4)).count(), 1);
    }
}
