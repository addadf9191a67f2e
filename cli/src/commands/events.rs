//! `wk events`: what happened, oldest first; of one object, of some types, as it happens.

use std::time::Duration;

use serde_json::Value;

use super::targets;
use crate::args::EventsArgs;
use crate::client::{Client, JSON, Query, Resource, decode, is_gone};
use crate::discovery::Kinds;
use crate::exit::usage;
use crate::fields::text;
use crate::render::{Ui, ago, bare, plain, without_managed_fields};

/// Pause before a watch is opened again that ended.
const PAUSE: Duration = Duration::from_millis(300);

const HEADING: [&str; 5] = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];

/// Prints them.
pub(super) async fn run(client: &Client, args: &EventsArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let query = match &args.object {
        Some(object) => of_object(client, object).await?,
        None => Query::default(),
    };
    let collection = Resource::events().collection((!args.all_namespaces).then(|| client.namespace()));
    let mut pages = client.pages(&collection, query.clone(), JSON).await?;
    let version = pages.last().map(|page| text(page, "/metadata/resourceVersion").to_owned()).unwrap_or_default();
    let items = pages.iter_mut().filter_map(|page| page.get_mut("items").map(Value::take));
    let mut events: Vec<Value> =
        items.filter_map(|items| if let Value::Array(items) = items { Some(items) } else { None }).flatten().collect();
    events.retain(|event| wanted(event, args));
    sort(&mut events);
    if let Some(output) = &args.print.output {
        let named = |mut event: Value| {
            if !args.print.show_managed_fields {
                without_managed_fields(&mut event);
            }
            (Resource::events().qualified(text(&event, "/metadata/name")), event)
        };
        ui.data(output.text(events.into_iter().map(named).collect(), false, ui.colour())?.as_bytes())?;
    } else if !events.is_empty() {
        let rows: Vec<Vec<String>> = events.iter().map(|event| row(event, args)).collect();
        let headed = || {
            if args.all_namespaces {
                plain(&[&["NAMESPACE"], HEADING.as_slice()].concat(), &rows, ui.colour())
            } else {
                plain(&HEADING, &rows, ui.colour())
            }
        };
        let shown = if args.no_headers { bare(&rows) } else { headed() };
        ui.data(shown.as_bytes())?;
    } else if !args.watch {
        ui.note("No events found");
    }
    if args.watch { follow(client, args, &collection, &query, version, ui).await } else { Ok(()) }
}

async fn follow(
    client: &Client,
    args: &EventsArgs,
    collection: &str,
    query: &Query,
    mut version: String,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    loop {
        let path = query
            .clone()
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("resourceVersion", &version)
            .on(collection);
        let mut lines = match client.stream(&path, JSON).await {
            Ok(lines) => lines,
            Err(error) if is_gone(&error) => {
                let list = client.get(&query.clone().with("limit", "1").on(collection), JSON).await?;
                text(&list, "/metadata/resourceVersion").clone_into(&mut version);
                continue;
            }
            Err(error) => return Err(error),
        };
        while let Some(line) = lines.next().await? {
            let change = decode(&line)?;
            let event = change.get("object").unwrap_or(&Value::Null);
            match text(&change, "/type") {
                "ERROR" => break,
                kind => {
                    text(event, "/metadata/resourceVersion").clone_into(&mut version);
                    if matches!(kind, "ADDED" | "MODIFIED") && wanted(event, args) {
                        ui.data(bare(&[row(event, args)]).as_bytes())?;
                    }
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Selects the events about `KIND/NAME`.
async fn of_object(client: &Client, word: &str) -> anyhow::Result<Query> {
    let targets = targets::parse(&[word.to_owned()])?;
    let [target] = targets.as_slice() else { return Err(usage(format!("{word:?} is not KIND/NAME")).into()) };
    let Some(name) = target.names.first() else {
        return Err(usage(format!("{word:?} is not KIND/NAME, such as deploy/web")).into());
    };
    let kinds = Kinds::discover(client).await?;
    let resource = kinds.find(&target.kinds)?;
    let fields = format!("involvedObject.kind={},involvedObject.name={name}", resource.kind);
    Ok(Query::default().with("fieldSelector", &fields))
}

fn wanted(event: &Value, args: &EventsArgs) -> bool {
    args.types.is_empty() || args.types.iter().any(|kind| kind.eq_ignore_ascii_case(text(event, "/type")))
}

/// When an event was seen last, as text that sorts by time.
pub(super) fn last_seen(event: &Value) -> &str {
    let pointers = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    pointers.into_iter().map(|pointer| text(event, pointer)).find(|time| !time.is_empty()).unwrap_or_default()
}

/// Oldest first.
pub(super) fn sort(events: &mut [Value]) {
    events.sort_by(|left, right| last_seen(left).cmp(last_seen(right)));
}

fn row(event: &Value, args: &EventsArgs) -> Vec<String> {
    let seen = age(event);
    let object = format!("{}/{}", text(event, "/involvedObject/kind"), text(event, "/involvedObject/name"));
    let cells = [
        seen,
        text(event, "/type").to_owned(),
        text(event, "/reason").to_owned(),
        object,
        text(event, "/message").trim().to_owned(),
    ];
    let namespace = args.all_namespaces.then(|| text(event, "/metadata/namespace").to_owned());
    namespace.into_iter().chain(cells).collect()
}

/// How long ago, and how often since when.
pub(super) fn age(event: &Value) -> String {
    let last = ago(last_seen(event));
    let count = event.pointer("/series/count").or_else(|| event.get("count")).and_then(Value::as_i64).unwrap_or(1);
    let first = [text(event, "/firstTimestamp"), text(event, "/eventTime"), text(event, "/metadata/creationTimestamp")];
    let first = first.into_iter().find(|time| !time.is_empty()).unwrap_or_default();
    if count > 1 { format!("{last} (x{count} over {})", ago(first)) } else { last }
}
