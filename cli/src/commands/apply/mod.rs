//! `wk apply -f`: makes the cluster as the files say, and touches nothing they do not speak of.

mod prune;
mod rest;
mod server_side;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::Value;

use super::pick::Picked;
use super::writing::Writing;
use crate::args::{ApplyArgs, DryRun};
use crate::client::{Client, Payload, Resource, refusal};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, code_of, usage};
use crate::manifest::{self, Document, Fault, Input};
use crate::render::Ui;

/// An object of a file, and where it goes.
pub(super) struct Placed<'a> {
    pub(super) document: Document,
    pub(super) resource: &'a Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Created,
    Configured,
    Unchanged,
}

/// Reads the files. Nothing is sent if one of them has a mistake.
pub(super) fn read(args: &ApplyArgs) -> anyhow::Result<Vec<Document>> {
    read_files(&args.files)
}

/// Reads files of objects that have names; every mistake of every file is told at once.
pub(super) fn read_files(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    read_with(files, |document| document.required("/metadata/name").err())
}

/// Reads files of objects to be created, which may leave the end of their name to the server.
pub(super) fn read_nameless(files: &[PathBuf]) -> anyhow::Result<Vec<Document>> {
    read_with(files, |document| match document.value.pointer("/metadata/generateName") {
        Some(_) => None,
        None => document.required("/metadata/name").err(),
    })
}

fn read_with(files: &[PathBuf], named: impl Fn(&Document) -> Option<Fault>) -> anyhow::Result<Vec<Document>> {
    let (mut documents, mut faults) = (Vec::new(), Vec::new());
    for file in files {
        for file in expanded(file)? {
            match manifest::read(Input::open(&file)?) {
                Ok(read) => documents.extend(read),
                Err(found) => faults.extend(found),
            }
        }
    }
    for document in &documents {
        for pointer in ["/apiVersion", "/kind"] {
            faults.extend(document.required(pointer).err());
        }
        faults.extend(named(document));
    }
    refuse(&faults, Code::Usage)?;
    if documents.is_empty() {
        return Err(usage("the files hold no objects").into());
    }
    Ok(documents)
}

/// The file itself, or the YAML and JSON files of a directory in the order of their names.
fn expanded(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let holds = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path)?.filter_map(Result::ok).map(|entry| entry.path()).filter(holds).collect();
    files.sort();
    if files.is_empty() {
        return Err(usage(format!("{} holds no .yaml, .yml or .json file", path.display())).into());
    }
    Ok(files)
}

/// What the server refused of a document, told at its lines.
pub(super) fn located(document: &Document, error: anyhow::Error) -> anyhow::Error {
    match refusal(&error).map(|refusal| document.refused(refusal)) {
        Some(faults) => refuse(&faults, code_of(&error)).err().unwrap_or(error),
        None => error,
    }
}

fn refuse(faults: &[Fault], code: Code) -> anyhow::Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Err(ExitError::new(code, manifest::report(&texts)).into())
}

/// Finds the kind and the namespace of each object; mistakes are told before anything is changed.
pub(super) fn place<'a>(
    documents: Vec<Document>,
    kinds: &'a Kinds,
    namespace: &str,
    insisted: Option<&str>,
) -> anyhow::Result<Vec<Placed<'a>>> {
    let (mut placed, mut faults, mut code) = (Vec::new(), Vec::new(), Code::Usage);
    for mut document in documents {
        let text =
            |pointer: &str| document.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (api_version, kind, name, own) =
            (text("/apiVersion"), text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
        let Some(resource) = kinds.of(&api_version, &kind) else {
            code = Code::NotFound;
            let elsewhere = kinds.versions_of(&kind);
            faults.push(if elsewhere.is_empty() {
                document.fault("kind", format!("the server has no kind {kind:?}"))
            } else {
                let hint = elsewhere.join(" or ");
                document.fault("apiVersion", format!("the server has no {kind} in {api_version:?}, but in {hint}"))
            });
            continue;
        };
        let meant = match insisted {
            Some(insisted) if resource.namespaced && !own.is_empty() && own != insisted => {
                faults.push(document.fault("metadata.namespace", format!("is {own:?}, but -n says {insisted:?}")));
                continue;
            }
            _ if own.is_empty() => namespace.to_owned(),
            _ => own,
        };
        if resource.namespaced {
            document.value["metadata"]["namespace"] = meant.clone().into();
        }
        placed.push(Placed { document, resource, namespace: meant, name });
    }
    refuse(&faults, code)?;
    Ok(placed)
}

