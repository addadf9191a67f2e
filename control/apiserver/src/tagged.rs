//! Documents with an ETag, so that clients which keep them learn in one short answer that they are still right.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use wk_base::body::{Body, empty, full};

/// A document and the hash of what it says.
#[derive(Debug)]
pub(crate) struct Tagged {
    text: Bytes,
    hash: String,
    media_type: &'static str,
}

impl Tagged {
    pub(crate) fn new(text: impl Into<Bytes>, media_type: &'static str) -> Self {
        let text = text.into();
        let hash = format!("{:X}", Sha256::digest(&text));
        Self { text, hash, media_type }
    }

    /// The hash, in hexadecimal digits.
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether a tag that a client sends back is this one: weak or not, and quoted again by those who took the quotes off.
    fn is_named(&self, tag: &str) -> bool {
        tag.trim().trim_matches('"').trim_start_matches("W/").trim_matches('"') == self.hash
    }

    /// The document, or 304 if the client has it.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let tag = format!("\"{}\"", self.hash);
        let known = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| self.is_named(value));
        let mut response = Response::new(if known { empty() } else { full(self.text.clone()) });
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let own = response.headers_mut();
        own.insert(VARY, HeaderValue::from_static("Accept"));
        own.insert(ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits and quotes are a header value"));
        // kubectl's cache takes over the headers of a 304: another content type than before would change what it reads.
        own.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        response
    }
}
