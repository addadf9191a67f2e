//! `wk get -w`: what is there, then every change, until it is stopped.

use std::time::Duration;

use serde_json::Value;

use super::{Wanted, typed, view};
use crate::args::GetArgs;
use crate::client::{Client, JSON, Lines, TABLE, decode, is_gone, refusal};
use crate::render::{Output, Printer, ServerTable, Ui, json as json_text, without_managed_fields, yaml};

/// Pause before a watch is opened again that broke: a peer's restart takes about a second.
const PAUSE: Duration = Duration::from_millis(300);

/// How often in a row a watch may fail to open before `wk get -w` gives up.
const FAILURES_MAX: u32 = 20;

/// Prints and follows.
pub(super) async fn run(client: &Client, want: &Wanted, args: &GetArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let accept = if Output::wants_objects(args.print.output.as_ref()) { JSON } else { TABLE };
    let mut printer = Printer::default();
    let mut after: Option<String> = None;
    let mut quiet = args.watch_only;
    let mut failures = 0;
    loop {
        let (collection, query) = (want.collection(args), want.query(args));
        let Some(version) = &after else {
            let list = client.get(&query.on(&collection), accept).await?;
            if !want.names.is_empty() && ServerTable::read(&list).rows.is_empty() {
                // Asking for the object itself gives the server's own words for its absence.
                client.get(&want.resource.object(&want.namespace, &want.names[0]), JSON).await?;
            }
            let newest =
                list.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
            let shown = if quiet { newest } else { show(want, args, &list, &mut printer, ui)? };
            quiet = false;
            after = Some(shown);
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
    want: &Wanted,
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
fn show(want: &Wanted, args: &GetArgs, answer: &Value, printer: &mut Printer, ui: &mut Ui) -> anyhow::Result<String> {
    let Some(output) = args.print.output.as_ref().filter(|output| Output::wants_objects(Some(output))) else {
        let table = ServerTable::read(answer);
        if !table.rows.is_empty() {
            ui.data(printer.print(&table, view(want, args, ""), ui.colour()).as_bytes())?;
        }
        let newest = table.rows.last().map(|row| row.resource_version.clone()).unwrap_or_default();
        return Ok(if table.resource_version.is_empty() { newest } else { table.resource_version });
    };
    let items = answer.get("items").and_then(Value::as_array);
    for object in items.map_or_else(|| vec![answer], |items| items.iter().collect()) {
        let mut object = typed(&want.resource, object.clone());
        if !args.print.show_managed_fields {
            without_managed_fields(&mut object);
        }
        let named = (want.resource.qualified(crate::fields::name(&object)), object);
        let text = match output {
            Output::Yaml => format!("---\n{}", yaml(&named.1)?),
            Output::Json => json_text(&named.1)?,
            // One line an event; templates say themselves where lines end.
            Output::Wide | Output::Name | Output::JsonPath(_) => output.text(vec![named], true, false)?,
            Output::Columns(columns) => columns.table(&[named.1], false, false),
        };
        ui.data(text.as_bytes())?;
    }
    Ok(version(answer, String::new()))
}
