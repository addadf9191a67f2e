//! Roles: rules, who holds which, and whether somebody gives away more than they hold.
//!
//! Kubernetes' `rbac.authorization.k8s.io/v1`, word for word where clients see words.

mod aggregate;
mod escalation;
mod index;
mod rule;
#[cfg(test)]
mod tests;

pub use aggregate::aggregated;
pub use escalation::{missing, not_held};
pub use index::{Builder, Rbac};
pub use rule::{Rule, covers};

/// The API group of roles.
pub const GROUP: &str = "rbac.authorization.k8s.io";
