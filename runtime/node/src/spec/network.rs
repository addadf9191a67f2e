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

/// A container's network, which is its pod's: all but the address, so that pods of one template have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// `metadata.namespace`: short names of services are of this one.
    pub namespace: String,
    /// What it may reach.
    pub egress: Egress,
    /// Where certificates of authorities are that its https requests believe besides the machine's.
    pub authorities: Vec<Source>,
    /// How long its programs may take to answer a request that came over HTTP.
    pub request_timeout: Duration,
    /// `hostAliases`: names that it looks up here before anywhere else. They open no way to anywhere.
    pub aliases: Vec<(String, IpAddr)>,
}

impl Default for NetworkSpec {
    /// Nowhere, and nothing to reach.
    fn default() -> Self {
        Self {
            namespace: String::new(),
            egress: Egress::default(),
            authorities: Vec::new(),
            request_timeout: Duration::ZERO,
            aliases: Vec::new(),
        }
    }
}

pub(super) fn network(pod: &core::Pod, request_timeout: Duration) -> Result<NetworkSpec, SpecError> {
    let annotation = pod.metadata.annotations.as_ref().and_then(|all| all.get(EGRESS));
    let egress = annotation.map_or("", String::as_str).parse();
    match egress {
        Ok(egress) => {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            let authorities = read_sources(pod, CA_CERTIFICATES)?;
            let aliases = aliases(pod)?;
            Ok(NetworkSpec { namespace, egress, authorities, request_timeout, aliases })
        }
        Err(error) => refuse(format!("metadata.annotations[{EGRESS}]"), format!("{error}")),
    }
}

fn aliases(pod: &core::Pod) -> Result<Vec<(String, IpAddr)>, SpecError> {
    let mut read = Vec::new();
    let all = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    for (index, alias) in all.enumerate() {
        let Ok(address) = alias.ip.parse() else {
            return refuse(format!("spec.hostAliases[{index}].ip"), "is no IP address");
        };
        read.extend(alias.hostnames.iter().flatten().map(|name| (wk_network::egress::plain(name), address)));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotation: &str) -> Result<NetworkSpec, SpecError> {
        let pod = serde_json::json!({"metadata": {"namespace": "shop", "annotations": {EGRESS: annotation}}});
        let pod: core::Pod = serde_json::from_value(pod).expect("a pod");
        network(&pod, Duration::from_secs(1))
    }

    #[test]
    fn annotation_says_what_a_pod_may_reach() {
        let spec = read("cluster").expect("reads");
        assert!(spec.egress.cluster() && spec.namespace == "shop");
        assert!(!read("").expect("reads").egress.cluster());
    }

    #[test]
    fn aliases_are_names_of_addresses() {
        let pod = |ip: &str| {
            let pod = serde_json::json!({"metadata": {}, "spec": {"containers": [],
                "hostAliases": [{"ip": ip, "hostnames": ["Db.Local", "db"]}]}});
            network(&serde_json::from_value(pod).expect("a pod"), Duration::ZERO)
        };
        let address = IpAddr::from([192, 0, 2, 7]);
        assert_eq!(
            pod("192.0.2.7").expect("reads").aliases,
            [("db.local".to_owned(), address), ("db".to_owned(), address)]
        );
        assert_eq!(pod("db").expect_err("must be refused").field, "spec.hostAliases[0].ip");
    }

    #[test]
    fn annotation_that_says_nothing_known_is_refused_by_field() {
        let refused = read("cluster,everything").expect_err("must be refused");
        assert_eq!(refused.field, "metadata.annotations[wk.dev/egress]");
        assert!(refused.why.contains("\"everything\""), "{}", refused.why);
    }
}
