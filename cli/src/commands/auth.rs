//! `wk auth`: what we may do, and who we are, as the server says.

use http::Method;
use serde_json::{Value, json};

use crate::args::{AuthArgs, AuthCommand, CanIArgs, WhoamiArgs};
use crate::client::{Client, Payload};
use crate::discovery::Kinds;
use crate::exit::{Code, ExitError};
use crate::render::{Ui, bare, plain};

/// Verbs that the server judges; others may exist, so a word not among them is only remarked.
const VERBS: [&str; 16] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "use",
    "bind",
    "escalate",
    "impersonate",
    "approve",
    "sign",
    "proxy",
    "*",
];

/// Asks.
pub(super) async fn run(client: &Client, args: &AuthArgs, ui: &mut Ui) -> anyhow::Result<()> {
    match &args.command {
        AuthCommand::CanI(args) if args.list => list(client, args, ui).await,
        AuthCommand::CanI(args) => can_i(client, args, ui).await,
        AuthCommand::Whoami(args) => whoami(client, args, ui).await,
    }
}

async fn review(client: &Client, group: &str, kind: &str, plural: &str, spec: &Value) -> anyhow::Result<Value> {
    let object = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec});
    client.send(Method::POST, &format!("/apis/{group}/v1/{plural}"), Payload::json(&object)).await
}

async fn can_i(client: &Client, args: &CanIArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let verb = args.verb.as_deref().unwrap_or_default();
    let what = args.what.as_deref().unwrap_or_default();
    let spec = if what.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": verb, "path": what}})
    } else {
        if !VERBS.contains(&verb) {
            ui.note(&format!("{verb:?} is no verb that is known here; asking all the same"));
        }
        let (word, name) = what.split_once('/').map_or((what, args.name.as_deref()), |(word, name)| (word, Some(name)));
        let mut attributes = json!({"verb": verb});
        if word == "*" {
            (attributes["group"], attributes["resource"]) = ("*".into(), "*".into());
        } else {
            let kinds = Kinds::discover(client).await?;
            let resource = kinds.find(word)?;
            (attributes["group"], attributes["resource"]) =
                (resource.group.clone().into(), resource.plural.clone().into());
            if resource.namespaced && !args.all_namespaces {
                attributes["namespace"] = client.namespace().into();
            }
        }
        if let Some(name) = name {
            attributes["name"] = name.into();
        }
        if let Some(subresource) = &args.subresource {
            attributes["subresource"] = subresource.clone().into();
        }
        json!({"resourceAttributes": attributes})
    };
    let answer =
        review(client, "authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews", &spec).await?;
    let allowed = answer.pointer("/status/allowed") == Some(&Value::Bool(true));
    let why = answer.pointer("/status/reason").and_then(Value::as_str).filter(|why| !why.is_empty() && !allowed);
    if !args.quiet {
        let word = if allowed { "yes" } else { "no" };
        ui.line(&why.map_or_else(|| word.to_owned(), |why| format!("{word} - {why}")))?;
    }
    if allowed { Ok(()) } else { Err(ExitError::quiet(Code::General).into()) }
}

async fn list(client: &Client, args: &CanIArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let spec = json!({"namespace": client.namespace()});
    let answer =
        review(client, "authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews", &spec).await?;
    let words = |rule: &Value, key: &str| -> Vec<String> {
        let words = rule.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let joined = |rule: &Value, key: &str| format!("[{}]", words(rule, key).join(" "));
    let mut rows = Vec::new();
    for rule in answer.pointer("/status/resourceRules").and_then(Value::as_array).into_iter().flatten() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                let dot = if group.is_empty() { "" } else { "." };
                rows.push(vec![
                    format!("{resource}{dot}{group}"),
                    "[]".to_owned(),
                    joined(rule, "resourceNames"),
                    joined(rule, "verbs"),
                ]);
            }
        }
    }
    for rule in answer.pointer("/status/nonResourceRules").and_then(Value::as_array).into_iter().flatten() {
        rows.push(vec![String::new(), joined(rule, "nonResourceURLs"), "[]".to_owned(), joined(rule, "verbs")]);
    }
    let heading = ["RESOURCES", "NON-RESOURCE URLS", "RESOURCE NAMES", "VERBS"];
    let text = if args.no_headers { bare(&rows) } else { plain(&heading, &rows, ui.colour()) };
    ui.data(text.as_bytes())?;
    if answer.pointer("/status/incomplete") == Some(&Value::Bool(true)) {
        ui.note("the list may be incomplete: the server cannot list all that it allows");
    }
    Ok(())
}

async fn whoami(client: &Client, args: &WhoamiArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let answer = review(client, "authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", &json!({})).await?;
    if let Some(output) = &args.print.output {
        let text =
            output.text(vec![("selfsubjectreview.authentication.k8s.io/".to_owned(), answer)], true, ui.colour())?;
        return ui.data(text.as_bytes());
    }
    let user = answer.pointer("/status/userInfo").cloned().unwrap_or_default();
    let text = |key: &str| user.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let groups: Vec<&str> =
        user.get("groups").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rows = vec![
        vec!["Username".to_owned(), text("username")],
        vec!["Groups".to_owned(), format!("[{}]", groups.join(" "))],
    ];
    if !text("uid").is_empty() {
        rows.push(vec!["UID".to_owned(), text("uid")]);
    }
    for (key, values) in user.get("extra").and_then(Value::as_object).into_iter().flatten() {
        let values: Vec<&str> = values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        rows.push(vec![format!("Extra: {key}"), format!("[{}]", values.join(" "))]);
    }
    ui.data(plain(&["ATTRIBUTE", "VALUE"], &rows, ui.colour()).as_bytes())
}
