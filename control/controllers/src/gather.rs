//! The facts of each planner, from one view of the local copy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wk_api::{Kind, Object, kinds, quota};
use wk_base::time::Timestamp;
use wk_cluster::{kinds_in, object, stored_kind, stored_kinds_in};
use wk_plan::endpointslice::{endpoints, mirror};
use wk_plan::{
    Children, Plan, apiservice, claims, definitions, deployment, disruption, endpointslice, ephemeral, events, garbage,
    job, namespaces, podgc, replicaset, resourcequotas, rootca, scheduler, serviceaccounts, voters,
};
use wk_store::View;

use crate::work::Desk;

/// All objects of a kind.
pub(crate) fn list(view: &View, kind: &Kind) -> Vec<Arc<Object>> {
    view.list(kind.collection(), "").map(|stored| object(&stored)).collect()
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

pub(crate) fn deployments(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let deployments = list(&view, &kinds::DEPLOYMENT);
    if deployments.is_empty() {
        return Plan::default();
    }
    let (sets, pods) = (list(&view, &kinds::REPLICASET), list(&view, &kinds::POD));
    let of_deployments = Children::of(sets.iter().map(Arc::as_ref));
    let of_sets = Children::of(pods.iter().map(Arc::as_ref));
    let mut taken: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for set in &sets {
        taken.entry(set.namespace()).or_default().insert(set.name());
    }
    let none = BTreeSet::new();
    let mut plan = Plan::default();
    for deployment in &deployments {
        let replicasets = of_deployments.owned_by(deployment);
        let pods: Vec<&Object> = replicasets.iter().flat_map(|set| of_sets.owned_by(set).iter().copied()).collect();
        plan.extend(deployment::plan(
            &deployment::Input {
                deployment,
                replicasets,
                orphans: of_deployments.orphans_beside(deployment),
                taken: taken.get(deployment.namespace()).unwrap_or(&none),
                pods: &pods,
            },
            now,
        ));
    }
    plan
}

pub(crate) fn replicasets(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (sets, pods) = (list(&view, &kinds::REPLICASET), list(&view, &kinds::POD));
    let children = Children::of(pods.iter().map(Arc::as_ref));
    let mut plan = Plan::default();
    for set in &sets {
        let (pods, orphans) = (children.owned_by(set), children.orphans_beside(set));
        let refused = desk.refusals.why(set.uid());
        let refused = refused.as_deref();
        plan.extend(replicaset::plan(&replicaset::Input { replicaset: set, pods, orphans, refused }, now));
    }
    plan
}

pub(crate) fn jobs(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (jobs, pods) = (list(&view, &kinds::JOB), list(&view, &kinds::POD));
    let children = Children::of(pods.iter().map(Arc::as_ref));
    let uids: BTreeSet<&str> = jobs.iter().map(|job| job.uid()).collect();
    let mut plan = job::release(children.bereft(&uids));
    for job in &jobs {
        let (pods, orphans) = (children.owned_by(job), children.orphans_beside(job));
        plan.extend(job::plan(&job::Input { job, pods, orphans }, now));
    }
    plan
}

pub(crate) fn endpointslices(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let services = list(&view, &kinds::SERVICE);
    let (pods, slices) = (list(&view, &kinds::POD), list(&view, &kinds::ENDPOINTSLICE));
    let pods_of = by_term(&services, &pods);
    let slices_of = by_service(&slices);
    let mut plan = Plan::default();
    for service in &services {
        let pods = term(service).and_then(|(key, value)| pods_of.get(&(service.namespace(), key, value)));
        let pods = pods.map(Vec::as_slice).unwrap_or_default();
        let slices = slices_of.get(&(service.namespace(), service.name())).map(Vec::as_slice).unwrap_or_default();
        plan.extend(endpointslice::plan(&endpointslice::Input { service, pods, slices }));
    }
    plan
}

/// Pods by namespace and by each label that some service selects by.
type ByTerm<'a> = BTreeMap<(&'a str, &'a str, &'a str), Vec<&'a Object>>;

fn by_term<'a>(services: &'a [Arc<Object>], pods: &'a [Arc<Object>]) -> ByTerm<'a> {
    // Each service is shown the pods that have one of its labels, not all pods of its namespace: a hundred services of a
    // hundred pods each would be a million looks.
    let selectors: BTreeMap<&str, BTreeSet<&str>> = services
        .iter()
        .filter_map(|it| Some((it.namespace(), term(it)?.0)))
        .fold(BTreeMap::new(), |mut keys: BTreeMap<_, BTreeSet<_>>, (namespace, key)| {
            keys.entry(namespace).or_default().insert(key);
            keys
        });
    let mut pods_of = ByTerm::new();
    for pod in pods {
        for key in selectors.get(pod.namespace()).into_iter().flatten() {
            if let Some(value) = pod.label(key) {
                pods_of.entry((pod.namespace(), key, value)).or_default().push(pod);
            }
        }
    }
    pods_of
}

/// Slices by namespace and service.
fn by_service(slices: &[Arc<Object>]) -> BTreeMap<(&str, &str), Vec<&Object>> {
    let mut slices_of: BTreeMap<(&str, &str), Vec<&Object>> = BTreeMap::new();
    for slice in slices {
        if let Some(service) = slice.label(endpointslice::SERVICE_LABEL) {
            slices_of.entry((slice.namespace(), service)).or_default().push(slice);
        }
    }
    slices_of
}

