//! Messages between members: one byte of format, then Raft's message as protocol buffers.

use bytes::Bytes;
use protobuf::{CodedOutputStream, Message as _, ProtobufError};
use raft::eraftpb::Message;

use crate::error::ReceiveError;

/// The format written, and the newest read.
pub(crate) const FORMAT: u8 = 1;

pub(crate) fn encode(message: &Message) -> Result<Bytes, ProtobufError> {
    let mut bytes = Vec::with_capacity(1 + message.compute_size() as usize);
    bytes.push(FORMAT);
    let mut stream = CodedOutputStream::vec(&mut bytes);
    message.write_to_with_cached_sizes(&mut stream)?;
    stream.flush()?;
    drop(stream);
    Ok(bytes.into())
}

/// Entries share the buffer of the message.
pub(crate) fn decode(bytes: &Bytes) -> Result<Message, ReceiveError> {
    match bytes.first() {
        None | Some(0) => return Err(ReceiveError::Malformed("it has no format".to_owned())),
        Some(&FORMAT) => {}
        Some(&found) => return Err(ReceiveError::NewerFormat { found, known: FORMAT }),
    }
    Message::parse_from_carllerche_bytes(&bytes.slice(1..)).map_err(|error| ReceiveError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft::eraftpb::{Entry, MessageType};

    use super::*;

    #[test]
    fn format_1_is_these_bytes_for_ever() {
        let mut message = Message { to: 2, from: 1, term: 3, index: 4, commit: 4, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message
            .set_entries(vec![Entry { term: 3, index: 5, data: Bytes::from_static(b"d"), ..Entry::default() }].into());
        let golden = b"\x01\x08\x03\x10\x02\x18\x01\x20\x03\x30\x04\x3a\x07\x10\x03\x18\x05\x22\x01d\x40\x04";
        assert_eq!(&encode(&message).expect("encodes")[..], golden);
        assert_eq!(decode(&Bytes::from_static(golden)).expect("decodes"), message);
    }

    #[test]
    fn a_newer_format_is_named() {
        assert!(matches!(decode(&Bytes::from_static(&[2, 1])), Err(ReceiveError::NewerFormat { found: 2, known: 1 })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>) {
            bytes.insert(0, FORMAT);
            let _ = decode(&bytes.into());
        }
    }
}
