//! The table of shells: what wakes each, and how often it looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wk_api::{Kind, kinds};
use wk_base::time::Timestamp;
use wk_plan::{Plan, nodes, taints};

use crate::autoscale::autoscale;
use crate::gather;
use crate::hearing::Hearing;
use crate::placing;
use crate::roles;
use crate::work::{Desk, Shell};
use crate::workloads;

/// Between looks of shells on the way from a request to a running pod, and from a ready pod to its traffic: enough to
/// see a burst of writes as one.
pub(crate) const PROMPT: Duration = Duration::from_millis(1);

/// Between looks of shells that go through everything: nobody waits for them, and a burst is over by then.
const UNHURRIED: Duration = Duration::from_millis(100);

/// Between looks of the shell whose objects are written whole at each change of a part: Endpoints of a thousand pods are
/// 200 kB, and nobody's traffic waits for them.
const WHOLE: Duration = Duration::from_secs(1);

/// After looking and planning, a prompt shell rests for this many times as long: many changes never cost more than a tenth of
/// one core a shell; they are looked at together.
const PROMPT_REST: u32 = 9;

/// A prompt shell rests no longer, but as long as it looked: its looks are short, so one that took long was made on a machine
/// that had no time for it, and pods wait.
const PROMPT_REST_MAX: Duration = Duration::from_secs(3);

/// As [`PROMPT_REST`] for the others: there are fifteen, and together they leave most of a core to those whom somebody waits for.
const UNHURRIED_REST: u32 = 49;

/// Looks without a wake-up. Every wake-up could get lost and the cluster would still get there, this slowly.
const RESYNC: Duration = Duration::from_secs(30);

/// Who looks at the heartbeats.
pub(crate) const NODES: &str = "nodes";

/// Who hands votes over.
pub(crate) const VOTERS: &str = "voters";

/// Between looks at the heartbeats: silence is noticed this much late at most.
const NODES_RESYNC: Duration = Duration::from_millis(250);

/// Between looks for Leases that are missing: a node that is new is heard a moment later.
const LEASES_RESYNC: Duration = Duration::from_secs(5);

/// Between looks at the members: a joined peer votes this much after it caught up, and one that stops waits this long.
const VOTERS_RESYNC: Duration = Duration::from_millis(250);

/// Between looks at what pods use. Kubernetes' `--horizontal-pod-autoscaler-sync-period`.
const AUTOSCALER_RESYNC: Duration = Duration::from_secs(15);

