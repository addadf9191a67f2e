//! Reading request bodies: bounded, JSON or YAML, against the schema of a kind.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body::Body as _;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use serde_json::Value;
use wk_api::decode::{self, FieldValidation};
use wk_api::{FieldReason, Kind, Status, protobuf};
use wk_base::body::{Body, boxed};

use crate::negotiate::BodyFormat;
use crate::query::{Query, invalid_option};

/// Largest body of a request for objects: Kubernetes' own limit (`MaxRequestBodyBytes`), twice what the store takes.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Bytes that are read and thrown away of a body that is too large, and how long: whoever is refused while they still
/// send sees a stream that breaks off, over HTTP/2, and not why. One who sends more than this is cut off after all.
const REST_BYTES_MAX: usize = 32 * 1024 * 1024;
const REST_DEADLINE: Duration = Duration::from_secs(5);

/// Who sends nothing for this long waits for an answer.
const REST_PAUSE: Duration = Duration::from_millis(500);

/// Lists and maps within each other that YAML may open with brackets. Its parser looks at all that are open at each word, so
/// that a hundred thousand of them are a minute's work; a value may have 128 levels.
const OPEN_MAX: usize = 10_000;

/// The whole body; 413 when it has more than `limit` bytes.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Bytes, Status> {
    let mut whole = BytesMut::new();
    // One that says that it is longer is not read to see it.
    while body.size_hint().lower() <= (limit - whole.len()) as u64 {
        let Some(frame) = body.frame().await else { return Ok(whole.freeze()) };
        let frame =
            frame.map_err(|error| Status::bad_request(format!("the body of the request broke off: {error}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        if whole.len() + bytes.len() > limit {
            break;
        }
        whole.extend_from_slice(&bytes);
    }
    drop(whole);
    // A client that is too slow is not waited for.
    let _late = tokio::time::timeout(REST_DEADLINE, throw_away(body)).await;
    Err(Status::too_large(format!("Request entity too large: limit is {limit}")))
}

/// Reads what is left of a body, up to [`REST_BYTES_MAX`], while it is sent.
async fn throw_away(mut body: Body) {
    let mut read = 0;
    while read < REST_BYTES_MAX
        && let Ok(Some(Ok(frame))) = tokio::time::timeout(REST_PAUSE, body.frame()).await
    {
        read += frame.into_data().map_or(0, |bytes| bytes.len());
    }
}

/// A body of any shape.
pub(crate) fn parse(bytes: &[u8], format: BodyFormat) -> Result<Value, Status> {
    let unreadable = |what: &str, error: String| {
        Status::bad_request(format!("error decoding the body: {what} parse error: {error}"))
    };
    match format {
        BodyFormat::Json => serde_json::from_slice(bytes).map_err(|error| unreadable("json", error.to_string())),
        BodyFormat::Yaml if opens_too_many(bytes) => {
            Err(unreadable("yaml", format!("more than {OPEN_MAX} lists and maps are within each other")))
        }
        BodyFormat::Yaml => {
            decode::bounded(serde_yaml::Deserializer::from_slice(bytes), BODY_BYTES_MAX).map_err(|error| match error {
                decode::BoundedError::TooLarge => Status::too_large(format!(
                    "Request entity too large: the YAML has more than {BODY_BYTES_MAX} bytes with its aliases written out"
                )),
                decode::BoundedError::Unreadable(error) => unreadable("yaml", error.to_string()),
            })
        }
        BodyFormat::Protobuf => {
            protobuf::decode(bytes).map_err(|error| unreadable("protobuf", error.to_string()))
        }
    }
}

/// Whether more than [`OPEN_MAX`] brackets are open at once. Those count that stand where a value may begin: within a text
/// hardly any does that is not closed.
fn opens_too_many(yaml: &[u8]) -> bool {
    let (mut open, mut before) = (0_usize, b' ');
    yaml.iter().any(|byte| {
        match byte {
            b'[' | b'{' if before.is_ascii_whitespace() || b"[{,:".contains(&before) => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        before = *byte;
        open > OPEN_MAX
    })
}

/// A body that is to be an object of `kind`, cleaned, with the warnings to give.
pub(crate) fn object(
    kind: &Kind,
    bytes: &[u8],
    format: BodyFormat,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    match format {
        BodyFormat::Json => decode::bytes(kind, bytes, validation),
        BodyFormat::Yaml => {
            let value = parse(bytes, format)?;
            let lines = if validation == FieldValidation::Ignore { Vec::new() } else { keys_set_twice(bytes) };
            decode::yaml(kind, value, lines, validation)
        }
        BodyFormat::Protobuf => decode::protobuf(kind, bytes).map(|value| (value, Vec::new())),
    }
}

/// Keys told at most: each is found by reading the text up to it once more.
const KEYS_MAX: usize = 16;

/// Bytes that may be read for it together.
const KEYS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The keys that come twice in a map of a YAML text, and the lines they come at, in the words of Kubernetes' decoder.
pub(crate) fn keys_set_twice(bytes: &[u8]) -> Vec<String> {
    let passes = KEYS_MAX.min(1 + KEYS_BYTES_MAX / bytes.len().max(1));
    let nth = |nth| decode::nth_duplicate(serde_yaml::Deserializer::from_slice(bytes), nth, BODY_BYTES_MAX);
    let told = |(key, error): (String, serde_yaml::Error)| {
        let line = error.location().map_or(0, |location| location.line());
        format!("line {line}: key {key:?} already set in map")
    };
    (0..passes).map_while(nth).map(told).collect()
}

/// The `fieldValidation` parameter.
pub(crate) fn validation(query: &Query, options: &str) -> Result<FieldValidation, Status> {
    let text = query.text("fieldValidation");
    FieldValidation::parse(text).ok_or_else(|| {
        let message = format!("Unsupported value: {text:?}: supported values: \"Ignore\", \"Strict\", \"Warn\"");
        invalid_option(options, "fieldValidation", FieldReason::NotSupported, message)
    })
}

/// `body`, ended early when `stop` ends.
pub(crate) fn until(body: Body, stop: impl Future<Output = ()> + Send + 'static) -> Body {
    let frames = BodyStream::new(body).take_until(stop);
    boxed(StreamBody::new(frames))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_rest_of_a_body_that_is_too_large_is_read_before_it_is_refused() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};

        let pieces = |count: usize, sent: &Arc<AtomicUsize>| {
            let sent = Arc::clone(sent);
            boxed(StreamBody::new(futures::stream::iter((0..count).map(move |_| {
                sent.fetch_add(1, Ordering::Relaxed);
                Ok::<_, wk_base::body::BoxError>(http_body::Frame::data(Bytes::from(vec![b' '; 1 << 20])))
            }))))
        };
        let sent = Arc::new(AtomicUsize::new(0));
        let refused = read(pieces(8, &sent), 1 << 20).await.expect_err("eight times too large");
        assert_eq!((refused.code, sent.load(Ordering::Relaxed)), (413, 8));
        let sent = Arc::new(AtomicUsize::new(0));
        let refused = read(pieces(1_000, &sent), 1 << 20).await.expect_err("without an end");
        assert!(refused.code == 413 && sent.load(Ordering::Relaxed) < 40, "{sent:?}");
    }

    #[tokio::test]
    async fn who_says_that_much_will_come_is_refused_before_it_comes() {
        struct Said(u64);
        impl http_body::Body for Said {
            type Data = Bytes;
            type Error = wk_base::body::BoxError;

            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Pending
            }

            fn size_hint(&self) -> http_body::SizeHint {
                http_body::SizeHint::with_exact(self.0)
            }
        }

        let asked = tokio::time::timeout(REST_DEADLINE, read(boxed(Said(1_001)), 1_000)).await;
        assert_eq!(asked.expect("at once").expect_err("too much").code, 413);
        let waits = tokio::time::timeout(REST_PAUSE, read(boxed(Said(1_000)), 1_000)).await;
        assert!(waits.is_err(), "{waits:?}");
    }

    #[test]
    fn keys_that_come_twice_are_told_with_their_lines() {
        let text = b"---\napiVersion: foo\nspec:\n  a: 1\n  b: {x: 1, x: 2}\n  a: 2\nmetadata: {}\nspec: 1\n";
        let expected = ["line 5: key \"x\"", "line 6: key \"a\"", "line 8: key \"spec\""];
        assert_eq!(keys_set_twice(text), expected.map(|start| format!("{start} already set in map")));
        assert!(keys_set_twice(b"a: 1\nb: {a: 1}\n").is_empty());
    }

    #[test]
    fn aliases_are_written_out_up_to_the_limit_of_a_body() {
        let plain = b"a: &a {x: 1, 2: y}\nb: *a\n";
        let value = parse(plain, BodyFormat::Yaml).expect("small");
        assert_eq!(value, json!({ "a": { "x": 1, "2": "y" }, "b": { "x": 1, "2": "y" } }));
        // One long text and many names for it: 60 kB that say 300 MB.
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(30_000), "*a ,".repeat(10_000));
        assert_eq!(parse(text.as_bytes(), BodyFormat::Yaml).expect_err("a bomb").code, 413);
        let key = format!("a: &a {}\nb: [{}]\n", "x".repeat(30_000), "{*a : 1},".repeat(5_000));
        assert_eq!(parse(key.as_bytes(), BodyFormat::Yaml).expect_err("a bomb of keys").code, 413);
        let mut laughs = vec!["l0: &l0 lol".to_owned()];
        for level in 1..12 {
            let aliases = vec![format!("*l{}", level - 1); 10].join(", ");
            laughs.push(format!("l{level}: &l{level} [{aliases}]"));
        }
        let laughs = laughs.join("\n");
        assert!(parse(laughs.as_bytes(), BodyFormat::Yaml).is_err(), "10^11 laughs");
        assert_eq!(parse(b"a: [", BodyFormat::Yaml).expect_err("cut").code, 400);
        let nested = ["[", "{a: ", "{\"a\":", "{? "].map(|open| open.repeat(OPEN_MAX + 1));
        assert!(nested.iter().all(|text| opens_too_many(text.as_bytes())));
        assert!(!opens_too_many(format!("a: \"{}\"", "\x1b[31m red".repeat(OPEN_MAX * 2)).as_bytes()), "a text");
    }
}
