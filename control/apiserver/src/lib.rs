//! The Kubernetes REST API: who asks, what for, and the answer as clients of Kubernetes expect it.
//!
//! One server for all kinds: what differs between kinds is in `wk-api`'s table, what a verb does to the store is in
//! `wk-cluster`. Not here: TLS and connections (`wk_mesh::serve` hands over requests with a proven [`Peer`]), decisions
//! about objects, and whatever runs on nodes (reached through [`Pods`] and [`Replicate`]).
//!
//! Start at [`ApiServer`]; `route` says which paths there are, `verbs` has one file a verb.
//!
//! [`Peer`]: wk_mesh::Peer

mod access;
mod admission;
mod audit;
mod body;
mod compress;
mod conversion;
mod discovery;
mod flight;
mod health;
mod internal;
mod kubelet;
mod leases;
mod modules;
mod negotiate;
mod old_watch;
mod openapi;
mod paging;
mod query;
mod requests;
mod respond;
mod route;
mod seams;
mod selection;
mod server;
mod shapes;
mod tagged;
mod verbs;

#[cfg(test)]
mod tests;

pub use access::{Ask, Oidc, Security, User, certificates, signing_keys};
pub use audit::{Audit, Sink, SinkError};
pub use kubelet::Kubelet;
pub use modules::MODULE_BYTES_MAX;
pub use requests::Requests;
pub use seams::{Fetch, LOG_LEVELS, LogOptions, NodeUsage, Pods, Replicate};
pub use server::{ApiServer, Dependencies};