/// Every shell, for one leadership that hears by `hearing`.
pub(crate) fn all(hearing: Arc<Hearing>) -> Vec<Shell> {
    let reads_all = || -> Vec<&'static Kind> {
        kinds().iter().copied().filter(|kind| kind.is_storage() && **kind != kinds::EVENT).collect()
    };
    // A quota can count objects of any of these.
    let reads_namespaced = || reads_all().into_iter().filter(|kind| kind.is_namespaced()).collect();
    vec![
        shell(
            "deployment",
            vec![&kinds::DEPLOYMENT, &kinds::REPLICASET, &kinds::POD],
            PROMPT,
            workloads::deployments(),
        ),
        shell("replicaset", vec![&kinds::REPLICASET, &kinds::POD], PROMPT, workloads::replicasets(&kinds::REPLICASET)),
        shell(
            "replicationcontroller",
            vec![&kinds::REPLICATIONCONTROLLER, &kinds::POD],
            PROMPT,
            workloads::replicasets(&kinds::REPLICATIONCONTROLLER),
        ),
        shell(
            "daemonset",
            vec![&kinds::DAEMONSET, &kinds::POD, &kinds::NODE, &kinds::CONTROLLERREVISION],
            PROMPT,
            workloads::daemonsets(),
        ),
        shell(
            "statefulset",
            vec![&kinds::STATEFULSET, &kinds::POD, &kinds::PERSISTENTVOLUMECLAIM, &kinds::CONTROLLERREVISION],
            PROMPT,
            workloads::statefulsets(),
        ),
        shell("cronjob", vec![&kinds::CRONJOB, &kinds::JOB], PROMPT, workloads::cronjobs()),
        shell("job", vec![&kinds::JOB, &kinds::POD], PROMPT, workloads::jobs()),
        shell("scheduler", placing::READS.to_vec(), PROMPT, placing::schedule()),
        shell(
            "claims",
            vec![
                &kinds::PERSISTENTVOLUMECLAIM,
                &kinds::PERSISTENTVOLUME,
                &kinds::STORAGECLASS,
                &kinds::POD,
                &kinds::NODE,
            ],
            UNHURRIED,
            gather::claims(),
        ),
        shell(
            "protection",
            vec![&kinds::PERSISTENTVOLUMECLAIM, &kinds::PERSISTENTVOLUME, &kinds::POD],
            UNHURRIED,
            gather::protection(),
        ),
        shell(
            "endpointslice",
            vec![&kinds::SERVICE, &kinds::POD, &kinds::ENDPOINTSLICE],
            PROMPT,
            workloads::endpointslices(),
        ),
        shell(
            "endpoints",
            vec![&kinds::SERVICE, &kinds::POD, &kinds::ENDPOINTSLICE, &kinds::ENDPOINTS],
            WHOLE,
            workloads::endpoints(),
        ),
        shell(
            "disruption",
            vec![
                &kinds::PODDISRUPTIONBUDGET,
                &kinds::POD,
                &kinds::DEPLOYMENT,
                &kinds::REPLICASET,
                &kinds::STATEFULSET,
                &kinds::REPLICATIONCONTROLLER,
            ],
            PROMPT,
            gather::disruptions,
        ),
        shell("taint-eviction", vec![&kinds::POD, &kinds::NODE], PROMPT, watch_taints(Arc::clone(&hearing))),
        shell("podgc", vec![&kinds::POD, &kinds::NODE], UNHURRIED, gather::pod_garbage()),
        Shell { reads_custom: true, ..shell("garbage", reads_all(), UNHURRIED, gather::garbage()) },
        Shell { reads_custom: true, ..shell("namespaces", reads_all(), UNHURRIED, gather::namespaces) },
        Shell { reads_custom: true, ..shell("definitions", vec![&kinds::CRD], UNHURRIED, gather::definitions) },
        shell("serviceaccounts", vec![&kinds::NAMESPACE, &kinds::SERVICEACCOUNT], PROMPT, gather::service_accounts),
        shell("rootca", vec![&kinds::NAMESPACE, &kinds::CONFIGMAP], PROMPT, gather::root_ca()),
        shell("ingress", vec![&kinds::INGRESS, &kinds::NODE], WHOLE, gather::ingresses),
        shell("ephemeral", vec![&kinds::POD, &kinds::PERSISTENTVOLUMECLAIM], PROMPT, gather::ephemeral_volumes()),
        shell(
            "api-service",
            vec![&kinds::NAMESPACE, &kinds::NODE, &kinds::SERVICE, &kinds::ENDPOINTS, &kinds::SERVICECIDR],
            UNHURRIED,
            gather::api_service,
        ),
        Shell { reads_custom: true, ..shell("resourcequotas", reads_namespaced(), UNHURRIED, gather::resource_quotas) },
        shell("default-roles", rbac_kinds(), UNHURRIED, roles::complete_defaults()),
        shell("aggregation", vec![&kinds::CLUSTERROLE], UNHURRIED, roles::aggregate),
        Shell {
            resync: AUTOSCALER_RESYNC,
            ..shell("autoscaler", vec![&kinds::HORIZONTALPODAUTOSCALER], UNHURRIED, autoscale())
        },
        Shell {
            resync: LEASES_RESYNC,
            ..shell("node-leases", vec![&kinds::NAMESPACE, &kinds::NODE, &kinds::LEASE], UNHURRIED, gather::node_leases)
        },
        shell("events", Vec::new(), UNHURRIED, gather::old_events),
        Shell { resync: VOTERS_RESYNC, ..shell(VOTERS, Vec::new(), UNHURRIED, gather::voters) },
        Shell { resync: NODES_RESYNC, ..shell(NODES, vec![&kinds::NODE], PROMPT, watch_nodes(hearing)) },
    ]
}

