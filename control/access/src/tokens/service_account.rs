//! What a service account's token says: whose it is, for whom, until when, and which objects it dies with.
//!
//! Not here: whether those objects are still there.

use serde_json::{Value, json};

use super::{Jwt, Leeway, TokenError};
use crate::user::{SERVICE_ACCOUNT_PREFIX, User, service_account};

/// Who signs them. Every peer answers to this name.
pub const ISSUER: &str = "https://kubernetes.default.svc";

/// Clocks of peers differ; a token is good from a little before it was made.
pub const SKEW_SECONDS: i64 = 10;

/// Where Kubernetes keeps what only it says.
const PRIVATE: &str = "kubernetes.io";

/// A name and the incarnation of it that is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
}

/// What a token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// The namespace of all it names, but for nodes.
    pub namespace: String,
    /// Whose it is.
    pub account: Reference,
    /// The token is good as long as this pod is there.
    pub pod: Option<Reference>,
    /// The same of a Secret.
    pub secret: Option<Reference>,
    /// The same of a Node; beside a pod it only says where that runs.
    pub node: Option<Reference>,
    /// Whom it is for.
    pub audiences: Vec<String>,
    /// From when, in seconds since 1970.
    pub issued: i64,
    /// Until when; None for those that live in Secrets, which have no end.
    pub expires: Option<i64>,
    /// The token's own name.
    pub id: String,
}

impl Claims {
    /// The claims as they are signed.
    pub fn to_value(&self) -> Value {
        let reference = |own: &Reference| json!({ "name": own.name, "uid": own.uid });
        let mut private = json!({ "namespace": self.namespace, "serviceaccount": reference(&self.account) });
        for (field, bound) in [("pod", &self.pod), ("secret", &self.secret), ("node", &self.node)] {
            if let Some(bound) = bound {
                private[field] = reference(bound);
            }
        }
        let mut claims = json!({
            "iss": ISSUER, "aud": self.audiences, "iat": self.issued, "nbf": self.issued, "jti": self.id,
            "sub": format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", self.namespace, self.account.name),
            PRIVATE: private,
        });
        if let Some(expires) = self.expires {
            claims["exp"] = expires.into();
        }
        claims
    }

    /// Reads and checks what a token says whose signature was found good. `accepted` are the audiences asked for.
    ///
    /// Only a token bound to a Secret may have no end: that Secret is its end.
    pub fn check(jwt: &Jwt, accepted: &[String], now: i64) -> Result<Self, TokenError> {
        let claims = Self::read(jwt)?;
        if jwt.issuer() != ISSUER {
            return Err(TokenError::Issuer);
        }
        match (claims.expires, &claims.secret) {
            (None, Some(_)) => {}
            _ => jwt.check_time(now, Leeway { end: SKEW_SECONDS, start: SKEW_SECONDS })?,
        }
        if !claims.audiences.iter().any(|own| accepted.contains(own)) {
            return Err(TokenError::Audience(claims.audiences, accepted.to_vec()));
        }
        let subject = format!("{SERVICE_ACCOUNT_PREFIX}{}:{}", claims.namespace, claims.account.name);
        if jwt.text("sub") != subject {
            return Err(TokenError::Claim("sub"));
        }
        Ok(claims)
    }

    fn read(jwt: &Jwt) -> Result<Self, TokenError> {
        let private = jwt.claims.get(PRIVATE).ok_or(TokenError::Claim(PRIVATE))?;
        let reference = |field: &str| {
            let bound = private.get(field)?;
            let text = |name: &str| bound.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            Some(Reference { name: text("name"), uid: text("uid") })
        };
        let whole = |own: &Reference| !own.name.is_empty() && !own.uid.is_empty();
        let account = reference("serviceaccount").filter(whole).ok_or(TokenError::Claim("serviceaccount"))?;
        let namespace = private.get("namespace").and_then(Value::as_str).unwrap_or_default();
        let seconds = |claim: &str| jwt.claims.get(claim).and_then(Value::as_i64);
        Ok(Self {
            namespace: namespace.to_owned(),
            account,
            pod: reference("pod"),
            secret: reference("secret"),
            node: reference("node"),
            audiences: jwt.audiences(),
            issued: seconds("iat").unwrap_or_default(),
            expires: seconds("exp"),
            id: jwt.text("jti").to_owned(),
        })
    }

    /// The caller that such a token names.
    pub fn user(&self) -> User {
        let mut user = service_account(&self.namespace, &self.account.name, &self.account.uid);
        let mut say = |key: &str, value: String| {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        if !self.id.is_empty() {
            say("credential-id", format!("JTI={}", self.id));
        }
        for (what, bound) in [("pod", &self.pod), ("node", &self.node)] {
            if let Some(bound) = bound {
                say(&format!("{what}-name"), bound.name.clone());
                say(&format!("{what}-uid"), bound.uid.clone());
            }
        }
        user
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Keyring;

    fn claims() -> Claims {
        Claims {
            namespace: "shop".to_owned(),
            account: Reference { name: "web".to_owned(), uid: "u1".to_owned() },
            pod: Some(Reference { name: "web-1".to_owned(), uid: "u2".to_owned() }),
            audiences: vec!["vault".to_owned()],
            issued: 1000,
            expires: Some(2000),
            id: "t1".to_owned(),
            ..Claims::default()
        }
    }

    fn signed(value: &Value) -> Jwt {
        let ring = Keyring::default();
        ring.set(&[Keyring::generate().expect("a key")]).expect("a key of ours");
        Jwt::parse(&ring.sign(value).expect("a token")).expect("three parts")
    }

    #[test]
    fn claims_come_back_as_they_were_signed() {
        let jwt = signed(&claims().to_value());
        let vault = ["vault".to_owned()];
        assert_eq!(Claims::check(&jwt, &vault, 1500), Ok(claims()));
        let user = claims().user();
        assert_eq!(user.name, "system:serviceaccount:shop:web");
        assert!(user.is_in("system:serviceaccounts:shop"));
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web-1"]);
        assert_eq!(Claims::check(&jwt, &vault, 2010), Err(TokenError::Expired));
        assert_eq!(Claims::check(&jwt, &vault, 900), Err(TokenError::Early));
        assert!(matches!(Claims::check(&jwt, &["other".to_owned()], 1500), Err(TokenError::Audience(..))));
    }

    #[test]
    fn a_token_of_another_issuer_subject_or_without_an_end_is_refused() {
        let check = |field: &str, value: Value| {
            let mut changed = claims().to_value();
            changed[field] = value;
            Claims::check(&signed(&changed), &["vault".to_owned()], 1500)
        };
        assert_eq!(check("iss", "https://evil".into()), Err(TokenError::Issuer));
        assert_eq!(check("sub", "system:serviceaccount:kube-system:root".into()), Err(TokenError::Claim("sub")));
        assert_eq!(check("exp", Value::Null), Err(TokenError::Claim("exp")));
        assert_eq!(check("exp", "2000".into()), Err(TokenError::Claim("exp")));
        assert_eq!(check("nbf", "9999".into()), Err(TokenError::Claim("nbf")));
        assert_eq!(check(PRIVATE, Value::Null), Err(TokenError::Claim("serviceaccount")));
    }
}
