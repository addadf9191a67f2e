//! Frames: the unit of one write and one fsync. 16 bytes of header, then the payload:
//!
//! ```text
//! mark 4 bytes | length of the payload | CRC-32 of the payload | CRC-32 of the 12 bytes before     all little-endian
//! ```
//!
//! A frame is written only after the one before it is on disk. So a crash can leave the last frame of the last segment
//! torn, and nothing else: whatever does not read and is not such a tail was damaged later.

use std::ops::Range;

use bytes::Bytes;

/// Begins each frame, so that frames can be found after a place that does not read.
const MARK: [u8; 4] = [0xf7, b'w', b'k', 0x1a];

const HEADER_BYTES: usize = 16;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// Adds a frame around `payload` to `out`.
pub(crate) fn put(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame holds one batch, which is far below 4 GiB");
    let mut header = [0; HEADER_BYTES - 4];
    header[..4].copy_from_slice(&MARK);
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    out.extend_from_slice(payload);
}

/// What stands at one place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame; its payload.
    Frame(Range<usize>),
    /// Nothing more, or only zeros.
    End,
    /// The beginning of a frame whose rest was not written before a crash.
    Torn,
    /// Something else, and what is wrong with it.
    Damaged(&'static str),
}

/// Reads what stands at `at`.
pub(crate) fn read(file: &Bytes, at: usize) -> Found {
    let rest = &file[at..];
    if rest.iter().all(|&byte| byte == 0) {
        return Found::End;
    }
    match header(rest) {
        Ok(length) if HEADER_BYTES + length > rest.len() => {
            unwritten(file, at, "a frame runs past the end of the file")
        }
        Ok(length) => {
            let payload = &rest[HEADER_BYTES..HEADER_BYTES + length];
            if payload_matches(rest, payload) {
                let start = at + HEADER_BYTES;
                return Found::Frame(start..start + length);
            }
            let end = at + HEADER_BYTES + length;
            if has_unwritten_sector(file, at, end) {
                unwritten(file, at, "the checksum of a frame does not match")
            } else {
                Found::Damaged("the checksum of a frame does not match")
            }
        }
        Err(what) if rest.len() < HEADER_BYTES || has_unwritten_sector(file, at, at + HEADER_BYTES) => {
            unwritten(file, at, what)
        }
        Err(what) => Found::Damaged(what),
    }
}

/// The length of the payload, when the header reads.
fn header(rest: &[u8]) -> Result<usize, &'static str> {
    let Some(header) = rest.first_chunk::<HEADER_BYTES>() else { return Err("a frame is cut short") };
    if header[..4] != MARK {
        return Err("no frame begins here");
    }
    if number(&header[12..]) != crc32fast::hash(&header[..12]) {
        return Err("the checksum of a frame's header does not match");
    }
    usize::try_from(number(&header[4..8])).map_err(|_| "a frame is longer than memory")
}

fn payload_matches(rest: &[u8], payload: &[u8]) -> bool {
    number(&rest[8..12]) == crc32fast::hash(payload)
}

/// Torn, unless a whole frame follows: that one was written only after this one was on disk.
fn unwritten(file: &Bytes, at: usize, what: &'static str) -> Found {
    let rest = &file[at + 1..];
    let follows = rest.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK).any(|(offset, _)| {
        let frame = &rest[offset..];
        header(frame).is_ok_and(|length| {
            frame.get(HEADER_BYTES..HEADER_BYTES + length).is_some_and(|payload| payload_matches(frame, payload))
        })
    });
    if follows { Found::Damaged(what) } else { Found::Torn }
}

/// True when some sector has only zeros where the frame `start..end` should be: it was never written.
fn has_unwritten_sector(file: &[u8], start: usize, end: usize) -> bool {
    let end = end.min(file.len());
    let mut from = start;
    while from < end {
        let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        if file[from..to].iter().all(|&byte| byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Vec<u8>, usize) {
        let mut file = Vec::new();
        put(&mut file, b"first");
        let second = file.len();
        put(&mut file, &[7; 2000]);
        (file, second)
    }

    #[test]
    fn frames_follow_each_other_until_the_end() {
        let (mut file, second) = two();
        let length = file.len();
        file.extend_from_slice(&[0; 100]);
        let file = Bytes::from(file);
        assert_eq!(read(&file, 0), Found::Frame(16..21));
        assert_eq!(read(&file, second), Found::Frame(second + 16..length));
        assert_eq!(read(&file, length), Found::End);
    }

    #[test]
    fn a_last_frame_cut_anywhere_is_torn() {
        let (file, second) = two();
        for end in second + 1..file.len() {
            assert_eq!(read(&Bytes::copy_from_slice(&file[..end]), second), Found::Torn, "cut at {end}");
        }
    }

    #[test]
    fn a_last_frame_with_an_unwritten_sector_is_torn() {
        let (mut file, second) = two();
        file[1024..1536].fill(0);
        assert_eq!(read(&Bytes::from(file), second), Found::Torn);
    }

    #[test]
    fn a_frame_before_another_is_never_torn() {
        let (file, _) = two();
        for at in 0..21 {
            let mut file = file.clone();
            file[at] ^= 0x10;
            assert!(matches!(read(&Bytes::from(file), 0), Found::Damaged(_)), "flipped at {at}");
        }
    }

    #[test]
    fn a_flipped_bit_in_the_last_frame_is_damage_and_not_a_torn_write() {
        let (file, second) = two();
        for at in second..file.len() {
            let mut file = file.clone();
            file[at] ^= 0x10;
            assert!(matches!(read(&Bytes::from(file), second), Found::Damaged(_)), "flipped at {at}");
        }
    }
}
