//! The replicated state as the bytes of a snapshot, the same on disk and on the way to another member. Format 1,
//! and format 2 when there are witnesses:
//!
//! ```text
//! format 1 byte | index | term | voters | learners | outgoing voters | next learners | auto-leave 1 byte | retired | in format 2: witnesses
//! remembered proposals: number, each index, id, refused op + 1 or 0
//! collections: number, each name, number of objects, each name, revision, created, stamp + 1 or 0, bytes
//! CRC-32 of all before, 4 bytes, little-endian
//! ```

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::ConfState;

use crate::codec::{Malformed, Reader, put_bytes, put_list, put_optional, put_varint};
use crate::command::ProposalId;
use crate::machine::{Machine, Outcome, Recent};
use crate::model::{Key, Revision, Stored};
use crate::view::Collection;

/// The newest format read. Written only when it is needed, so that older versions read the rest.
pub(crate) const FORMAT: u8 = 2;

/// The format without witnesses.
const WITHOUT_WITNESSES: u8 = 1;

/// Why bytes are no state of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the snapshot has format {0} and this version of wk reads formats up to {FORMAT}")]
    NewerFormat(u8),
    #[error("the checksum of the snapshot is {found:08x} and should be {expected:08x}")]
    Checksum { expected: u32, found: u32 },
    #[error("the snapshot is malformed: {0}")]
    Malformed(Malformed),
}

impl From<Malformed> for StateError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

/// Encodes a whole state in memory.
pub(crate) fn encode(machine: &Machine) -> Bytes {
    let mut out = Vec::new();
    let written = write(machine, usize::MAX, &mut |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    });
    written.expect("memory takes every write");
    out.into()
}

/// Encodes a state piece by piece, each of some `piece` bytes, without having it in memory as a whole. Returns its length
/// and its checksum.
pub(crate) fn write(
    machine: &Machine,
    piece: usize,
    sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, u32)> {
    let mut out = Vec::new();
    put_head(&mut out, machine);
    let mut hasher = crc32fast::Hasher::new();
    let mut length = 0;
    let mut spill = |out: &mut Vec<u8>, at: usize| {
        if out.len() < at {
            return Ok(());
        }
        hasher.update(out);
        length += out.len() as u64;
        let done = sink(out);
        out.clear();
        done
    };
    put_varint(&mut out, machine.collections.len() as u64);
    for (name, objects) in &machine.collections {
        put_bytes(&mut out, name.as_bytes());
        put_varint(&mut out, objects.len() as u64);
        for stored in objects.values() {
            put_object(&mut out, stored);
            spill(&mut out, piece)?;
        }
    }
    spill(&mut out, 0)?;
    let checksum = hasher.finalize();
    sink(&checksum.to_le_bytes())?;
    Ok((length + 4, checksum))
}

/// An object without its collection, as it stands in snapshots and backups.
pub(crate) fn put_object(out: &mut Vec<u8>, stored: &Stored) {
    put_bytes(out, stored.key().name().as_bytes());
    put_varint(out, stored.revision().0);
    put_varint(out, stored.created().0);
    put_optional(out, stored.stamp());
    put_bytes(out, &stored.bytes());
}

/// All but the objects.
fn put_head(out: &mut Vec<u8>, machine: &Machine) {
    let format = if machine.witnesses.is_empty() { WITHOUT_WITNESSES } else { FORMAT };
    out.push(format);
    put_varint(out, machine.applied);
    put_varint(out, machine.term);
    let members = &machine.members;
    for list in [&members.voters, &members.learners, &members.voters_outgoing, &members.learners_next] {
        put_list(out, list);
    }
    out.push(u8::from(members.auto_leave));
    put_list(out, &machine.retired.iter().copied().collect::<Vec<_>>());
    if format == FORMAT {
        put_list(out, &machine.witnesses.iter().copied().collect::<Vec<_>>());
    }
    let recent = machine.recent.iter();
    put_varint(out, recent.len() as u64);
    for (id, outcome) in recent {
        put_varint(out, outcome.index);
        id.put(out);
        put_optional(out, outcome.refused);
    }
}

pub(crate) fn decode(mut bytes: Bytes) -> Result<Machine, StateError> {
    match bytes.first() {
        None | Some(0) => return Err(Malformed("there is no format").into()),
        Some(&(WITHOUT_WITNESSES | FORMAT)) => {}
        Some(&newer) => return Err(StateError::NewerFormat(newer)),
    }
    let Some(end) = bytes.len().checked_sub(4) else {
        return Err(Malformed("ends before the checksum").into());
    };
    let checksum = bytes.split_off(end);
    let expected = u32::from_le_bytes(checksum[..].try_into().map_err(|_| Malformed("ends before the checksum"))?);
    let found = crc32fast::hash(&bytes);
    if found != expected {
        return Err(StateError::Checksum { expected, found });
    }
    let mut reader = Reader::new(bytes);
    let format = reader.byte()?;
    let mut machine = Machine { applied: reader.varint()?, term: reader.varint()?, ..Machine::default() };
    machine.members = read_members(&mut reader)?;
    machine.retired = reader.list()?.into_iter().collect();
    if format == FORMAT {
        machine.witnesses = reader.list()?.into_iter().collect();
    }
    machine.recent = read_recent(&mut reader)?;
    for _ in 0..reader.count()? {
        let name = reader.text()?;
        let objects = read_collection(&mut reader, &name)?;
        machine.collections.insert(name, objects);
    }
    if reader.is_empty() { Ok(machine) } else { Err(Malformed("something follows the last object").into()) }
}

