//! The table of kinds: one row and one file each. What a row holds is in [`crate::kind`].

mod admissionpolicies;
pub mod apiservices;
mod bindings;
mod certificatesigningrequests;
pub mod componentstatuses;
mod configmaps;
mod controllerrevisions;
mod crds;
pub mod cronjobs;
mod csidrivers;
mod csinodes;
mod csistoragecapacities;
mod daemonsets;
mod deployments;
mod endpoints;
mod endpointslices;
mod events;
mod flowschemas;
mod gateway;
mod horizontalpodautoscalers;
mod ingressclasses;
mod ingresses;
mod ipaddresses;
mod jobs;
pub mod leases;
mod limitranges;
pub mod metrics;
mod namespaces;
mod networkpolicies;
mod nodes;
mod persistentvolumeclaims;
mod persistentvolumes;
mod poddisruptionbudgets;
pub mod pods;
mod podtemplates;
pub mod priorityclasses;
mod prioritylevelconfigurations;
mod replicasets;
mod replicationcontrollers;
mod resourcequotas;
mod reviews;
mod rolebindings;
mod roles;
mod runtimeclasses;
mod scales;
mod secrets;
mod serviceaccounts;
mod servicecidrs;
pub mod services;
mod statefulsets;
mod workload;

pub use apiservices::APISERVICE;
pub use bindings::BINDING;
pub use configmaps::CONFIGMAP;
pub use controllerrevisions::CONTROLLERREVISION;
pub use crds::{CRD, CRD_FINALIZER};
pub use cronjobs::CRONJOB;
pub use daemonsets::DAEMONSET;
pub mod storageclasses;
mod volumeattachments;
mod webhooks;

pub use admissionpolicies::{VALIDATINGADMISSIONPOLICY, VALIDATINGADMISSIONPOLICYBINDING};
pub use certificatesigningrequests::CERTIFICATESIGNINGREQUEST;
pub use componentstatuses::COMPONENTSTATUS;
pub use csidrivers::CSIDRIVER;
pub use csinodes::CSINODE;
pub use csistoragecapacities::CSISTORAGECAPACITY;
pub use deployments::DEPLOYMENT;
pub use endpoints::ENDPOINTS;
pub use endpointslices::ENDPOINTSLICE;
pub use events::{EVENT, NEW_EVENT};
pub use flowschemas::FLOWSCHEMA;
pub use gateway::{GATEWAY, GATEWAYCLASS, GRPCROUTE, HTTPROUTE, REFERENCEGRANT};
pub use horizontalpodautoscalers::{HORIZONTALPODAUTOSCALER, HORIZONTALPODAUTOSCALER_V1};
pub use ingressclasses::INGRESSCLASS;
pub use ingresses::INGRESS;
pub use ipaddresses::IPADDRESS;
pub use jobs::JOB;
pub use leases::LEASE;
pub use limitranges::LIMITRANGE;
pub use metrics::{NODEMETRICS, PODMETRICS};
pub use namespaces::NAMESPACE;
pub use networkpolicies::NETWORKPOLICY;
pub use nodes::NODE;
pub use persistentvolumeclaims::PERSISTENTVOLUMECLAIM;
pub use persistentvolumes::PERSISTENTVOLUME;
pub use poddisruptionbudgets::PODDISRUPTIONBUDGET;
pub use pods::POD;
pub use podtemplates::PODTEMPLATE;
pub use priorityclasses::PRIORITYCLASS;
pub use prioritylevelconfigurations::PRIORITYLEVELCONFIGURATION;
pub use replicasets::REPLICASET;
pub use replicationcontrollers::REPLICATIONCONTROLLER;
pub use resourcequotas::RESOURCEQUOTA;
pub use reviews::{
    LOCALSUBJECTACCESSREVIEW, SELFSUBJECTACCESSREVIEW, SELFSUBJECTREVIEW, SELFSUBJECTRULESREVIEW, SUBJECTACCESSREVIEW,
    TOKENREVIEW,
};
pub use rolebindings::{CLUSTERROLEBINDING, ROLEBINDING};
pub use roles::{CLUSTERROLE, ROLE};
pub use runtimeclasses::RUNTIMECLASS;
pub use scales::SCALE;
pub use secrets::SECRET;
pub use serviceaccounts::SERVICEACCOUNT;
pub use servicecidrs::SERVICECIDR;
pub use services::SERVICE;
pub use statefulsets::STATEFULSET;
pub use storageclasses::STORAGECLASS;
pub use volumeattachments::VOLUMEATTACHMENT;
pub use webhooks::{MUTATINGWEBHOOKCONFIGURATION, VALIDATINGWEBHOOKCONFIGURATION};

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
    &CRD,
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
    &LEASE,
    &ROLE,
    &CLUSTERROLE,
    &ROLEBINDING,
    &CLUSTERROLEBINDING,
    &SERVICEACCOUNT,
    &ENDPOINTS,
    &PERSISTENTVOLUME,
    &PERSISTENTVOLUMECLAIM,
    &RESOURCEQUOTA,
    &LIMITRANGE,
    &COMPONENTSTATUS,
    &NEW_EVENT,
    &INGRESSCLASS,
    &NETWORKPOLICY,
    &SERVICECIDR,
    &PRIORITYCLASS,
    &STORAGECLASS,
    &CSIDRIVER,
    &CSINODE,
    &CSISTORAGECAPACITY,
    &VOLUMEATTACHMENT,
    &RUNTIMECLASS,
    &FLOWSCHEMA,
    &PRIORITYLEVELCONFIGURATION,
    &MUTATINGWEBHOOKCONFIGURATION,
    &VALIDATINGWEBHOOKCONFIGURATION,
    &VALIDATINGADMISSIONPOLICY,
    &VALIDATINGADMISSIONPOLICYBINDING,
    &CERTIFICATESIGNINGREQUEST,
    &APISERVICE,
    &TOKENREVIEW,
    &SELFSUBJECTREVIEW,
    &SUBJECTACCESSREVIEW,
    &LOCALSUBJECTACCESSREVIEW,
    &SELFSUBJECTACCESSREVIEW,
    &SELFSUBJECTRULESREVIEW,
    &GATEWAYCLASS,
    &GATEWAY,
    &HTTPROUTE,
    &GRPCROUTE,
    &REFERENCEGRANT,
    &NODEMETRICS,
    &PODMETRICS,
];

/// Every kind that is served.
pub fn kinds() -> &'static [&'static Kind] {
    ALL
}

#[cfg(test)]
mod tests;
