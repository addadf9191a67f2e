//! `wk get`: shows objects, as the server's tables or as they are, once or as they change.

use std::time::Duration;

use serde_json::{Value, json};

use super::targets;
use crate::args::{Format, GetArgs};
use crate::client::{Client, JSON, Lines, Query, Resource, TABLE, decode, is_gone, refusal};
use crate::discovery::Kinds;
use crate::exit::{Code, code_of, usage};
use crate::render::{Printer, ServerTable, Ui, View, json as json_text, yaml};

/// Pause before a watch is opened again that broke: a peer's restart takes about a second.
const PAUSE: Duration = Duration::from_millis(300);

/// How often in a row a watch may fail to open before `wk get -w` gives up.
const FAILURES_MAX: u32 = 20;

/// A kind and the names asked for; all of them if there are none.
struct Wanted<'a> {
    resource: &'a Resource,
    names: Vec<String>,
}

/// Shows what was asked for.
pub(super) async fn run(client: &Client, args: GetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let targets = targets::parse(&args.targets)?;
    let named = targets.iter().any(|target| !target.names.is_empty());
    if named && (args.all_namespaces || args.selector.is_some()) {
        return Err(usage("a name cannot be combined with -A or -l").into());
    }
    let kinds = Kinds::discover(client).await?;
    let mut wanted: Vec<Wanted<'_>> = Vec::new();
    for target in targets {
        for resource in kinds.find_all(&target.kinds)? {
            match wanted.iter_mut().find(|known| known.resource == resource && !known.names.is_empty()) {
                Some(known) => known.names.extend(target.names.iter().cloned()),
                None => wanted.push(Wanted { resource, names: target.names.clone() }),
            }
        }
    }
    if args.watch {
        return match wanted.as_slice() {
            [one] if one.names.len() <= 1 => watch(client, one, &args, ui).await,
            _ => Err(usage("-w follows one kind, or one object").into()),
        };
    }
    match args.output {
        None | Some(Format::Wide) => tables(client, &wanted, &args, ui).await,
        Some(format) => objects(client, &wanted, &args, format, ui).await,
    }
}

impl Wanted<'_> {
    /// The paths to ask for: the collection, or each object.
    fn paths(&self, client: &Client, args: &GetArgs) -> Vec<String> {
        if self.names.is_empty() {
            return vec![self.query(args).on(&self.collection(client, args))];
        }
        self.names.iter().map(|name| self.resource.object(client.namespace(), name)).collect()
    }

    fn collection(&self, client: &Client, args: &GetArgs) -> String {
        self.resource.collection((!args.all_namespaces).then(|| client.namespace()))
    }

    fn query(&self, args: &GetArgs) -> Query {
        let field = self.names.first().map(|name| format!("metadata.name={name}"));
        Query::default().maybe("labelSelector", args.selector.as_deref()).maybe("fieldSelector", field)
    }
}

