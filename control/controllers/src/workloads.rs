//! The facts of those who own pods, or stand in front of them. With thousands of pods one change concerns a hundred: all
//! are looked at by their briefs, and only those of an owner that something happened to are decoded.
//!
//! Not here: the other planners' facts (`gather.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::tz::TimeZone;
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;
use wk_cluster::{brief, label_hash, object};
use wk_plan::endpointslice::{endpoints, mirror};
use wk_plan::{Plan, cronjob, daemonset, deployment, endpointslice, job, replicaset};
use wk_store::{Stored, View};

use crate::gather::borrowed;
use crate::settled::{Settled, Versions};
use crate::work::Desk;

/// Objects of one kind by the uid of their controller, and those without one by their namespace.
struct Children<'a> {
    owned: HashMap<&'a str, Vec<&'a Arc<Stored>>>,
    orphans: HashMap<&'a str, Vec<&'a Arc<Stored>>>,
}

impl<'a> Children<'a> {
    fn of(objects: &'a [Arc<Stored>]) -> Self {
        let mut children = Self { owned: HashMap::new(), orphans: HashMap::new() };
        for object in objects {
            match brief(object).controller() {
                Some(owner) => children.owned.entry(owner).or_default().push(object),
                None => children.orphans.entry(namespace(object)).or_default().push(object),
            }
        }
        children
    }

    fn owned_by(&self, owner: &Arc<Stored>) -> &[&'a Arc<Stored>] {
        self.owned.get(brief(owner).uid()).map(Vec::as_slice).unwrap_or_default()
    }

    fn orphans_beside(&self, owner: &Arc<Stored>) -> &[&'a Arc<Stored>] {
        self.orphans.get(namespace(owner)).map(Vec::as_slice).unwrap_or_default()
    }
}

fn all(view: &View, kind: &Kind) -> Vec<Arc<Stored>> {
    view.list(kind.collection(), "").collect()
}

fn decoded(objects: &[&Arc<Stored>]) -> Vec<Arc<Object>> {
    objects.iter().map(|stored| object(stored)).collect()
}

/// The namespace of a namespaced object.
fn namespace(stored: &Stored) -> &str {
    stored.key().name().split_once('/').map_or("", |(namespace, _)| namespace)
}

pub(crate) fn deployments() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let deployments = all(&view, &kinds::DEPLOYMENT);
        if deployments.is_empty() {
            return Plan::default();
        }
        let (sets, pods) = (all(&view, &kinds::REPLICASET), all(&view, &kinds::POD));
        let (of_deployments, of_sets) = (Children::of(&sets), Children::of(&pods));
        let mut plan = Plan::default();
        for stored in &deployments {
            let own = of_deployments.owned_by(stored);
            let orphans = of_deployments.orphans_beside(stored);
            let pods: Vec<&Arc<Stored>> = own.iter().flat_map(|set| of_sets.owned_by(set).iter().copied()).collect();
            let versions = Versions::of([stored]).and(own.iter().copied()).and(orphans.iter().copied());
            plan.extend(settled.plan(brief(stored).uid(), &versions.and(pods.iter().copied()), now, || {
                let beside = format!("{}/", namespace(stored));
                let taken = view.list(kinds::REPLICASET.collection(), &beside);
                let taken: Vec<_> = taken.map(|set| set.key().name()[beside.len()..].to_owned()).collect();
                let (replicasets, orphans, pods) = (decoded(own), decoded(orphans), decoded(&pods));
                let deployment = object(stored);
                let input = deployment::Input {
                    deployment: &deployment,
                    replicasets: &borrowed(&replicasets),
                    orphans: &borrowed(&orphans),
                    taken: &taken.iter().map(String::as_str).collect(),
                    pods: &borrowed(&pods),
                };
                deployment::plan(&input, now)
            }));
        }
        plan
    }
}

pub(crate) fn replicasets() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let (sets, pods) = (all(&view, &kinds::REPLICASET), all(&view, &kinds::POD));
        let children = Children::of(&pods);
        let mut plan = Plan::default();
        for set in &sets {
            let (pods, orphans) = (children.owned_by(set), children.orphans_beside(set));
            let refused = desk.refusals.why(brief(set).uid());
            let versions = Versions::of([set]).and(pods.iter().copied()).and(orphans.iter().copied());
            let versions = versions.and_text(refused.as_deref());
            plan.extend(settled.plan(brief(set).uid(), &versions, now, || {
                let (pods, orphans) = (decoded(pods), decoded(orphans));
                let (replicaset, pods, orphans) = (object(set), borrowed(&pods), borrowed(&orphans));
                let refused = refused.as_deref();
                let input = replicaset::Input { replicaset: &replicaset, pods: &pods, orphans: &orphans, refused };
                replicaset::plan(&input, now)
            }));
        }
        plan
    }
}

