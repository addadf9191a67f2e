//! Batches of messages on the mesh: each message after its length, 4 bytes, big-endian.
//!
//! Depends on nothing of wk, so that a fuzzer can take it as it is.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// A batch of these messages.
pub(crate) fn join(messages: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut batch = BytesMut::new();
    for message in messages {
        batch.put_u32(u32::try_from(message.len()).expect("a message is far below 4 GiB"));
        batch.put(message);
    }
    batch.freeze()
}

/// The next message of a batch, which shares its buffer; None at the end, or where the batch ends inside a message.
pub(crate) fn next(batch: &mut Bytes) -> Option<Result<Bytes, &'static str>> {
    if batch.is_empty() {
        return None;
    }
    let message = match batch.try_get_u32().map(usize::try_from) {
        Ok(Ok(length)) if length <= batch.remaining() => Ok(batch.split_to(length)),
        Ok(_) | Err(_) => Err("a raft batch ends inside a message"),
    };
    if message.is_err() {
        batch.clear();
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_holds_its_messages_each_with_its_length() {
        let mut batch = join([Bytes::from_static(b"ab"), Bytes::new()]);
        assert_eq!(&*batch, b"\0\0\0\x02ab\0\0\0\0");
        assert_eq!(next(&mut batch), Some(Ok(Bytes::from_static(b"ab"))));
        assert_eq!(next(&mut batch), Some(Ok(Bytes::new())));
        assert_eq!(next(&mut batch), None);
    }

    #[test]
    fn batch_cut_short_is_refused() {
        for cut in [&b"\0\0"[..], b"\0\0\0\x02a", b"\xff\xff\xff\xff"] {
            let mut batch = Bytes::from_static(cut);
            assert!(next(&mut batch).is_some_and(|message| message.is_err()), "{cut:?}");
            assert_eq!(next(&mut batch), None);
        }
    }

    /// `cargo xtask fuzz` starts from the same files.
    #[test]
    fn seeds_of_the_fuzzer_are_taken_apart_and_joined_again() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/batch");
        for seed in std::fs::read_dir(seeds).unwrap() {
            let bytes = Bytes::from(std::fs::read(seed.unwrap().path()).unwrap());
            let mut batch = bytes.clone();
            let messages = std::iter::from_fn(|| next(&mut batch)).collect::<Result<Vec<_>, _>>().unwrap();
            assert_eq!(join(messages), bytes);
        }
    }
}
