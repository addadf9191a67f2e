//! `wk status`: nodes, leader, voters and pods at a glance.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::args::{StatusArgs, StructuredFormat};
use crate::client::{Client, JSON, Resource};
use crate::fields::text;
use crate::render::{Tone, Ui, json as json_text, paint, plain, yaml};

/// Where a peer tells who leads, who votes and how far each member is.
pub(super) const CLUSTER_PATH: &str = "/apis/wk.dev/v1/cluster";

/// Annotation of a node: its id as a member of the store.
const MEMBER: &str = "wk.dev/member";

/// How many pods that are not well are listed one by one.
const PODS_SHOWN: usize = 10;

/// Prints the summary, or the facts it is made of.
pub(super) async fn run(client: &Client, args: &StatusArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let nodes = client.get(&Resource::nodes().collection(None), JSON).await?;
    let pods = client.get(&Resource::pods().collection(None), JSON).await?;
    // A cluster of another kind, or an older peer, has no such page: the rest is worth showing all the same.
    let cluster = client.find(CLUSTER_PATH).await?;
    let facts =
        Facts { address: client.address(), cluster: cluster.as_ref(), nodes: items(&nodes), pods: items(&pods) };
    let text = match args.output {
        None => summary(&facts, ui.colour()),
        Some(StructuredFormat::Json) => json_text(&structure(&facts))?,
        Some(StructuredFormat::Yaml) => yaml(&structure(&facts))?,
    };
    ui.data(text.as_bytes())
}

/// What was learnt from the cluster.
struct Facts<'a> {
    address: &'a str,
    cluster: Option<&'a Value>,
    nodes: &'a [Value],
    pods: &'a [Value],
}

fn items(list: &Value) -> &[Value] {
    list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// An id as text, whether it came as a number or as text.
fn id(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn list<'a>(value: Option<&'a Value>, key: &str) -> impl Iterator<Item = &'a Value> {
    value.and_then(|value| value.get(key)?.as_array()).into_iter().flatten()
}

/// A member of the store, as the cluster's page tells.
#[derive(Debug, Clone, Default)]
struct Member {
    id: String,
    name: String,
    lag: Option<String>,
    role: &'static str,
}

fn members(cluster: Option<&Value>) -> Vec<Member> {
    let leader = cluster.and_then(|cluster| id(cluster.get("leader")));
    let among = |list_name: &str, member: &Member| {
        list(cluster, list_name).any(|entry| id(Some(entry)).is_some_and(|id| id == member.id || id == member.name))
    };
    list(cluster, "members")
        .map(|entry| {
            let name = text(entry, "/name").to_owned();
            let mut member =
                Member { id: id(entry.get("id")).unwrap_or_default(), name, lag: id(entry.get("lag")), role: "-" };
            if leader.as_ref().is_some_and(|leader| *leader == member.id || *leader == member.name) {
                member.role = "leader";
            } else if among("voters", &member) {
                member.role = "voter";
            } else if among("learners", &member) {
                member.role = "learner";
            }
            member
        })
        .collect()
}

fn is_ready(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let mut ready = conditions.filter(|condition| text(condition, "/type") == "Ready");
    ready.any(|condition| text(condition, "/status") == "True")
}

fn address(node: &Value) -> &str {
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let mut internal = addresses.filter(|address| text(address, "/type") == "InternalIP");
    internal.next().map_or("-", |address| text(address, "/address"))
}

/// What a pod is, in one word: what its container waits for if it does not run.
fn state(pod: &Value) -> String {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
        return "Terminating".to_owned();
    }
    let mut containers = pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    let reason = |status: &Value| {
        let states = ["/state/waiting/reason", "/state/terminated/reason"];
        states.iter().map(|state| text(status, state)).find(|reason| !reason.is_empty()).map(str::to_owned)
    };
    let phase = text(pod, "/status/phase");
    let waiting = containers.find_map(reason).filter(|_| phase != "Succeeded");
    waiting.unwrap_or_else(|| if phase.is_empty() { "Unknown".to_owned() } else { phase.to_owned() })
}

fn pods_by_state(pods: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        *counts.entry(state(pod)).or_insert(0) += 1;
    }
    counts
}

