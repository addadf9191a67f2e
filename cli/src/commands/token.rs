//! `wk token`: the tokens further nodes join with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use wk_mesh::{Fingerprint, Secret, Token};

use crate::args::{GlobalArgs, TokenArgs, TokenFormat};
use crate::client::{Client, JSON, Resource};
use crate::exit::{Code, ExitError};
use crate::render::Ui;

/// Type of the Secrets that hold tokens, as in Kubernetes.
const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// How the names of these Secrets begin.
const SECRET_PREFIX: &str = "bootstrap-token-";

/// Where the mesh listens unless something says otherwise.
const MESH_PORT: u16 = 7443;

/// Prints one token a line, or the whole line to type on the other machine.
pub(super) async fn run(global: &GlobalArgs, args: &TokenArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let client = Client::open(global, ui).await?;
    let ca = fingerprint(&crate::kubeconfig::load(global)?)?;
    let secrets = client.get(&Resource::known("", "Secret", "secrets").collection(Some("kube-system")), JSON).await?;
    let now = jiff::Timestamp::now();
    let items = secrets.get("items").and_then(Value::as_array).into_iter().flatten();
    let tokens: Vec<Token> = items.filter_map(|secret| token(secret, ca, now)).collect();
    if tokens.is_empty() {
        let message = "the cluster has no join token: no valid Secret bootstrap-token-… in namespace kube-system";
        return Err(ExitError::new(Code::NotFound, message).into());
    }
    let address = match args.output {
        Some(TokenFormat::Wide) => Some(mesh_address(&client).await?),
        None => None,
    };
    for token in tokens {
        ui.line(&match &address {
            Some(address) => format!("wk up --join {address} --token {token}"),
            None => token.to_string(),
        })?;
    }
    Ok(())
}

/// The fingerprint of the CA that the kubeconfig trusts, which is the cluster's.
fn fingerprint(kubeconfig: &kube::config::Kubeconfig) -> anyhow::Result<Fingerprint> {
    let flat = crate::kubeconfig::flattened(kubeconfig)?;
    let named = |list: &str, name: Option<&Value>| {
        flat.get(list)?.as_array()?.iter().find(|entry| name.is_some() && entry.get("name") == name).cloned()
    };
    let context = named("contexts", flat.get("current-context"));
    let cluster = context.and_then(|context| named("clusters", context.pointer("/context/cluster")));
    let data = cluster.as_ref().and_then(|cluster| cluster.pointer("/cluster/certificate-authority-data")?.as_str());
    let pem = data.and_then(|data| STANDARD.decode(data).ok()).and_then(|pem| String::from_utf8(pem).ok());
    let der = pem.as_deref().and_then(first_certificate);
    der.map(|der| Fingerprint::of(&der)).ok_or_else(|| {
        ExitError::new(Code::General, "the kubeconfig holds no CA certificate, so no token can be made of its cluster")
            .into()
    })
}

/// The DER of the first certificate in a PEM text.
fn first_certificate(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// The token a Secret holds, unless it is another kind of Secret or has expired.
fn token(secret: &Value, ca: Fingerprint, now: jiff::Timestamp) -> Option<Token> {
    let text = |pointer: &str| secret.pointer(pointer).and_then(Value::as_str);
    let data = |key: &str| String::from_utf8(STANDARD.decode(secret.get("data")?.get(key)?.as_str()?).ok()?).ok();
    if text("/type") != Some(SECRET_TYPE) || !text("/metadata/name")?.starts_with(SECRET_PREFIX) {
        return None;
    }
    let expired = data("expiration").and_then(|when| when.parse::<jiff::Timestamp>().ok()).is_some_and(|at| at <= now);
    let (id, word) = (data("token-id")?, data("token-secret")?);
    (!expired).then(|| Token { id, secret: Secret::new(word), ca })
}

/// Where a further node finds the cluster: the mesh address of the leader or of any member, else the API's host.
async fn mesh_address(client: &Client) -> anyhow::Result<String> {
    let cluster = client.find(super::status::CLUSTER_PATH).await?.unwrap_or_default();
    let members = cluster.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
    let leads = |member: &&Value| {
        cluster.get("leader").is_some_and(|leader| [member.get("id"), member.get("name")].contains(&Some(leader)))
    };
    let leader = members.iter().find(leads);
    let address = leader.or(members.first()).and_then(|member| member.get("address")?.as_str());
    if let Some(address) = address.filter(|address| !address.is_empty()) {
        return Ok(address.to_owned());
    }
    let uri: http::Uri = client.address().parse()?;
    Ok(format!("{}:{MESH_PORT}", uri.host().unwrap_or("127.0.0.1")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(kind: &str, expiration: Option<&str>) -> Value {
        let mut secret = json!({"type": kind, "metadata": {"name": "bootstrap-token-abc123"}, "data": {
            "token-id": STANDARD.encode("abc123"), "token-secret": STANDARD.encode("0123456789abcdef")}});
        if let Some(when) = expiration {
            secret["data"]["expiration"] = STANDARD.encode(when).into();
        }
        secret
    }

    #[test]
    fn token_is_made_of_the_secret_and_the_authority() {
        let ca = Fingerprint::of(b"certificate");
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("time");
        let made = token(&secret(SECRET_TYPE, None), ca, now).expect("token").to_string();
        assert_eq!(made, format!("wk1.abc123.0123456789abcdef.{ca}"));
        assert!(token(&secret("Opaque", None), ca, now).is_none());
        assert!(token(&secret(SECRET_TYPE, Some("2025-12-31T23:59:59Z")), ca, now).is_none());
        assert!(token(&secret(SECRET_TYPE, Some("2026-01-01T00:00:01Z")), ca, now).is_some());
    }

    #[test]
    fn first_certificate_of_a_bundle_counts() {
        let pem =
            "x\n-----BEGIN CERTIFICATE-----\nQU\nJD\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nxx\n";
        assert_eq!(first_certificate(pem), Some(b"ABC".to_vec()));
        assert_eq!(first_certificate("nothing"), None);
    }
}
