//! Which objects a command line means: by name, by file, by labels, or all of a kind.

use serde_json::Value;

use super::{apply, targets};
use crate::args::PickArgs;
use crate::client::{Client, JSON, Query, Refusal, Resource, is_not_found, refusal};
use crate::discovery::{Kinds, nearest};
use crate::exit::usage;

/// How many objects are looked through for a name like the one that was not found.
const LOOKED_THROUGH: &str = "500";

/// Lists metadata only.
const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";

/// One object that is meant.
#[derive(Debug, Clone)]
pub(super) struct Picked {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Picked {
    /// The object's path.
    pub(super) fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }

    /// `deployment.apps/web`.
    pub(super) fn qualified(&self) -> String {
        self.resource.qualified(&self.name)
    }

    /// The object as it is; if there is none, an error that suggests one.
    pub(super) async fn get(&self, client: &Client) -> anyhow::Result<Value> {
        hinted(client, self, client.get(&self.path(), JSON).await).await
    }
}

/// The objects meant; at least the words must say some.
pub(super) async fn pick(client: &Client, kinds: &Kinds, args: &PickArgs) -> anyhow::Result<Vec<Picked>> {
    if !args.files.is_empty() {
        if !args.targets.is_empty() || args.selector.is_some() || args.all {
            return Err(usage("-f stands alone: the files say which objects").into());
        }
        let documents = apply::read_files(&args.files)?;
        let placed = apply::place(documents, kinds, client.namespace(), None)?;
        let picked = placed.into_iter().map(|placed| Picked {
            resource: placed.resource.clone(),
            namespace: placed.namespace,
            name: placed.name,
        });
        return Ok(picked.collect());
    }
    let targets = targets::parse(&args.targets)?;
    let by_name = targets.iter().any(|target| !target.names.is_empty());
    let wholesale = args.all || args.selector.is_some() || args.field_selector.is_some();
    if by_name && (wholesale || args.all_namespaces) {
        return Err(usage("a name cannot be combined with --all, -A, -l or --field-selector").into());
    }
    if !by_name && !wholesale {
        return Err(usage("say which: KIND NAME, KIND/NAME, -l LABELS, --all or -f FILE").into());
    }
    let mut picked = Vec::new();
    for target in targets {
        for resource in kinds.find_all(&target.kinds)? {
            if wholesale {
                picked.extend(list(client, resource, args).await?);
            } else {
                let one = |name| Picked { resource: resource.clone(), namespace: client.namespace().to_owned(), name };
                picked.extend(target.names.iter().cloned().map(one));
            }
        }
    }
    Ok(picked)
}

async fn list(client: &Client, resource: &Resource, args: &PickArgs) -> anyhow::Result<Vec<Picked>> {
    let query = Query::default()
        .maybe("labelSelector", args.selector.as_deref())
        .maybe("fieldSelector", args.field_selector.as_deref());
    let collection = resource.collection((!args.all_namespaces).then(|| client.namespace()));
    let items = client.list(&collection, query).await?;
    let text =
        |item: &Value, pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let picked = items.iter().map(|item| Picked {
        resource: resource.clone(),
        namespace: text(item, "/metadata/namespace"),
        name: text(item, "/metadata/name"),
    });
    Ok(picked.collect())
}

/// Adds to "not found" what was probably meant: the name in another namespace, or one like it.
pub(super) async fn hinted<T>(client: &Client, picked: &Picked, result: anyhow::Result<T>) -> anyhow::Result<T> {
    let Err(error) = result else { return result };
    let Some(refusal) = refusal(&error).filter(|_| is_not_found(&error)).cloned() else { return Err(error) };
    let collection = picked.resource.collection(None);
    // The hint is an extra: whatever keeps us from it, the error itself is told.
    let Ok(listed) = client.get(&Query::default().with("limit", LOOKED_THROUGH).on(&collection), METADATA).await else {
        return Err(error);
    };
    let items = listed.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    match hint(picked, items) {
        Some(hint) => Err(Refusal { message: format!("{}; {hint}", refusal.message), ..refusal }.into()),
        None => Err(error),
    }
}

fn hint(picked: &Picked, items: &[Value]) -> Option<String> {
    let text =
        |item: &'_ Value, pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let elsewhere = items.iter().find(|item| text(item, "/metadata/name") == picked.name);
    let elsewhere = elsewhere
        .map(|item| text(item, "/metadata/namespace"))
        .filter(|namespace| *namespace != picked.namespace && !namespace.is_empty());
    if let Some(namespace) = elsewhere {
        return Some(format!("there is one in namespace {namespace}: add -n {namespace}"));
    }
    let here = |item: &&Value| !picked.resource.namespaced || text(item, "/metadata/namespace") == picked.namespace;
    let names: Vec<String> = items.iter().filter(here).map(|item| text(item, "/metadata/name")).collect();
    let near = nearest(&picked.name, names.iter().map(String::as_str))?;
    Some(format!("did you mean {near:?}?"))
}
