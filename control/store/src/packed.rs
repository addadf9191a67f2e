//! An object's bytes in fewer: what it has in common with another object, and with itself, is named instead of repeated.
//! Objects of one kind differ in names, uids and dates; a pod takes a tenth of its bytes beside another of its set.
//!
//! In memory only: disks, snapshots and other peers have the bytes as they are. Reading costs little more than copying.
//! Not here: which objects, and beside which ([`crate::packing`]).
//!
//! ```text
//! length of the whole
//! steps: length of what is new, what is new, length of what is repeated, where that begins: how far from where the last
//!        repetition would have gone on (zigzag), in a text that is the other object followed by what is known of this one
//! length of what is new, what is new
//! ```
//!
//! Numbers are LEB128. The idea is that of VCDIFF (RFC 3284), without its formats.

use crate::codec::put_varint;

/// Fewer bytes are not worth a repetition from elsewhere: that takes five.
const REPEAT_MIN: usize = 8;
/// Fewer are worth it where the last repetition goes on: that takes three.
const GOES_ON_MIN: usize = 4;
/// Places in a text are known by so many bytes that begin there.
const WINDOW: usize = 8;
/// Room that is made before anything is known: nothing that is packed is larger than an entry of the log.
const MADE_AT_ONCE: usize = 1 << 20;
/// No place.
const NOWHERE: u32 = u32::MAX;

/// Where each sequence of bytes occurs in a text: the last place of those that share a hash.
pub(crate) struct Places {
    slots: Box<[u32]>,
    shift: u32,
}

impl Places {
    fn none_yet(length: usize) -> Self {
        let bits = length.max(64).next_power_of_two().trailing_zeros();
        Self { slots: vec![NOWHERE; 1 << bits].into(), shift: u64::BITS - bits }
    }

    /// The places of `text`.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut places = Self::none_yet(text.len());
        (0..text.len()).for_each(|at| places.note(text, at));
        places
    }

    fn slot(&self, text: &[u8], at: usize) -> Option<usize> {
        let word = text.get(at..at + WINDOW)?.try_into().map(u64::from_le_bytes).ok()?;
        // Fibonacci hashing: the high bits of the product depend on all of the word.
        Some((word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize)
    }

    fn note(&mut self, text: &[u8], at: usize) {
        if let Some(slot) = self.slot(text, at) {
            self.slots[slot] = at as u32;
        }
    }

    /// Where the last sequence was that may be the one in `text` at `at`.
    fn find(&self, text: &[u8], at: usize) -> Option<usize> {
        let place = self.slots[self.slot(text, at)?];
        (place != NOWHERE).then_some(place as usize)
    }
}

/// `bytes` beside `other`, whose places are given; None if that takes `most` bytes or more.
pub(crate) fn pack(bytes: &[u8], other: &[u8], places: &Places, most: usize) -> Option<Box<[u8]>> {
    // Places are kept in 32 bits.
    if bytes.len() + other.len() >= NOWHERE as usize {
        return None;
    }
    let known = Known { other, bytes };
    let mut own = Places::none_yet(bytes.len());
    let mut out = Vec::with_capacity(most);
    put_varint(&mut out, bytes.len() as u64);
    // Up to `new` it is written; the last repetition would go on at `goes_on`.
    let (mut at, mut new, mut goes_on) = (0, 0, 0);
    while at < bytes.len() {
        let elsewhere = [places.find(bytes, at), own.find(bytes, at).map(|place| other.len() + place)];
        let Some((from, length)) = known.longest(at, goes_on + (at - new), elsewhere) else {
            own.note(bytes, at);
            at += 1;
            continue;
        };
        // The end of what is new may be the same already.
        let back = same_end(known.before(from), &bytes[new..at]);
        let (begin, from, length) = (at - back, from - back, length + back);
        put(&mut out, &bytes[new..begin]);
        put_varint(&mut out, length as u64);
        put_varint(&mut out, zigzag((from.cast_signed() - (goes_on + begin - new).cast_signed()) as i64));
        if out.len() >= most {
            return None;
        }
        // Some of its places are enough to find it again.
        (at..begin + length).step_by(WINDOW / 2).for_each(|at| own.note(bytes, at));
        at = begin + length;
        (new, goes_on) = (at, from + length);
    }
    put(&mut out, &bytes[new..]);
    (out.len() < most).then(|| out.into())
}

/// How long that is which [`pack`] made this of; None for what it never made.
pub(crate) fn length(mut packed: &[u8]) -> Option<usize> {
    take(&mut packed)
}

