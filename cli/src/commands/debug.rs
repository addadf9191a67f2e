//! `wk debug`: what a pod's node tells of it: imports and what answers them, limits and usage, the last failure with its
//! backtrace, the last requests.

use std::fmt::Write as _;

use serde_json::Value;

use super::pods;
use crate::args::{DebugArgs, StructuredFormat};
use crate::client::{Client, JSON, Resource};
use crate::exit::{Code, ExitError};
use crate::fields::{list, name, text};
use crate::render::{Ui, bare, json, yaml};

/// Prints it.
pub(super) async fn run(client: &Client, args: &DebugArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let pods = pods::meant(client, &args.target).await?.pods;
    let missing = || ExitError::new(Code::NotFound, format!("{} has no pods", args.target));
    let pod = pods::one(pods).ok_or_else(missing)?;
    let path = format!("{}/debug", Resource::pods().object(client.namespace(), name(&pod)));
    let mut told = client.get(&path, JSON).await?;
    if let Some(container) = &args.container {
        only(&mut told, container, name(&pod))?;
    }
    let page = match args.output {
        Some(StructuredFormat::Json) => json(&told)?,
        Some(StructuredFormat::Yaml) => yaml(&told)?,
        // Much of it is the guest's words: nothing of them drives the terminal.
        None => page(&told).chars().filter(|c| *c == '\n' || !c.is_control()).collect(),
    };
    ui.data(page.as_bytes())
}

/// Leaves out the other containers.
fn only(told: &mut Value, container: &str, pod: &str) -> Result<(), ExitError> {
    let is_meant = |one: &Value| text(one, "/name") == container;
    let known: Vec<&str> = list(told, "/containers").map(|one| text(one, "/name")).collect();
    if !known.contains(&container) {
        let message = format!("pod {pod} has no container {container:?}; it has {}", known.join(", "));
        return Err(ExitError::new(Code::NotFound, message));
    }
    for pointer in ["/containers", "/status/containerStatuses"] {
        if let Some(Value::Array(all)) = told.pointer_mut(pointer) {
            all.retain(is_meant);
        }
    }
    Ok(())
}

/// What is told, for people.
fn page(told: &Value) -> String {
    let mut page = format!("Pod:   {}\nNode:  {}\n", text(told, "/metadata/name"), text(told, "/node"));
    for status in list(told, "/status/containerStatuses") {
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            let why = text(status, "/state/waiting/message");
            let _ = write!(page, "\nContainer {} waits: {waiting}: {why}\n", text(status, "/name"));
        }
    }
    for container in list(told, "/containers") {
        let _ = write!(page, "\nContainer {}\n", text(container, "/name"));
        section(&mut page, container);
    }
    if list(told, "/containers").next().is_none() {
        page.push_str("\nNo container of it has run on its node yet: `wk describe` says what it waits for.\n");
    }
    page
}

fn section(page: &mut String, container: &Value) {
    let rows: Vec<Vec<String>> = [("World", "/world"), ("Module", "/digest"), ("Run", "/run"), ("Process", "/process")]
        .into_iter()
        .chain([("Memory limit", "/limits/memory"), ("CPU limit (m)", "/limits/cpuMillis")])
        .chain([("Request limit", "/limits/requestSeconds")])
        .filter_map(|(title, pointer)| {
            let value = container.pointer(pointer).filter(|value| !value.is_null())?;
            let shown = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let unit = if title == "Request limit" { " s" } else { "" };
            Some(vec![format!("  {title}:"), format!("{shown}{unit}")])
        })
        .collect();
    table(page, &rows);
    if let Some(usage) = container.get("usage").and_then(Value::as_object) {
        page.push_str("  Usage:\n");
        let rows: Vec<_> = usage.iter().map(|(name, value)| vec![format!("    {name}"), value.to_string()]).collect();
        table(page, &rows);
    }
    for (title, given) in [("Imports given", true), ("Imports not given", false)] {
        let imports = list(container, "/imports").filter(|import| import["given"] == given);
        let rows: Vec<_> =
            imports.map(|it| vec![format!("    {}", text(it, "/name")), text(it, "/by").to_owned()]).collect();
        if !rows.is_empty() {
            let _ = writeln!(page, "  {title}:");
            table(page, &rows);
        }
    }
    let exports: Vec<_> = list(container, "/exports").filter_map(Value::as_str).collect();
    if !exports.is_empty() {
        let _ = write!(page, "  Exports:\n    {}\n", exports.join("\n    "));
    }
    if let Some(failure) = container.get("lastFailure").filter(|failure| !failure.is_null()) {
        let (time, reason) = (text(failure, "/time"), text(failure, "/reason"));
        let _ = write!(page, "  Last failure, {time}:\n    {reason}: {}\n", text(failure, "/message"));
        for frame in list(failure, "/backtrace").filter_map(Value::as_str) {
            let _ = writeln!(page, "    {frame}");
        }
    }
    let requests: Vec<_> = list(container, "/requests").map(request).collect();
    if !requests.is_empty() {
        page.push_str("  Last requests:\n");
        table(page, &requests);
    }
}

fn request(request: &Value) -> Vec<String> {
    let failure = text(request, "/failure");
    let outcome = match request.get("status") {
        // It broke off in its body.
        Some(status) if !failure.is_empty() => format!("{status}, then {failure}"),
        Some(status) => status.to_string(),
        None => failure.to_owned(),
    };
    let took = request.get("milliseconds").and_then(Value::as_f64).unwrap_or_default();
    vec![
        format!("    {}", text(request, "/time")),
        text(request, "/method").to_owned(),
        outcome,
        format!("{took:.3} ms"),
        text(request, "/path").to_owned(),
    ]
}

fn table(page: &mut String, rows: &[Vec<String>]) {
    page.push_str(&bare(rows));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn page_tells_imports_failures_and_requests() {
        let told = json!({
            "metadata": {"name": "web-1"}, "node": "n1",
            "containers": [{
                "name": "app", "world": "wasi:http/proxy", "digest": "sha256:1", "run": 0,
                "limits": {"memory": "64 MiB", "requestSeconds": 30.0},
                "imports": [
                    {"name": "wasi:http/types@0.2.6", "given": true, "by": "this node"},
                    {"name": "wasi:sockets/tcp@0.2.6", "given": false, "by": "refused: no network"},
                ],
                "exports": ["wasi:http/incoming-handler@0.2.6"],
                "lastFailure": {"time": "T", "reason": "Trapped", "message": "unreachable", "backtrace": ["0: boom"]},
                "requests": [{"time": "T", "method": "GET", "path": "/a", "status": 200, "milliseconds": 1.5}],
            }],
        });
        let page = page(&told);
        for line in [
            "Container app",
            "wasi:sockets/tcp@0.2.6",
            "refused: no network",
            "    Trapped: unreachable\n    0: boom\n",
            "1.500 ms",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        assert!(super::page(&json!({"metadata": {"name": "p"}})).contains("No container of it has run"));
    }
}
