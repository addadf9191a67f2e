//! A small API server in this process, and buffers to print to, for transcripts of commands.
//!
//! It keeps objects by path, merges patches, checks resourceVersions and answers lists; it knows no kinds.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::args::{GlobalArgs, try_parse};
use crate::render::Ui;

/// What a server does to an object when it is written: its defaults and its controllers.
type Hook = Box<dyn Fn(&mut Value) + Send + Sync>;

/// The server's memory.
#[derive(Default)]
pub(crate) struct Memory {
    /// Objects by path.
    pub(crate) objects: BTreeMap<String, Value>,
    /// Answers that come before anything else, by path and query: status and body.
    pub(crate) scripted: BTreeMap<String, (u16, String)>,
    /// `Warning` headers of the answers to requests of a path.
    pub(crate) warnings: BTreeMap<String, Vec<String>>,
    /// `METHOD path` of each request but reads.
    pub(crate) writes: Vec<String>,
    revision: u64,
}

/// A running server; it ends with the test's runtime.
pub(crate) struct Fake {
    memory: Arc<Mutex<Memory>>,
    dir: tempfile::TempDir,
}

impl Fake {
    /// Starts one that does nothing to what is written.
    pub(crate) async fn start() -> Self {
        Self::with(Box::new(|_| {})).await
    }

    /// Starts one.
    pub(crate) async fn with(hook: Hook) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let memory = Arc::new(Mutex::new(Memory::default()));
        let (shared, hook) = (memory.clone(), Arc::new(hook));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, hook) = (shared.clone(), hook.clone());
                let service = service_fn(move |request| answer(shared.clone(), hook.clone(), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { connection.await.ok() });
            }
        });
        let dir = tempfile::tempdir().expect("dir");
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: wk\nclusters: [{{name: wk, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: wk, user: {{}}}}]\ncontexts: [{{name: wk, context: {{cluster: wk, user: wk}}}}]\n"
        );
        std::fs::write(dir.path().join("kubeconfig"), config).expect("write");
        Self { memory, dir }
    }

    /// The server's memory.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no test panics while it holds the memory")
    }

    /// Puts an object where the server finds it.
    pub(crate) fn put(&self, path: &str, object: Value) {
        self.memory().objects.insert(path.to_owned(), object);
    }

    /// Scripts the answer to a path with its query.
    pub(crate) fn script(&self, path: &str, status: u16, body: &str) {
        self.memory().scripted.insert(path.to_owned(), (status, body.to_owned()));
    }

    /// Writes a file and tells its path.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        path.display().to_string()
    }

    /// Options that lead to this server.
    pub(crate) fn global(&self) -> GlobalArgs {
        GlobalArgs { kubeconfig: Some(self.dir.path().join("kubeconfig")), ..GlobalArgs::default() }
    }

    /// Runs a command line; its exit code and what it printed to standard output and error.
    pub(crate) async fn wk(&self, line: &str) -> (u8, String, String) {
        let words: Vec<&str> = std::iter::once("wk").chain(line.split_whitespace()).collect();
        let mut cli = match try_parse(words) {
            Ok(cli) => cli,
            Err(error) => return (2, String::new(), error.to_string()),
        };
        cli.global.kubeconfig = self.global().kubeconfig;
        let (out, err) = (Buffer::default(), Buffer::default());
        let mut ui = Ui::for_test(Box::new(out.clone()), Box::new(err.clone()));
        let code = match Box::pin(crate::commands::run(cli, &mut ui)).await {
            Ok(()) => 0,
            Err(error) => {
                ui.error(&error);
                crate::exit::code_of(&error).number()
            }
        };
        let dir = format!("{}/", self.dir.path().display());
        (code, out.text().replace(&dir, ""), err.text().replace(&dir, ""))
    }
}

/// A place to print to that can be read afterwards.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("unpoisoned")).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("unpoisoned").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn answer(
    memory: Arc<Mutex<Memory>>,
    hook: Arc<Hook>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let whole = parts.uri.path_and_query().map_or(path.clone(), ToString::to_string);
    let mut memory = memory.lock().expect("unpoisoned");
    if parts.method != Method::GET && parts.method != Method::HEAD {
        memory.writes.push(format!("{} {path}", parts.method));
    }
    let scripted = memory.scripted.get(&whole).cloned();
    let (status, text) = match scripted {
        Some(answer) => answer,
        None if path.starts_with("/v2/") => registry(&mut memory, &parts.method, &whole),
        None => {
            let (status, value) = api(&mut memory, &hook, &parts.method, &path, &whole, &body);
            (status, value.to_string())
        }
    };
    let status = StatusCode::from_u16(status).expect("a status");
    let mut response = Response::builder().status(status);
    for warning in memory.warnings.get(&path).into_iter().flatten() {
        response = response.header(header::WARNING, warning);
    }
    Ok(response.body(Full::new(Bytes::from(text))).expect("a response"))
}

fn registry(memory: &mut Memory, method: &Method, whole: &str) -> (u16, String) {
    let name = whole.replace("uploads/?digest=sha256%3A", "sha256:");
    match *method {
        Method::HEAD if memory.objects.contains_key(&name) => (200, String::new()),
        Method::HEAD => (404, String::new()),
        _ => {
            memory.objects.insert(name, Value::Null);
            (201, String::new())
        }
    }
}

