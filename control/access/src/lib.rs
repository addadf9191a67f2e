//! Who somebody is to the API, and what they may do: decisions about identities, roles, tokens and audit records.
//!
//! Not here: the store, HTTP, TLS, and the time (it is an argument). `wk-apiserver` asks these questions of the
//! cluster's objects; `wk-controllers` keeps the default roles. Start at [`rbac::Rbac`] for roles, at [`tokens`] for
//! signed tokens, at [`defaults`] for what every cluster begins with.
//!
//! ```
//! use serde_json::json;
//! use wk_access::{Ask, User, rbac::Rbac};
//! use wk_api::Object;
//!
//! let mut roles = Rbac::builder();
//! roles.role(&Object::new(json!({
//!     "metadata": {"name": "reader", "namespace": "shop"},
//!     "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
//! })));
//! roles.binding(&Object::new(json!({
//!     "metadata": {"name": "readers", "namespace": "shop"},
//!     "subjects": [{"kind": "User", "name": "alice"}],
//!     "roleRef": {"kind": "Role", "name": "reader"},
//! })));
//! let roles = roles.finish();
//! let alice = User::new("alice", ["system:authenticated"]);
//! let list = |namespace| Ask::resource("list", "", "pods").within(namespace);
//! assert!(roles.decide(&alice, &list("shop")).allowed);
//! assert!(!roles.decide(&alice, &list("bank")).allowed);
//! ```

mod ask;
pub mod audit;
pub mod defaults;
pub mod rbac;
pub mod tokens;
mod user;

pub use ask::{Ask, Decision, Resource};
pub use user::{
    ANONYMOUS, AUTHENTICATED, BOOTSTRAPPERS, MASTERS, NODES, SERVICE_ACCOUNT_PREFIX, SERVICE_ACCOUNTS, UNAUTHENTICATED,
    User, service_account, service_account_name,
};
