//! What a client of SPDY sends: heads, control frames and header blocks, as the reading loop takes them.

#![no_main]

use bytes::Bytes;
use wk_streams::spdy::frame::{CONTROL_BYTES_MAX, Control, HEAD_BYTES, Head};
use wk_streams::spdy::headers::{BLOCK_BYTES_MAX, HEADERS_MAX, Inflater};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut inflater = Inflater::default();
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let Ok(head) = Head::parse(*head) else { return };
        let (Head::Data { length, .. } | Head::Control { length, .. }) = head;
        let Some((payload, after)) = after.split_at_checked(length as usize) else { return };
        rest = after;
        let Head::Control { kind, flags, length } = head else { continue };
        assert!(length <= CONTROL_BYTES_MAX);
        let Ok(control) = Control::parse(kind, flags, Bytes::copy_from_slice(payload)) else { return };
        if let Control::SynStream { block, .. } | Control::Headers { block, .. } = control {
            let Ok(headers) = inflater.read(&block) else { return };
            let bytes: usize = headers.0.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(headers.0.len() <= HEADERS_MAX && bytes <= BLOCK_BYTES_MAX);
        }
    }
});
