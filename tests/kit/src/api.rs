//! The Kubernetes API of one node, as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;

/// No answer of a healthy node takes this long.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// A client that knows paths and JSON, and nothing of kinds.
#[derive(Clone)]
pub struct Api {
    client: kube::Client,
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The status.
    pub code: u16,
    /// Kubernetes' `Status`, or null if the body was something else.
    pub status: Value,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.status)
    }
}

impl std::error::Error for Refused {}

impl Api {
    /// A client with the certificate of a kubeconfig.
    pub async fn open(kubeconfig: &Path) -> anyhow::Result<Self> {
        let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
        config.connect_timeout = Some(Duration::from_secs(3));
        // A test wants to see the first failure.
        config.default_retry = false;
        Ok(Self { client: kube::Client::try_from(config)? })
    }

    /// The client inside.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// Sends a request and reads its JSON. An error answer is a [`Refused`].
    pub async fn send(&self, method: Method, path: &str, kind: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        let request = request.header(header::CONTENT_TYPE, kind).body(bytes.into_bytes().into())?;
        let exchange = async {
            let response = self.client.send(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            anyhow::Ok((status, body))
        };
        let (status, body) =
            tokio::time::timeout(REQUEST_MAX, exchange).await.with_context(|| format!("{path}: no answer"))??;
        let value = serde_json::from_slice(&body).unwrap_or_default();
        if status >= StatusCode::BAD_REQUEST {
            return Err(Refused { code: status.as_u16(), status: value }.into());
        }
        Ok(value)
    }

    /// GETs a path.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, "application/json", None).await
    }

    /// POSTs an object.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, "application/json", Some(body)).await
    }

    /// PUTs an object.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::PUT, path, "application/json", Some(body)).await
    }

    /// PATCHes an object with a merge patch.
    pub async fn merge(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::PATCH, path, "application/merge-patch+json", Some(body)).await
    }

    /// DELETEs an object.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::DELETE, path, "application/json", None).await
    }

    /// The pods of a namespace with the label `app.kubernetes.io/name`, as `wk deploy` makes them.
    pub async fn pods_of(&self, app: &str) -> anyhow::Result<Vec<Value>> {
        let path = format!("/api/v1/namespaces/default/pods?labelSelector=app.kubernetes.io/name%3D{app}");
        let list = self.get(&path).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}
