//! Tokens of an OpenID Connect provider: which claims name the caller.
//!
//! Not here: fetching the provider's keys.

use serde_json::Value;

use super::{Jwt, Leeway, TokenError};
use crate::user::{AUTHENTICATED, User};

/// Clocks of providers differ from ours, but what has ended has ended: as in go-oidc, which Kubernetes uses.
const LEEWAY: Leeway = Leeway { end: 0, start: 300 };

/// Groups of such a caller at most: each is looked up at every request.
const GROUPS_MAX: usize = 1000;

/// Names before which nobody from outside may come.
const RESERVED: &str = "system:";

/// Which provider is trusted, and how its tokens are read. As `kube-apiserver --oidc-…`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provider {
    /// `--oidc-issuer-url`: has to be `iss`.
    pub issuer: String,
    /// `--oidc-client-id`: has to be in `aud`.
    pub client: String,
    /// `--oidc-username-claim`; `sub` unless said otherwise.
    pub username_claim: String,
    /// `--oidc-username-prefix`; None for the issuer and `#`, unless the claim is `email`. `-` is no prefix.
    pub username_prefix: Option<String>,
    /// `--oidc-groups-claim`; none without it.
    pub groups_claim: Option<String>,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-required-claim`: names and values.
    pub required: Vec<(String, String)>,
}

impl Provider {
    /// The caller that a token names whose signature was found good.
    pub fn user(&self, jwt: &Jwt, now: i64) -> Result<User, TokenError> {
        if jwt.issuer() != self.issuer {
            return Err(TokenError::Issuer);
        }
        jwt.check_time(now, LEEWAY)?;
        if !jwt.audiences().contains(&self.client) {
            return Err(TokenError::Audience(jwt.audiences(), vec![self.client.clone()]));
        }
        if self.required.iter().any(|(claim, value)| jwt.text(claim) != value) {
            return Err(TokenError::Claim("that is required"));
        }
        let claimed = jwt.text(&self.username_claim);
        if claimed.is_empty() {
            return Err(TokenError::Claim("of the user name"));
        }
        let is_email = self.username_claim == "email";
        if is_email && jwt.claims.get("email_verified").is_some_and(|verified| *verified != Value::Bool(true)) {
            return Err(TokenError::Claim("email_verified"));
        }
        let prefix = match self.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if is_email => String::new(),
            None => format!("{}#", self.issuer),
        };
        let name = format!("{prefix}{claimed}");
        // A provider says who its people are, not who is a node or a controller of this cluster.
        if name.starts_with(RESERVED) {
            return Err(TokenError::Claim("of the user name"));
        }
        let mut groups = vec![AUTHENTICATED.to_owned()];
        let claimed = self.groups_claim.as_ref().and_then(|claim| jwt.claims.get(claim));
        let texts: Vec<&str> = match claimed {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let own = texts.into_iter().map(|group| format!("{}{group}", self.groups_prefix));
        groups.extend(own.filter(|group| !group.starts_with(RESERVED)).take(GROUPS_MAX));
        Ok(User { name, groups, ..User::default() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokens::Keyring;

    fn user(provider: &Provider, claims: &Value) -> Result<User, TokenError> {
        let ring = Keyring::default();
        ring.set(&[Keyring::generate().expect("a key")]).expect("a key of ours");
        provider.user(&Jwt::parse(&ring.sign(claims).expect("a token")).expect("three parts"), 1500)
    }

    #[test]
    fn claims_become_a_user_with_prefixes_and_none_from_outside_becomes_of_the_system() {
        let provider = Provider {
            issuer: "https://id.example".to_owned(),
            client: "wk".to_owned(),
            username_claim: "sub".to_owned(),
            groups_claim: Some("groups".to_owned()),
            required: vec![("org".to_owned(), "shop".to_owned())],
            ..Provider::default()
        };
        let claims = json!({
            "iss": "https://id.example", "aud": ["wk", "x"], "sub": "7", "exp": 2000, "org": "shop",
            "groups": ["dev", "system:masters"],
        });
        let found = user(&provider, &claims).expect("a user");
        assert_eq!(found.name, "https://id.example#7");
        assert_eq!(found.groups, ["system:authenticated", "dev"]);
        let bare = Provider { username_prefix: Some("-".to_owned()), ..provider.clone() };
        assert_eq!(user(&bare, &claims).expect("a user").name, "7");
        let changed = |field: &str, value: Value| {
            let mut claims = claims.clone();
            claims[field] = value;
            user(&bare, &claims)
        };
        assert!(changed("sub", "system:admin".into()).is_err());
        assert!(changed("sub", "".into()).is_err());
        assert_eq!(changed("exp", 1500.into()), Err(TokenError::Expired), "not a second longer");
        assert!(changed("exp", 1501.into()).is_ok());
        assert!(changed("nbf", 1800.into()).is_ok(), "their clock may be ahead of ours");
        assert_eq!(changed("nbf", 1801.into()), Err(TokenError::Early));
        assert_eq!(changed("iss", "https://evil".into()), Err(TokenError::Issuer));
        assert!(matches!(changed("aud", "other".into()), Err(TokenError::Audience(..))));
        assert!(changed("org", "bank".into()).is_err());
        let email = Provider { username_claim: "email".to_owned(), username_prefix: None, ..provider };
        let with = |verified: Value| {
            let mut claims = claims.clone();
            claims["email"] = "a@shop.example".into();
            claims["email_verified"] = verified;
            user(&email, &claims)
        };
        assert_eq!(with(true.into()).expect("a user").name, "a@shop.example");
        assert!(with(false.into()).is_err());
    }
}