/// Creates or updates every object, in the order of the files; a refused one does not keep the others back.
pub(super) async fn run(
    client: &Client,
    args: &ApplyArgs,
    documents: Vec<Document>,
    insisted: Option<&str>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let placed = prune::selected(place(documents, &kinds, client.namespace(), insisted)?, args.selector.as_deref())?;
    let pruning = prune::Pruning::resolve(args, &kinds)?;
    let mut visited = prune::Visited::default();
    let writing = Writing { client, args: &args.write };
    let on_server = args.server_side.unwrap_or(server_side::DEFAULT);
    if args.force_conflicts && !on_server {
        return Err(usage("--force-conflicts is for --server-side").into());
    }
    let (mut faults, mut code, mut written) = (Vec::new(), Code::General, 0);
    for mut object in placed {
        let applied = if on_server {
            server_side::apply(&writing, &object, args.force_conflicts).await
        } else {
            apply(&writing, &object).await
        };
        match applied {
            Ok((outcome, now)) => {
                written += 1;
                visited.add(&object, &now);
                let word = match outcome {
                    Outcome::Created => "created",
                    Outcome::Configured => "configured",
                    Outcome::Unchanged => "unchanged",
                };
                writing.tell(&object.resource.qualified(&object.name), now, word, ui)?;
            }
            Err(error) => {
                let Some(refusal) = refusal(&error) else { return Err(error) };
                if faults.is_empty() {
                    code = code_of(&error);
                }
                let found = rest::faults(&writing, &mut object, refusal).await;
                faults.extend(found.iter().map(ToString::to_string));
            }
        }
    }
    if faults.is_empty() {
        return match pruning {
            Some(pruning) => pruning.run(&writing, &visited, ui).await,
            None => Ok(()),
        };
    }
    if written > 0 {
        ui.note("The objects named above are applied; these are not:");
    }
    Err(ExitError::new(code, manifest::report(&faults)).into())
}

/// How often an object that appears or vanishes under our hands is looked at again.
const TRIES: u32 = 5;

impl Placed<'_> {
    fn picked(&self) -> Picked {
        Picked { resource: self.resource.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

/// Merges here, from the file as applied last, the file now, and the live object.
async fn apply(writing: &Writing<'_>, object: &Placed<'_>) -> anyhow::Result<(Outcome, Value)> {
    let wanted = &object.document.value;
    let path = object.resource.object(&object.namespace, &object.name);
    let mut tries = 0;
    loop {
        tries += 1;
        let sent = match writing.client.find(&path).await? {
            None => {
                let annotated = manifest::with_annotation(wanted);
                let made = writing.create(object.resource, &object.namespace, &annotated).await;
                made.map(|now| (Outcome::Created, now))
            }
            Some(live) => match manifest::patch(wanted, &live) {
                None => return Ok((Outcome::Unchanged, live)),
                Some(patch) => {
                    let changed = if writing.args.dry_run == DryRun::Client {
                        writing.merge(&object.picked(), &live, &patch).await
                    } else {
                        let path = writing.query().on(&path);
                        writing.client.send(Method::PATCH, &path, Payload::merge_patch(&patch)).await
                    };
                    let tried = writing.args.dry_run != DryRun::None;
                    changed.map(|now| {
                        let same = !tried && version(&now) == version(&live);
                        (if same { Outcome::Unchanged } else { Outcome::Configured }, now)
                    })
                }
            },
        };
        match sent {
            Err(error) if tries < TRIES && raced(&error) => {}
            other => return other,
        }
    }
}

/// Whether somebody made or removed the object between our look and our write.
fn raced(error: &anyhow::Error) -> bool {
    refusal(error).is_some_and(|refusal| matches!(refusal.reason.as_str(), "AlreadyExists" | "Conflict"))
}

fn version(object: &Value) -> Option<&Value> {
    object.pointer("/metadata/resourceVersion")
}