fn summary(facts: &Facts<'_>, colour: bool) -> String {
    let members = members(facts.cluster);
    let mut out = format!("Cluster at {}\n{}\n\n", facts.address, quorum(facts, &members, colour));
    let rows: Vec<Vec<String>> = facts.nodes.iter().map(|node| node_row(node, &members, facts.pods)).collect();
    out.push_str(&plain(&["NODE", "STATUS", "MEMBER", "ADDRESS", "PODS", "LAG"], &rows, colour));
    let counts = pods_by_state(facts.pods);
    let counted: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let counted = if counted.is_empty() { "none".to_owned() } else { counted.join(", ") };
    let mut lines = vec![format!("\nPods: {counted}")];
    let unwell: Vec<&Value> =
        facts.pods.iter().filter(|pod| !matches!(state(pod).as_str(), "Running" | "Succeeded" | "Completed")).collect();
    for pod in unwell.iter().take(PODS_SHOWN) {
        let name = format!("{}/{}", text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
        lines.push(format!("  {name}: {}", paint(&state(pod), Tone::Bad, colour)));
    }
    if unwell.len() > PODS_SHOWN {
        lines.push(format!("  and {} more: wk get pods -A", unwell.len() - PODS_SHOWN));
    }
    if members.iter().any(|member| !matches!(member.role, "leader" | "voter"))
        || silent_voters(facts.nodes, &members) > 0
    {
        lines.push("Who votes and why: wk cluster status".to_owned());
    }
    out + &lines.join("\n") + "\n"
}

/// Voters whose node is known not to be ready.
fn silent_voters(nodes: &[Value], members: &[Member]) -> usize {
    let votes = |member: &&Member| matches!(member.role, "leader" | "voter");
    let is_silent =
        |member: &&Member| nodes.iter().any(|node| text(node, "/metadata/name") == member.name && !is_ready(node));
    members.iter().filter(votes).filter(is_silent).count()
}

/// What may still happen to the voters, of which `up` are there.
fn votes(voters: usize, up: usize) -> String {
    let majority = voters / 2 + 1;
    let there = if up == voters { format!("{voters} voters") } else { format!("{up} of {voters} voters are up") };
    match up.checked_sub(majority) {
        _ if voters == 1 => "1 voter: no other node can take over".to_owned(),
        None => format!("{there}: no majority, so nothing can be written"),
        Some(0) => format!("{there}: none of them may fail"),
        Some(1) => format!("{there}: any one of them may fail"),
        Some(spare) => format!("{there}: {spare} of them may fail"),
    }
}

/// Who leads, and how many members may be lost.
fn quorum(facts: &Facts<'_>, members: &[Member], colour: bool) -> String {
    let Some(cluster) = facts.cluster else {
        return "Leader and voters: this server does not tell".to_owned();
    };
    let voters = list(Some(cluster), "voters").count();
    let votes = votes(voters, voters - voters.min(silent_voters(facts.nodes, members)));
    let leader = id(cluster.get("leader"));
    let leading = members.iter().find(|member| member.role == "leader").map(|member| member.name.clone()).or(leader);
    match leading.filter(|name| !name.is_empty()) {
        Some(name) => {
            let term = id(cluster.get("term")).map(|term| format!(" (term {term})")).unwrap_or_default();
            format!("Leader: {}{term}; {votes}", paint(&name, Tone::Good, colour))
        }
        None => format!("Leader: {}; {votes}", paint("none", Tone::Bad, colour)),
    }
}

fn node_row(node: &Value, members: &[Member], pods: &[Value]) -> Vec<String> {
    let name = text(node, "/metadata/name");
    let own = node.pointer("/metadata/annotations").and_then(|annotations| annotations.get(MEMBER)?.as_str());
    let member = members.iter().find(|member| member.name == name || own == Some(member.id.as_str()));
    let mut status = if is_ready(node) { "Ready" } else { "NotReady" }.to_owned();
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    let role = match (member, own) {
        (Some(member), _) => member.role.to_owned(),
        (None, Some(id)) => format!("member {id}"),
        (None, None) => "-".to_owned(),
    };
    let count = pods.iter().filter(|pod| text(pod, "/spec/nodeName") == name).count();
    let lag = member.and_then(|member| member.lag.clone()).unwrap_or_else(|| "-".to_owned());
    vec![name.to_owned(), status, role, address(node).to_owned(), count.to_string(), lag]
}

fn structure(facts: &Facts<'_>) -> Value {
    let nodes: Vec<Value> = facts
        .nodes
        .iter()
        .map(|node| {
            let name = text(node, "/metadata/name");
            let pods = facts.pods.iter().filter(|pod| text(pod, "/spec/nodeName") == name).count();
            json!({"name": name, "ready": is_ready(node), "address": address(node), "pods": pods})
        })
        .collect();
    json!({"api": facts.address, "cluster": facts.cluster, "nodes": nodes, "pods": pods_by_state(facts.pods)})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, ready: &str) -> Value {
        json!({"metadata": {"name": name, "annotations": {MEMBER: "7"}},
            "status": {"conditions": [{"type": "Ready", "status": ready}],
                       "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}})
    }

    fn show(cluster: Option<&Value>) -> String {
        let nodes = [node("n1", "True"), node("n2", "False")];
        let pods = [
            json!({"metadata": {"namespace": "d", "name": "a"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
            json!({"metadata": {"namespace": "d", "name": "b"}, "status": {"phase": "Pending"}}),
        ];
        summary(&Facts { address: "https://x:6443", cluster, nodes: &nodes, pods: &pods }, false)
    }

    #[test]
    fn status_names_leader_voters_and_what_is_not_well() {
        let cluster = json!({"leader": 1, "term": 3, "voters": [1, 2], "learners": [],
            "members": [{"id": 1, "name": "n1", "lag": 0}, {"id": 2, "name": "n2", "lag": 4}]});
        assert_eq!(
            show(Some(&cluster)),
            "Cluster at https://x:6443\n\
             Leader: n1 (term 3); 1 of 2 voters are up: no majority, so nothing can be written\n\
             \n\
             NODE   STATUS     MEMBER   ADDRESS     PODS   LAG\n\
             n1     Ready      leader   127.0.0.1   1      0\n\
             n2     NotReady   voter    127.0.0.1   0      4\n\
             \n\
             Pods: 1 Pending, 1 Running\n  d/b: Pending\n\
             Who votes and why: wk cluster status\n"
        );
    }

    #[test]
    fn status_without_the_cluster_page_shows_the_rest() {
        let text = show(None);
        assert!(text.contains("this server does not tell"), "{text}");
        assert!(text.contains("n1     Ready      member 7"), "{text}");
    }

    #[test]
    fn promise_counts_the_voters_that_are_up() {
        assert_eq!(votes(3, 3), "3 voters: any one of them may fail");
        assert_eq!(votes(3, 2), "2 of 3 voters are up: none of them may fail");
        assert_eq!(votes(5, 5), "5 voters: 2 of them may fail");
        assert_eq!(votes(5, 4), "4 of 5 voters are up: any one of them may fail");
    }

    #[test]
    fn no_leader_is_said() {
        let text = show(Some(&json!({"leader": null, "voters": [1, 2, 3]})));
        assert!(text.contains("Leader: none; 3 voters: any one of them may fail"), "{text}");
    }
}