pub(crate) fn jobs() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let (jobs, pods) = (all(&view, &kinds::JOB), all(&view, &kinds::POD));
        let uids: BTreeSet<&str> = jobs.iter().map(|job| brief(job).uid()).collect();
        // Whoever counts a pod holds it.
        let bereft = |pod: &&Arc<Stored>| {
            let brief = brief(pod);
            brief.has_finalizers() && brief.controller().is_some_and(|owner| !uids.contains(owner))
        };
        let bereft: Vec<&Arc<Stored>> = pods.iter().filter(bereft).collect();
        let mut plan = job::release(borrowed(&decoded(&bereft)));
        if jobs.is_empty() {
            return plan;
        }
        let children = Children::of(&pods);
        for job in &jobs {
            let (pods, orphans) = (children.owned_by(job), children.orphans_beside(job));
            let versions = Versions::of([job]).and(pods.iter().copied()).and(orphans.iter().copied());
            plan.extend(settled.plan(brief(job).uid(), &versions, now, || {
                let (pods, orphans) = (decoded(pods), decoded(orphans));
                job::plan(&job::Input { job: &object(job), pods: &borrowed(&pods), orphans: &borrowed(&orphans) }, now)
            }));
        }
        plan
    }
}

pub(crate) fn daemonsets() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let sets = all(&view, &kinds::DAEMONSET);
        if sets.is_empty() {
            return Plan::default();
        }
        let (pods, nodes, revisions) =
            (all(&view, &kinds::POD), all(&view, &kinds::NODE), all(&view, &kinds::CONTROLLERREVISION));
        let (children, of_sets) = (Children::of(&pods), Children::of(&revisions));
        let mut plan = Plan::default();
        for set in &sets {
            let (pods, orphans, own) = (children.owned_by(set), children.orphans_beside(set), of_sets.owned_by(set));
            let versions = Versions::of([set]).and(pods.iter().copied()).and(orphans.iter().copied());
            let versions = versions.and(own.iter().copied()).and(&nodes);
            plan.extend(settled.plan(brief(set).uid(), &versions, now, || {
                let (pods, orphans, revisions) = (decoded(pods), decoded(orphans), decoded(own));
                let nodes: Vec<Arc<Object>> = nodes.iter().map(|stored| object(stored)).collect();
                let input = daemonset::Input {
                    daemonset: &object(set),
                    pods: &borrowed(&pods),
                    orphans: &borrowed(&orphans),
                    revisions: &borrowed(&revisions),
                    nodes: &borrowed(&nodes),
                };
                daemonset::plan(&input, now)
            }));
        }
        plan
    }
}

pub(crate) fn cronjobs() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let cronjobs = all(&view, &kinds::CRONJOB);
        if cronjobs.is_empty() {
            return Plan::default();
        }
        let jobs = all(&view, &kinds::JOB);
        let children = Children::of(&jobs);
        let mut plan = Plan::default();
        for stored in &cronjobs {
            let jobs = children.owned_by(stored);
            let versions = Versions::of([stored]).and(jobs.iter().copied());
            plan.extend(settled.plan(brief(stored).uid(), &versions, now, || {
                let (cronjob, jobs) = (object(stored), decoded(jobs));
                // Without a name it is the clock of whoever leads in Kubernetes; here it is one clock for all.
                let zone = match cronjob.text("/spec/timeZone") {
                    "" => Some(TimeZone::UTC),
                    name => TimeZone::get(name).ok(),
                };
                let input = cronjob::Input { cronjob: &cronjob, jobs: &borrowed(&jobs), zone: zone.as_ref() };
                cronjob::plan(&input, now)
            }));
        }
        plan
    }
}

/// Objects of a namespace that have a label.
type Labelled<'a> = HashMap<(&'a str, u64), Vec<&'a Arc<Stored>>>;

/// Services, decoded: there are few of them beside their pods.
fn services(view: &View) -> Vec<(Arc<Object>, Arc<Stored>)> {
    all(view, &kinds::SERVICE).into_iter().map(|stored| (object(&stored), stored)).collect()
}

/// Pods by the terms of services. Each service is shown the pods that have one of its labels, not all pods of its
/// namespace: a hundred services of a hundred pods each would be a million looks.
fn by_term<'a>(services: &'a [(Arc<Object>, Arc<Stored>)], pods: &'a [Arc<Stored>]) -> Labelled<'a> {
    let terms = services.iter().filter_map(|(service, stored)| term(service, stored));
    let mut pods_of: Labelled<'a> = terms.map(|term| (term, Vec::new())).collect();
    let mut terms: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for &(namespace, label) in pods_of.keys() {
        terms.entry(namespace).or_default().push(label);
    }
    for pod in pods {
        let namespace = namespace(pod);
        let Some(terms) = terms.get(namespace) else { continue };
        for label in brief(pod).labels().filter(|label| terms.contains(label)) {
            pods_of.entry((namespace, label)).or_default().push(pod);
        }
    }
    pods_of
}

