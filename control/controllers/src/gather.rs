//! The facts of each planner, from one view of the local copy. Those of owners of pods are in `workloads.rs`, the
//! scheduler's in `placing.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wk_api::{Kind, Object, kinds, quota};
use wk_base::time::Timestamp;
use wk_cluster::{Brief, PodBrief, brief, kinds_in, object, stored_kind, stored_kinds_in};
use wk_plan::{
    Plan, apiservice, claims, definitions, disruption, ephemeral, events, garbage, ingresses, leases, namespaces,
    podgc, protection, resourcequotas, rootca, serviceaccounts, voters,
};
use wk_store::{Part, Revision, Stored, View};

use crate::bereft::Bereft;
use crate::grouped::Grouped;
use crate::work::Desk;

/// All objects of a kind.
pub(crate) fn list(view: &View, kind: &Kind) -> Vec<Arc<Object>> {
    view.list(kind.collection(), "").map(|stored| object(&stored)).collect()
}

/// Objects, decoded.
pub(crate) fn decoded(objects: &[Arc<Stored>]) -> Vec<Arc<Object>> {
    objects.iter().map(|stored| object(stored)).collect()
}

/// As planners take them.
pub(crate) fn borrowed(objects: &[Arc<Object>]) -> Vec<&Object> {
    objects.iter().map(Arc::as_ref).collect()
}

/// Objects of every kind that `wanted` asks for.
fn all_of(view: &View, wanted: impl Fn(&Kind) -> bool) -> Vec<(&'static Kind, Arc<Object>)> {
    let kinds = stored_kinds_in(view).into_iter().filter(|kind| wanted(kind));
    kinds.flat_map(|kind| list(view, kind).into_iter().map(move |object| (kind, object))).collect()
}

pub(crate) fn disruptions(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let budgets = list(&view, &kinds::PODDISRUPTIONBUDGET);
    if budgets.is_empty() {
        return Plan::default();
    }
    let namespaces: BTreeSet<&str> = budgets.iter().map(|budget| budget.namespace()).collect();
    let pods = pods_in(&view, &namespaces);
    let controllers: Vec<Arc<Object>> =
        [&kinds::DEPLOYMENT, &kinds::REPLICASET, &kinds::STATEFULSET, &kinds::REPLICATIONCONTROLLER]
            .into_iter()
            .flat_map(|kind| list(&view, kind))
            .collect();
    let controllers = borrowed(&controllers);
    let scales = disruption::scales(&controllers);
    let mut plan = Plan::default();
    for budget in &budgets {
        let pods: Vec<&Object> = pods.iter().map(Arc::as_ref).filter(|pod| disruption::covers(budget, pod)).collect();
        plan.extend(disruption::plan(&disruption::Input { budget, pods: &pods, scales: &scales }, now));
    }
    plan
}

/// Whether a pod names claims, or has volumes that become some.
pub(crate) fn has_claims(pod: &Stored) -> bool {
    brief(pod).pod().is_some_and(|pod| pod.has_claims)
}

/// The pods that [`has_claims`] says it of.
fn claiming() -> Grouped<()> {
    Grouped::new(&kinds::POD, |pod, each| {
        if has_claims(pod) {
            each(());
        }
    })
}

/// The pods of some namespaces.
pub(crate) fn pods_in(view: &View, namespaces: &BTreeSet<&str>) -> Vec<Arc<Object>> {
    let in_one = |namespace: &&str| view.list(kinds::POD.collection(), &format!("{namespace}/")).collect::<Vec<_>>();
    namespaces.iter().flat_map(in_one).map(|stored| object(&stored)).collect()
}

/// The pods of which `wanted` says so by their briefs.
pub(crate) fn pods(view: &View, wanted: impl Fn(&Brief, &PodBrief) -> bool) -> Vec<Arc<Object>> {
    let is_wanted = |pod: &Arc<Stored>| brief(pod).pod().is_some_and(|it| wanted(brief(pod), it));
    view.list(kinds::POD.collection(), "").filter(is_wanted).map(|stored| object(&stored)).collect()
}

