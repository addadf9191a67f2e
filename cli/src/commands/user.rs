//! `wk user`: access for people.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use wk_mesh::{KeyPem, NodeKey};

use crate::args::{AddArgs, GlobalArgs, RevokeArgs, UserArgs, UserCommand};
use crate::client::{Client, JSON, Payload, Resource};
use crate::render::{Ui, plain, yaml};

/// Where people's certificates are made.
const USERS_PATH: &str = "/apis/wk.dev/v1/users";
/// Where those are that no record of a person stands behind.
const CERTIFICATES_PATH: &str = "/apis/wk.dev/v1/certificates";
const RBAC: &str = "rbac.authorization.k8s.io";
/// Bindings that `wk user` made.
const LABEL: &str = "wk.dev/made-by";
const LABEL_VALUE: &str = "wk-user";
/// The ClusterRole for those who deploy: modules lie in no namespace.
const MODULES: &str = "wk:modules";
/// Roles whose holders deploy.
const DEPLOYERS: [&str; 3] = ["edit", "admin", "cluster-admin"];
/// What may stand in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'@');

/// Adds, lists or revokes.
pub(super) async fn run(global: &GlobalArgs, args: &UserArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let client = Client::open(global, ui).await?;
    match &args.command {
        UserCommand::Add(args) => add(global, &client, args, ui).await,
        UserCommand::List => list(&client, ui).await,
        UserCommand::Revoke(RevokeArgs { name: Some(name), .. }) => revoke(&client, name, ui).await,
        UserCommand::Revoke(args) => revoke_certificates(&client, args.certificate.as_deref(), ui).await,
    }
}

async fn add(global: &GlobalArgs, client: &Client, args: &AddArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let bindings = bindings(client, args).await?;
    // The key is made here and goes nowhere but into the kubeconfig.
    let key = NodeKey::generate().context("make a key")?;
    let csr = key.csr().context("make a certificate request")?;
    let seconds = args.expires.as_secs();
    let body = json!({ "name": args.name, "groups": args.groups, "csr": csr.as_str(), "seconds": seconds });
    let made = client.send(Method::POST, USERS_PATH, Payload::json(&body)).await?;
    for (path, binding) in &bindings {
        let bound = client.send(Method::POST, path, Payload::json(binding)).await;
        bound.with_context(|| {
            format!("{} has a certificate but not all roles; wk user revoke takes it back", args.name)
        })?;
    }
    let certificate = made["certificate"].as_str().context("the server's answer holds no certificate")?;
    let flat = crate::kubeconfig::flattened(&crate::kubeconfig::load(global)?)?;
    let text = yaml(&kubeconfig(&flat, &args.name, client.namespace(), certificate, &key.to_pem())?)?;
    let expires = made["expires"].as_str().unwrap_or_default();
    ui.note(&format!("{} may come in until {expires}; wk user revoke {} ends it before", args.name, args.name));
    if bindings.is_empty() && args.groups.is_empty() {
        ui.note("without a group or a role they may do nothing yet: --role edit -n NAMESPACE, or kubectl create rolebinding");
    }
    match &args.output {
        Some(path) => write_private(path, &text).with_context(|| format!("write {}", path.display())),
        None => ui.data(text.as_bytes()),
    }
}

/// The bindings to make, with their paths. Fails before anything is made when there is no such role.
async fn bindings(client: &Client, args: &AddArgs) -> anyhow::Result<Vec<(String, Value)>> {
    let cluster_wide = format!("/apis/{RBAC}/v1/clusterrolebindings");
    let mut bindings = Vec::new();
    if let Some(role) = &args.role {
        let namespace = client.namespace();
        let local = Resource::known(RBAC, "Role", "roles").collection(Some(namespace));
        let is_local = client.find(&format!("{local}/{}", encoded(role))).await?.is_some();
        let kind = if is_local { "Role" } else { "ClusterRole" };
        if !is_local {
            client.get(&format!("/apis/{RBAC}/v1/clusterroles/{}", encoded(role)), JSON).await?;
        }
        let path = Resource::known(RBAC, "RoleBinding", "rolebindings").collection(Some(namespace));
        bindings.push((path, binding("RoleBinding", &args.name, kind, role)));
    }
    if let Some(role) = &args.cluster_role {
        client.get(&format!("/apis/{RBAC}/v1/clusterroles/{}", encoded(role)), JSON).await?;
        bindings.push((cluster_wide.clone(), binding("ClusterRoleBinding", &args.name, "ClusterRole", role)));
    }
    let deploys = args.role.iter().chain(&args.cluster_role).any(|role| DEPLOYERS.contains(&role.as_str()));
    if deploys {
        bindings.push((cluster_wide, binding("ClusterRoleBinding", &args.name, "ClusterRole", MODULES)));
    }
    Ok(bindings)
}

fn binding(kind: &str, user: &str, role_kind: &str, role: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": kind,
        "metadata": { "name": format!("wk:user:{user}:{role}"), "labels": { LABEL: LABEL_VALUE } },
        "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": user }],
        "roleRef": { "apiGroup": RBAC, "kind": role_kind, "name": role },
    })
}