fn read_members(reader: &mut Reader) -> Result<ConfState, Malformed> {
    let mut members = ConfState::default();
    members.set_voters(reader.list()?);
    members.set_learners(reader.list()?);
    members.set_voters_outgoing(reader.list()?);
    members.set_learners_next(reader.list()?);
    members.auto_leave = match reader.byte()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("a truth is neither 0 nor 1")),
    };
    if members.voters.is_empty() { Err(Malformed("nobody votes")) } else { Ok(members) }
}

fn read_recent(reader: &mut Reader) -> Result<Recent, Malformed> {
    let mut recent = Recent::default();
    for _ in 0..reader.count()? {
        let index = reader.varint()?;
        let id = ProposalId::read(reader)?;
        recent.remember(id, Outcome { index, refused: reader.optional()? });
    }
    Ok(recent)
}

fn read_collection(reader: &mut Reader, collection: &Arc<str>) -> Result<Collection, Malformed> {
    let mut objects = Collection::default();
    for _ in 0..reader.count()? {
        let stored = read_object(reader, collection)?;
        objects.insert(Arc::clone(stored.key().shared_name()), Arc::new(stored));
    }
    Ok(objects)
}

/// Reads what [`put_object`] wrote.
pub(crate) fn read_object(reader: &mut Reader, collection: &Arc<str>) -> Result<Stored, Malformed> {
    let name = reader.text()?;
    let revision = Revision(reader.varint()?);
    let created = Revision(reader.varint()?);
    let stamp = reader.optional()?;
    // Copied, so that one object does not keep the whole snapshot in memory.
    let bytes = Bytes::copy_from_slice(&reader.bytes()?);
    let digits = revision.to_string().len();
    if stamp.is_some_and(|at| at as usize + digits > bytes.len()) {
        return Err(Malformed("a stamp is outside of its object"));
    }
    Ok(Stored::as_kept(Key::new(Arc::clone(collection), name), bytes, revision, created, stamp))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::Command;
    use crate::command::tests::any_op;
    use crate::model::{Change, Expect, Op, Txn, Value};

    fn apply(machine: &mut Machine, sequence: u64, ops: Vec<Op>) {
        let id = ProposalId { member: 1, incarnation: 9, sequence };
        let index = machine.applied + 1;
        machine.apply(index, 2, Command { id, base: 0, txn: Txn { ops } }, &mut Vec::new());
    }

    fn small() -> Machine {
        let mut machine = Machine::bootstrap(7);
        machine.retired.insert(3);
        let value = Value { bytes: Bytes::from_static(b"{\"v\":\"\"}"), stamp: Some(6) };
        let op = Op { key: Key::new("c", "n"), expect: Expect::Any, change: Change::Put(value) };
        apply(&mut machine, 1, vec![op.clone()]);
        apply(&mut machine, 2, vec![Op { expect: Expect::Absent, ..op }]);
        machine
    }

    #[test]
    fn format_1_is_these_bytes_for_ever() {
        let golden: &[u8] = b"\x01\x03\x02\x01\x07\0\0\0\0\x01\x03\x02\
            \x02\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\
            \x03\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\
            \x01\x01c\x01\x01n\x02\x02\x07\x09{\"v\":\"2\"}";
        let bytes = encode(&small());
        assert_eq!(&bytes[..bytes.len() - 4], golden);
        assert_eq!(bytes[bytes.len() - 4..], crc32fast::hash(golden).to_le_bytes());
    }

    #[test]
    fn format_2_is_these_bytes_for_ever() {
        let mut machine = small();
        machine.members.learners = vec![9];
        machine.witnesses.insert(9);
        let golden: &[u8] = b"\x02\x03\x02\x01\x07\x01\x09\0\0\0\x01\x03\x01\x09\x02\
            \x02\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\
            \x03\x01\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\
            \x01\x01c\x01\x01n\x02\x02\x07\x09{\"v\":\"2\"}";
        let bytes = encode(&machine);
        assert_eq!(&bytes[..bytes.len() - 4], golden);
        assert_eq!(bytes[bytes.len() - 4..], crc32fast::hash(golden).to_le_bytes());
        let again = decode(bytes).expect("decodes");
        assert_eq!((again.witnesses, again.members), (machine.witnesses, machine.members));
        assert!(matches!(decode(Bytes::from_static(b"\x03")), Err(StateError::NewerFormat(3))));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = encode(&small());
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(decode(damaged.into()).is_err(), "bit {at}");
        }
    }

    proptest! {
        #[test]
        fn a_state_comes_back_as_it_was(txns in prop::collection::vec(prop::collection::vec(any_op(), 0..4), 0..12)) {
            let mut machine = Machine::bootstrap(1);
            for (sequence, ops) in txns.into_iter().enumerate() {
                apply(&mut machine, sequence as u64, ops);
            }
            let bytes = encode(&machine);
            let again = decode(bytes.clone()).expect("decodes");
            prop_assert_eq!(encode(&again), bytes);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes: Vec<u8>, format in 1..=FORMAT) {
            bytes.insert(0, format);
            let checksum = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&checksum.to_le_bytes());
            let _ = decode(bytes.into());
        }
    }
}
