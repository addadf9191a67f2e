//! The table of kinds: one row and one file each. What a row holds is in [`crate::kind`].

mod configmaps;
mod deployments;
mod endpointslices;
mod events;
mod ingresses;
mod ipaddresses;
mod namespaces;
mod nodes;
pub mod pods;
mod replicasets;
mod secrets;
pub mod services;

pub use configmaps::CONFIGMAP;
pub use deployments::DEPLOYMENT;
pub use endpointslices::ENDPOINTSLICE;
pub use events::EVENT;
pub use ingresses::INGRESS;
pub use ipaddresses::IPADDRESS;
pub use namespaces::NAMESPACE;
pub use nodes::NODE;
pub use pods::POD;
pub use replicasets::REPLICASET;
pub use secrets::SECRET;
pub use services::SERVICE;

use crate::kind::Kind;

static ALL: [&Kind; 12] = [
    &NAMESPACE,
    &NODE,
    &POD,
    &DEPLOYMENT,
    &REPLICASET,
    &SERVICE,
    &ENDPOINTSLICE,
    &INGRESS,
    &EVENT,
    &CONFIGMAP,
    &SECRET,
    &IPADDRESS,
];

/// Every kind that is served.
pub fn kinds() -> &'static [&'static Kind] {
    &ALL
}

#[cfg(test)]
mod tests;
