//! Who sent a request: the certificate first, then the bearer token, then nobody.

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap};
use wk_access::tokens::service_account::ISSUER;
use wk_access::tokens::{Jwt, TokenError};
use wk_access::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};
use wk_api::Status;
use wk_mesh::Peer;

use super::{Caller, bootstrap, certificates, impersonate, people, service_accounts};
use crate::server::ApiServer;

/// A token that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// Whose it is.
    pub user: User,
    /// Which of the audiences asked for it is meant for.
    pub audiences: Vec<String>,
}

/// Who sent the request, and as whom they want to be answered; 401 for those who cannot say.
pub(crate) async fn caller(
    server: &ApiServer,
    peer: &Peer,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Caller, Status> {
    let mut person = None;
    let certificate = certificates::of(extensions).filter(|_| matches!(peer, Peer::User { .. }));
    let user = match (peer, bearer(headers)) {
        (Peer::Node(_) | Peer::User { .. }, _) => {
            let user = of_certificate(peer);
            certificates::check(server, &user, certificate)?;
            let (user, found) = people::known(server, user).await?;
            person = found;
            user
        }
        (Peer::Anonymous, Some(token)) => {
            known(server, token, &[ISSUER.to_owned()])
                .await
                .map_err(|why| {
                    tracing::debug!(%why, "a bearer token was refused");
                    Status::unauthorized()
                })?
                .user
        }
        (Peer::Anonymous, None) if server.access.security.anonymous => User::new(ANONYMOUS, [UNAUTHENTICATED]),
        (Peer::Anonymous, None) => return Err(Status::unauthorized()),
    };
    // A person's is good by their record alone.
    let certificate = certificate.filter(|_| person.is_none()).map(|own| (own.clone(), user.is_master()));
    let caller = impersonate::apply(server, user, person, headers).await?;
    Ok(Caller { certificate, ..caller })
}

/// The user that a verified certificate names.
fn of_certificate(peer: &Peer) -> User {
    let mut groups = peer.groups();
    // Only we say who has proved who they are.
    groups.retain(|group| group != AUTHENTICATED && group != UNAUTHENTICATED);
    groups.push(AUTHENTICATED.to_owned());
    User { name: peer.user(), groups, ..User::default() }
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Whose `token` is, if it is good for one of `audiences`.
pub(crate) async fn known(server: &ApiServer, token: &str, audiences: &[String]) -> Result<Known, Refused> {
    if !Jwt::is_form(token) {
        // A bootstrap token says nothing of audiences: it is for the API.
        let user = bootstrap::user(server, token).await.ok_or(Refused::Unknown)?;
        return meant_for(user, vec![ISSUER.to_owned()], audiences);
    }
    let jwt = Jwt::parse(token)?;
    if jwt.issuer() == ISSUER {
        let (user, meant) = service_accounts::user(server, &jwt, audiences).await?;
        return meant_for(user, meant, audiences);
    }
    match &server.access.security.oidc {
        // A provider's token is for whom it says; the API is who asks for its client.
        Some(oidc) if oidc.is_issuer(&jwt) => {
            let user = oidc.user(&jwt, server.cluster.clock().now().as_second()).await?;
            meant_for(user, vec![ISSUER.to_owned()], audiences)
        }
        Some(_) | None => Err(Refused::Token(TokenError::Issuer)),
    }
}

fn meant_for(user: User, meant: Vec<String>, asked: &[String]) -> Result<Known, Refused> {
    let audiences: Vec<String> = meant.iter().filter(|own| asked.contains(own)).cloned().collect();
    if audiences.is_empty() {
        return Err(TokenError::Audience(meant, asked.to_vec()).into());
    }
    Ok(Known { user, audiences })
}

/// Why a token is not taken. For logs and `TokenReview`s; the bearer only hears "Unauthorized".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// No such bootstrap token.
    #[error("unknown token")]
    Unknown,
    /// It does not hold by itself.
    #[error("{0}")]
    Token(TokenError),
    /// What it is bound to is gone.
    #[error("{0}")]
    Gone(String),
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}
