//! The invitation that lets one more node join: who invites (the authority's fingerprint) and a secret.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::authority::Fingerprint;

const VERSION: &str = "wk1";
const ID_LENGTH: usize = 6;
/// 16 of 36 characters are 82 bits: beyond guessing, even without counting attempts.
const SECRET_LENGTH: usize = 16;

/// A join token, printed as `wk1.<id>.<secret>.<fingerprint of the authority>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Says which token this is, in lists and logs. Not secret.
    pub id: String,
    /// Proves that its bearer was invited.
    pub secret: Secret,
    /// Whom the bearer trusts: the cluster's authority.
    pub ca: Fingerprint,
}

/// The secret part of a token. `Debug` does not show it, and it is compared in constant time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Why a text is no join token. The token itself is never quoted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as tokens do.
    #[error("a join token starts with \"{VERSION}.\"")]
    Version,
    /// Parts are missing, or there are too many: often a token cut short when it was copied.
    #[error("a join token has 4 parts separated by '.', this one has {found}: was it copied whole?")]
    Parts {
        /// How many it has.
        found: usize,
    },
    /// The id has the wrong form.
    #[error("the second part of a join token is {ID_LENGTH} lower-case letters and digits")]
    Id,
    /// The secret has the wrong form.
    #[error("the third part of a join token is {SECRET_LENGTH} lower-case letters and digits")]
    Secret,
    /// The fingerprint has the wrong form.
    #[error("the fourth part of a join token is 64 hexadecimal digits: was it copied whole?")]
    Fingerprint,
}

impl Token {
    /// A new token for the cluster of this authority.
    pub fn generate(ca: Fingerprint) -> Self {
        Self { id: wk_base::id::secret(ID_LENGTH), secret: Secret(wk_base::id::secret(SECRET_LENGTH)), ca }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}", self.id, self.secret.0, self.ca)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        if parts[0] != VERSION {
            return Err(TokenError::Version);
        }
        let [_, id, secret, ca] = parts[..] else {
            return Err(TokenError::Parts { found: parts.len() });
        };
        if !is_word(id, ID_LENGTH) {
            return Err(TokenError::Id);
        }
        if !is_word(secret, SECRET_LENGTH) {
            return Err(TokenError::Secret);
        }
        let ca = ca.parse().map_err(|_| TokenError::Fingerprint)?;
        Ok(Self { id: id.to_owned(), secret: Secret(secret.to_owned()), ca })
    }
}

impl Secret {
    /// Takes a secret that was kept somewhere.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, to keep it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    /// Takes as long for a near miss as for a wild guess.
    fn eq(&self, other: &Self) -> bool {
        let differences = self.0.bytes().zip(other.0.bytes()).fold(0_u8, |seen, (a, b)| seen | (a ^ b));
        std::hint::black_box(differences) == 0 && self.0.len() == other.0.len()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn is_word(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_as_it_was_printed_and_debug_hides_its_secret() {
        let token = Token::generate(Fingerprint::of(b"certificate"));
        let text = token.to_string();
        assert_eq!(text.len(), 3 + 1 + 6 + 1 + 16 + 1 + 64);
        assert_eq!(text.parse::<Token>().expect("a token"), token);
        assert_eq!(format!(" {text}\n").parse::<Token>().expect("with blanks around"), token);
        assert!(!format!("{token:?}").contains(token.secret.expose()));
    }

    #[test]
    fn each_mistake_in_a_token_has_its_own_message() {
        let token = Token::generate(Fingerprint::of(b"certificate"));
        let (id, secret, ca) = (&token.id, token.secret.expose(), token.ca);
        let cases = [
            (String::new(), TokenError::Version),
            (format!("wk2.{id}.{secret}.{ca}"), TokenError::Version),
            (format!("wk1.{id}.{secret}"), TokenError::Parts { found: 3 }),
            (format!("wk1.{id}.{secret}.{ca}.x"), TokenError::Parts { found: 5 }),
            (format!("wk1.ABCDEF.{secret}.{ca}"), TokenError::Id),
            (format!("wk1.{id}.short.{ca}"), TokenError::Secret),
            (format!("wk1.{id}.{secret}.abcd"), TokenError::Fingerprint),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Token>().expect_err("a mistake"), expected, "{text}");
        }
    }

    #[test]
    fn secrets_are_equal_only_when_all_of_them_is() {
        assert_eq!(Secret::new("abc"), Secret::new("abc"));
        assert_ne!(Secret::new("abc"), Secret::new("abd"));
        assert_ne!(Secret::new("abc"), Secret::new("ab"));
        assert_ne!(Secret::new(""), Secret::new("a"));
    }
}
