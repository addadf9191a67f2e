use proptest::prelude::*;

use super::*;
use crate::command::tests::any_op;
use crate::command::{Command, ProposalId};
use crate::machine::Machine;
use crate::model::{Change, Expect, Key, Op, Txn, Value};

fn about() -> About {
    About { cluster: "c1".to_owned(), version: "0.1.0".to_owned(), time: "2026-11-21T00:00:00Z".to_owned() }
}

fn apply(machine: &mut Machine, ops: Vec<Op>) {
    let index = machine.applied + 1;
    let id = ProposalId { member: 1, incarnation: 9, sequence: index };
    machine.apply(index, 2, Command { id, base: 0, txn: Txn { ops } }, &mut Vec::new());
}

fn put(collection: &str, name: &str, bytes: Vec<u8>, stamp: Option<u32>) -> Op {
    let value = Value { bytes: bytes.into(), stamp };
    Op { key: Key::new(collection, name), expect: Expect::Any, change: Change::Put(value) }
}

fn small() -> Machine {
    let mut machine = Machine::bootstrap(7);
    apply(&mut machine, vec![put("c", "n", b"{\"v\":\"\"}".to_vec(), Some(6)), put("a", "m", b"x".to_vec(), None)]);
    machine
}

/// All bytes of a backup of `machine`, with a file and a note.
fn whole(machine: &Machine) -> Vec<u8> {
    let mut backup = Backup::new(machine.view(), machine.term, about());
    let mut out = Vec::new();
    while let Some(bytes) = backup.next() {
        out.extend_from_slice(&bytes);
    }
    out.extend_from_slice(&backup.file("f", 3));
    out.extend_from_slice(&backup.data(b"abc"));
    out.extend_from_slice(&backup.note("hm"));
    out.extend_from_slice(&backup.end());
    out
}

/// What the decoder makes of bytes that come in pieces.
fn read(bytes: &[u8], piece: usize) -> Result<(Vec<Part>, Summary), BackupError> {
    let mut decoder = Decoder::default();
    let mut parts = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.feed(piece);
        while let Some(part) = decoder.next()? {
            parts.push(part);
        }
    }
    decoder.finish().map(|summary| (parts, summary))
}

fn objects(parts: &[Part]) -> Vec<String> {
    let text = |part: &Part| match part {
        Part::Object(stored) => Some(format!("{stored:?} {:?} {:?}", stored.created(), stored.bytes())),
        Part::Header(_) | Part::File { .. } | Part::Data(_) | Part::Note(_) | Part::End(_) => None,
    };
    parts.iter().filter_map(text).collect()
}

fn objects_of(machine: &Machine) -> Vec<String> {
    let all = machine.collections.values().flat_map(|objects| objects.values());
    all.map(|stored| format!("{stored:?} {:?} {:?}", stored.created(), stored.bytes())).collect()
}

fn golden() -> Vec<u8> {
    let seed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/backup/format-1");
    std::fs::read(seed).expect("the golden backup is there")
}

#[test]
fn format_1_is_these_bytes_for_ever() {
    let bytes = whole(&small());
    // The checksum of the first section stands in between.
    let without_checksum = [&bytes[..17], &bytes[21..54]].concat();
    assert_eq!(
        without_checksum,
        b"\x8fwkB\r\n\x1a\n\x01\0\0\0\x01\x21\0\0\0\x02c1\x050.1.0\x142026-11-21T00:00:00Z\x02\x02\x02"
    );
    assert_eq!(bytes, golden());
}

#[test]
fn what_is_backed_up_is_read_in_pieces_of_any_size() {
    let bytes = whole(&small());
    for piece in 1..=bytes.len() {
        let (parts, summary) = read(&bytes, piece).expect("reads");
        assert_eq!(
            objects(&parts),
            ["a/m@2 (1 bytes) Revision(2) b\"x\"", "c/n@2 (9 bytes) Revision(2) b\"{\\\"v\\\":\\\"2\\\"}\""]
        );
        assert!(matches!(&parts[3], Part::File { name, size: 3 } if name == "f"), "{parts:?}");
        assert!(matches!(&parts[4], Part::Data(data) if data == "abc"));
        assert_eq!(summary.header, Header { about: about(), revision: Revision(2), term: 2, objects: 2 });
        assert_eq!((summary.files, summary.notes, summary.bytes), (1, vec!["hm".to_owned()], bytes.len() as u64));
    }
}