fn api(memory: &mut Memory, hook: &Hook, method: &Method, path: &str, whole: &str, body: &[u8]) -> (u16, Value) {
    let sent: Value = serde_json::from_slice(body).unwrap_or_default();
    let last = path.rsplit('/').next().unwrap_or_default();
    match *method {
        Method::GET if path == "/api" || path == "/apis" => (200, discovery(path)),
        Method::GET => match memory.objects.get(path) {
            Some(object) => (200, object.clone()),
            None if whole.contains("watch=true") => (200, Value::Null),
            None if is_collection(path) => (200, list(memory, path, whole)),
            None => refused(404, "NotFound", &format!("{path} not found")),
        },
        Method::POST => {
            let name = sent.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
            store(memory, hook, &format!("{path}/{name}"), sent)
        }
        Method::DELETE => match memory.objects.remove(path) {
            Some(object) => (200, object),
            None => refused(404, "NotFound", &format!("{last} not found")),
        },
        _ => {
            let Some(mut object) = memory.objects.get(path).cloned() else {
                return refused(404, "NotFound", &format!("{path} not found"));
            };
            let version = sent.pointer("/metadata/resourceVersion");
            if version.is_some() && version != object.pointer("/metadata/resourceVersion") {
                return refused(409, "Conflict", "the object has been modified");
            }
            if *method == Method::PATCH && sent.is_array() {
                let patch: json_patch::Patch = serde_json::from_value(sent).expect("a JSON patch");
                match json_patch::patch(&mut object, &patch) {
                    Ok(()) => store(memory, hook, path, object),
                    Err(error) => refused(422, "Invalid", &error.to_string()),
                }
            } else if *method == Method::PATCH {
                json_patch::merge(&mut object, &sent);
                store(memory, hook, path, object)
            } else {
                store(memory, hook, path, sent)
            }
        }
    }
}

fn store(memory: &mut Memory, hook: &Hook, path: &str, mut object: Value) -> (u16, Value) {
    memory.revision += 1;
    object["metadata"]["resourceVersion"] = memory.revision.to_string().into();
    object["metadata"]["uid"] = format!("uid-of-{path}").into();
    hook(&mut object);
    memory.objects.insert(path.to_owned(), object.clone());
    (201, object)
}

fn refused(status: u16, reason: &str, message: &str) -> (u16, Value) {
    (status, json!({"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}))
}

fn is_collection(path: &str) -> bool {
    const PLURALS: [&str; 11] = [
        "pods",
        "nodes",
        "deployments",
        "services",
        "ingresses",
        "events",
        "secrets",
        "configmaps",
        "replicasets",
        "endpointslices",
        "namespaces",
    ];
    PLURALS.iter().any(|plural| path.ends_with(&format!("/{plural}")))
}

/// Whether an object's path is in a collection, of one namespace or of all.
fn belongs(object: &str, collection: &str) -> bool {
    let Some((parent, _)) = object.rsplit_once('/') else { return false };
    let (root, plural) = collection.rsplit_once('/').unwrap_or_default();
    let all = !collection.contains("/namespaces/") && parent.starts_with(&format!("{root}/namespaces/"));
    parent == collection || (all && parent.ends_with(&format!("/{plural}")))
}

fn list(memory: &Memory, path: &str, whole: &str) -> Value {
    let name = whole.split_once("metadata.name%3D").map(|(_, name)| name.split('&').next().unwrap_or_default());
    let items: Vec<&Value> = memory
        .objects
        .iter()
        .filter(|(key, _)| belongs(key, path))
        .filter(|(key, _)| name.is_none_or(|name| key.ends_with(&format!("/{name}"))))
        .map(|(_, object)| object)
        .collect();
    json!({"kind": "List", "metadata": {"resourceVersion": memory.revision.to_string()}, "items": items})
}

fn discovery(path: &str) -> Value {
    let resource = |kind: &str, plural: &str, short: &str, scope: &str| {
        json!({"resource": plural, "singularResource": kind.to_lowercase(), "shortNames": [short], "scope": scope,
               "verbs": ["get", "list", "watch"], "responseKind": {"kind": kind},
               "subresources": [{"subresource": "eviction"}, {"subresource": "scale"}]})
    };
    let group = |name: &str, resources: Value| json!({"metadata": {"name": name}, "versions": [{"version": "v1", "resources": resources}]});
    let groups = if path == "/api" {
        json!([group(
            "",
            json!([
                resource("Pod", "pods", "po", "Namespaced"),
                resource("Service", "services", "svc", "Namespaced"),
                resource("ConfigMap", "configmaps", "cm", "Namespaced"),
                resource("Node", "nodes", "no", "Cluster"),
                resource("ResourceQuota", "resourcequotas", "quota", "Namespaced"),
                resource("LimitRange", "limitranges", "limits", "Namespaced"),
            ])
        )])
    } else {
        json!([
            group("apps", json!([resource("Deployment", "deployments", "deploy", "Namespaced")])),
            group(
                "autoscaling",
                json!([resource("HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", "Namespaced")])
            ),
            group("networking.k8s.io", json!([resource("Ingress", "ingresses", "ing", "Namespaced")])),
        ])
    };
    json!({"kind": "APIGroupDiscoveryList", "items": groups})
}