/// Endpoints of services, and slices of Endpoints.
pub(crate) fn endpoints(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let services = list(&view, &kinds::SERVICE);
    let (pods, slices) = (list(&view, &kinds::POD), list(&view, &kinds::ENDPOINTSLICE));
    let all = list(&view, &kinds::ENDPOINTS);
    let of_name: BTreeMap<_, _> = all.iter().map(|it| ((it.namespace(), it.name()), it.as_ref())).collect();
    let by_name: BTreeMap<_, _> = services.iter().map(|it| ((it.namespace(), it.name()), it.as_ref())).collect();
    let (pods_of, slices_of) = (by_term(&services, &pods), by_service(&slices));
    let mut plan = Plan::default();
    for service in &services {
        let pods = term(service).and_then(|(key, value)| pods_of.get(&(service.namespace(), key, value)));
        let pods = pods.map(Vec::as_slice).unwrap_or_default();
        let endpoints = of_name.get(&(service.namespace(), service.name())).copied();
        plan.extend(endpoints::plan(&endpoints::Input { service, pods, endpoints }));
    }
    for endpoints in &all {
        let key = (endpoints.namespace(), endpoints.name());
        let service = by_name.get(&key).copied();
        if service.is_none() && endpoints::is_made(endpoints) && !endpoints.is_deleting() {
            plan.orders.push(endpoints::delete(endpoints));
        }
        let slices = slices_of.get(&key).map(Vec::as_slice).unwrap_or_default();
        plan.extend(mirror::plan(&mirror::Input { endpoints, service, slices }));
    }
    plan
}

/// One of the labels that a service's pods have: the one with the longest value, which the fewest others share.
fn term(service: &Object) -> Option<(&str, &str)> {
    let selector = service.at("/spec/selector")?.as_object()?;
    let labels = selector.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    labels.max_by_key(|(_, value)| value.len())
}

pub(crate) fn disruptions(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let budgets = list(&view, &kinds::PODDISRUPTIONBUDGET);
    if budgets.is_empty() {
        return Plan::default();
    }
    let pods = list(&view, &kinds::POD);
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

pub(crate) fn schedule(desk: &Desk, now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (pods, nodes) = (list(&view, &kinds::POD), list(&view, &kinds::NODE));
    let (claims, volumes) = (list(&view, &kinds::PERSISTENTVOLUMECLAIM), list(&view, &kinds::PERSISTENTVOLUME));
    let input = scheduler::Input {
        pods: &borrowed(&pods),
        nodes: &borrowed(&nodes),
        claims: &borrowed(&claims),
        volumes: &borrowed(&volumes),
    };
    scheduler::plan(&input, now)
}

pub(crate) fn claims(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (pods, nodes) = (list(&view, &kinds::POD), list(&view, &kinds::NODE));
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

pub(crate) fn pod_garbage(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (pods, nodes) = (list(&view, &kinds::POD), list(&view, &kinds::NODE));
    podgc::plan(&podgc::Input { pods: &borrowed(&pods), nodes: &borrowed(&nodes) })
}

pub(crate) fn garbage(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    // Events have no owners, and the planner takes any that is named as an owner to be there.
    let objects = all_of(&view, |kind| *kind != kinds::EVENT);
    let objects: Vec<_> = objects.iter().map(|(kind, object)| (*kind, object.as_ref())).collect();
    garbage::plan(&garbage::Input { objects: &objects, kinds: &kinds_in(&view) })
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

pub(crate) fn root_ca(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let namespaces = list(&view, &kinds::NAMESPACE);
    let published = |namespace: &Arc<Object>| {
        let stored = view.get(&wk_cluster::key(&kinds::CONFIGMAP, Some(namespace.name()), rootca::NAME))?;
        Some(object(&stored))
    };
    let published: Vec<Arc<Object>> = namespaces.iter().filter_map(published).collect();
    rootca::plan(&rootca::Input {
        namespaces: &borrowed(&namespaces),
        published: &borrowed(&published),
        certificate: &desk.authority,
    })
}

pub(crate) fn ephemeral_volumes(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let mut pods = list(&view, &kinds::POD);
    pods.retain(|pod| pod.items("/spec/volumes").iter().any(|volume| volume.get("ephemeral").is_some()));
    if pods.is_empty() {
        return Plan::default();
    }
    let claims = list(&view, &kinds::PERSISTENTVOLUMECLAIM);
    ephemeral::plan(&ephemeral::Input { pods: &borrowed(&pods), claims: &borrowed(&claims) })
}

pub(crate) fn api_service(desk: &Desk, _now: Timestamp) -> Plan {
    let view = desk.cluster.store().view();
    let (namespaces, nodes) = (list(&view, &kinds::NAMESPACE), list(&view, &kinds::NODE));
    let one = |kind: &Kind| {
        let stored = view.get(&wk_cluster::key(kind, Some(apiservice::NAMESPACE), apiservice::NAME));
        stored.map(|stored| object(&stored))
    };
    let (service, endpoints) = (one(&kinds::SERVICE), one(&kinds::ENDPOINTS));
    let mut slices = list(&view, &kinds::ENDPOINTSLICE);
    slices.retain(|slice| slice.namespace() == apiservice::NAMESPACE);
    apiservice::plan(&apiservice::Input {
        namespaces: &borrowed(&namespaces),
        nodes: &borrowed(&nodes),
        service: service.as_deref(),
        endpoints: endpoints.as_deref(),
        slices: &borrowed(&slices),
    })
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
    let events = list(&desk.cluster.store().view(), &kinds::EVENT);
    events::plan(&events::Input { events: &borrowed(&events) }, now)
}

pub(crate) fn voters(desk: &Desk, now: Timestamp) -> Plan {
    voters::plan(&desk.electorate.input(desk.cluster.store(), &desk.heartbeats, now))
}
