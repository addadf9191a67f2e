//! The administrator's kubeconfig of this node: kept as long as it is good, made anew when it is not.
//!
//! Its certificate names no record, so that it lets an administrator in when nothing can be written. It is put on the list of
//! those that can be taken back as soon as there is a leader.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wk_apiserver::certificates;
use wk_base::backoff::Backoff;
use wk_mesh::{CertPem, ClientCertificate};

use super::data_dir::DataDir;
use super::node::Node;

/// Where it is in the data directory.
const FILE: &str = "admin.kubeconfig";
/// Whom it names.
const USER: &str = "admin";
/// One that ends sooner is made anew: a start may be the last one for as long.
const LEFT_MIN: Duration = Duration::from_hours(30 * 24);

/// Where the kubeconfig is that lets an administrator in at `api`.
pub(super) fn kubeconfig(data_dir: &DataDir, node: &Node, api: SocketAddr) -> anyhow::Result<PathBuf> {
    let server = format!("https://{api}");
    let (path, authority) = (data_dir.join(FILE), STANDARD.encode(node.authority.cert_pem().as_str()));
    let known = std::fs::read_to_string(&path).ok().and_then(|text| good(&text, &server, &authority));
    let taken_back = |own: &ClientCertificate| certificates::is_taken_back(node.cluster.store(), own);
    let now = node.cluster.clock().now().as_second();
    let left = i64::try_from(LEFT_MIN.as_secs()).unwrap_or(i64::MAX);
    if let Some(own) = known.filter(|own| own.expires > now.saturating_add(left) && !taken_back(own)) {
        enlist(node, own);
        return Ok(path);
    }
    let (certificate, key) = node.authority.issue_user(USER, &["system:masters"])?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "wk",
        "clusters": [{"name": "wk", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": USER, "user": {
            "client-certificate-data": STANDARD.encode(certificate.as_str()),
            "client-key-data": STANDARD.encode(key.as_str()),
        }}],
        "contexts": [{"name": "wk", "context": {"cluster": "wk", "user": USER, "namespace": "default"}}],
    });
    let path = data_dir.write(FILE, &serde_yaml::to_string(&config)?)?;
    if let Some(own) = ClientCertificate::read(&certificate) {
        enlist(node, own);
    }
    Ok(path)
}

/// The certificate in a kubeconfig that leads to this server of this cluster.
fn good(text: &str, server: &str, authority: &str) -> Option<ClientCertificate> {
    let config: Value = serde_yaml::from_str(text).ok()?;
    let cluster = &config["clusters"][0]["cluster"];
    if cluster["server"] != server || cluster["certificate-authority-data"] != authority {
        return None;
    }
    let user = &config["users"][0]["user"];
    user["client-key-data"].as_str()?;
    let pem = STANDARD.decode(user["client-certificate-data"].as_str()?).ok()?;
    ClientCertificate::read(&CertPem::new(String::from_utf8(pem).ok()?))
}

/// Puts the certificate on the list, whenever that can be written. A witness holds no list.
fn enlist(node: &Node, own: ClientCertificate) {
    if node.witness {
        return;
    }
    let (cluster, name) = (node.cluster.clone(), node.name.clone());
    node.tasks.spawn_until_stop("enlist-admin", async move {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        loop {
            let now = cluster.clock().now();
            match certificates::enlist(cluster.store(), &own, USER, name.as_str(), now).await {
                Ok(()) => return,
                Err(error) => tracing::debug!("the administrator's certificate is not on the list yet: {error}"),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use wk_mesh::Authority;

    use super::*;

    #[test]
    fn kubeconfig_of_another_cluster_or_place_is_made_anew() {
        let authority = Authority::create("c").unwrap();
        let (certificate, key) = authority.issue_user(USER, &["system:masters"]).unwrap();
        let config = json!({
            "clusters": [{"cluster": {"server": "https://127.0.0.1:6443", "certificate-authority-data": "CA"}}],
            "users": [{"user": {
                "client-certificate-data": STANDARD.encode(certificate.as_str()),
                "client-key-data": STANDARD.encode(key.as_str()),
            }}],
        });
        let text = serde_yaml::to_string(&config).unwrap();
        let found = good(&text, "https://127.0.0.1:6443", "CA").unwrap();
        assert_eq!(Some(found), ClientCertificate::read(&certificate));
        assert!(good(&text, "https://127.0.0.2:6443", "CA").is_none());
        assert!(good(&text, "https://127.0.0.1:6443", "another").is_none());
        assert!(good("nothing", "https://127.0.0.1:6443", "CA").is_none());
    }
}
