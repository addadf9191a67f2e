//! Request bodies in Kubernetes' protobuf encoding, as JSON: client-go sends built-in kinds so, and has no fallback.
//!
//! An envelope (`k8s\0` and a `runtime.Unknown`) names the kind; the rest is read by the table of messages beside this
//! file. Not here: encoding (answers are JSON, which every client takes), checks against the schema (`wk_api::decode`),
//! custom kinds (they have no messages).
//!
//! Wording of errors: `k8s.io/apimachinery/pkg/runtime/serializer/protobuf`.

mod message;
mod reader;
mod table;
#[cfg(test)]
mod tests;

use serde_json::Value;
use thiserror::Error;

use crate::decode;
use crate::kind::Kind;
use crate::status::Status;
use reader::{Reader, Wire};
pub(crate) use table::omits_empty;

/// Its media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What each body begins with.
const PREFIX: [u8; 4] = *b"k8s\0";

/// Messages within messages: as deep as JSON bodies may be nested. Only JSON schemas have no bound of their own.
const DEPTH_MAX: usize = 100;

/// Why a body cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Nothing was sent.
    #[error("empty data")]
    Empty,
    /// It is something else.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Prefix,
    /// It ends within a value.
    #[error("unexpected EOF")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field number that no message has.
    #[error("proto: illegal tag {0}")]
    Tag(u64),
    /// A field is written as another type.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WireType {
        /// How it is written.
        wire: u8,
        /// Its name.
        field: &'static str,
    },
    /// Text that is no text.
    #[error("proto: field {0} contains invalid UTF-8")]
    Text(&'static str),
    /// A value that JSON cannot say.
    #[error("proto: field {0} holds a value that is out of range")]
    Range(&'static str),
    /// A field that holds JSON holds something else.
    #[error("proto: field {field} does not hold JSON: {why}")]
    Json {
        /// Its name.
        field: &'static str,
        /// What the parser says.
        why: String,
    },
    /// Too many messages within messages.
    #[error("exceeded max depth")]
    Depth,
    /// It says that it is a kind which has no message.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    Kind {
        /// Its kind.
        kind: String,
        /// Its group and version.
        api_version: String,
    },
}

/// Reads a body of a built-in kind, or of an option like `DeleteOptions`, into what its JSON would be.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let envelope = envelope(bytes)?;
    envelope.value(None)
}

/// As [`decode`], for a body that is to be an object of `kind` and may leave out to say so.
pub(crate) fn object(kind: &Kind, bytes: &[u8]) -> Result<Value, Status> {
    let read = envelope(bytes).and_then(|envelope| envelope.value(Some(kind)));
    read.map_err(|error| decode::unrecognized(kind, bytes, &error.to_string()))
}

/// `runtime.Unknown`: what the rest is.
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    let bytes = bytes.strip_prefix(&PREFIX).ok_or(DecodeError::Prefix)?;
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    let mut reader = Reader::new(bytes);
    while let Some((field, wire)) = reader.tag()? {
        match (field, wire) {
            (1, Wire::Bytes) => {
                let mut meta = Reader::new(reader.bytes()?);
                while let Some((field, wire)) = meta.tag()? {
                    match (field, wire) {
                        (1, Wire::Bytes) => envelope.api_version = meta.text("apiVersion")?,
                        (2, Wire::Bytes) => envelope.kind = meta.text("kind")?,
                        _ => meta.skip(wire)?,
                    }
                }
            }
            (2, Wire::Bytes) => envelope.raw = reader.bytes()?,
            _ => reader.skip(wire)?,
        }
    }
    Ok(envelope)
}

impl Envelope<'_> {
    fn value(self, expected: Option<&Kind>) -> Result<Value, DecodeError> {
        let or =
            |own: String, expected: Option<String>| if own.is_empty() { expected.unwrap_or_default() } else { own };
        let api_version = or(self.api_version, expected.map(Kind::api_version));
        let kind = or(self.kind, expected.map(|kind| kind.kind.to_owned()));
        let Some(of) = table::message(&api_version, &kind) else {
            return Err(DecodeError::Kind { kind, api_version });
        };
        let mut value = message::read(of, self.raw)?;
        value.insert("apiVersion".to_owned(), api_version.into());
        value.insert("kind".to_owned(), kind.into());
        Ok(value.into())
    }
}
