//! Taking a token apart. Nothing in it is believed before [`Jwt::is_signed_by`] says so.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::keys::PublicKey;

/// Longest token that is read: certificates of OIDC providers put groups by the hundred into theirs, and the headers of
/// a request are bounded by 64 KiB together.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// A token in its parts.
#[derive(Debug, Clone)]
pub struct Jwt {
    /// What it says of its signature.
    header: Value,
    /// What it says.
    pub claims: Value,
    signed: String,
    signature: Vec<u8>,
}

/// Why a token is not taken. The token itself is never quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It has another form.
    #[error("not a signed token")]
    Form,
    /// No key of ours made this signature.
    #[error("the signature is not of a key that is known here")]
    Signature,
    /// Somebody else's.
    #[error("issued by somebody else")]
    Issuer,
    /// For somebody else.
    #[error("token audiences {0:?} is invalid for the target audiences {1:?}")]
    Audience(Vec<String>, Vec<String>),
    /// Too late.
    #[error("token has expired")]
    Expired,
    /// Too early.
    #[error("token is not valid yet")]
    Early,
    /// A claim that must be there is not, or is of another form.
    #[error("claim {0} is missing or has another form")]
    Claim(&'static str),
}

/// Seconds by which a token may be used too late or too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leeway {
    /// After its end.
    pub end: i64,
    /// Before its start.
    pub start: i64,
}

impl Jwt {
    /// Takes `token` apart.
    pub fn parse(token: &str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Form)?;
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Form);
        let object = |text: &str| {
            let value: Value = serde_json::from_slice(&bytes(text)?).map_err(|_| TokenError::Form)?;
            if value.is_object() { Ok(value) } else { Err(TokenError::Form) }
        };
        let (header, claims) = (object(header)?, object(claims)?);
        // RFC 7515, section 4.1.11: what must be understood and is not makes the token invalid.
        if header.get("crit").is_some() {
            return Err(TokenError::Form);
        }
        Ok(Self { header, claims, signed: signed.to_owned(), signature: bytes(signature)? })
    }

    /// Whether `token` looks like one. Other bearer tokens have fewer dots.
    pub fn is_form(token: &str) -> bool {
        token.split('.').count() == 3
    }

    /// Which key it says has signed it.
    pub fn key_id(&self) -> &str {
        self.header.get("kid").and_then(Value::as_str).unwrap_or_default()
    }

    /// Who it says has issued it.
    pub fn issuer(&self) -> &str {
        self.text("iss")
    }

    /// A claim that is a text; empty when it is missing.
    pub fn text(&self, claim: &str) -> &str {
        self.claims.get(claim).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether `key` made the signature, by the algorithm that the header names *and* the key is for.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let algorithm = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        key.verifies(algorithm, self.signed.as_bytes(), &self.signature)
    }

    /// Whom it is for.
    pub fn audiences(&self) -> Vec<String> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// Checks `exp` and `nbf`, in seconds since 1970, with what is granted to clocks that differ. A token without an end is
    /// refused.
    pub fn check_time(&self, now: i64, leeway: Leeway) -> Result<(), TokenError> {
        let seconds = |claim: &'static str| match self.claims.get(claim) {
            None => Ok(None),
            // RFC 7519 allows fractions; text is no number, whatever it looks like.
            Some(value) => value
                .as_i64()
                .or_else(|| value.as_f64().map(|seconds| seconds as i64))
                .map(Some)
                .ok_or(TokenError::Claim(claim)),
        };
        let end = seconds("exp")?.ok_or(TokenError::Claim("exp"))?;
        if now >= end.saturating_add(leeway.end) {
            return Err(TokenError::Expired);
        }
        match seconds("nbf")? {
            Some(start) if now.saturating_add(leeway.start) < start => Err(TokenError::Early),
            _ => Ok(()),
        }
    }
}
