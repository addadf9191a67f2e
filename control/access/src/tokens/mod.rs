//! Signed tokens: JSON Web Tokens (RFC 7519) in compact form, and what service accounts' ones say.
//!
//! The signatures are `ring`'s. Here is only what surrounds them: a crate for JWT would bring a second provider of
//! cryptography (aws-lc) or an RSA with an open advisory (RUSTSEC-2023-0071).

mod jwt;
mod keys;
pub mod oidc;
pub mod rotation;
pub mod service_account;

pub use jwt::{Jwt, Leeway, TokenError};
pub use keys::{KeyError, Keyring, PublicKey};
