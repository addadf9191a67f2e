//! See `wk_store::fuzzing::state`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wk_store::fuzzing::state(bytes));
