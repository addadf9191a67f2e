//! The network as a pod's object gives it: its address, and what it may reach.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use wk_network::Egress;

use super::config::{CA_CERTIFICATES, read_sources};
use super::{SpecError, refuse};
use crate::sources::Source;

/// The annotation that says what a pod may reach, for instance `wk.dev/egress: cluster,api.example.com:443`. The words
/// are [`Egress`]'.
pub const EGRESS: &str = "wk.dev/egress";

/// A container's network, which is its pod's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// The pod's address.
    pub address: IpAddr,
    /// `metadata.namespace`: short names of services are of this one.
    pub namespace: String,
    /// What it may reach.
    pub egress: Egress,
    /// Where certificates of authorities are that its https requests believe besides the machine's.
    pub authorities: Vec<Source>,
    /// How long its programs may take to answer a request that came over HTTP.
    pub request_timeout: Duration,
}

impl Default for NetworkSpec {
    /// Nowhere, and nothing to reach.
    fn default() -> Self {
        Self {
            address: IpAddr::from([0, 0, 0, 0]),
            namespace: String::new(),
            egress: Egress::default(),
            authorities: Vec::new(),
            request_timeout: Duration::ZERO,
        }
    }
}

pub(super) fn network(pod: &core::Pod, address: IpAddr, request_timeout: Duration) -> Result<NetworkSpec, SpecError> {
    let annotation = pod.metadata.annotations.as_ref().and_then(|all| all.get(EGRESS));
    let egress = annotation.map_or("", String::as_str).parse();
    match egress {
        Ok(egress) => {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let authorities = read_sources(pod, CA_CERTIFICATES)?;
            Ok(NetworkSpec { address, namespace, egress, authorities, request_timeout })
        }
        Err(error) => refuse(format!("metadata.annotations[{EGRESS}]"), format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotation: &str) -> Result<NetworkSpec, SpecError> {
        let pod = serde_json::json!({"metadata": {"namespace": "shop", "annotations": {EGRESS: annotation}}});
        let pod: core::Pod = serde_json::from_value(pod).expect("a pod");
        network(&pod, IpAddr::from([10, 128, 0, 5]), Duration::from_secs(1))
    }

    #[test]
    fn annotation_says_what_a_pod_may_reach() {
        let spec = read("cluster").expect("reads");
        assert!(spec.egress.cluster() && spec.namespace == "shop");
        assert!(!read("").expect("reads").egress.cluster());
    }

    #[test]
    fn annotation_that_says_nothing_known_is_refused_by_field() {
        let refused = read("cluster,everything").expect_err("must be refused");
        assert_eq!(refused.field, "metadata.annotations[wk.dev/egress]");
        assert!(refused.why.contains("\"everything\""), "{}", refused.why);
    }
}
