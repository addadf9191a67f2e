//! `wk logs`: prints what pods wrote, of one pod or of all pods of a deployment.

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::Value;

use crate::args::LogsArgs;
use crate::client::{Client, JSON, Lines, Query, Resource};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

/// How many pods are followed at once: each holds a connection open, and nobody reads more at a time.
const PODS_MAX: usize = 20;

/// Annotation that names the container meant when none is given.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Prints the logs.
pub(super) async fn run(client: &Client, args: &LogsArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let pods = pods(client, &args.target, ui).await?;
    let several = pods.len() > 1;
    let mut streams = Vec::new();
    for pod in &pods {
        let name = text(pod, "/metadata/name");
        let prefix = if several { format!("[{name}] ") } else { String::new() };
        match client.stream(&path(client, pod, args), "text/plain, */*").await {
            Ok(lines) => streams.push((prefix, lines)),
            // One pod that has not started yet does not hide what the others say.
            Err(error) if several && crate::client::refusal(&error).is_some() => ui.note(&format!("{name}: {error:#}")),
            Err(error) => return Err(error.context(format!("logs of pod {name}"))),
        }
    }
    if args.follow {
        let all = streams.into_iter().map(|(prefix, lines)| Box::pin(prefixed(prefix, lines)));
        let mut all = futures::stream::select_all(all);
        while let Some(line) = all.next().await {
            ui.data(&line?)?;
        }
    } else {
        for (prefix, lines) in streams {
            let mut lines = Box::pin(prefixed(prefix, lines));
            while let Some(line) = lines.next().await {
                ui.data(&line?)?;
            }
        }
    }
    Ok(())
}

/// The lines as a stream, each with the prefix and its end.
fn prefixed(prefix: String, lines: Lines) -> impl futures::Stream<Item = anyhow::Result<Vec<u8>>> {
    futures::stream::try_unfold((prefix, lines), |(prefix, mut lines)| async move {
        let line: Option<Bytes> = lines.next().await?;
        Ok(line.map(|line| ([prefix.as_bytes(), &line, b"\n"].concat(), (prefix, lines))))
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn path(client: &Client, pod: &Value, args: &LogsArgs) -> String {
    let preferred = pod.pointer("/metadata/annotations").and_then(|all| all.get(DEFAULT_CONTAINER)?.as_str());
    let first = pod.pointer("/spec/containers/0/name").and_then(Value::as_str);
    let container = args.container.as_deref().or(preferred).or(first);
    let on = |flag: bool| flag.then_some("true");
    Query::default()
        .maybe("container", container)
        .maybe("follow", on(args.follow))
        .maybe("previous", on(args.previous))
        .maybe("timestamps", on(args.timestamps))
        .maybe("tailLines", args.tail)
        .maybe("sinceSeconds", args.since.map(|since| since.as_secs().max(1)))
        .on(&format!("{}/log", Resource::pods().object(client.namespace(), text(pod, "/metadata/name"))))
}

/// The pods a target means: one by its name, or those that KIND/NAME selects.
async fn pods(client: &Client, target: &str, ui: &mut Ui) -> anyhow::Result<Vec<Value>> {
    let (kind, name) = match target.split_once('/') {
        None => ("pods", target),
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => (kind, name),
        Some(_) => return Err(usage(format!("{target:?} is neither POD nor KIND/NAME")).into()),
    };
    let resource = if kind == "pods" { Resource::pods() } else { Kinds::discover(client).await?.find(kind)?.clone() };
    let object = client.get(&resource.object(client.namespace(), name), JSON).await?;
    if resource.plural == "pods" {
        return Ok(vec![object]);
    }
    let labels = selector(&object).ok_or_else(|| usage(format!("{target} selects no pods, so it has no logs")))?;
    let list =
        Query::default().with("labelSelector", &labels).on(&Resource::pods().collection(Some(client.namespace())));
    let mut list = client.get(&list, JSON).await?;
    let items = list.get_mut("items").map(Value::take).context("the server's list of pods has no items")?;
    let Value::Array(mut items) = items else { anyhow::bail!("the server's list of pods has no items") };
    if items.is_empty() {
        return Err(ExitError::new(Code::NotFound, format!("{target} has no pods")).into());
    }
    if items.len() > PODS_MAX {
        ui.note(&format!("{target} has {} pods; these are the logs of the first {PODS_MAX}", items.len()));
        items.truncate(PODS_MAX);
    }
    Ok(items)
}

/// The labels a Deployment, ReplicaSet or Service selects pods by.
fn selector(object: &Value) -> Option<String> {
    let selector = object.pointer("/spec/selector")?;
    let labels = selector.get("matchLabels").unwrap_or(selector).as_object()?;
    let pairs: Option<Vec<String>> =
        labels.iter().map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    pairs.filter(|pairs| !pairs.is_empty()).map(|pairs| pairs.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_selected_as_deployments_and_services_do() {
        let deployment = json!({"spec": {"selector": {"matchLabels": {"a": "1", "b": "2"}}}});
        assert_eq!(selector(&deployment).as_deref(), Some("a=1,b=2"));
        assert_eq!(selector(&json!({"spec": {"selector": {"a": "1"}}})).as_deref(), Some("a=1"));
        assert_eq!(selector(&json!({"spec": {}})), None);
        assert_eq!(selector(&json!({"spec": {"selector": {}}})), None);
    }
}
