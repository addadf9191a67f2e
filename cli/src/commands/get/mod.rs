//! `wk get`: shows objects, as the server's tables or as they are, once or as they change.

mod kinds;
mod watch;

use serde_json::Value;

use super::apply;
use super::pick::{Picked, hinted};
use super::targets;
use crate::args::GetArgs;
use crate::client::{Client, JSON, Query, Resource, TABLE};
use crate::discovery::Kinds;
use crate::exit::{Code, code_of, usage};
use crate::fields::name;
use crate::render::jsonpath::Path;
use crate::render::{Output, Printer, ServerTable, Ui, View, without_managed_fields};

/// A kind and the names asked for; all of them if there are none.
struct Wanted {
    resource: Resource,
    namespace: String,
    names: Vec<String>,
}

/// Shows what was asked for.
pub(super) async fn run(client: &Client, args: GetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    if let Some(path) = &args.raw {
        return raw(client, path, ui).await;
    }
    if args.kinds {
        return kinds::run(client, &args, ui).await;
    }
    let wanted = wanted(client, &args).await?;
    if args.watch || args.watch_only {
        return match wanted.as_slice() {
            [one] if one.names.len() <= 1 => watch::run(client, one, &args, ui).await,
            _ => Err(usage("-w follows one kind, or one object").into()),
        };
    }
    match &args.print.output {
        Some(output) if Output::wants_objects(Some(output)) => objects(client, &wanted, &args, output, ui).await,
        _ => tables(client, &wanted, &args, ui).await,
    }
}

async fn raw(client: &Client, path: &str, ui: &mut Ui) -> anyhow::Result<()> {
    if !path.starts_with('/') {
        return Err(usage(format!("--raw takes a path such as /api/v1, not {path:?}")).into());
    }
    let mut download = client.download(path).await?;
    while let Some(bytes) = download.next().await? {
        ui.data(&bytes)?;
    }
    Ok(())
}

async fn wanted(client: &Client, args: &GetArgs) -> anyhow::Result<Vec<Wanted>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |resource: &Resource, namespace: &str, names: &[String]| {
        let same = |known: &&mut Wanted| {
            known.resource == *resource && known.namespace == namespace && !known.names.is_empty()
        };
        match wanted.iter_mut().find(same) {
            Some(known) => known.names.extend(names.iter().cloned()),
            None => wanted.push(Wanted {
                resource: resource.clone(),
                namespace: namespace.to_owned(),
                names: names.to_vec(),
            }),
        }
    };
    let selects = args.all_namespaces || args.selector.is_some() || args.field_selector.is_some();
    if !args.files.is_empty() {
        if selects {
            return Err(usage("-f stands alone: the files say which objects").into());
        }
        let documents = apply::read_files(&args.files)?;
        let kinds = Kinds::discover(client).await?;
        for placed in apply::place(documents, &kinds, client.namespace(), None)? {
            add(placed.resource, &placed.namespace, &[placed.name]);
        }
        return Ok(wanted);
    }
    let targets = targets::parse(&args.targets)?;
    if selects && targets.iter().any(|target| !target.names.is_empty()) {
        return Err(usage("a name cannot be combined with -A, -l or --field-selector").into());
    }
    let kinds = Kinds::discover(client).await?;
    for target in targets {
        for resource in kinds.find_all(&target.kinds)? {
            add(resource, client.namespace(), &target.names);
        }
    }
    Ok(wanted)
}

impl Wanted {
    fn collection(&self, args: &GetArgs) -> String {
        self.resource.collection((!args.all_namespaces).then_some(&self.namespace))
    }

    fn query(&self, args: &GetArgs) -> Query {
        let own = self.names.first().map(|name| format!("metadata.name={name}"));
        Query::default()
            .maybe("labelSelector", args.selector.as_deref())
            .maybe("fieldSelector", args.field_selector.as_deref().map(str::to_owned).or(own))
    }

    /// The answers to what is asked: the pages of the collection, or each object.
    async fn ask(
        &self,
        client: &Client,
        args: &GetArgs,
        accept: &str,
        failure: &mut Failure,
        ui: &mut Ui,
    ) -> anyhow::Result<Vec<Value>> {
        let whole = if args.sort_by.is_some() && accept == TABLE { Some("Object") } else { None };
        if self.names.is_empty() {
            let query = self.query(args).maybe("includeObject", whole);
            return client.pages(&self.collection(args), query, accept).await;
        }
        let mut answers = Vec::new();
        for name in &self.names {
            let picked =
                Picked { resource: self.resource.clone(), namespace: self.namespace.clone(), name: name.clone() };
            let mut path = picked.path();
            if let Some(subresource) = &args.subresource {
                path = format!("{path}/{subresource}");
            }
            let query = Query::default().maybe("includeObject", whole);
            let answer = client.get(&query.on(&path), accept).await;
            let answer = if args.ignore_not_found { answer } else { hinted(client, &picked, answer).await };
            answers.extend(failure.keep(answer, ui)?);
        }
        Ok(answers)
    }
}

