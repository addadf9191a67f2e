//! Kubernetes' plug-in `ServiceAccount`: a pod is somebody, that somebody exists, and the pod can prove it to the API by
//! a token in its files (unless it or its account wants none).

use serde_json::{Value, json};
use wk_api::strategy::{self, Facts};
use wk_api::{Kind, Object, Status, kinds};
use wk_base::id;
use wk_store::{Expect, Op, View};

use crate::write::put;
use crate::{key, object};

/// Who a pod is that does not say who it is.
pub const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// Gives the pod a service account, and what that account brings along.
pub(super) fn choose(view: &View, pod: &mut Object) -> Result<(), Status> {
    if pod.text("/spec/serviceAccountName").is_empty() {
        pod.0["spec"]["serviceAccountName"] = DEFAULT_SERVICE_ACCOUNT.into();
    }
    let name = pod.text("/spec/serviceAccountName").to_owned();
    pod.0["spec"]["serviceAccount"] = name.as_str().into();
    let Some(stored) = view.get(&key(&kinds::SERVICEACCOUNT, Some(pod.namespace()), &name)) else {
        let why =
            format!("error looking up service account {}/{name}: serviceaccount {name:?} not found", pod.namespace());
        return Err(Status::forbidden(&kinds::POD, pod.name(), &why));
    };
    let account = object(&stored);
    let secrets = account.items("/imagePullSecrets");
    if pod.items("/spec/imagePullSecrets").is_empty() && !secrets.is_empty() {
        pod.0["spec"]["imagePullSecrets"] = Value::from(secrets.to_vec());
    }
    let automounts = |object: &Object, pointer: &str| object.at(pointer).and_then(Value::as_bool);
    let wanted = automounts(pod, "/spec/automountServiceAccountToken")
        .or_else(|| automounts(&account, "/automountServiceAccountToken"));
    if wanted.unwrap_or(true) {
        mount_token(pod, account.uid());
    }
    Ok(())
}

/// Where programs look for their token, the API's certificate and their namespace (client-go's `InClusterConfig`).
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What the volume's name begins with.
const TOKEN_VOLUME: &str = "kube-api-access-";
/// Characters at its end: upstream's are random. These are the account's, so that pods of one template have one spec, of which
/// a node keeps one.
const TOKEN_VOLUME_SUFFIX: usize = 5;
/// An hour, and seven seconds by which upstream knows tokens that it mounted itself.
const TOKEN_SECONDS: i64 = 3607;

/// Mounts a token into each container that has nothing of its own at that path.
fn mount_token(pod: &mut Object, account: &str) {
    let volumes = pod.items("/spec/volumes").iter().filter_map(|volume| volume["name"].as_str());
    let existing = volumes.clone().find(|name| name.starts_with(TOKEN_VOLUME)).map(str::to_owned);
    let name = existing
        .clone()
        .unwrap_or_else(|| format!("{TOKEN_VOLUME}{}", account.get(..TOKEN_VOLUME_SUFFIX).unwrap_or("token")));
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in pod.0["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if !mounts.iter().any(|mount| mount["mountPath"] == TOKEN_PATH) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH}));
                mounted = true;
            }
        }
    }
    if mounted && existing.is_none() {
        let volumes = &mut pod.0["spec"]["volumes"];
        if !volumes.is_array() {
            *volumes = json!([]);
        }
        volumes.as_array_mut().expect("it is one now").push(token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
        ]}},
    ]}})
}

/// A namespace is born with its default service account, so that no pod can come before it.
pub(super) fn with_namespace(
    view: &View,
    kind: &Kind,
    namespace: &Object,
    facts: &Facts<'_>,
) -> Result<Option<Op>, Status> {
    let account = key(&kinds::SERVICEACCOUNT, Some(namespace.name()), DEFAULT_SERVICE_ACCOUNT);
    if *kind != kinds::NAMESPACE || view.get(&account).is_some() {
        return Ok(None);
    }
    let uid = id::uid();
    let body = json!({"metadata": {"name": DEFAULT_SERVICE_ACCOUNT}});
    let facts = Facts { uid: &uid, ..*facts };
    let made = strategy::create(&kinds::SERVICEACCOUNT, Some(namespace.name()), body, &facts)?;
    Ok(Some(Op { key: account, expect: Expect::Absent, change: put(&made) }))
}
