//! See `wk_store::fuzzing::message`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wk_store::fuzzing::message(bytes));
