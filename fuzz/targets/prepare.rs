//! What a node makes of the bytes of an image: detection, adaptation of core modules, validation, compilation.

#![no_main]

use wk_engine::{Profile, compile};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // A refusal or code; a panic or a hang is found.
    if let Ok(code) = compile(&Profile::default(), bytes) {
        assert!(code.starts_with(b"\x7fELF"));
    }
});
