//! The table of kinds: one row and one file each. What a row holds is in [`crate::kind`].

mod bindings;
mod configmaps;
mod controllerrevisions;
mod cronjobs;
mod daemonsets;
mod deployments;
mod endpointslices;
mod events;
mod horizontalpodautoscalers;
mod ingresses;
mod ipaddresses;
mod jobs;
mod namespaces;
mod nodes;
mod poddisruptionbudgets;
pub mod pods;
mod podtemplates;
mod replicasets;
mod replicationcontrollers;
mod secrets;
pub mod services;
mod statefulsets;
mod workload;

pub use bindings::BINDING;
pub use configmaps::CONFIGMAP;
pub use controllerrevisions::CONTROLLERREVISION;
pub use cronjobs::CRONJOB;
pub use daemonsets::DAEMONSET;
pub use deployments::DEPLOYMENT;
pub use endpointslices::ENDPOINTSLICE;
pub use events::EVENT;
pub use horizontalpodautoscalers::{HORIZONTALPODAUTOSCALER, HORIZONTALPODAUTOSCALER_V1};
pub use ingresses::INGRESS;
pub use ipaddresses::IPADDRESS;
pub use jobs::JOB;
pub use namespaces::NAMESPACE;
pub use nodes::NODE;
pub use poddisruptionbudgets::PODDISRUPTIONBUDGET;
pub use pods::POD;
pub use podtemplates::PODTEMPLATE;
pub use replicasets::REPLICASET;
pub use replicationcontrollers::REPLICATIONCONTROLLER;
pub use secrets::SECRET;
pub use services::SERVICE;
pub use statefulsets::STATEFULSET;

use crate::kind::Kind;

static ALL: &[&Kind] = &[
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
    &STATEFULSET,
    &DAEMONSET,
    &CONTROLLERREVISION,
    &JOB,
    &CRONJOB,
    &REPLICATIONCONTROLLER,
    &PODTEMPLATE,
    &HORIZONTALPODAUTOSCALER,
    &HORIZONTALPODAUTOSCALER_V1,
    &PODDISRUPTIONBUDGET,
    &BINDING,
];

/// Every kind that is served.
pub fn kinds() -> &'static [&'static Kind] {
    ALL
}

#[cfg(test)]
mod tests;
