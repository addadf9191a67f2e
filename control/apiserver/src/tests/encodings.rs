//! Bodies and answers in other forms than plain JSON.

use http::Method;
use serde_json::json;
use wk_base::body::full;

use super::kit::Harness;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: [(&str, &str); 2] = [
    ("content-type", "application/vnd.kubernetes.protobuf"),
    ("accept", "application/vnd.kubernetes.protobuf,application/json"),
];

/// A field of a message: its number, and bytes of which there are few.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    assert!(length < 128, "one byte of length");
    [&[number << 3 | 2, length], bytes].concat()
}

/// An object as client-go sends it.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[tokio::test]
async fn objects_and_options_come_in_protobuf_and_answers_in_json() {
    let api = Harness::start().await;
    let metadata = [field(1, b"settings"), field(2, b""), field(8, b"")].concat();
    let entry = [field(1, b"mode"), field(2, b"fast")].concat();
    let body = envelope("v1", "ConfigMap", &[field(1, &metadata), field(2, &entry)].concat());
    let made = api.send(Method::POST, CONFIG_MAPS, &PROTOBUF, full(body)).await;
    assert_eq!(made.headers["content-type"], "application/json");
    assert_eq!(made.expect(201)["data"], json!({ "mode": "fast" }));
    let other = envelope("v1", "Secret", &field(1, &metadata));
    let refused = api.send(Method::POST, CONFIG_MAPS, &PROTOBUF, full(other)).await;
    assert_eq!(refused.code, 400, "{}", refused.text);
    let wrong = envelope("v1", "DeleteOptions", &field(2, &field(1, b"another")));
    let path = format!("{CONFIG_MAPS}/settings");
    assert_eq!(api.send(Method::DELETE, &path, &PROTOBUF, full(wrong)).await.code, 409);
    let options = envelope("v1", "DeleteOptions", &field(4, b"Background"));
    api.send(Method::DELETE, &path, &PROTOBUF, full(options)).await.expect(200);
}

#[tokio::test]
async fn what_is_no_protobuf_is_refused() {
    let api = Harness::start().await;
    for body in ["", "{}", "k8s\0\x0a\x7f", "k8s\0"] {
        let answer = api.send(Method::POST, CONFIG_MAPS, &PROTOBUF, full(body)).await;
        assert!(matches!(answer.code.as_u16(), 400 | 422), "{body:?}: {}", answer.text);
    }
    let only = [("accept", "application/vnd.kubernetes.protobuf")];
    assert_eq!(api.send(Method::GET, CONFIG_MAPS, &only, full("")).await.code, 406);
}

#[tokio::test]
async fn long_lists_are_compressed_for_who_asks() {
    let api = Harness::start().await;
    let text = "x".repeat(100_000);
    for name in ["a", "b"] {
        let body = json!({ "metadata": { "name": name }, "data": { "text": text } });
        api.post(CONFIG_MAPS, &body).await.expect(201);
    }
    let (headers, bytes) = api.raw(CONFIG_MAPS, &[("accept-encoding", "gzip")]).await;
    assert_eq!((headers["content-encoding"].as_bytes(), &bytes[..2]), (&b"gzip"[..], &b"\x1f\x8b"[..]));
    assert!(bytes.len() < 10_000, "{}", bytes.len());
    assert!(!api.get(CONFIG_MAPS).await.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn keys_that_come_twice_in_yaml_are_told_with_their_lines() {
    let api = Harness::start().await;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: \"1\"\n  x: \"2\"\n";
    let unknown = format!("{text}foo: 1\n");
    let yaml = [("content-type", "application/yaml")];
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    let refused = api.send(Method::POST, &strict, &yaml, full(unknown.clone())).await;
    assert_eq!(
        refused.expect(400)["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  \
         line 7: key \"x\" already set in map, unknown field \"foo\""
    );
    let warned = api.send(Method::POST, CONFIG_MAPS, &yaml, full(unknown)).await;
    let warnings: Vec<_> =
        warned.headers.get_all("warning").iter().map(|value| value.to_str().expect("text")).collect();
    assert_eq!(warnings, ["299 - \"line 7: key \\\"x\\\" already set in map\"", "299 - \"unknown field \\\"foo\\\"\""]);
    assert_eq!(warned.expect(201)["data"], json!({ "x": "2" }));
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{CONFIG_MAPS}/a?fieldManager=m&fieldValidation=Strict");
    assert_eq!(
        api.send(Method::PATCH, &path, &apply, full(text)).await.expect(400)["message"],
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"x\" already \
         set in map"
    );
}

#[tokio::test]
async fn a_watch_is_no_yaml() {
    let api = Harness::start().await;
    assert_eq!(api.get_as(&format!("{CONFIG_MAPS}?watch=true"), "application/yaml").await.code.as_u16(), 406);
}
