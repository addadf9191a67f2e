//! A batch of Raft's messages, as the mesh brings it: what comes out goes in again.

#![no_main]

#[path = "../../cli/src/up/raft_batch.rs"]
#[allow(unused, reason = "the file is the node's")]
mod raft_batch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut batch = bytes::Bytes::copy_from_slice(bytes);
    let mut messages = Vec::new();
    while let Some(message) = raft_batch::next(&mut batch) {
        match message {
            Ok(message) => messages.push(message),
            Err(_) => return,
        }
    }
    assert_eq!(&*raft_batch::join(messages), bytes);
});
