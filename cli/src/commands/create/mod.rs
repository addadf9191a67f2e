//! `wk create`: makes objects that must not be there yet, from files or from a few words.

mod access;
mod data;
mod network;
mod policy;
mod run;

use http::Method;
use serde_json::{Value, json};

use super::apply;
use super::writing::Writing;
use crate::args::{CreateArgs, CreateKind, TokenRequestArgs, WriteArgs};
use crate::client::{Client, Payload, Resource, refusal};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, code_of};
use crate::manifest;
use crate::render::Ui;

/// An object in the making, and what it is made as.
struct Made {
    resource: Resource,
    object: Value,
}

impl Made {
    /// Of a kind in namespaces, `v1` of its group.
    fn of(group: &str, kind: &str, plural: &str, object: Value) -> Self {
        Self { resource: Resource::known(group, kind, plural), object }
    }

    /// Of a kind outside namespaces.
    fn of_cluster(group: &str, kind: &str, plural: &str, object: Value) -> Self {
        Self { resource: Resource { namespaced: false, ..Resource::known(group, kind, plural) }, object }
    }
}

/// Creates.
pub(super) async fn run(client: &Client, args: CreateArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let Some(kind) = args.kind else { return from_files(client, &args, ui).await };
    match kind {
        CreateKind::Configmap(args) => {
            make(client, &args.named.write, &args.named.name, data::config_map(&args)?, ui).await
        }
        CreateKind::Secret(args) => {
            let (named, made) = data::secret(&args.kind)?;
            make(client, &named.write, &named.name, made, ui).await
        }
        CreateKind::Namespace(args) => {
            let made = Made::of_cluster("", "Namespace", "namespaces", json!({}));
            make(client, &args.write, &args.name, made, ui).await
        }
        CreateKind::Serviceaccount(args) => {
            let made = Made::of("", "ServiceAccount", "serviceaccounts", json!({}));
            make(client, &args.write, &args.name, made, ui).await
        }
        CreateKind::Deployment(args) => {
            make(client, &args.named.write, &args.named.name, run::deployment(&args), ui).await
        }
        CreateKind::Job(args) => {
            let made = run::job(client, &args).await?;
            make(client, &args.named.write, &args.named.name, made, ui).await
        }
        CreateKind::Cronjob(args) => make(client, &args.named.write, &args.named.name, run::cron_job(&args), ui).await,
        CreateKind::Role(args) => {
            let made = access::role(&Kinds::discover(client).await?, &args, false)?;
            make(client, &args.named.write, &args.named.name, made, ui).await
        }
        CreateKind::Clusterrole(args) => {
            let made = access::role(&Kinds::discover(client).await?, &args, true)?;
            make(client, &args.named.write, &args.named.name, made, ui).await
        }
        CreateKind::Rolebinding(args) => {
            make(client, &args.named.write, &args.named.name, access::binding(&args, false)?, ui).await
        }
        CreateKind::Clusterrolebinding(args) => {
            make(client, &args.named.write, &args.named.name, access::binding(&args, true)?, ui).await
        }
        CreateKind::Quota(args) => make(client, &args.named.write, &args.named.name, policy::quota(&args)?, ui).await,
        CreateKind::Token(args) => token(client, &args, ui).await,
        CreateKind::Ingress(args) => {
            make(client, &args.named.write, &args.named.name, network::ingress(&args)?, ui).await
        }
        CreateKind::Service(args) => {
            let (named, made) = network::service(&args.kind)?;
            make(client, &named.write, &named.name, made, ui).await
        }
        CreateKind::Priorityclass(args) => {
            make(client, &args.named.write, &args.named.name, policy::priority_class(&args), ui).await
        }
        CreateKind::Poddisruptionbudget(args) => {
            make(client, &args.named.write, &args.named.name, policy::budget(&args)?, ui).await
        }
    }
}

async fn make(client: &Client, write: &WriteArgs, name: &str, made: Made, ui: &mut Ui) -> anyhow::Result<()> {
    let Made { resource, mut object } = made;
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    object["metadata"]["name"] = name.into();
    if resource.namespaced {
        object["metadata"]["namespace"] = client.namespace().into();
    }
    let writing = Writing { client, args: write };
    let now =
        writing.create(&resource, client.namespace(), &object).await.map_err(|error| hint(error, &resource, name))?;
    writing.tell(&resource.qualified(name), now, "created", ui)
}

/// Says what to do about an object that is there already.
fn hint(error: anyhow::Error, resource: &Resource, name: &str) -> anyhow::Error {
    let exists = refusal(&error).is_some_and(|refusal| refusal.reason == "AlreadyExists");
    if !exists {
        return error;
    }
    let what = resource.qualified(name);
    ExitError::new(Code::Conflict, format!("{error:#}; to change it: `wk edit {what}`, or `wk apply -f` with a file"))
        .into()
}

async fn from_files(client: &Client, args: &CreateArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let documents = apply::read_nameless(&args.files)?;
    let kinds = Kinds::discover(client).await?;
    let placed = apply::place(documents, &kinds, client.namespace(), None)?;
    let writing = Writing { client, args: &args.write };
    let (mut faults, mut code) = (Vec::new(), Code::General);
    for object in placed {
        match writing.create(object.resource, &object.namespace, &object.document.value).await {
            Ok(now) => writing.report(object.resource, now, "created", ui)?,
            Err(error) => {
                let Some(refusal) = refusal(&error) else { return Err(error) };
                if faults.is_empty() {
                    code = code_of(&error);
                }
                faults.extend(object.document.refused(refusal).iter().map(ToString::to_string));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(ExitError::new(code, manifest::report(&faults)).into()) }
}

async fn token(client: &Client, args: &TokenRequestArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let mut spec = json!({});
    if let Some(duration) = args.duration {
        spec["expirationSeconds"] = duration.as_secs().into();
    }
    if !args.audience.is_empty() {
        spec["audiences"] = args.audience.clone().into();
    }
    if let (Some(kind), Some(name)) = (&args.bound_object_kind, &args.bound_object_name) {
        spec["boundObjectRef"] = json!({"kind": kind, "apiVersion": "v1", "name": name});
        if let Some(uid) = &args.bound_object_uid {
            spec["boundObjectRef"]["uid"] = uid.clone().into();
        }
    }
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let accounts = Resource::known("", "ServiceAccount", "serviceaccounts");
    let path = format!("{}/token", accounts.object(client.namespace(), &args.name));
    let answer = client.send(Method::POST, &path, Payload::json(&request)).await?;
    match &args.print.output {
        Some(output) => {
            let text = output.text(vec![(accounts.qualified(&args.name), answer)], true, ui.colour())?;
            ui.data(text.as_bytes())
        }
        None => ui.line(answer.pointer("/status/token").and_then(Value::as_str).unwrap_or_default()),
    }
}
