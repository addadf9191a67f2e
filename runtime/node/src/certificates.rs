//! The certificates that the ingress shows: those of Ingresses' TLS Secrets, by host; for other hosts that are routed,
//! one of the cluster's authority; and the node's own for the rest.
//!
//! Not here: TLS itself (`wk-ingress`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use wk_ingress::{Certificates, Pem};

/// Makes a certificate for a host.
pub type Issue = Box<dyn Fn(&str) -> Option<Pem> + Send + Sync>;

/// A certificate store that follows the cluster.
pub struct TlsSecrets {
    by_host: ArcSwap<BTreeMap<String, Arc<Pem>>>,
    /// Hosts that are routed and have no Secret, with their certificate once somebody asked for it.
    issued: Mutex<BTreeMap<String, Option<Arc<Pem>>>>,
    issue: Issue,
    fallback: Arc<Pem>,
}

impl TlsSecrets {
    /// No secrets yet; `issue` makes what a routed host without one is shown, `fallback` is for every other name.
    pub fn new(fallback: Pem, issue: Issue) -> Self {
        Self { by_host: ArcSwap::default(), issued: Mutex::default(), issue, fallback: Arc::new(fallback) }
    }

    /// Takes on the certificates that `ingresses` name.
    pub fn update(&self, ingresses: &[Ingress], secrets: &[Secret]) {
        self.by_host.store(Arc::new(by_host(ingresses, secrets)));
        let rules =
            ingresses.iter().flat_map(|ingress| ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()));
        let hosts = rules.filter_map(|rule| rule.host.as_ref()).map(|host| host.to_ascii_lowercase());
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        *issued = hosts.map(|host| (host.clone(), issued.remove(&host).flatten())).collect();
    }

    /// Only hosts that are routed get a certificate, so that strangers cannot make the node sign for ever.
    fn issued(&self, host: &str) -> Option<Arc<Pem>> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = issued.get_mut(host)?;
        if slot.is_none() {
            *slot = (self.issue)(host).map(Arc::new);
        }
        slot.clone()
    }
}

fn by_host(ingresses: &[Ingress], secrets: &[Secret]) -> BTreeMap<String, Arc<Pem>> {
    let find = |namespace: &Option<String>, name: &str| {
        let is_it =
            |secret: &&Secret| secret.metadata.namespace == *namespace && secret.metadata.name.as_deref() == Some(name);
        secrets.iter().find(is_it).and_then(pem).map(Arc::new)
    };
    let mut found = BTreeMap::new();
    for ingress in ingresses {
        for tls in ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten()) {
            let Some(pem) = tls.secret_name.as_deref().and_then(|name| find(&ingress.metadata.namespace, name)) else {
                continue;
            };
            for host in tls.hosts.iter().flatten() {
                found.entry(host.to_ascii_lowercase()).or_insert_with(|| Arc::clone(&pem));
            }
        }
    }
    found
}

fn pem(secret: &Secret) -> Option<Pem> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Pem { certificate: text("tls.crt")?, key: text("tls.key")? })
}

impl Certificates for TlsSecrets {
    fn certificate(&self, server_name: &str) -> Option<Arc<Pem>> {
        let by_host = self.by_host.load();
        let wildcard = || by_host.get(&format!("*.{}", server_name.split_once('.')?.1)).cloned();
        by_host.get(server_name).cloned().or_else(wildcard).or_else(|| self.issued(server_name))
    }

    fn fallback(&self) -> Option<Arc<Pem>> {
        Some(Arc::clone(&self.fallback))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pem(text: &str) -> Pem {
        Pem { certificate: text.into(), key: "key".into() }
    }

    #[test]
    fn host_gets_the_secret_its_ingress_names_and_others_the_fallback() {
        let ingress: Ingress = serde_json::from_value(json!({
            "metadata": {"name": "i", "namespace": "a"},
            "spec": {"tls": [{"hosts": ["*.Example.com"], "secretName": "s"}]},
        }))
        .unwrap();
        let secret = |namespace: &str, certificate: &str| -> Secret {
            serde_json::from_value(json!({
                "metadata": {"name": "s", "namespace": namespace},
                "data": {"tls.crt": certificate, "tls.key": "a2V5"},
            }))
            .unwrap()
        };
        let store = TlsSecrets::new(pem("fallback"), Box::new(|host| Some(pem(host))));
        // "b25l" is "one", "dHdv" is "two": the Secret of another namespace must not be used.
        store.update(&[ingress], &[secret("b", "dHdv"), secret("a", "b25l")]);
        assert_eq!(store.certificate("www.example.com").unwrap().certificate, "one");
        assert!(store.certificate("example.com").is_none());
        let routed = serde_json::from_value(json!({"metadata": {}, "spec": {"rules": [{"host": "web.localhost"}]}}));
        store.update(&[routed.unwrap()], &[]);
        assert_eq!(store.certificate("web.localhost").unwrap().certificate, "web.localhost");
        assert!(store.certificate("stranger.localhost").is_none());
        assert_eq!(store.fallback().unwrap().certificate, "fallback");
    }
}
