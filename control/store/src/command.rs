//! A proposed transaction as it stands in a log entry. Format 1:
//!
//! ```text
//! format 1 byte | member, incarnation, sequence, base 8 bytes each, little-endian | number of ops
//! then each op: expectation 1 byte [revision] | change 1 byte | collection | name | [stamp + 1 or 0 | bytes]
//! ```
//!
//! Not here: what a command does ([`crate::machine`]).

use bytes::Bytes;

use crate::codec::{Malformed, Reader, put_bytes, put_optional, put_varint};
use crate::model::{Change, Expect, Key, Op, Revision, Txn, Value};

/// The format written, and the newest read.
pub(crate) const FORMAT: u8 = 1;

/// Where the base stands: after the format and the id.
const BASE_AT: usize = 1 + 3 * 8;

/// Names one proposal for as long as copies of it may arrive, so that each is applied once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ProposalId {
    /// Who proposed.
    pub(crate) member: u64,
    /// Which start of that member: drawn at random, so that a restart does not take up old sequence numbers.
    pub(crate) incarnation: u64,
    /// Which of its proposals.
    pub(crate) sequence: u64,
}

impl ProposalId {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        for part in [self.member, self.incarnation, self.sequence] {
            out.extend_from_slice(&part.to_le_bytes());
        }
    }

    pub(crate) fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(Self { member: reader.fixed64()?, incarnation: reader.fixed64()?, sequence: reader.fixed64()? })
    }
}

/// A decoded log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) id: ProposalId,
    /// An index up to which the proposer had applied the log without meeting this id. Bounds how far back a copy of the
    /// same proposal can be, and so how long ids must be remembered.
    pub(crate) base: u64,
    pub(crate) txn: Txn,
}

/// Why an entry cannot be applied. Either is fatal: skipping it would make this peer differ from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("the entry has format {0} and this version of wk reads formats up to {FORMAT}: start a newer version")]
    NewerFormat(u8),
    #[error("the entry is malformed: {0}")]
    Malformed(Malformed),
}

impl From<Malformed> for CommandError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

pub(crate) fn encode(id: ProposalId, base: u64, txn: &Txn) -> Vec<u8> {
    let values: usize =
        txn.ops.iter().map(|op| if let Change::Put(value) = &op.change { value.bytes.len() } else { 0 }).sum();
    let names: usize = txn.ops.iter().map(|op| op.key.collection().len() + op.key.name().len()).sum();
    // Tags and lengths take some 20 bytes an op.
    let mut out = Vec::with_capacity(BASE_AT + 8 + 10 + values + names + 20 * txn.ops.len());
    out.push(FORMAT);
    id.put(&mut out);
    out.extend_from_slice(&base.to_le_bytes());
    put_varint(&mut out, txn.ops.len() as u64);
    for op in &txn.ops {
        put_op(&mut out, op);
    }
    out
}

fn put_op(out: &mut Vec<u8>, op: &Op) {
    match op.expect {
        Expect::Any => out.push(0),
        Expect::Absent => out.push(1),
        Expect::Present => out.push(2),
        Expect::Revision(revision) => {
            out.push(3);
            put_varint(out, revision.0);
        }
    }
    out.push(match op.change {
        Change::Put(_) => 0,
        Change::Delete => 1,
        Change::Check => 2,
    });
    put_bytes(out, op.key.collection().as_bytes());
    put_bytes(out, op.key.name().as_bytes());
    if let Change::Put(value) = &op.change {
        put_optional(out, value.stamp);
        put_bytes(out, &value.bytes);
    }
}

/// The base of an encoded command.
pub(crate) fn base(command: &[u8]) -> u64 {
    command.get(BASE_AT..).and_then(|rest| rest.first_chunk()).map_or(0, |base| u64::from_le_bytes(*base))
}

/// The same command with another base.
pub(crate) fn with_base(command: &[u8], base: u64) -> Vec<u8> {
    let mut command = command.to_vec();
    if let Some(place) = command.get_mut(BASE_AT..BASE_AT + 8) {
        place.copy_from_slice(&base.to_le_bytes());
    }
    command
}

pub(crate) fn decode(bytes: Bytes) -> Result<Command, CommandError> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        0 => return Err(Malformed("format 0 does not exist").into()),
        FORMAT => {}
        newer => return Err(CommandError::NewerFormat(newer)),
    }
    let id = ProposalId::read(&mut reader)?;
    let base = reader.fixed64()?;
    let count = reader.count()?;
    let ops = (0..count).map(|_| read_op(&mut reader)).collect::<Result<_, _>>()?;
    if !reader.is_empty() {
        return Err(Malformed("something follows the last op").into());
    }
    Ok(Command { id, base, txn: Txn { ops } })
}

