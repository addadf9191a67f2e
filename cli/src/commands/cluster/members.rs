//! `wk cluster status` and `remove`: the members of the store, in words; and removing one.

use http::Method;
use serde_json::Value;

use crate::args::{MembersArgs, RemoveArgs, StructuredFormat};
use crate::client::{Client, JSON};
use crate::render::{Tone, Ui, json as json_text, paint, plain, yaml};

/// What the leader tells.
const STATUS_PATH: &str = "/apis/wk.dev/v1/cluster/status";

/// Where members are removed.
const MEMBERS_PATH: &str = "/apis/wk.dev/v1/cluster/members";

/// Prints who votes and why.
pub(super) async fn status(client: &Client, args: &MembersArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let cluster = client.get(STATUS_PATH, JSON).await?;
    let text = match args.output {
        None => table(&cluster, ui.colour()),
        Some(StructuredFormat::Json) => json_text(&cluster)?,
        Some(StructuredFormat::Yaml) => yaml(&cluster)?,
    };
    ui.data(text.as_bytes())
}

/// Removes a member for good.
pub(super) async fn remove(client: &Client, args: &RemoveArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let force = if args.force { "?force=true" } else { "" };
    // A name that is no DNS label is refused by the server; what would change the path is not sent.
    let name = percent_encoding::utf8_percent_encode(&args.node, percent_encoding::NON_ALPHANUMERIC).to_string();
    let name = name.replace("%2D", "-");
    client.exchange(&Method::DELETE, &format!("{MEMBERS_PATH}/{name}{force}"), JSON, None).await?;
    ui.line(&format!("{} removed from the cluster; its name is free again", args.node))
}

fn table(cluster: &Value, colour: bool) -> String {
    let members = cluster["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<Vec<String>> = members.iter().map(row).collect();
    let out = plain(&["NAME", "ROLE", "ZONE", "ADDRESS", "LAG", "HEARD", "LEVEL", "WHY"], &rows, colour);
    let last = match (cluster["survives"].as_str(), cluster["note"].as_str()) {
        (Some(survives), _) => survives.to_owned(),
        (None, Some(note)) => paint(note, Tone::Bad, colour),
        (None, None) => String::new(),
    };
    let short = cluster["modules"]["short"].as_u64().filter(|short| *short > 0).map(|short| {
        let is = if short == 1 { "file lies" } else { "files lie" };
        let told =
            format!("{short} module {is} on fewer nodes than should have a copy, as {} knows", text(&cluster["peer"]));
        paint(&told, Tone::Bad, colour) + "\n"
    });
    format!("{out}\n{last}\n{}", short.unwrap_or_default())
}

fn row(member: &Value) -> Vec<String> {
    let heard = match member["silentSeconds"].as_f64() {
        Some(seconds) if seconds < 1.0 => "now".to_owned(),
        Some(seconds) => format!("{seconds:.0} s ago"),
        None => "-".to_owned(),
    };
    let cells = ["name", "role", "zone", "address", "lag"].map(|field| text(&member[field]));
    cells.into_iter().chain([heard, text(&member["level"]), text(&member["why"])]).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_says_of_each_member_why_and_at_last_what_may_be_lost() {
        let cluster = json!({"survives": "1 voter: no other node can take over", "members": [
            {"name": "n1", "role": "leader", "zone": "a", "address": "127.0.0.1:7443", "lag": 0, "silentSeconds": 0.0,
             "level": 2, "why": "votes"},
            {"name": "n2", "role": "learner", "zone": null, "address": "127.0.0.2:7443", "lag": 1234, "silentSeconds": 7.4,
             "level": 2, "why": "silent for 7 s"}]});
        assert_eq!(
            table(&cluster, false),
            "NAME   ROLE      ZONE   ADDRESS          LAG    HEARD     LEVEL   WHY\n\
             n1     leader    a      127.0.0.1:7443   0      now       2       votes\n\
             n2     learner   -      127.0.0.2:7443   1234   7 s ago   2       silent for 7 s\n\
             \n\
             1 voter: no other node can take over\n"
        );
    }

    #[test]
    fn modules_with_too_few_copies_are_told() {
        let cluster = json!({"survives": "x", "peer": "n1", "members": [], "modules": {"here": 4, "short": 2}});
        assert!(
            table(&cluster, false)
                .ends_with("\nx\n2 module files lie on fewer nodes than should have a copy, as n1 knows\n")
        );
    }

    #[test]
    fn peer_without_a_leader_says_so() {
        let cluster = json!({"note": "the cluster has no leader now; this is what n1 knows", "members": []});
        assert!(table(&cluster, false).ends_with("\nthe cluster has no leader now; this is what n1 knows\n"));
    }
}