fn by_label(objects: &[Arc<Stored>]) -> Labelled<'_> {
    let mut labelled = Labelled::new();
    for object in objects {
        for label in brief(object).labels() {
            labelled.entry((namespace(object), label)).or_default().push(object);
        }
    }
    labelled
}

pub(crate) fn endpointslices() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let services = services(&view);
        let (pods, slices) = (all(&view, &kinds::POD), all(&view, &kinds::ENDPOINTSLICE));
        let (pods_of, slices_of) = (by_term(&services, &pods), by_label(&slices));
        let mut plan = Plan::default();
        for (service, stored) in &services {
            let pods = term(service, stored).and_then(|term| pods_of.get(&term));
            let pods = pods.map(Vec::as_slice).unwrap_or_default();
            let label = label_hash(endpointslice::SERVICE_LABEL, service.name());
            let slices = slices_of.get(&(namespace(stored), label)).map(Vec::as_slice).unwrap_or_default();
            let versions = Versions::of([stored]).and(pods.iter().copied()).and(slices.iter().copied());
            plan.extend(settled.plan(service.uid(), &versions, now, || {
                let (pods, slices) = (decoded(pods), decoded(slices));
                endpointslice::plan(&endpointslice::Input {
                    service,
                    pods: &borrowed(&pods),
                    slices: &borrowed(&slices),
                })
            }));
        }
        plan
    }
}

/// Endpoints of services, and slices of Endpoints.
pub(crate) fn endpoints() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let (mut settled, mut mirrored) = (Settled::default(), Settled::default());
    move |desk, now| {
        settled.begin();
        mirrored.begin();
        let view = desk.cluster.store().view();
        let services = services(&view);
        let (pods, slices) = (all(&view, &kinds::POD), all(&view, &kinds::ENDPOINTSLICE));
        let every = all(&view, &kinds::ENDPOINTS);
        let (pods_of, slices_of) = (by_term(&services, &pods), by_label(&slices));
        let of_name: HashMap<&str, &Arc<Stored>> = every.iter().map(|it| (it.key().name(), it)).collect();
        let by_name: HashMap<&str, &(Arc<Object>, Arc<Stored>)> =
            services.iter().map(|it| (it.1.key().name(), it)).collect();
        let mut plan = Plan::default();
        for (service, stored) in &services {
            let pods = term(service, stored).and_then(|term| pods_of.get(&term));
            let pods = pods.map(Vec::as_slice).unwrap_or_default();
            let endpoints = of_name.get(stored.key().name()).copied();
            let versions = Versions::of([stored]).and(pods.iter().copied()).and(endpoints);
            plan.extend(settled.plan(service.uid(), &versions, now, || {
                let (pods, endpoints) = (decoded(pods), endpoints.map(|stored| object(stored)));
                let endpoints = endpoints.as_deref();
                endpoints::plan(&endpoints::Input { service, pods: &borrowed(&pods), endpoints })
            }));
        }
        for stored in &every {
            let service = by_name.get(stored.key().name()).copied();
            let name = stored.key().name().split_once('/').map_or("", |(_, name)| name);
            let label = label_hash(endpointslice::SERVICE_LABEL, name);
            let slices = slices_of.get(&(namespace(stored), label)).map(Vec::as_slice).unwrap_or_default();
            let versions = Versions::of([stored]).and(service.map(|(_, stored)| stored)).and(slices.iter().copied());
            plan.extend(mirrored.plan(brief(stored).uid(), &versions, now, || {
                let (endpoints, slices) = (object(stored), decoded(slices));
                let service = service.map(|(service, _)| service.as_ref());
                let mut plan = Plan::default();
                if service.is_none() && endpoints::is_made(&endpoints) && !endpoints.is_deleting() {
                    plan.orders.push(endpoints::delete(&endpoints));
                }
                plan.extend(mirror::plan(&mirror::Input {
                    endpoints: &endpoints,
                    service,
                    slices: &borrowed(&slices),
                }));
                plan
            }));
        }
        plan
    }
}

/// One of the labels that a service's pods have, within its namespace: the one with the longest value, which the fewest
/// others share.
fn term<'a>(service: &Object, stored: &'a Stored) -> Option<(&'a str, u64)> {
    let selector = service.at("/spec/selector")?.as_object()?;
    let labels = selector.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    let (key, value) = labels.max_by_key(|(_, value)| value.len())?;
    Some((namespace(stored), label_hash(key, value)))
}
