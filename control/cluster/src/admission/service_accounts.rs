//! Kubernetes' plug-in `ServiceAccount`: a pod is somebody, and that somebody exists.
//!
//! Tokens are not projected into pods yet, because no runtime of ours could show them to the program.

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
    Ok(())
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