#[test]
fn any_flipped_bit_is_noticed() {
    let bytes = whole(&small());
    for at in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[at / 8] ^= 1 << (at % 8);
        assert!(read(&damaged, 64).is_err(), "bit {at}");
    }
}

#[test]
fn backup_cut_anywhere_is_refused() {
    let bytes = whole(&small());
    for length in 0..bytes.len() {
        let error = read(&bytes[..length], 64).expect_err("cut");
        assert!(matches!(error, BackupError::Truncated { length: at } if at == length as u64), "{length}: {error}");
    }
}

#[test]
fn sections_left_out_or_twice_are_noticed() {
    let bytes = whole(&small());
    let mut starts = vec![PROLOGUE_BYTES];
    while let Some(header) = bytes[starts[starts.len() - 1]..].first_chunk::<5>() {
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        starts.push(starts[starts.len() - 1] + SECTION_HEADER_BYTES + length);
    }
    for section in starts.windows(2) {
        let (before, this, after) = (&bytes[..section[0]], &bytes[section[0]..section[1]], &bytes[section[1]..]);
        assert!(read(&[before, after].concat(), 64).is_err(), "left out at {}", section[0]);
        assert!(read(&[before, this, this, after].concat(), 64).is_err(), "twice at {}", section[0]);
    }
}

#[test]
fn length_that_is_claimed_takes_no_memory() {
    let mut bytes = whole(&small())[..PROLOGUE_BYTES].to_vec();
    bytes.extend_from_slice(&[1, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]);
    assert!(matches!(read(&bytes, 64), Err(BackupError::Damaged { offset: 12, .. })));
    // As long as is allowed: it waits for what never comes.
    bytes[PROLOGUE_BYTES + 1..PROLOGUE_BYTES + 5].copy_from_slice(&(SECTION_BYTES_MAX as u32).to_le_bytes());
    assert!(matches!(read(&bytes, 64), Err(BackupError::Truncated { length: 21 })));
}

#[test]
fn newer_format_and_other_files_are_named() {
    let mut bytes = whole(&small());
    bytes[8] = 2;
    assert!(matches!(read(&bytes, 64), Err(BackupError::NewerFormat { found: 2 })));
    assert!(matches!(read(b"SQLite format 3\0", 64), Err(BackupError::NoBackup)));
    assert!(matches!(read(b"no", 64), Err(BackupError::NoBackup)));
}

#[test]
fn file_is_read_and_what_follows_its_end_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, bytes) = (dir.path().join("b"), whole(&small()));
    std::fs::write(&path, &bytes).expect("write");
    assert_eq!(read_header(&path).expect("reads").revision, Revision(2));
    assert_eq!(verify(&path).expect("is whole").bytes, bytes.len() as u64);
    std::fs::write(&path, [&bytes[..], b"\0"].concat()).expect("write");
    assert!(matches!(verify(&path), Err(BackupError::Damaged { .. })));
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("write");
    assert!(matches!(verify(&path), Err(BackupError::Truncated { .. })));
    assert!(read_header(&path).is_ok());
}

#[test]
fn large_collections_leave_in_sections_of_bounded_size() {
    let mut machine = Machine::bootstrap(1);
    for number in 0..100 {
        apply(&mut machine, vec![put("c", &format!("{number:03}"), vec![7; 100_000], None)]);
    }
    let mut backup = Backup::new(machine.view(), 1, about());
    let mut largest = 0;
    while let Some(bytes) = backup.next() {
        largest = largest.max(bytes.len());
    }
    assert!(largest < 400_000, "{largest}");
    assert_eq!(objects(&read(&whole(&machine), 1 << 16).expect("reads").0), objects_of(&machine));
}

proptest! {
    #[test]
    fn any_state_comes_back(txns in prop::collection::vec(prop::collection::vec(any_op(), 0..4), 0..12)) {
        let mut machine = Machine::bootstrap(1);
        for ops in txns {
            apply(&mut machine, ops);
        }
        let (parts, summary) = read(&whole(&machine), 100).expect("reads");
        prop_assert_eq!(objects(&parts), objects_of(&machine));
        prop_assert_eq!(summary.header.revision, Revision(machine.applied));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
        crate::fuzzing::backup(&[&whole(&small())[..PROLOGUE_BYTES], &bytes].concat());
    }
}
