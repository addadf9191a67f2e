//! Messages between members.
//!
//! ```text
//! format 1: 1 | Raft's message as protocol buffers
//! format 2: 2 | 1 asks for a piece of a snapshot | to | which snapshot | offset
//!           2 | 2 a piece of a snapshot          | to | which snapshot | offset | CRC-32 of the piece 4 bytes | piece
//! which snapshot: index | term | bytes | checksum
//! ```
//!
//! Who sent a message is not in formats above 1: the mesh knows. Members that know format 1 only are never sent another.

use bytes::Bytes;
use protobuf::{CodedOutputStream, Message as _, ProtobufError};
use raft::eraftpb::Message;

use crate::codec::{Malformed, Reader, put_bytes, put_varint};
use crate::error::ReceiveError;
use crate::log::SnapshotId;
use crate::model::MemberId;

/// The format of Raft's messages.
const RAFT: u8 = 1;

/// The newest format, of all else.
pub(crate) const FORMAT: u8 = 2;

const ASK: u8 = 1;
const PIECE: u8 = 2;

/// What one member sends another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parcel {
    /// A message of Raft's.
    Raft(Box<Message>),
    /// A follower asks for a piece of a snapshot.
    Ask(Ask),
    /// A piece of a snapshot.
    Piece(Piece),
}

/// See [`Parcel::Ask`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) to: MemberId,
    pub(crate) snapshot: SnapshotId,
    /// Where the piece begins. The end of the snapshot asks for nothing and says that the follower lives.
    pub(crate) offset: u64,
}

/// See [`Parcel::Piece`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) to: MemberId,
    pub(crate) snapshot: SnapshotId,
    pub(crate) offset: u64,
    /// Empty when there is no such snapshot any more.
    pub(crate) bytes: Bytes,
}

impl Parcel {
    /// For whom it is.
    pub(crate) fn to(&self) -> MemberId {
        match self {
            Self::Raft(message) => MemberId(message.to),
            Self::Ask(ask) => ask.to,
            Self::Piece(piece) => piece.to,
        }
    }

    /// Encodes what is not Raft's.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Raft(message) => return encode(message).unwrap_or_default(),
            Self::Ask(Ask { to, snapshot, offset }) => put(&mut out, ASK, *to, snapshot, *offset),
            Self::Piece(Piece { to, snapshot, offset, bytes }) => {
                out.reserve(64 + bytes.len());
                put(&mut out, PIECE, *to, snapshot, *offset);
                out.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
                put_bytes(&mut out, bytes);
            }
        }
        out.into()
    }
}

fn put(out: &mut Vec<u8>, kind: u8, to: MemberId, snapshot: &SnapshotId, offset: u64) {
    out.extend_from_slice(&[FORMAT, kind]);
    for number in [to.0, snapshot.index, snapshot.term, snapshot.bytes, u64::from(snapshot.checksum), offset] {
        put_varint(out, number);
    }
}

/// Encodes a message of Raft's.
pub(crate) fn encode(message: &Message) -> Result<Bytes, ProtobufError> {
    let mut bytes = Vec::with_capacity(1 + message.compute_size() as usize);
    bytes.push(RAFT);
    let mut stream = CodedOutputStream::vec(&mut bytes);
    message.write_to_with_cached_sizes(&mut stream)?;
    stream.flush()?;
    drop(stream);
    Ok(bytes.into())
}

/// Entries and pieces share the buffer of the message.
pub(crate) fn decode(bytes: &Bytes) -> Result<Parcel, ReceiveError> {
    match bytes.first() {
        None | Some(0) => Err(ReceiveError::Malformed("it has no format".to_owned())),
        Some(&RAFT) => Message::parse_from_carllerche_bytes(&bytes.slice(1..))
            .map(|message| Parcel::Raft(Box::new(message)))
            .map_err(|error| ReceiveError::Malformed(error.to_string())),
        Some(&FORMAT) => read(bytes.slice(1..)).map_err(|error| ReceiveError::Malformed(error.to_string())),
        Some(&found) => Err(ReceiveError::NewerFormat { found, known: FORMAT }),
    }
}

fn read(bytes: Bytes) -> Result<Parcel, Malformed> {
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    let to = MemberId(reader.varint()?);
    let (index, term, bytes) = (reader.varint()?, reader.varint()?, reader.varint()?);
    let checksum = u32::try_from(reader.varint()?).map_err(|_| Malformed("a checksum has more than 32 bits"))?;
    let snapshot = SnapshotId { index, term, bytes, checksum };
    let offset = reader.varint()?;
    let parcel = match kind {
        ASK => Parcel::Ask(Ask { to, snapshot, offset }),
        PIECE => {
            let expected = reader.fixed32()?;
            let bytes = reader.bytes()?;
            if crc32fast::hash(&bytes) != expected {
                return Err(Malformed("the checksum of a piece does not match"));
            }
            Parcel::Piece(Piece { to, snapshot, offset, bytes })
        }
        _ => return Err(Malformed("no such message")),
    };
    if reader.is_empty() { Ok(parcel) } else { Err(Malformed("something follows the message")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft::eraftpb::{Entry, MessageType};

    use super::*;

    const SNAPSHOT: SnapshotId = SnapshotId { index: 300, term: 2, bytes: 5, checksum: 7 };

    #[test]
    fn format_1_is_these_bytes_for_ever() {
        let mut message = Message { to: 2, from: 1, term: 3, index: 4, commit: 4, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message
            .set_entries(vec![Entry { term: 3, index: 5, data: Bytes::from_static(b"d"), ..Entry::default() }].into());
        let golden = b"\x01\x08\x03\x10\x02\x18\x01\x20\x03\x30\x04\x3a\x07\x10\x03\x18\x05\x22\x01d\x40\x04";
        assert_eq!(&encode(&message).expect("encodes")[..], golden);
        assert_eq!(decode(&Bytes::from_static(golden)).expect("decodes"), Parcel::Raft(Box::new(message)));
    }

    #[test]
    fn format_2_is_these_bytes_for_ever() {
        let ask = Parcel::Ask(Ask { to: MemberId(2), snapshot: SNAPSHOT, offset: 3 });
        let golden = b"\x02\x01\x02\xac\x02\x02\x05\x07\x03";
        assert_eq!(&ask.encode()[..], golden);
        assert_eq!(decode(&Bytes::from_static(golden)).expect("decodes"), ask);
        let bytes = Bytes::from_static(b"ab");
        let piece = Parcel::Piece(Piece { to: MemberId(2), snapshot: SNAPSHOT, offset: 3, bytes });
        let golden = b"\x02\x02\x02\xac\x02\x02\x05\x07\x03\x6d\x48\x83\x9e\x02ab";
        assert_eq!(&piece.encode()[..], golden);
        assert_eq!(decode(&Bytes::from_static(golden)).expect("decodes"), piece);
    }

    #[test]
    fn a_damaged_piece_is_refused() {
        let bytes = Bytes::from_static(b"ab");
        let whole = Parcel::Piece(Piece { to: MemberId(2), snapshot: SNAPSHOT, offset: 3, bytes }).encode();
        for at in whole.len() - 6..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 1;
            assert!(decode(&damaged.into()).is_err(), "at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        assert!(matches!(decode(&Bytes::from_static(&[3, 1])), Err(ReceiveError::NewerFormat { found: 3, known: 2 })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>, format in 1u8..=2) {
            bytes.insert(0, format);
            let _ = decode(&bytes.into());
        }
    }
}