/// Whether every op of an encoded command is in one of `collections`. Reads no further than the first that is not.
pub(crate) fn is_within(bytes: Bytes, collections: &[&str]) -> bool {
    let mut reader = Reader::new(bytes);
    let mut all = || {
        if reader.byte()? != FORMAT {
            return Ok(false);
        }
        ProposalId::read(&mut reader)?;
        reader.fixed64()?;
        for _ in 0..reader.count()? {
            if !collections.contains(&read_op(&mut reader)?.key.collection()) {
                return Ok(false);
            }
        }
        Ok::<_, Malformed>(true)
    };
    all().unwrap_or(false)
}

fn read_op(reader: &mut Reader) -> Result<Op, Malformed> {
    let expect = match reader.byte()? {
        0 => Expect::Any,
        1 => Expect::Absent,
        2 => Expect::Present,
        3 => Expect::Revision(Revision(reader.varint()?)),
        _ => return Err(Malformed("no such expectation")),
    };
    let change = reader.byte()?;
    let key = Key::new(reader.text()?, reader.text()?);
    let change = match change {
        0 => {
            let stamp = reader.optional()?;
            Change::Put(Value { stamp, bytes: reader.bytes()? })
        }
        1 => Change::Delete,
        2 => Change::Check,
        _ => return Err(Malformed("no such change")),
    };
    Ok(Op { key, expect, change })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> ProposalId {
        ProposalId { member: 1, incarnation: 2, sequence: 3 }
    }

    pub(crate) fn any_op() -> impl Strategy<Value = Op> {
        let expect = prop_oneof![
            Just(Expect::Any),
            Just(Expect::Absent),
            Just(Expect::Present),
            any::<u64>().prop_map(|revision| Expect::Revision(Revision(revision))),
        ];
        let value = (any::<Vec<u8>>(), any::<Option<u32>>()).prop_map(|(bytes, stamp)| {
            Change::Put(Value { bytes: bytes.into(), stamp: stamp.filter(|&at| at != u32::MAX) })
        });
        let change = prop_oneof![value, Just(Change::Delete), Just(Change::Check)];
        ("[a-z/]{0,12}", "[a-z0-9/-]{0,20}", expect, change).prop_map(|(collection, name, expect, change)| Op {
            key: Key::new(collection, name),
            expect,
            change,
        })
    }

    #[test]
    fn format_1_is_these_bytes_for_ever() {
        let txn = Txn {
            ops: vec![
                Op {
                    key: Key::new("core/pods", "a/b"),
                    expect: Expect::Revision(Revision(300)),
                    change: Change::Put(Value { bytes: Bytes::from_static(b"{}"), stamp: Some(1) }),
                },
                Op { key: Key::new("c", "d"), expect: Expect::Present, change: Change::Delete },
                Op { key: Key::new("c", "e"), expect: Expect::Absent, change: Change::Check },
            ],
        };
        let golden: &[u8] = b"\x01\
            \x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x03\
            \x03\xac\x02\x00\x09core/pods\x03a/b\x02\x02{}\
            \x02\x01\x01c\x01d\
            \x01\x02\x01c\x01e";
        let bytes = encode(id(), 4, &txn);
        assert_eq!(bytes, golden);
        assert_eq!(decode(bytes.into()), Ok(Command { id: id(), base: 4, txn }));
    }

    #[test]
    fn a_command_is_within_collections_when_all_of_its_ops_are() {
        let op = |collection: &'static str| Op {
            key: Key::new(collection, "n"),
            expect: Expect::Any,
            change: Change::Delete,
        };
        let is_within = |ops| is_within(encode(id(), 0, &Txn { ops }).into(), &["a", "b"]);
        assert!(is_within(vec![op("a"), op("b")]));
        assert!(!is_within(vec![op("a"), op("c")]));
        assert!(!super::is_within(Bytes::from_static(b"\x01noise"), &["a"]));
    }

    #[test]
    fn a_newer_format_is_named() {
        assert_eq!(decode(Bytes::from_static(&[2, 0])), Err(CommandError::NewerFormat(2)));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(ops in prop::collection::vec(any_op(), 0..5), base: u64) {
            let txn = Txn { ops };
            let bytes = with_base(&encode(id(), 7, &txn), base);
            prop_assert_eq!(decode(bytes.into()), Ok(Command { id: id(), base, txn }));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let mut with_format = vec![FORMAT];
            with_format.extend_from_slice(&bytes);
            let _ = decode(bytes.into());
            let _ = decode(with_format.into());
        }
    }
}
