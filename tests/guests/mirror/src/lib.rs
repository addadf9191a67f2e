//! A mutating webhook as a wasm pod: images whose name begins with `FROM` become the image `TO`, as a mirror of a registry
//! would have it. Both are environment variables.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

struct Guest;

wasip2::http::proxy::export!(Guest);

/// Read and written at a time: what a stream takes at once at most.
const PIECE_BYTES: usize = 4096;

impl wasip2::exports::http::incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, response: ResponseOutparam) {
        let review: Value = serde_json::from_slice(&read(request)).unwrap_or_default();
        let (from, to) = (variable("FROM"), variable("TO"));
        let patches = patches(&review["request"]["object"], &from, &to);
        let mut answer = json!({ "uid": review["request"]["uid"], "allowed": true });
        if !patches.is_empty() {
            answer["patchType"] = "JSONPatch".into();
            answer["patch"] = STANDARD.encode(Value::Array(patches).to_string()).into();
        }
        let review = json!({ "apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer });
        write(response, review.to_string().as_bytes());
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// One patch for each container whose image is mirrored.
fn patches(pod: &Value, from: &str, to: &str) -> Vec<Value> {
    let mut patches = Vec::new();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = pod["spec"][list].as_array().map(Vec::as_slice).unwrap_or_default();
        for (index, container) in containers.iter().enumerate() {
            if container["image"].as_str().is_some_and(|image| image.starts_with(from)) {
                let path = format!("/spec/{list}/{index}/image");
                patches.push(json!({ "op": "replace", "path": path, "value": to }));
            }
        }
    }
    patches
}

fn read(request: IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("a request has its body");
    let stream = body.stream().expect("a body has its stream");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(PIECE_BYTES as u64) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => return bytes,
            Err(StreamError::LastOperationFailed(error)) => panic!("read the review: {}", error.to_debug_string()),
        }
    }
}

fn write(response: ResponseOutparam, bytes: &[u8]) {
    let head = OutgoingResponse::new(Fields::new());
    let body = head.body().expect("a new response has its body");
    ResponseOutparam::set(response, Ok(head));
    let stream: OutputStream = body.write().expect("a new body has its stream");
    for piece in bytes.chunks(PIECE_BYTES) {
        stream.blocking_write_and_flush(piece).expect("the answer is taken");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("the answer ends");
}