pub(crate) fn claims() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut claiming = claiming();
    move |desk, _| {
        let view = desk.cluster.store().view();
        claiming.follow(&view);
        let (pods, nodes) = (decoded(claiming.of(&()).members()), list(&view, &kinds::NODE));
        let (claims, volumes) = (list(&view, &kinds::PERSISTENTVOLUMECLAIM), list(&view, &kinds::PERSISTENTVOLUME));
        let classes = list(&view, &kinds::STORAGECLASS);
        claims::plan(&claims::Input {
            claims: &borrowed(&claims),
            volumes: &borrowed(&volumes),
            classes: &borrowed(&classes),
            pods: &borrowed(&pods),
            nodes: &borrowed(&nodes),
        })
    }
}

/// Claims and volumes that are to go and are held, and those that nothing holds.
pub(crate) fn protection() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut claiming = claiming();
    move |desk, _| {
        let view = desk.cluster.store().view();
        claiming.follow(&view);
        let is_open = |stored: &Arc<Stored>| brief(stored).is_deleting() == brief(stored).has_finalizers();
        let both = [&kinds::PERSISTENTVOLUMECLAIM, &kinds::PERSISTENTVOLUME];
        let open = both.into_iter().flat_map(|kind| {
            view.list(kind.collection(), "").filter(is_open).map(move |stored| (kind, object(&stored)))
        });
        let open: Vec<(&'static Kind, Arc<Object>)> = open.collect();
        if open.is_empty() {
            return Plan::default();
        }
        let claim_of = |volume: &Object| {
            let (namespace, name) = (volume.text("/spec/claimRef/namespace"), volume.text("/spec/claimRef/name"));
            view.get(&wk_cluster::key(&kinds::PERSISTENTVOLUMECLAIM, Some(namespace), name))
                .map(|stored| object(&stored))
        };
        let claims: Vec<Arc<Object>> = open.iter().filter_map(|(_, object)| claim_of(object)).collect();
        protection::plan(&protection::Input {
            objects: &open.iter().map(|(kind, object)| (*kind, object.as_ref())).collect::<Vec<_>>(),
            pods: &borrowed(&decoded(claiming.of(&()).members())),
            claims: &borrowed(&claims),
        })
    }
}

/// Remembers for one leadership since when nodes are missing.
pub(crate) fn pod_garbage() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut absent: BTreeMap<String, Timestamp> = BTreeMap::new();
    move |desk, now| {
        let view = desk.cluster.store().view();
        let nodes = list(&view, &kinds::NODE);
        let names: BTreeSet<&str> = nodes.iter().map(|node| node.name()).collect();
        let pods = pods(&view, |brief, pod| {
            let lost = if pod.node.is_empty() { brief.is_deleting() } else { !names.contains(&*pod.node) };
            lost || pod.is_finished
        });
        let named = pods.iter().map(|pod| pod.text("/spec/nodeName")).filter(|node| !node.is_empty());
        let missing: BTreeSet<&str> = named.filter(|node| !names.contains(node)).collect();
        absent.retain(|node, _| missing.contains(node.as_str()));
        for node in missing {
            absent.entry(node.to_owned()).or_insert(now);
        }
        podgc::plan(&podgc::Input { pods: &borrowed(&pods), nodes: &borrowed(&nodes), absent: &absent }, now)
    }
}

pub(crate) fn garbage() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut bereft = Bereft::default();
    move |desk, _| {
        let view = desk.cluster.store().view();
        bereft.follow(&view);
        if !bereft.may_be_any() {
            return Plan::default();
        }
        // Events have no owners, and the planner takes any that is named as an owner to be there.
        let objects = bereft.concerned(&view).into_iter().map(|(kind, stored)| (kind, object(&stored)));
        let objects: Vec<(&'static Kind, Arc<Object>)> = objects.collect();
        let objects: Vec<_> = objects.iter().map(|(kind, object)| (*kind, object.as_ref())).collect();
        let plan = garbage::plan(&garbage::Input { objects: &objects, kinds: &kinds_in(&view) });
        if plan.orders.is_empty() {
            bereft.let_be();
        }
        plan
    }
}

