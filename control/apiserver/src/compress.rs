//! Long answers, compressed with gzip for clients that take it.
//!
//! A body is compressed as the connection takes it, at most [`STEP_BYTES`] at a time, so neither the memory for it nor
//! the time between two looks at other connections grows with the answer. Not compressed: watches and logs, whose
//! length nobody knows, and modules, which are no text.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as _, Frame, SizeHint};
use wk_base::body::{Body, BoxError, boxed, empty};

/// Shorter answers are sent as they are: Kubernetes found that compressing them costs more than it saves.
const COMPRESSED_FROM: u64 = 128 * 1024;

/// Compressed in one go: about half a millisecond.
const STEP_BYTES: usize = 64 * 1024;

/// As in Kubernetes: lists are repetitive enough for the fastest.
const LEVEL: Compression = Compression::new(1);

/// Media types of answers that are text.
const TEXTS: [&str; 3] = ["application/json", "application/yaml", "application/com.github.proto-openapi"];

/// The answer, compressed if it is long and `asked`, the headers of the request, allow it.
pub(crate) fn answer(response: Response<Body>, asked: &HeaderMap) -> Response<Body> {
    // Of what is made while it is sent only the least is known.
    let length = response.body().size_hint().lower();
    if length < COMPRESSED_FROM || !takes_gzip(asked) || !is_text(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(CONTENT_LENGTH);
    weaken(&mut parts.headers);
    Response::from_parts(parts, boxed(Compressed::new(body)))
}

/// An ETag names bytes; compressed they are others, and clients are told so by its being weak.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).and_then(|tag| tag.to_str().ok()) else { return };
    if !tag.starts_with("W/")
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}"))
    {
        headers.insert(ETAG, weak);
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|clause| {
        let mut words = clause.split(';').map(str::trim);
        let refused = |word: &str| word.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
        words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !words.any(refused)
    })
}

fn is_text(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !headers.contains_key(CONTENT_ENCODING) && TEXTS.iter().any(|text| media_type.starts_with(text))
}

/// A body on its way through the compressor.
struct Compressed {
    body: Body,
    /// Of the last frame, what is not compressed yet.
    left: Bytes,
    /// None when everything is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Compressed {
    fn new(body: Body) -> Self {
        Self { body, left: Bytes::new(), encoder: Some(GzEncoder::new(Vec::new(), LEVEL)) }
    }

    /// What came out of the compressor by now.
    fn out(&mut self) -> Option<Bytes> {
        let out = std::mem::take(self.encoder.as_mut()?.get_mut());
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

impl http_body::Body for Compressed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(encoder) = this.encoder.as_mut() else { return Poll::Ready(None) };
        if this.left.is_empty() {
            match Pin::new(&mut this.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => {
                    this.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => this.left = frame.into_data().unwrap_or_default(),
                Poll::Ready(None) => {
                    this.body = empty();
                    let end = this.encoder.take().map(GzEncoder::finish);
                    return Poll::Ready(end.map(|end| end.map(|end| Frame::data(end.into())).map_err(Into::into)));
                }
            }
        }
        let step = this.left.len().min(STEP_BYTES);
        if let Err(error) = encoder.write_all(&this.left[..step]) {
            this.encoder = None;
            return Poll::Ready(Some(Err(error.into())));
        }
        this.left.advance(step);
        if let Some(out) = this.out() {
            return Poll::Ready(Some(Ok(Frame::data(out))));
        }
        // Nothing yet: others first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;
    use wk_base::body::full;

    use super::*;

    fn asked(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))])
    }

    fn json(text: String) -> Response<Body> {
        let mut response = Response::new(full(text));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    #[tokio::test]
    async fn long_answers_are_compressed_for_who_asks() {
        let text = r#"{"kind":"Pod","metadata":{"name":"web"}},"#.repeat(50_000);
        let response = answer(json(text.clone()), &asked("gzip, deflate"));
        assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
        let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
        assert!(bytes.len() < text.len() / 20, "{}", bytes.len());
        let mut read = String::new();
        GzDecoder::new(&bytes[..]).read_to_string(&mut read).expect("gzip");
        assert_eq!(read, text);
    }

    #[test]
    fn others_are_sent_as_they_are() {
        let long = "x".repeat(200_000);
        let plain = |response: Response<Body>| !response.headers().contains_key(CONTENT_ENCODING);
        assert!(plain(answer(json(long.clone()), &asked("br"))));
        assert!(plain(answer(json(long.clone()), &asked("gzip;q=0"))));
        assert!(plain(answer(json("short".to_owned()), &asked("gzip"))));
        let mut module = json(long);
        module.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        assert!(plain(answer(module, &asked("gzip"))));
    }
}