async fn list(client: &Client, ui: &mut Ui) -> anyhow::Result<()> {
    let users = client.get(USERS_PATH, JSON).await?;
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let day = |value: &Value| text(value).chars().take(16).collect::<String>().replace('T', " ");
    let people = users["items"].as_array().into_iter().flatten().map(|user| {
        let groups: Vec<String> = user["groups"].as_array().into_iter().flatten().map(text).collect();
        let groups = if groups.is_empty() { "-".to_owned() } else { groups.join(",") };
        let state = "good".to_owned();
        vec![
            text(&user["name"]),
            groups,
            day(&user["created"]),
            day(&user["expires"]),
            text(&user["by"]),
            state,
            "-".to_owned(),
        ]
    });
    // An older server knows of no others.
    let certificates = client.find(CERTIFICATES_PATH).await?.unwrap_or_default();
    let others = certificates["items"].as_array().into_iter().flatten().map(|own| {
        let groups = if own["name"] == "" { "-" } else { "system:masters" }.to_owned();
        let state = match (own["revoked"] == true, own["inUse"] == true) {
            (true, _) => "revoked",
            (false, true) => "in use here",
            (false, false) => "good",
        };
        let name = if own["name"] == "" { "-".to_owned() } else { text(&own["name"]) };
        let by = if own["by"] == "" { "-".to_owned() } else { text(&own["by"]) };
        vec![name, groups, day(&own["created"]), day(&own["expires"]), by, state.to_owned(), text(&own["serial"])]
    });
    let rows: Vec<Vec<String>> = people.chain(others).collect();
    if users["items"].as_array().is_none_or(Vec::is_empty) {
        ui.note("nobody has a certificate of their own; wk user add NAME makes one");
    }
    if rows.is_empty() {
        return Ok(());
    }
    let heading = ["NAME", "GROUPS", "CREATED", "EXPIRES", "BY", "STATE", "CERTIFICATE"];
    let table = plain(&heading, &rows, ui.colour());
    ui.data(table.as_bytes())
}

/// Takes back the certificate with a serial number, or the administrators' that are older than the one in use.
async fn revoke_certificates(client: &Client, serial: Option<&str>, ui: &mut Ui) -> anyhow::Result<()> {
    let path = match serial {
        // As programs print it: in capitals, with colons.
        Some(serial) => {
            let serial: String = serial.chars().filter(|c| *c != ':').collect();
            format!("{CERTIFICATES_PATH}/{}", encoded(&serial.to_lowercase()))
        }
        None => CERTIFICATES_PATH.to_owned(),
    };
    client.exchange(&Method::DELETE, &path, JSON, None).await?;
    ui.line(match serial {
        Some(_) => "the certificate is refused from now on",
        None => "every administrator's certificate made before the one in use here is refused from now on",
    })
}

async fn revoke(client: &Client, name: &str, ui: &mut Ui) -> anyhow::Result<()> {
    client.exchange(&Method::DELETE, &format!("{USERS_PATH}/{}", encoded(name)), JSON, None).await?;
    let mut gone = 0;
    for plural in ["rolebindings", "clusterrolebindings"] {
        let path = format!("/apis/{RBAC}/v1/{plural}?labelSelector={LABEL}%3D{LABEL_VALUE}");
        let found = client.get(&path, JSON).await?;
        for binding in found["items"].as_array().into_iter().flatten() {
            let is_theirs = |subject: &Value| subject["kind"] == "User" && subject["name"] == name;
            if !binding["subjects"].as_array().is_some_and(|subjects| subjects.iter().all(is_theirs)) {
                continue;
            }
            let own = binding["metadata"]["name"].as_str().unwrap_or_default();
            let path = match binding["metadata"]["namespace"].as_str() {
                Some(space) => format!("/apis/{RBAC}/v1/namespaces/{space}/{plural}/{}", encoded(own)),
                None => format!("/apis/{RBAC}/v1/{plural}/{}", encoded(own)),
            };
            client.exchange(&Method::DELETE, &path, JSON, None).await?;
            gone += 1;
        }
    }
    ui.line(&format!("{name} is out; {gone} bindings deleted"))
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

/// The kubeconfig in use, with another user in it.
fn kubeconfig(flat: &Value, user: &str, namespace: &str, certificate: &str, key: &KeyPem) -> anyhow::Result<Value> {
    let named =
        |list: &str, name: &Value| flat.get(list)?.as_array()?.iter().find(|entry| entry["name"] == *name).cloned();
    let context =
        named("contexts", &flat["current-context"]).context("the kubeconfig in use has no current context")?;
    let cluster =
        named("clusters", &context["context"]["cluster"]).context("the kubeconfig in use names no cluster")?;
    let encode = |text: &str| STANDARD.encode(text);
    Ok(json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "wk",
        "clusters": [{ "name": "wk", "cluster": cluster["cluster"] }],
        "users": [{ "name": user, "user": {
            "client-certificate-data": encode(certificate), "client-key-data": encode(key.as_str()),
        } }],
        "contexts": [{ "name": "wk", "context": { "cluster": "wk", "user": user, "namespace": namespace } }],
    }))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubeconfig_of_a_person_leads_to_the_same_cluster_with_another_key() {
        let flat = json!({
            "current-context": "wk", "contexts": [{"name": "wk", "context": {"cluster": "c", "user": "admin"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"}}],
            "users": [{"name": "admin", "user": {"client-key-data": "old"}}],
        });
        let made = kubeconfig(&flat, "ann", "shop", "CERT", &KeyPem::new("KEY")).expect("a kubeconfig");
        assert_eq!(made["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        assert_eq!(made["users"][0]["user"]["client-key-data"], STANDARD.encode("KEY"));
        assert_eq!(made["contexts"][0]["context"]["namespace"], "shop");
        assert!(!made.to_string().contains("old"));
    }
}
