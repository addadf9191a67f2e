//! Who asks ([`authn`]), as whom ([`impersonate`]), and whether they may ([`authz`]).
//!
//! What roles and tokens mean is in `wk-access`; here the questions are asked of the cluster's objects. Not here: what
//! an object may hold (admission in `wk-cluster`), except where that depends on who writes it ([`guard`]).

pub(crate) mod authn;
pub(crate) mod authz;
mod bootstrap;
pub mod certificates;
pub(crate) mod guard;
mod impersonate;
pub(crate) mod issuer;
pub(crate) mod legacy_token;
mod node;
mod oidc;
pub(crate) mod people;
pub(crate) mod reviews;
mod service_accounts;
pub mod signing_keys;
pub(crate) mod token_request;

use std::sync::Arc;

pub use oidc::Oidc;
use wk_access::tokens::Keyring;
pub use wk_access::{Ask, User};

use wk_mesh::{Authority, ClientCertificate};

use crate::audit::Audit;
use authz::Roles;
use people::Person;

/// What the server needs to know of identities.
#[derive(Debug, Default)]
pub struct Security {
    /// The cluster's keys for service accounts' tokens.
    pub keys: Keyring,
    /// Whether callers who show no credential are answered as `system:anonymous`.
    pub anonymous: bool,
    /// Signs certificates for people; none without it.
    pub authority: Option<Authority>,
    /// Whose tokens are taken besides our own.
    pub oidc: Option<Arc<Oidc>>,
    /// What is put on record.
    pub audit: Option<Audit>,
}

/// The same, and what was made of it.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(crate) security: Security,
    roles: Roles,
}

impl Access {
    pub(crate) fn new(security: Security) -> Self {
        Self { security, roles: Roles::default() }
    }
}

/// Who a request is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// As whom it is answered.
    pub user: User,
    /// Who they are, when they act as somebody else.
    pub behind: Option<User>,
    /// Whose record has to stay, for them to go on.
    pub person: Option<Person>,
    /// Which certificate must not be taken back, for them to go on; and whether it is an administrator's.
    pub certificate: Option<(ClientCertificate, bool)>,
}