pub(crate) fn namespaces(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let mut plan = Plan::default();
    for namespace in list(&view, &kinds::NAMESPACE).iter().filter(|namespace| namespace.is_deleting()) {
        let prefix = format!("{}/", namespace.name());
        let content: Vec<(&'static Kind, Arc<Object>)> = stored_kinds_in(&view)
            .into_iter()
            .filter(|kind| kind.is_namespaced())
            .flat_map(|kind| view.list(kind.collection(), &prefix).map(move |stored| (kind, object(&stored))))
            .collect();
        let content: Vec<_> = content.iter().map(|(kind, object)| (*kind, object.as_ref())).collect();
        plan.extend(namespaces::plan(&namespaces::Input { namespace, content: &content }, now));
    }
    plan
}

pub(crate) fn service_accounts(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (namespaces, accounts) = (list(&view, &kinds::NAMESPACE), list(&view, &kinds::SERVICEACCOUNT));
    let (namespaces, accounts) = (borrowed(&namespaces), borrowed(&accounts));
    let name = wk_cluster::DEFAULT_SERVICE_ACCOUNT;
    serviceaccounts::plan(&serviceaccounts::Input { namespaces: &namespaces, accounts: &accounts, name })
}

pub(crate) fn root_ca() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    // What nothing was to be done for. Any ConfigMap wakes this, and hardly any is its own.
    let mut settled: Option<(Part, Vec<Option<Revision>>)> = None;
    move |desk, _| {
        let view = desk.cluster.store().view();
        let published: Vec<Option<Arc<Stored>>> = view
            .list(kinds::NAMESPACE.collection(), "")
            .map(|stored| view.get(&wk_cluster::key(&kinds::CONFIGMAP, Some(stored.key().name()), rootca::NAME)))
            .collect();
        let revisions = published.iter().map(|stored| stored.as_ref().map(|stored| stored.revision())).collect();
        let now = Some((view.part(kinds::NAMESPACE.collection()), revisions));
        if settled == now {
            return Plan::default();
        }
        let namespaces = list(&view, &kinds::NAMESPACE);
        let published: Vec<Arc<Object>> = published.iter().flatten().map(|stored| object(stored)).collect();
        let plan = rootca::plan(&rootca::Input {
            namespaces: &borrowed(&namespaces),
            published: &borrowed(&published),
            certificate: &desk.authority,
        });
        settled = now.filter(|_| plan.orders.is_empty());
        plan
    }
}

pub(crate) fn ingresses(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (ingresses, nodes) = (list(&view, &kinds::INGRESS), list(&view, &kinds::NODE));
    ingresses::plan(&ingresses::Input { ingresses: &borrowed(&ingresses), nodes: &borrowed(&nodes) })
}

pub(crate) fn ephemeral_volumes() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut claiming = claiming();
    move |desk, _| {
        let view = desk.cluster.store().view();
        claiming.follow(&view);
        let mut pods = decoded(claiming.of(&()).members());
        pods.retain(|pod| pod.items("/spec/volumes").iter().any(|volume| volume.get("ephemeral").is_some()));
        if pods.is_empty() {
            return Plan::default();
        }
        let claims = list(&view, &kinds::PERSISTENTVOLUMECLAIM);
        ephemeral::plan(&ephemeral::Input { pods: &borrowed(&pods), claims: &borrowed(&claims) })
    }
}

