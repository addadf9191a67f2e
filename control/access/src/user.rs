//! A caller, and the names that Kubernetes gives to kinds of callers.

use std::collections::BTreeMap;

/// May do everything, whatever roles say.
pub const MASTERS: &str = "system:masters";
/// Everybody who has proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody who has not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The name of those.
pub const ANONYMOUS: &str = "system:anonymous";
/// All nodes.
pub const NODES: &str = "system:nodes";
/// All service accounts; with `:<namespace>` behind it those of one namespace.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
/// Before `<namespace>:<name>` in a service account's user name.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Bearers of bootstrap tokens.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";

/// A caller as authorization sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Their name.
    pub name: String,
    /// Tells two holders of one name apart; often empty.
    pub uid: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// What else their credential says, by key in lower case.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A caller of that name in these groups.
    pub fn new<'a>(name: impl Into<String>, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let groups = groups.into_iter().map(str::to_owned).collect();
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// Whether they are in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Whether they may do everything.
    pub fn is_master(&self) -> bool {
        self.is_in(MASTERS)
    }
}

/// The user that a service account is.
pub fn service_account(namespace: &str, name: &str, uid: &str) -> User {
    let of_namespace = format!("{SERVICE_ACCOUNTS}:{namespace}");
    let groups = [SERVICE_ACCOUNTS, &of_namespace, AUTHENTICATED];
    User { uid: uid.to_owned(), ..User::new(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}"), groups) }
}

/// Namespace and name, when `user` is the user name of a service account.
pub fn service_account_name(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
