//! Tokens of an OpenID Connect provider: its keys, fetched when they are needed and kept for a while.
//!
//! What a token says is read in `wk_access::tokens::oidc`; how a document is fetched is [`Fetch`]'s.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Mutex;
use wk_access::User;
use wk_access::tokens::oidc::Provider;
use wk_access::tokens::{Jwt, PublicKey, TokenError};

use super::authn::Refused;
use crate::seams::Fetch;

/// Between two questions for the provider's keys: whoever sends tokens with made-up key ids causes no more than this.
const PAUSE: Duration = Duration::from_secs(10);
/// Keys are asked for again after this, so that those that the provider withdrew end.
const LIFE: Duration = Duration::from_hours(1);
/// Keys of one provider at most: large ones have five.
const KEYS_MAX: usize = 64;

/// A provider and its keys.
pub struct Oidc {
    provider: Provider,
    fetch: Arc<dyn Fetch>,
    keys: RwLock<Vec<(String, PublicKey)>>,
    /// When they were last asked for, and whether that went well.
    asked: Mutex<Option<(Instant, bool)>>,
}

impl Oidc {
    /// Takes tokens of `provider`.
    pub fn new(provider: Provider, fetch: Arc<dyn Fetch>) -> Self {
        Self { provider, fetch, keys: RwLock::default(), asked: Mutex::default() }
    }

    /// Whether such a token is for this provider to judge.
    pub(super) fn is_issuer(&self, jwt: &Jwt) -> bool {
        jwt.issuer() == self.provider.issuer
    }

    /// Whose token it is.
    pub(super) async fn user(&self, jwt: &Jwt, now: i64) -> Result<User, Refused> {
        self.refresh(self.named(jwt.key_id()).is_empty()).await;
        if !self.named(jwt.key_id()).iter().any(|key| jwt.is_signed_by(key)) {
            return Err(TokenError::Signature.into());
        }
        Ok(self.provider.user(jwt, now)?)
    }

    fn named(&self, id: &str) -> Vec<PublicKey> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().filter(|(own, _)| id.is_empty() || own == id).map(|(_, key)| key.clone()).collect()
    }

    /// Asks for the keys when they are old, or one is missing.
    async fn refresh(&self, is_missing: bool) {
        // While one request asks, those whose key is known go on.
        let mut asked = if is_missing {
            self.asked.lock().await
        } else {
            let Ok(asked) = self.asked.try_lock() else { return };
            asked
        };
        let wait = match *asked {
            Some((_, true)) if !is_missing => LIFE,
            Some(_) => PAUSE,
            None => Duration::ZERO,
        };
        if asked.is_some_and(|(at, _)| at.elapsed() < wait) {
            return;
        }
        let fetched = self.fetch_keys().await;
        *asked = Some((Instant::now(), fetched.is_ok()));
        match fetched {
            Ok(keys) => *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys,
            Err(why) => tracing::warn!(issuer = self.provider.issuer, why, "no keys from the OpenID Connect provider"),
        }
    }

    async fn fetch_keys(&self) -> Result<Vec<(String, PublicKey)>, String> {
        let issuer = self.provider.issuer.trim_end_matches('/');
        let about = self.document(&format!("{issuer}/.well-known/openid-configuration")).await?;
        // Whoever answers for another issuer than the one meant is not believed (OpenID Connect Discovery, section 4.3).
        if about["issuer"] != self.provider.issuer.as_str() {
            return Err(format!("the provider says that it is {}", about["issuer"]));
        }
        let address = about["jwks_uri"].as_str().ok_or("the provider names no jwks_uri")?;
        let set = self.document(address).await?;
        let keys = set["keys"].as_array().ok_or("the provider's keys are no list")?.iter().take(KEYS_MAX);
        let read = |key: &Value| Some((key["kid"].as_str().unwrap_or_default().to_owned(), PublicKey::from_jwk(key)?));
        Ok(keys.filter_map(read).collect())
    }

    async fn document(&self, url: &str) -> Result<Value, String> {
        let bytes = self.fetch.get(url).await?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{url}: {error}"))
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use serde_json::json;
    use wk_access::tokens::Keyring;

    use super::*;

    struct Fake {
        keys: Keyring,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Fetch for Fake {
        async fn get(&self, url: &str) -> Result<Bytes, String> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let about = json!({ "issuer": "https://id.example", "jwks_uri": "https://id.example/keys" });
            Ok(match url {
                "https://id.example/.well-known/openid-configuration" => about.to_string().into(),
                "https://id.example/keys" => self.keys.jwks().to_string().into(),
                other => return Err(format!("{other}: not found")),
            })
        }
    }

    #[tokio::test]
    async fn a_providers_keys_are_fetched_once_and_its_tokens_are_taken() {
        let keys = Keyring::default();
        keys.set(&[Keyring::generate().expect("a key")]).expect("a key of ours");
        let fake = Arc::new(Fake { keys: keys.clone(), asked: AtomicUsize::new(0) });
        let (issuer, client) = ("https://id.example".to_owned(), "wk".to_owned());
        let provider = Provider { issuer, client, username_claim: "sub".to_owned(), ..Provider::default() };
        let fetch: Arc<dyn Fetch> = Arc::clone(&fake) as Arc<dyn Fetch>;
        let oidc = Oidc::new(provider, fetch);
        let claims = json!({ "iss": "https://id.example", "aud": "wk", "sub": "7", "exp": 2000 });
        let token = Jwt::parse(&keys.sign(&claims).expect("a token")).expect("three parts");
        for _ in 0..3 {
            assert_eq!(oidc.user(&token, 1000).await.expect("a user").name, "https://id.example#7");
        }
        assert_eq!(fake.asked.load(Ordering::SeqCst), 2);
        let other = Keyring::default();
        other.set(&[Keyring::generate().expect("a key")]).expect("a key of ours");
        let forged = Jwt::parse(&other.sign(&claims).expect("a token")).expect("three parts");
        for _ in 0..3 {
            assert!(oidc.user(&forged, 1000).await.is_err());
        }
        assert_eq!(fake.asked.load(Ordering::SeqCst), 2, "an unknown key is asked for again only after a while");
    }
}
