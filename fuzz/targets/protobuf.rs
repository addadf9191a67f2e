//! Request bodies in Kubernetes' protobuf encoding: see `wk_api::protobuf`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = wk_api::protobuf::decode(bytes) {
        // What is read says what it is, and is as deep as it may be.
        assert!(value["kind"].is_string() && value["apiVersion"].is_string());
    }
});