/// Remembers the first object that is not there and goes on with the rest.
#[derive(Default)]
struct Failure {
    first: Option<anyhow::Error>,
    /// What is not there is no failure.
    ignored: bool,
}

impl Failure {
    fn keep<T>(&mut self, result: anyhow::Result<T>, ui: &mut Ui) -> anyhow::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if code_of(&error) == Code::NotFound => {
                match &self.first {
                    _ if self.ignored => {}
                    Some(_) => ui.error(&error),
                    None => self.first = Some(error),
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

async fn tables(client: &Client, wanted: &[Wanted], args: &GetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let mut failure = Failure { first: None, ignored: args.ignore_not_found };
    let mut shown = 0;
    for want in wanted {
        let mut whole = ServerTable::default();
        for answer in want.ask(client, args, TABLE, &mut failure, ui).await? {
            let mut table = ServerTable::read(&answer);
            whole.columns = table.columns;
            whole.rows.append(&mut table.rows);
        }
        if whole.rows.is_empty() {
            continue;
        }
        if let Some(path) = &args.sort_by {
            if wanted.len() == 1 {
                found_by(path, whole.rows.iter().map(|row| &row.object))?;
            }
            whole.rows.sort_by(|left, right| order(path, &left.object, &right.object));
        }
        let prefix = if wanted.len() > 1 { want.resource.qualified("") } else { String::new() };
        let text = Printer::default().print(&whole, view(want, args, &prefix), ui.colour());
        ui.data(if shown > 0 { format!("\n{text}") } else { text }.as_bytes())?;
        shown += whole.rows.len();
    }
    if shown == 0 && failure.first.is_none() && !args.ignore_not_found {
        nothing(client, wanted, args, ui);
    }
    failure.first.map_or(Ok(()), Err)
}

fn nothing(client: &Client, wanted: &[Wanted], args: &GetArgs, ui: &mut Ui) {
    let all = args.all_namespaces || wanted.iter().all(|want| !want.resource.namespaced);
    ui.note(&if all {
        "No resources found".to_owned()
    } else {
        format!("No resources found in {} namespace.", client.namespace())
    });
}

fn view<'a>(want: &Wanted, args: &'a GetArgs, prefix: &'a str) -> View<'a> {
    View {
        wide: args.print.output == Some(Output::Wide),
        namespaces: args.all_namespaces && want.resource.namespaced,
        prefix,
        label_columns: &args.label_columns,
        labels: args.show_labels,
        headless: args.no_headers,
    }
}

/// Fails if there are objects and a path leads to nothing in any: it is mistyped.
fn found_by<'a>(path: &Path, objects: impl Iterator<Item = &'a Value>) -> anyhow::Result<()> {
    let mut objects = objects.peekable();
    if objects.peek().is_some() && objects.all(|object| path.find(object).is_empty()) {
        return Err(usage("the path of --sort-by leads to nothing in any of the objects").into());
    }
    Ok(())
}

/// The order of two objects by what a path finds in them: quantities and numbers by amount, everything else as text.
fn order(path: &Path, left: &Value, right: &Value) -> std::cmp::Ordering {
    let (left, right) = (path.find(left), path.find(right));
    match (left.first(), right.first()) {
        (Some(left), Some(right)) => match (wk_api::Quantity::from_value(left), wk_api::Quantity::from_value(right)) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            _ => crate::render::jsonpath::shown(left).cmp(&crate::render::jsonpath::shown(right)),
        },
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

async fn objects(
    client: &Client,
    wanted: &[Wanted],
    args: &GetArgs,
    output: &Output,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let mut failure = Failure { first: None, ignored: args.ignore_not_found };
    let mut found: Vec<(&Resource, Value)> = Vec::new();
    for want in wanted {
        for mut answer in want.ask(client, args, JSON, &mut failure, ui).await? {
            if !want.names.is_empty() {
                found.push((&want.resource, typed(&want.resource, answer)));
            } else if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
                found.extend(items.into_iter().map(|item| (&want.resource, typed(&want.resource, item))));
            }
        }
    }
    if let Some(path) = &args.sort_by {
        found_by(path, found.iter().map(|one| &one.1))?;
        found.sort_by(|left, right| order(path, &left.1, &right.1));
    }
    let single = wanted.iter().map(|want| want.names.len()).sum::<usize>() == 1 && wanted.len() == 1;
    let named = |(resource, mut object): (&Resource, Value)| {
        if !args.print.show_managed_fields {
            without_managed_fields(&mut object);
        }
        (resource.qualified(name(&object)), object)
    };
    let found: Vec<(String, Value)> = found.into_iter().map(named).collect();
    let text = output.text(found, single, ui.colour())?;
    ui.data(text.as_bytes())?;
    failure.first.map_or(Ok(()), Err)
}

/// Items of a list come without their kind; a file made of them needs it.
fn typed(resource: &Resource, mut object: Value) -> Value {
    if let Value::Object(map) = &mut object {
        map.entry("apiVersion").or_insert_with(|| resource.api_version().into());
        map.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    object
}
