//! What a frame holds: records, one after the other. Each is a tag of one byte and its fields:
//!
//! ```text
//! 1 head        member | hard state      the first record of each segment
//! 2 hard state  term | vote | commit
//! 3 entry       index | term | type | context | data
//! 4 reset       index | term             all entries before this record are void, the log goes on after this index
//! ```

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, HardState};

use crate::codec::{Malformed, Reader, put_bytes, put_varint};
use crate::model::MemberId;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    Head { member: MemberId, hard_state: HardState },
    HardState(HardState),
    Entry(Entry),
    Reset { index: u64, term: u64 },
}

impl Record {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Head { member, hard_state } => {
                out.push(1);
                put_varint(out, member.0);
                put_hard_state(out, hard_state);
            }
            Self::HardState(hard_state) => {
                out.push(2);
                put_hard_state(out, hard_state);
            }
            Self::Entry(entry) => put_entry(out, entry),
            Self::Reset { index, term } => {
                out.push(4);
                put_varint(out, *index);
                put_varint(out, *term);
            }
        }
    }
}

/// The record of an entry, without a copy of it.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    out.push(3);
    put_varint(out, entry.index);
    put_varint(out, entry.term);
    out.push(match entry.entry_type {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    });
    put_bytes(out, &entry.context);
    put_bytes(out, &entry.data);
}

fn put_hard_state(out: &mut Vec<u8>, hard_state: &HardState) {
    put_varint(out, hard_state.term);
    put_varint(out, hard_state.vote);
    put_varint(out, hard_state.commit);
}

fn read_hard_state(reader: &mut Reader) -> Result<HardState, Malformed> {
    let (term, vote, commit) = (reader.varint()?, reader.varint()?, reader.varint()?);
    Ok(HardState { term, vote, commit, ..HardState::default() })
}

/// All records of a frame.
pub(crate) fn read_all(payload: Bytes) -> Result<Vec<Record>, Malformed> {
    let mut reader = Reader::new(payload);
    let mut records = Vec::new();
    while !reader.is_empty() {
        records.push(match reader.byte()? {
            1 => Record::Head { member: MemberId(reader.varint()?), hard_state: read_hard_state(&mut reader)? },
            2 => Record::HardState(read_hard_state(&mut reader)?),
            3 => Record::Entry(read_entry(&mut reader)?),
            4 => Record::Reset { index: reader.varint()?, term: reader.varint()? },
            _ => return Err(Malformed("no such record")),
        });
    }
    Ok(records)
}

fn read_entry(reader: &mut Reader) -> Result<Entry, Malformed> {
    let (index, term) = (reader.varint()?, reader.varint()?);
    let entry_type = match reader.byte()? {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        _ => return Err(Malformed("no such type of entry")),
    };
    let (context, data) = (reader.bytes()?, reader.bytes()?);
    Ok(Entry { entry_type, term, index, data, context, ..Entry::default() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let hard_state = any::<(u64, u64, u64)>().prop_map(|(term, vote, commit)| HardState {
            term,
            vote,
            commit,
            ..HardState::default()
        });
        let kinds = prop_oneof![
            Just(EntryType::EntryNormal),
            Just(EntryType::EntryConfChange),
            Just(EntryType::EntryConfChangeV2)
        ];
        let entry = (kinds, any::<(u64, u64)>(), any::<Vec<u8>>(), any::<Vec<u8>>()).prop_map(
            |(entry_type, (term, index), data, context)| {
                let (data, context) = (data.into(), context.into());
                Record::Entry(Entry { entry_type, term, index, data, context, ..Entry::default() })
            },
        );
        prop_oneof![
            (any::<u64>(), hard_state.clone())
                .prop_map(|(member, hard_state)| Record::Head { member: MemberId(member), hard_state }),
            hard_state.prop_map(Record::HardState),
            entry,
            any::<(u64, u64)>().prop_map(|(index, term)| Record::Reset { index, term }),
        ]
    }

    #[test]
    fn format_1_is_these_bytes_for_ever() {
        let hard_state = HardState { term: 3, vote: 2, commit: 300, ..HardState::default() };
        let entry = Entry {
            entry_type: EntryType::EntryConfChangeV2,
            term: 3,
            index: 301,
            data: Bytes::from_static(b"data"),
            context: Bytes::from_static(b"c"),
            ..Entry::default()
        };
        let records = [
            Record::Head { member: MemberId(1), hard_state: hard_state.clone() },
            Record::HardState(hard_state),
            Record::Entry(entry),
            Record::Reset { index: 9, term: 1 },
        ];
        let mut out = Vec::new();
        for record in &records {
            record.put(&mut out);
        }
        assert_eq!(out, b"\x01\x01\x03\x02\xac\x02\x02\x03\x02\xac\x02\x03\xad\x02\x03\x02\x01c\x04data\x04\x09\x01");
        assert_eq!(read_all(out.into()).expect("reads"), records);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(records in prop::collection::vec(any_record(), 0..8)) {
            let mut out = Vec::new();
            for record in &records {
                record.put(&mut out);
            }
            prop_assert_eq!(read_all(out.into()), Ok(records));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = read_all(bytes.into());
        }
    }
}