pub(crate) fn api_service(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (namespaces, nodes) = (list(&view, &kinds::NAMESPACE), list(&view, &kinds::NODE));
    let one = |kind: &Kind| {
        let stored = view.get(&wk_cluster::key(kind, Some(apiservice::NAMESPACE), apiservice::NAME));
        stored.map(|stored| object(&stored))
    };
    let (service, endpoints) = (one(&kinds::SERVICE), one(&kinds::ENDPOINTS));
    // Ours begin with its name; all slices of a large cluster decoded are megabytes.
    let ours = format!("{}/{}", apiservice::NAMESPACE, apiservice::NAME);
    let slices: Vec<Arc<Object>> =
        view.list(kinds::ENDPOINTSLICE.collection(), &ours).map(|stored| object(&stored)).collect();
    let service_cidr = view.get(&wk_cluster::key(&kinds::SERVICECIDR, None, apiservice::NAME));
    let service_cidr = service_cidr.map(|stored| object(&stored));
    let input = apiservice::Input {
        namespaces: &borrowed(&namespaces),
        nodes: &borrowed(&nodes),
        service: service.as_deref(),
        endpoints: endpoints.as_deref(),
        slices: &borrowed(&slices),
        range: &wk_cluster::SERVICE_RANGE.to_string(),
        service_cidr: service_cidr.as_deref(),
    };
    apiservice::plan(&input, now)
}

pub(crate) fn node_leases(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let nodes = list(&view, &kinds::NODE);
    let prefix = format!("{}/", leases::NAMESPACE);
    let of_nodes: Vec<Arc<Object>> =
        view.list(kinds::LEASE.collection(), &prefix).map(|stored| object(&stored)).collect();
    let namespace = view.get(&wk_cluster::key(&kinds::NAMESPACE, None, leases::NAMESPACE));
    let namespace = namespace.map(|stored| object(&stored));
    let (nodes, of_nodes, heard) = (borrowed(&nodes), borrowed(&of_nodes), desk.heartbeats.heard());
    let namespace = namespace.as_deref();
    leases::plan(&leases::Input { nodes: &nodes, leases: &of_nodes, namespace, heard: &heard })
}

pub(crate) fn resource_quotas(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let mut plan = Plan::default();
    for quota in list(&view, &kinds::RESOURCEQUOTA) {
        let (hard, prefix) = (quota::hard(&quota), format!("{}/", quota.namespace()));
        let content: Vec<(&'static Kind, Arc<Object>)> = stored_kinds_in(&view)
            .into_iter()
            .filter(|kind| quota::counts(&hard, kind))
            .flat_map(|kind| view.list(kind.collection(), &prefix).map(move |stored| (kind, object(&stored))))
            .collect();
        let content: Vec<_> = content.iter().map(|(kind, object)| (*kind, object.as_ref())).collect();
        plan.extend(resourcequotas::plan(&resourcequotas::Input { quota: &quota, content: &content }, now));
    }
    plan
}

pub(crate) fn definitions(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let mut plan = Plan::default();
    for definition in list(&view, &kinds::CRD).iter().filter(|definition| definition.is_deleting()) {
        let kind = stored_kind(definition);
        let content = kind.map(|kind| list(&view, kind)).unwrap_or_default();
        let content: Vec<_> =
            kind.into_iter().flat_map(|kind| content.iter().map(move |object| (kind, &**object))).collect();
        let owned = if content.is_empty() { owned_by(&view, definition) } else { 0 };
        plan.extend(definitions::plan(&definitions::Input { definition, content: &content, owned }));
    }
    plan
}

/// Objects that stay and name an object of `definition` as an owner.
fn owned_by(view: &View, definition: &Object) -> usize {
    let (group, word) = (definition.text("/spec/group"), definition.text("/spec/names/kind"));
    let names = |owner: &serde_json::Value| {
        let version = owner["apiVersion"].as_str().and_then(|version| version.split_once('/'));
        owner["kind"] == word && version.is_some_and(|(own, _)| own == group)
    };
    let owned = |object: &Object| !object.is_deleting() && object.items("/metadata/ownerReferences").iter().any(names);
    all_of(view, |kind| *kind != kinds::EVENT).iter().filter(|(_, object)| owned(object)).count()
}

pub(crate) fn old_events(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    // One decoded at a time: together they would be many times what they are.
    let events: Vec<events::Seen> =
        view.list(kinds::EVENT.collection(), "").map(|stored| events::Seen::of(&object(&stored))).collect();
    events::plan(&events::Input { events: &events }, now)
}

pub(crate) fn voters(desk: &Desk, now: Timestamp) -> Plan {
    voters::plan(&desk.electorate.input(desk.cluster.store(), &desk.heartbeats, now))
}