/// Remembers the first failure and goes on with the rest.
fn keep<T>(result: anyhow::Result<T>, failure: &mut Option<anyhow::Error>, ui: &mut Ui) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if code_of(&error) == Code::NotFound => {
            match failure {
                Some(_) => ui.error(&error),
                None => *failure = Some(error),
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn tables(client: &Client, wanted: &[Wanted<'_>], args: &GetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let (mut failure, mut shown) = (None, 0);
    for want in wanted {
        let mut whole = ServerTable::default();
        for path in want.paths(client, args) {
            let Some(answer) = keep(client.get(&path, TABLE).await, &mut failure, ui)? else { continue };
            let mut table = ServerTable::read(&answer);
            whole.columns = table.columns;
            whole.rows.append(&mut table.rows);
        }
        if whole.rows.is_empty() {
            continue;
        }
        let prefix = if wanted.len() > 1 { want.resource.qualified("") } else { String::new() };
        let view = view(want, args, &prefix);
        let text = Printer::default().print(&whole, view, ui.colour());
        ui.data(if shown > 0 { format!("\n{text}") } else { text }.as_bytes())?;
        shown += whole.rows.len();
    }
    if shown == 0 && failure.is_none() {
        let all = args.all_namespaces || wanted.iter().all(|want| !want.resource.namespaced);
        ui.note(&if all {
            "No resources found".to_owned()
        } else {
            format!("No resources found in {} namespace.", client.namespace())
        });
    }
    failure.map_or(Ok(()), Err)
}

fn view<'a>(want: &Wanted<'_>, args: &GetArgs, prefix: &'a str) -> View<'a> {
    let wide = args.output == Some(Format::Wide);
    View { wide, namespaces: args.all_namespaces && want.resource.namespaced, prefix }
}

async fn objects(
    client: &Client,
    wanted: &[Wanted<'_>],
    args: &GetArgs,
    format: Format,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let mut failure = None;
    let mut found: Vec<(&Resource, Value)> = Vec::new();
    for want in wanted {
        for path in want.paths(client, args) {
            let Some(answer) = keep(client.get(&path, JSON).await, &mut failure, ui)? else { continue };
            if want.names.is_empty() {
                let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                found.extend(items.into_iter().map(|item| (want.resource, typed(want.resource, item))));
            } else {
                found.push((want.resource, typed(want.resource, answer)));
            }
        }
    }
    if format == Format::Name {
        for (resource, object) in &found {
            ui.line(&resource.qualified(name(object)))?;
        }
        return failure.map_or(Ok(()), Err);
    }
    let single = wanted.iter().map(|want| want.names.len()).sum::<usize>() == 1 && wanted.len() == 1;
    let mut objects: Vec<Value> = found.into_iter().map(|(_, object)| object).collect();
    if !(single && objects.is_empty()) {
        let whole = if single {
            objects.remove(0)
        } else {
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects})
        };
        ui.data(structured(&whole, format)?.as_bytes())?;
    }
    failure.map_or(Ok(()), Err)
}

fn structured(object: &Value, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Yaml => yaml(object),
        Format::Json | Format::Wide | Format::Name => json_text(object),
    }
}

fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Items of a list come without their kind; a file made of them needs it.
fn typed(resource: &Resource, mut object: Value) -> Value {
    if let Value::Object(map) = &mut object {
        map.entry("apiVersion").or_insert_with(|| resource.api_version().into());
        map.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    object
}

/// Prints what is there, then every change, until it is stopped.
async fn watch(client: &Client, want: &Wanted<'_>, args: &GetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let accept = if matches!(args.output, None | Some(Format::Wide)) { TABLE } else { JSON };
    let mut printer = Printer::default();
    let mut after: Option<String> = None;
    let mut failures = 0;
    loop {
        let (collection, query) = (want.collection(client, args), want.query(args));
        let Some(version) = &after else {
            let list = client.get(&query.on(&collection), accept).await?;
            if !want.names.is_empty() && ServerTable::read(&list).rows.is_empty() {
                // Asking for the object itself gives the server's own words for its absence.
                client.get(&want.resource.object(client.namespace(), &want.names[0]), JSON).await?;
            }
            after = Some(show(want, args, &list, &mut printer, ui)?);
            continue;
        };
        let path = query.with("watch", "true").with("resourceVersion", version).on(&collection);
        match client.stream(&path, accept).await {
            Ok(mut lines) => {
                failures = 0;
                after = events(want, args, &mut lines, version.clone(), &mut printer, ui).await?;
            }
            Err(error) if is_gone(&error) => after = None,
            Err(error) if refusal(&error).is_some_and(|refusal| refusal.status.is_client_error()) => return Err(error),
            Err(error) if failures >= FAILURES_MAX => return Err(error),
            Err(_) => failures += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Prints the events of one stream; where to go on after it, or `None` to list again.
async fn events(
    want: &Wanted<'_>,
    args: &GetArgs,
    lines: &mut Lines,
    mut after: String,
    printer: &mut Printer,
    ui: &mut Ui,
) -> anyhow::Result<Option<String>> {
    while let Some(line) = lines.next().await? {
        let event = decode(&line)?;
        let object = event.get("object").unwrap_or(&Value::Null);
        match event.get("type").and_then(Value::as_str) {
            Some("ERROR") => return Ok(None),
            Some("BOOKMARK") => after = version(object, after),
            _ => {
                let seen = show(want, args, object, printer, ui)?;
                if !seen.is_empty() {
                    after = seen;
                }
            }
        }
    }
    Ok(Some(after))
}

fn version(object: &Value, otherwise: String) -> String {
    let found = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).filter(|text| !text.is_empty());
    found.map_or(otherwise, str::to_owned)
}

/// Prints a list or the object of an event, and says its resourceVersion.
fn show(
    want: &Wanted<'_>,
    args: &GetArgs,
    answer: &Value,
    printer: &mut Printer,
    ui: &mut Ui,
) -> anyhow::Result<String> {
    match args.output {
        None | Some(Format::Wide) => {
            let table = ServerTable::read(answer);
            if !table.rows.is_empty() {
                ui.data(printer.print(&table, view(want, args, ""), ui.colour()).as_bytes())?;
            }
            let newest = table.rows.last().map(|row| row.resource_version.clone()).unwrap_or_default();
            Ok(if table.resource_version.is_empty() { newest } else { table.resource_version })
        }
        Some(format) => {
            let items = answer.get("items").and_then(Value::as_array);
            for object in items.map_or_else(|| vec![answer], |items| items.iter().collect()) {
                let object = typed(want.resource, object.clone());
                match format {
                    Format::Name => ui.line(&want.resource.qualified(name(&object)))?,
                    Format::Yaml => ui.data(format!("---\n{}", yaml(&object)?).as_bytes())?,
                    Format::Json | Format::Wide => ui.data(json_text(&object)?.as_bytes())?,
                }
            }
            Ok(version(answer, String::new()))
        }
    }
}
