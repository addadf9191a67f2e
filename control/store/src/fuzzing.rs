//! Every decoder that reads disk or network, as a function that takes any bytes: what `fuzz/` runs.
//!
//! Each must return, whatever it is given, and take no more memory than a small multiple of what it is given. Where
//! bytes decode, what comes of them is encoded and decoded again.

use std::path::Path;

use bytes::Bytes;

use crate::backup::{Decoder, Part};
use crate::command;
use crate::log::{segment, snapshot};
use crate::model::Txn;
use crate::recovery::{Fate, Restoration};
use crate::state;
use crate::wire;

/// A target: a name, and the function it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them. The names are those in `fuzz/`.
pub const TARGETS: [Target; 6] = [
    ("command", command),
    ("state", state),
    ("segment", segment),
    ("snapshot", snapshot),
    ("message", message),
    ("backup", backup),
];

/// An entry of the log.
pub fn command(bytes: &[u8]) {
    if let Ok(command) = command::decode(Bytes::copy_from_slice(bytes)) {
        let txn = Txn { ops: command.txn.ops.clone() };
        let again = command::encode(command.id, command.base, &txn);
        assert_eq!(command::decode(again.into()), Ok(command));
    }
}

/// A state. A fuzzer does not guess checksums, so the right one is put behind the bytes.
pub fn state(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    if let Ok(machine) = state::decode(bytes.into()) {
        let bytes = state::encode(&machine);
        let again = state::decode(bytes.clone()).expect("what is encoded decodes");
        assert_eq!(state::encode(&again), bytes);
    }
}

/// A file of the log: first as it is, then as the content of one frame, whose checksums no fuzzer guesses.
pub fn segment(bytes: &[u8]) {
    let path = Path::new("a segment");
    for is_last in [true, false] {
        let _ = segment::parse(&Bytes::copy_from_slice(bytes), path, is_last);
    }
    let _ = segment::parse(&segment::of_frame(bytes), path, true).map(|content| content.records.len());
}

/// A file with a snapshot.
pub fn snapshot(bytes: &[u8]) {
    let _ = snapshot::parse(Bytes::copy_from_slice(bytes), Path::new("a snapshot"));
}

/// A message of another member.
pub fn message(bytes: &[u8]) {
    if let Ok(message) = wire::decode(&Bytes::copy_from_slice(bytes)) {
        let again = wire::decode(&message.encode()).expect("what is encoded decodes");
        // Fields that Raft's messages do not have are kept by the library, and in no order.
        assert!(again == message || matches!(message, wire::Parcel::Raft(_)));
    }
}

/// A backup, with its checksums set right so that a fuzzer gets behind them, in pieces of different sizes.
pub fn backup(bytes: &[u8]) {
    let sealed = crate::backup::seal(bytes);
    for (bytes, piece) in [(bytes, 7), (&sealed, 1 + bytes.len() / 3)] {
        read_backup(bytes, piece);
    }
}

fn read_backup(bytes: &[u8], piece: usize) {
    let mut decoder = Decoder::default();
    let mut restoration = None;
    for piece in bytes.chunks(piece) {
        decoder.feed(piece);
        loop {
            match decoder.next() {
                Ok(Some(Part::Header(header))) => restoration = Restoration::new(&header).ok(),
                Ok(Some(Part::Object(stored))) => {
                    if let Some(restoration) = &mut restoration {
                        restoration.take(&stored, Fate::Keep);
                    }
                }
                Ok(Some(Part::File { .. } | Part::Data(_) | Part::Note(_) | Part::End(_))) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    let _ = decoder.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo xtask fuzz` starts from the same files.
    #[test]
    fn every_target_takes_its_seeds() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for (name, target) in TARGETS {
            let mut count = 0;
            for seed in std::fs::read_dir(seeds.join(name)).expect("each target has seeds") {
                target(&std::fs::read(seed.expect("an entry").path()).expect("a seed can be read"));
                count += 1;
            }
            assert!(count > 0, "{name} has no seed");
        }
    }
}
