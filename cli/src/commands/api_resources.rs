//! `wk api-resources` and `api-versions`: what the server has.

use std::collections::BTreeSet;

use crate::args::ApiResourcesArgs;
use crate::client::{Client, Resource};
use crate::discovery::Kinds;
use crate::render::{Output, Ui, bare, plain};

/// What is told of every resource.
pub(super) const HEADING: [&str; 5] = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];

/// The cells below the heading.
pub(super) fn row(resource: &Resource) -> Vec<String> {
    vec![
        resource.plural.clone(),
        resource.short_names.join(","),
        resource.api_version(),
        resource.namespaced.to_string(),
        resource.kind.clone(),
    ]
}

/// Prints the resources.
pub(super) async fn run(client: &Client, args: &ApiResourcesArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let wanted = |resource: &&Resource| {
        args.api_group.as_ref().is_none_or(|group| resource.group == *group)
            && args.namespaced.is_none_or(|namespaced| resource.namespaced == namespaced)
            && args.verbs.iter().all(|verb| resource.verbs.contains(verb))
            && args.categories.as_ref().is_none_or(|category| resource.categories.contains(category))
    };
    let wide = args.output == Some(Output::Wide);
    let mut rows = Vec::new();
    for resource in kinds.all().iter().filter(wanted) {
        if args.output == Some(Output::Name) {
            let dot = if resource.group.is_empty() { "" } else { "." };
            rows.push(vec![format!("{}{dot}{}", resource.plural, resource.group)]);
            continue;
        }
        let mut row = row(resource);
        if wide {
            row.extend([resource.verbs.join(","), resource.categories.join(",")]);
        }
        rows.push(row);
    }
    let mut heading = HEADING.to_vec();
    if wide {
        heading.extend(["VERBS", "CATEGORIES"]);
    }
    let headless = args.no_headers || args.output == Some(Output::Name);
    ui.data(if headless { bare(&rows) } else { plain(&heading, &rows, ui.colour()) }.as_bytes())
}

/// Prints the versions.
pub(super) async fn versions(client: &Client, ui: &mut Ui) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let versions: BTreeSet<String> = kinds.all().iter().map(Resource::api_version).collect();
    for version in versions {
        ui.line(&version)?;
    }
    Ok(())
}
