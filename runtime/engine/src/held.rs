//! What the host holds for a guest behind its handles: fields, streams with their buffers, everything else by the piece.
//!
//! An estimate from above, where it matters: a guest that means harm makes thousands of the largest.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi_http::FieldMap;

use crate::capabilities::filesystem::entries::{LISTING_BYTES, Listing};
use crate::capabilities::http::{BODY_CHUNK_BYTES, BODY_CHUNKS};

/// A handle with a small thing behind it: its entry, and a request, a timer or an error.
const HANDLE_BYTES: usize = 512;

/// What an input stream has read ahead, as wasmtime's own read at most.
const INPUT_BYTES: usize = 64 << 10;

/// What a field costs besides its name and value: its slot in the map and its two headers.
const FIELD_BYTES: usize = 128;

/// Bytes behind all handles of a table.
pub(crate) fn bytes(table: &mut ResourceTable) -> u64 {
    let sum: usize = table
        .iter_mut()
        .map(|entry| {
            if let Some(fields) = entry.downcast_ref::<FieldMap>() {
                let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    name.as_str().len() + value.len() + FIELD_BYTES
                };
                HANDLE_BYTES + fields.iter().map(field).sum::<usize>()
            } else if entry.is::<DynOutputStream>() {
                BODY_CHUNKS * BODY_CHUNK_BYTES
            } else if entry.is::<DynInputStream>() {
                INPUT_BYTES
            } else if entry.is::<Listing>() {
                LISTING_BYTES
            } else {
                HANDLE_BYTES
            }
        })
        .sum();
    u64::try_from(sum).unwrap_or(u64::MAX)
}
