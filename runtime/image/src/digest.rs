//! The name of a content: its SHA-256.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "sha256";

/// A digest as OCI writes it: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

/// Why a text is no digest that is known here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not of the form `algorithm:hex`.
    #[error("a digest is \"{ALGORITHM}:\" and 64 hexadecimal digits")]
    Form,
    /// Another algorithm.
    #[error("digest algorithm {0:?} is not supported: only {ALGORITHM} is")]
    Algorithm(String),
    /// Not 64 lower-case hexadecimal digits.
    #[error("a {ALGORITHM} digest has 64 lower-case hexadecimal digits")]
    Hex,
}

/// Computes a [`Digest`] piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl Hasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, digits) = text.split_once(':').ok_or(DigestError::Form)?;
        if algorithm != ALGORITHM {
            return Err(DigestError::Algorithm(algorithm.chars().take(32).collect()));
        }
        // Upper case would be a second name of the same content.
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(DigestError::Hex);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| DigestError::Hex)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of(b"hello");
        let text = digest.to_string();
        assert_eq!(text, "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        assert_eq!(text.parse::<Digest>(), Ok(digest));
        assert_eq!(text[..70].parse::<Digest>(), Err(DigestError::Hex));
        assert_eq!(text.replace("2cf", "2CF").parse::<Digest>(), Err(DigestError::Hex));
        assert_eq!(text.replace(':', "-").parse::<Digest>(), Err(DigestError::Form));
        assert_eq!(text.replace("256", "512").parse::<Digest>(), Err(DigestError::Algorithm("sha512".into())));
        assert!("sha256:../../../../etc/passwd".parse::<Digest>().is_err());
    }

    #[test]
    fn hashing_in_pieces_is_hashing_at_once() {
        let mut hasher = Hasher::new();
        hasher.update(b"hel");
        hasher.update(b"lo");
        assert_eq!(hasher.finish(), Digest::of(b"hello"));
    }
}
