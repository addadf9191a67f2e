//! Keys that sign tokens, and keys that only verify.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Value, json};

/// Why a key cannot be made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The system gives no randomness.
    #[error("make a signing key")]
    Generate,
    /// Not a P-256 key in PKCS #8.
    #[error("read a signing key")]
    Read,
    /// There is no key yet: the first leader makes it.
    #[error("the cluster has no signing key yet")]
    None,
    /// Signing failed.
    #[error("sign a token")]
    Sign,
}

/// A key that verifies signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// ECDSA over P-256: `ES256`.
    P256(Vec<u8>),
    /// ECDSA over P-384: `ES384`.
    P384(Vec<u8>),
    /// RSA: `RS…`, `PS…`. Modulus and exponent.
    Rsa(Vec<u8>, Vec<u8>),
}

/// The cluster's own signing keys: the last one signs, all verify. Clones share it.
#[derive(Clone, Default)]
pub struct Keyring(Arc<RwLock<Vec<SigningKey>>>);

#[derive(Clone)]
struct SigningKey {
    id: String,
    pair: Arc<EcdsaKeyPair>,
    public: PublicKey,
}

impl Keyring {
    /// A new key, in PKCS #8.
    pub fn generate() -> Result<Vec<u8>, KeyError> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        key.map(|document| document.as_ref().to_vec()).map_err(|_| KeyError::Generate)
    }

    /// Takes these keys, in PKCS #8, in place of those before.
    pub fn set(&self, keys: &[Vec<u8>]) -> Result<(), KeyError> {
        let keys = keys.iter().map(|key| SigningKey::read(key)).collect::<Result<_, _>>()?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// The id of a key in PKCS #8, as tokens and the key set name it.
    pub fn id_of(key: &[u8]) -> Result<String, KeyError> {
        SigningKey::read(key).map(|key| key.id)
    }

    /// Whether there is a key with this id.
    pub fn has(&self, id: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().any(|key| key.id == id)
    }

    /// The id of the key that signs.
    pub fn signer(&self) -> Option<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).last().map(|key| key.id.clone())
    }

    /// A signed token that says `claims`.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let key = self.all().pop().ok_or(KeyError::None)?;
        let header = json!({ "alg": "ES256", "kid": key.id });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| KeyError::Sign)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The key that a token names; every key when it names none.
    pub fn named(&self, id: &str) -> Vec<PublicKey> {
        self.all().into_iter().filter(|key| id.is_empty() || key.id == id).map(|key| key.public).collect()
    }

    /// The public halves as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> Value {
        let all = self.all();
        let keys = all.iter().filter_map(|key| {
            let PublicKey::P256(point) = &key.public else { return None };
            // 0x04, then both coordinates.
            let (x, y) = point.get(1..65)?.split_at(32);
            let [x, y] = [x, y].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
            Some(json!({ "use": "sig", "kty": "EC", "kid": key.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y }))
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }

    fn all(&self) -> Vec<SigningKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl SigningKey {
    fn read(key: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &SystemRandom::new());
        let pair = pair.map_err(|_| KeyError::Read)?;
        let point = pair.public_key().as_ref().to_vec();
        let id = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &point));
        Ok(Self { id, pair: Arc::new(pair), public: PublicKey::P256(point) })
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.all().len()).finish()
    }
}

impl PublicKey {
    /// Reads one key of a JSON Web Key Set; None for kinds that are not known, and for keys that encrypt.
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let text = |field: &str| jwk.get(field).and_then(Value::as_str);
        let bytes = |field: &str| URL_SAFE_NO_PAD.decode(text(field)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|use_| use_ != "sig") {
            return None;
        }
        let point = || Some([vec![4], bytes("x")?, bytes("y")?].concat());
        match (text("kty")?, text("crv")) {
            ("RSA", _) => Some(Self::Rsa(bytes("n")?, bytes("e")?)),
            ("EC", Some("P-256")) => point().map(Self::P256),
            ("EC", Some("P-384")) => point().map(Self::P384),
            _ => None,
        }
    }

    /// Whether this key made `signature` of `message` by `algorithm`. An algorithm of another kind of key is a no, so
    /// `none` is, and so is a public key taken for a shared secret.
    pub(super) fn verifies(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match (self, algorithm) {
            (Self::P256(point), "ES256") => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Self::P384(point), "ES384") => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            (Self::Rsa(n, e), algorithm) => rsa(algorithm).is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }),
            (Self::P256(_) | Self::P384(_), _) => false,
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        "PS384" => &RSA_PSS_2048_8192_SHA384,
        "PS512" => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Jwt;

    fn ring() -> Keyring {
        let ring = Keyring::default();
        ring.set(&[Keyring::generate().expect("a key")]).expect("a key of ours");
        ring
    }

    #[test]
    fn a_token_is_verified_by_the_key_that_signed_it_and_by_its_published_form() {
        let ring = ring();
        let token = Jwt::parse(&ring.sign(&json!({ "sub": "a" })).expect("a token")).expect("three parts");
        let [own] = ring.named(token.key_id()).try_into().expect("one key");
        assert!(token.is_signed_by(&own));
        let published = PublicKey::from_jwk(&ring.jwks()["keys"][0]).expect("a key");
        assert!(token.is_signed_by(&published));
        assert!(!token.is_signed_by(&self::ring().named("")[0]));
        assert!(ring.named("another").is_empty());
    }

    #[test]
    fn a_token_that_was_changed_or_names_another_algorithm_is_not_signed() {
        let ring = ring();
        let token = ring.sign(&json!({ "sub": "a" })).expect("a token");
        let key = &ring.named("")[0];
        let parts: Vec<&str> = token.split('.').collect();
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let other = format!("{}.{}.{}", parts[0], encode(json!({ "sub": "b" })), parts[2]);
        assert!(!Jwt::parse(&other).expect("three parts").is_signed_by(key));
        for algorithm in ["none", "HS256", "RS256", ""] {
            let header = encode(json!({ "alg": algorithm }));
            for signature in [parts[2], ""] {
                let forged = Jwt::parse(&format!("{header}.{}.{signature}", parts[1])).expect("three parts");
                assert!(!forged.is_signed_by(key), "{algorithm}");
            }
        }
        let critical = format!("{}.{}.{}", encode(json!({ "alg": "ES256", "crit": ["b64"] })), parts[1], parts[2]);
        assert!(Jwt::parse(&critical).is_err());
        for garbage in ["", "..", "a.b.c", "x", &"a".repeat(100_000)] {
            assert!(Jwt::parse(garbage).is_err());
        }
    }

    #[test]
    fn keys_are_turned_without_a_gap() {
        let (old, new) = (Keyring::generate().expect("a key"), Keyring::generate().expect("a key"));
        let ring = Keyring::default();
        assert_eq!(ring.sign(&json!({})), Err(KeyError::None));
        ring.set(std::slice::from_ref(&old)).expect("a key of ours");
        let before = Jwt::parse(&ring.sign(&json!({})).expect("a token")).expect("three parts");
        ring.set(&[old, new]).expect("keys of ours");
        let after = Jwt::parse(&ring.sign(&json!({})).expect("a token")).expect("three parts");
        assert_ne!(before.key_id(), after.key_id());
        for token in [&before, &after] {
            assert!(token.is_signed_by(&ring.named(token.key_id())[0]));
        }
    }
}
