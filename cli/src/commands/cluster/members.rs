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
    // A name that is no DNS name is refused by the server; what would change the path is not sent.
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
    let sealed = sealed(&cluster["secrets"]).map(|(told, tone)| paint(&told, tone, colour) + "\n");
    format!("{out}\n{last}\n{}{}", short.unwrap_or_default(), sealed.unwrap_or_default())
}

/// Which keys of Secrets have to stay, and what a new one waits for.
fn sealed(secrets: &Value) -> Option<(String, Tone)> {
    let seals = secrets["seals"].as_str()?;
    let names = |list: &Value| {
        let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    if let Some(wanted) = secrets["wants"].as_str() {
        let told = format!(
            "Secrets are sealed with key {seals}; key {wanted} takes over when it is the first of {} too",
            names(&secrets["waitsFor"])
        );
        return Some((told, Tone::Bad));
    }
    Some(match secrets["left"].as_u64() {
        Some(left) if left > 0 => {
            let told = format!(
                "{left} Secrets are still to be sealed with key {seals}: keep the keys {}",
                names(&secrets["needs"])
            );
            (told, Tone::Bad)
        }
        Some(_) | None => (format!("all Secrets are sealed with key {seals}; older keys may go"), Tone::Good),
    })
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
    fn keys_of_secrets_are_told_with_what_a_rotation_waits_for() {
        let told = |secrets: Value| table(&json!({"survives": "x", "members": [], "secrets": secrets}), false);
        let done = told(json!({"seals": "k1", "left": 0, "needs": ["k1"], "waitsFor": []}));
        assert!(done.ends_with("\nall Secrets are sealed with key k1; older keys may go\n"), "{done}");
        let wants = told(json!({"seals": "k1", "left": 0, "wants": "k2", "waitsFor": ["n2", "n3"]}));
        assert!(
            wants.ends_with("sealed with key k1; key k2 takes over when it is the first of n2, n3 too\n"),
            "{wants}"
        );
        let left = told(json!({"seals": "k2", "left": 3, "needs": ["k2", "k1"], "waitsFor": []}));
        assert!(left.ends_with("\n3 Secrets are still to be sealed with key k2: keep the keys k2, k1\n"), "{left}");
    }

    #[test]
    fn peer_without_a_leader_says_so() {
        let cluster = json!({"note": "the cluster has no leader now; this is what n1 knows", "members": []});
        assert!(table(&cluster, false).ends_with("\nthe cluster has no leader now; this is what n1 knows\n"));
    }
}