/// The shell of this name, which remembers nothing yet.
pub(crate) fn named(name: &str, hearing: Arc<Hearing>) -> Shell {
    let mut all = all(hearing).into_iter();
    all.find(|shell| shell.name == name).expect("names are those of the table")
}

fn rbac_kinds() -> Vec<&'static Kind> {
    vec![&kinds::NAMESPACE, &kinds::ROLE, &kinds::CLUSTERROLE, &kinds::ROLEBINDING, &kinds::CLUSTERROLEBINDING]
}

fn shell(
    name: &'static str,
    reads: Vec<&'static Kind>,
    rest: Duration,
    pass: impl FnMut(&Desk, Timestamp) -> Plan + Send + 'static,
) -> Shell {
    let (rest_factor, rest_max) = if rest > PROMPT { (UNHURRIED_REST, RESYNC) } else { (PROMPT_REST, PROMPT_REST_MAX) };
    Shell { name, reads, reads_custom: false, rest, rest_factor, rest_max, resync: RESYNC, pass: Box::new(pass) }
}

/// The pass of the shell that evicts from tainted nodes. It remembers since when it knows each taint.
fn watch_taints(hearing: Arc<Hearing>) -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut since = taints::Since::new();
    move |desk, now| {
        let view = desk.cluster.store().view();
        let all = gather::list(&view, &kinds::NODE);
        let all = gather::borrowed(&all);
        since = taints::known(&all, &since, now);
        if since.is_empty() {
            return Plan::default();
        }
        // Of the others nobody asks: with thousands of pods all would be read at each change of one.
        let nodes: BTreeSet<&str> = since.keys().map(|(node, ..)| node.as_str()).collect();
        let pods = gather::pods(&view, |_, pod| nodes.contains(&*pod.node));
        let pods = gather::borrowed(&pods);
        let hearing_since = hearing.look(now, &desk.heartbeats);
        taints::plan(&taints::Input { nodes: &all, pods: &pods, since: &since, hearing_since }, now)
    }
}

/// The pass of the nodes' shell. It has a memory, unlike the others: since when it hears.
fn watch_nodes(hearing: Arc<Hearing>) -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    move |desk, now| {
        let hearing_since = hearing.look(now, &desk.heartbeats);
        let view = desk.cluster.store().view();
        let all = gather::list(&view, &kinds::NODE);
        let all = gather::borrowed(&all);
        // A witness has no Node.
        let members = (desk.electorate.roll)(&view);
        let is_member = |name: &str| members.values().any(|member| member.name == name);
        desk.heartbeats.retain(|name| all.iter().any(|node| node.name() == name) || is_member(name));
        let heard = desk.heartbeats.heard();
        let told = desk.heartbeats.told();
        let failures = told.iter().filter_map(|(name, (_, told))| Some((name.as_str(), told.failure.as_deref()?)));
        let failures = failures.collect();
        // Several times a second: pods are looked at when there is a node whose pods may have to go.
        let quiet: BTreeSet<&str> =
            all.iter().map(|node| node.name()).filter(|name| is_quiet(&heard, name, now)).collect();
        let pods = if quiet.is_empty() { Vec::new() } else { gather::pods(&view, |_, pod| quiet.contains(&*pod.node)) };
        let pods = gather::borrowed(&pods);
        nodes::plan(&nodes::Input { nodes: &all, pods: &pods, heard: &heard, failures: &failures, hearing_since }, now)
    }
}

/// Whether a node was not heard for so long that it may count as silent.
fn is_quiet(heard: &BTreeMap<String, Timestamp>, node: &str, now: Timestamp) -> bool {
    heard.get(node).is_none_or(|at| now.duration_since(*at) >= nodes::SILENT_AFTER)
}
