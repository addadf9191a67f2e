//! A stranger's request to join: the JSON, and the certificate request in it, which is tried as it is too.

#![no_main]

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wk_mesh::join::Request;
use wk_mesh::{Authority, Csr};

static AUTHORITY: OnceLock<Authority> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let authority = AUTHORITY.get_or_init(|| Authority::create("fuzz").expect("an authority can be made"));
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let _ = authority.issue_node(&request.name, request.mesh_address.ip(), &request.csr);
    }
    let name = "n1".parse().expect("a name");
    let begin = "-----BEGIN CERTIFICATE REQUEST-----";
    let csr = Csr::new(format!("{begin}\n{}\n{}\n", STANDARD.encode(bytes), begin.replace("BEGIN", "END")));
    let _ = authority.issue_node(&name, [127, 0, 0, 1].into(), &csr);
});