/// What [`pack`] made this of, beside `other`; None for what it never made.
pub(crate) fn unpack(mut packed: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let length = take(&mut packed)?;
    let mut bytes = Vec::with_capacity(length.min(MADE_AT_ONCE));
    let mut goes_on = 0_i64;
    loop {
        let new = take(&mut packed)?;
        let (text, rest) = packed.split_at_checked(new)?;
        bytes.extend_from_slice(text);
        packed = rest;
        if packed.is_empty() {
            return (bytes.len() == length).then_some(bytes);
        }
        let mut left = take(&mut packed)?;
        if left > length.checked_sub(bytes.len())? {
            return None;
        }
        let moved = unzigzag(u64::try_from(take(&mut packed)?).ok()?);
        let begin = goes_on.checked_add(i64::try_from(new).ok()?)?.checked_add(moved)?;
        goes_on = begin.checked_add(i64::try_from(left).ok()?)?;
        let from = usize::try_from(begin).ok()?;
        match from.checked_sub(other.len()) {
            None => bytes.extend_from_slice(other.get(from..from.checked_add(left)?)?),
            // It may go on in what it makes itself.
            Some(from) => {
                while left > 0 {
                    let piece = left.min(bytes.len().checked_sub(from).filter(|known| *known > 0)?);
                    bytes.extend_from_within(from..from + piece);
                    left -= piece;
                }
            }
        }
    }
}

/// What a repetition may come from.
struct Known<'a> {
    other: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Known<'a> {
    /// The longest repetition for `at` that is worth it: where it begins and how long it is.
    fn longest(&self, at: usize, goes_on: usize, elsewhere: [Option<usize>; 2]) -> Option<(usize, usize)> {
        let length = |from: usize| same_start(self.after(from), &self.bytes[at..]);
        let here = (goes_on < self.other.len() + at).then(|| length(goes_on)).filter(|length| *length >= GOES_ON_MIN);
        let here = here.map(|length| (goes_on, length));
        let found = elsewhere.into_iter().flatten().map(|from| (from, length(from)));
        let found = found.filter(|(_, length)| *length >= REPEAT_MIN).max_by_key(|(_, length)| *length);
        match (here, found) {
            (Some(here), Some(found)) if found.1 > here.1 + REPEAT_MIN => Some(found),
            (Some(here), _) => Some(here),
            (None, found) => found,
        }
    }

    /// The text from there on; it does not go over from one object to the other.
    fn after(&self, from: usize) -> &'a [u8] {
        match from.checked_sub(self.other.len()) {
            None => &self.other[from..],
            Some(from) => &self.bytes[from..],
        }
    }

    /// The text up to there, in the same object.
    fn before(&self, from: usize) -> &'a [u8] {
        match from.checked_sub(self.other.len()) {
            None => &self.other[..from],
            Some(from) => &self.bytes[..from],
        }
    }
}

/// So many bytes are the same at the start of both.
fn same_start(a: &[u8], b: &[u8]) -> usize {
    let (words, _) = a.as_chunks::<8>();
    let (others, _) = b.as_chunks::<8>();
    let same = words.iter().zip(others).take_while(|(a, b)| a == b).count() * 8;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

/// So many bytes are the same at the end of both.
fn same_end(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

fn put(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn take(packed: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = packed.split_first()?;
        *packed = rest;
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(bytes: &[u8], other: &[u8]) -> Option<Box<[u8]>> {
        pack(bytes, other, &Places::of(other), bytes.len() + 64)
    }

    /// As much like each other as two objects of one kind.
    fn object(number: u64) -> Vec<u8> {
        let uid = format!("{:032x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834));
        let containers =
            r#"{"name":"app","image":"wk.local/app@sha256:00","ports":[{"containerPort":8080}]}"#.repeat(5);
        format!(r#"{{"metadata":{{"name":"web-{number}","uid":"{uid}"}},"spec":[{containers}],"n":{number}}}"#).into()
    }

    #[test]
    fn object_beside_one_of_its_kind_takes_what_is_its_own() {
        let (first, second) = (object(7), object(123_456));
        let packed = packed(&second, &first).expect("it does");
        assert!(packed.len() < 80, "{} of {} bytes", packed.len(), second.len());
        assert_eq!(unpack(&packed, &first), Some(second));
    }

    #[test]
    fn object_that_repeats_itself_needs_no_other() {
        let object = object(1);
        let packed = packed(&object, b"").expect("it does");
        assert!(packed.len() < object.len() / 2, "{} of {} bytes", packed.len(), object.len());
        assert_eq!(unpack(&packed, b""), Some(object));
        let same = [7; 5000];
        let packed = pack(&same, b"", &Places::of(b""), 32).expect("a few steps");
        assert_eq!(unpack(&packed, b"").as_deref(), Some(&same[..]));
    }

    #[test]
    fn what_would_take_too_much_is_not_packed() {
        let (first, second) = (object(7), object(123_456));
        let length = packed(&second, &first).expect("packs").len();
        assert!(pack(&second, &first, &Places::of(&first), length).is_none());
        assert!(pack(&second, &first, &Places::of(&first), length + 1).is_some());
    }

    proptest! {
        #[test]
        fn bytes_come_back_as_they_were(
            other in prop::collection::vec(0..4_u8, 0..200),
            bytes in prop::collection::vec(0..4_u8, 0..200),
            cut in 0..200_usize,
        ) {
            let mixed = [&bytes[..], &other[..cut.min(other.len())], &bytes[..]].concat();
            for bytes in [bytes, mixed] {
                let packed = pack(&bytes, &other, &Places::of(&other), usize::from(u16::MAX)).expect("there is room");
                prop_assert_eq!(unpack(&packed, &other), Some(bytes));
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(packed: Vec<u8>, other: Vec<u8>) {
            let _ = unpack(&packed, &other);
        }
    }
}
