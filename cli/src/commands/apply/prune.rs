//! `wk apply --prune`: deletes what was applied once and is in the files no more, as kubectl without apply sets.
//!
//! Only what carries the annotation of `apply` goes, of kinds that are listed, in the namespaces of the files.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Value, json};
use wk_api::selector::Labels;

use super::{Placed, server_side};
use crate::args::{ApplyArgs, DryRun};
use crate::client::{Payload, Query, Resource, is_not_found};
use crate::commands::writing::Writing;
use crate::discovery::Kinds;
use crate::exit::{ExitError, usage};
use crate::fields::{name, text};
use crate::manifest::LAST_APPLIED;
use crate::render::Ui;

/// The kinds looked through when none are named; the same as kubectl's.
const KINDS: [&str; 16] = [
    "core/v1/ConfigMap",
    "core/v1/Endpoints",
    "core/v1/Namespace",
    "core/v1/PersistentVolumeClaim",
    "core/v1/PersistentVolume",
    "core/v1/Pod",
    "core/v1/ReplicationController",
    "core/v1/Secret",
    "core/v1/Service",
    "batch/v1/Job",
    "batch/v1/CronJob",
    "networking.k8s.io/v1/Ingress",
    "apps/v1/DaemonSet",
    "apps/v1/Deployment",
    "apps/v1/ReplicaSet",
    "apps/v1/StatefulSet",
];

/// What may go.
pub(super) struct Pruning<'a> {
    resources: Vec<&'a Resource>,
    selector: Option<&'a str>,
}

/// What the files hold.
#[derive(Default)]
pub(super) struct Visited {
    uids: BTreeSet<String>,
    namespaces: BTreeSet<String>,
}

impl Visited {
    pub(super) fn add(&mut self, object: &Placed<'_>, now: &Value) {
        self.uids.insert(text(now, "/metadata/uid").to_owned());
        if object.resource.namespaced {
            self.namespaces.insert(object.namespace.clone());
        }
    }
}

/// The objects of the files that `-l` selects.
pub(super) fn selected<'a>(mut placed: Vec<Placed<'a>>, selector: Option<&str>) -> Result<Vec<Placed<'a>>, ExitError> {
    let Some(selector) = selector else { return Ok(placed) };
    let wanted = Labels::parse(selector).map_err(|error| usage(format!("-l {selector:?}: {error}")))?;
    placed.retain(|object| {
        let labels = object.document.value.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        wanted.matches(&labels.collect::<BTreeMap<_, _>>())
    });
    if placed.is_empty() { Err(usage(format!("no object of the files matches -l {selector}"))) } else { Ok(placed) }
}

impl<'a> Pruning<'a> {
    /// What is asked for; nothing if it is not.
    pub(super) fn resolve(args: &'a ApplyArgs, kinds: &'a Kinds) -> Result<Option<Self>, ExitError> {
        if !args.prune {
            return Ok(None);
        }
        if args.selector.is_none() && !args.all {
            return Err(usage("--prune needs -l LABELS, or --all: what does not match stays"));
        }
        if args.server_side.unwrap_or(server_side::DEFAULT) {
            return Err(usage("--prune goes by what merging here notes in each object: not with --server-side"));
        }
        let resources = if args.prune_allowlist.is_empty() {
            KINDS.into_iter().filter_map(|kind| known(kind, kinds)).collect()
        } else {
            let unknown =
                |kind: &str| usage(format!("--prune-allowlist {kind}: no such GROUP/VERSION/KIND (core/v1/Pod)"));
            let named = args.prune_allowlist.iter();
            named.map(|kind| known(kind, kinds).ok_or_else(|| unknown(kind))).collect::<Result<_, _>>()?
        };
        Ok(Some(Self { resources, selector: args.selector.as_deref() }))
    }

    /// Deletes them: those in namespaces first.
    pub(super) async fn run(&self, writing: &Writing<'_>, visited: &Visited, ui: &mut Ui) -> anyhow::Result<()> {
        let (inside, outside): (Vec<&Resource>, Vec<&Resource>) =
            self.resources.iter().copied().partition(|resource| resource.namespaced);
        for namespace in &visited.namespaces {
            for resource in &inside {
                self.prune(writing, resource, namespace, visited, ui).await?;
            }
        }
        for resource in outside {
            self.prune(writing, resource, "", visited, ui).await?;
        }
        Ok(())
    }

    async fn prune(
        &self,
        writing: &Writing<'_>,
        resource: &Resource,
        namespace: &str,
        visited: &Visited,
        ui: &mut Ui,
    ) -> anyhow::Result<()> {
        let query = Query::default().maybe("labelSelector", self.selector);
        for object in writing.client.list(&resource.collection(Some(namespace)), query).await? {
            let annotations = object.pointer("/metadata/annotations");
            let applied = annotations.is_some_and(|all| all.get(LAST_APPLIED).is_some());
            let uid = text(&object, "/metadata/uid");
            let going = object.pointer("/metadata/deletionTimestamp").is_some();
            if !applied || going || visited.uids.contains(uid) {
                continue;
            }
            let path = resource.object(namespace, name(&object));
            delete(writing, &path, uid).await?;
            writing.report(resource, object, "pruned", ui)?;
        }
        Ok(())
    }
}

/// Deletes this very object; one that was made anew under its name stays.
async fn delete(writing: &Writing<'_>, path: &str, uid: &str) -> anyhow::Result<()> {
    let query = match writing.args.dry_run {
        DryRun::None => Query::default(),
        DryRun::Server => Query::default().with("dryRun", "All"),
        DryRun::Client => return Ok(()),
    };
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                         "preconditions": {"uid": uid}});
    match writing.client.send(Method::DELETE, &query.on(path), Payload::json(&options)).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// The kind of `GROUP/VERSION/KIND`.
fn known<'a>(text: &str, kinds: &'a Kinds) -> Option<&'a Resource> {
    let (version, kind) = text.rsplit_once('/')?;
    kinds.of(version.strip_prefix("core/").unwrap_or(version), kind)
}
