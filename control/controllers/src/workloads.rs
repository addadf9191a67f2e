//! The facts of those who own pods, or stand in front of them. With thousands of pods one change concerns a hundred: pods
//! are kept by their owners, and only those of an owner that something happened to are looked at.
//!
//! Not here: the other planners' facts (`gather.rs`).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::tz::TimeZone;
use wk_api::{Kind, Object, kinds, zones};
use wk_base::time::Timestamp;
use wk_cluster::{brief, label_hash, object};
use wk_plan::endpointslice::{endpoints, mirror};
use wk_plan::{Plan, cronjob, daemonset, deployment, endpointslice, job, replicaset, statefulset};
use wk_store::{Stored, View};

use crate::gather::{borrowed, decoded};
use crate::grouped::{Group, Grouped};
use crate::settled::{Settled, Versions};
use crate::work::Desk;

/// Whose an object is: its controller's, by uid, or nobody's in its namespace.
#[derive(PartialEq, Eq, Hash)]
enum Tie {
    Of(Box<str>),
    Alone(Box<str>),
}

/// Objects of one kind by whose they are.
struct Children(Grouped<Tie>);

impl Children {
    fn new(kind: &'static Kind) -> Self {
        Self(Grouped::new(kind, |stored, each| {
            each(match brief(stored).controller() {
                Some(owner) => Tie::Of(owner.into()),
                None => Tie::Alone(namespace(stored).into()),
            });
        }))
    }

    fn owned_by(&self, owner: &Stored) -> &Group {
        self.0.of(&Tie::Of(brief(owner).uid().into()))
    }

    fn orphans_beside(&self, owner: &Stored) -> &Group {
        self.0.of(&Tie::Alone(namespace(owner).into()))
    }
}

fn all(view: &View, kind: &Kind) -> Vec<Arc<Stored>> {
    view.list(kind.collection(), "").collect()
}

/// The names of objects of a kind, in the namespace of `owner`, that may be called as those are that it makes.
fn taken(view: &View, kind: &Kind, owner: &Stored) -> Vec<String> {
    let named = format!("{}-", owner.key().name());
    let at = namespace(owner).len() + 1;
    view.list(kind.collection(), &named).map(|there| there.key().name()[at..].to_owned()).collect()
}

/// The namespace of an object; empty for one that has none.
pub(crate) fn namespace(stored: &Stored) -> &str {
    stored.key().name().split_once('/').map_or("", |(namespace, _)| namespace)
}

pub(crate) fn deployments() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    let (mut of_deployments, mut of_sets) = (Children::new(&kinds::REPLICASET), Children::new(&kinds::POD));
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let deployments = all(&view, &kinds::DEPLOYMENT);
        of_deployments.0.follow_for(&deployments, &view);
        of_sets.0.follow_for(&deployments, &view);
        let mut plan = Plan::default();
        for stored in &deployments {
            let (own, orphans) = (of_deployments.owned_by(stored), of_deployments.orphans_beside(stored));
            let pods: Vec<&Group> = own.members().iter().map(|set| of_sets.owned_by(set)).collect();
            let versions = Versions::of([stored]).and_groups([own, orphans]).and_groups(pods.iter().copied());
            plan.extend(settled.plan(brief(stored).uid(), &versions, now, || {
                let taken = taken(&view, &kinds::REPLICASET, stored);
                let (replicasets, orphans) = (decoded(own.members()), decoded(orphans.members()));
                let pods: Vec<Arc<Object>> = pods.iter().flat_map(|group| decoded(group.members())).collect();
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

/// ReplicaSets, or ReplicationControllers.
pub(crate) fn replicasets(kind: &'static Kind) -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    let mut children = Children::new(&kinds::POD);
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let sets = all(&view, kind);
        children.0.follow_for(&sets, &view);
        let mut plan = Plan::default();
        for set in &sets {
            let (pods, orphans) = (children.owned_by(set), children.orphans_beside(set));
            let refused = desk.refusals.why(brief(set).uid());
            let versions = Versions::of([set]).and_groups([pods, orphans]).and_text(refused.as_deref());
            plan.extend(settled.plan(brief(set).uid(), &versions, now, || {
                let (pods, orphans) = (decoded(pods.members()), decoded(orphans.members()));
                let (replicaset, pods, orphans) = (object(set), borrowed(&pods), borrowed(&orphans));
                let refused = refused.as_deref();
                let input =
                    replicaset::Input { kind, replicaset: &replicaset, pods: &pods, orphans: &orphans, refused };
                replicaset::plan(&input, now)
            }));
        }
        plan
    }
}

pub(crate) fn jobs() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    let mut children = Children::new(&kinds::POD);
    // Whoever counts a pod holds it.
    let mut held: Grouped<()> = Grouped::new(&kinds::POD, |pod, each| {
        if brief(pod).has_finalizers() {
            each(());
        }
    });
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let jobs = all(&view, &kinds::JOB);
        children.0.follow_for(&jobs, &view);
        held.follow(&view);
        let uids: BTreeSet<&str> = jobs.iter().map(|job| brief(job).uid()).collect();
        // Nobody's, too: of a Job that was deleted as one that leaves its pods.
        let is_bereft = |pod: &&Arc<Stored>| brief(pod).controller().is_none_or(|owner| !uids.contains(owner));
        let bereft: Vec<Arc<Object>> = held.of(&()).members().iter().filter(is_bereft).map(|pod| object(pod)).collect();
        let mut plan = job::release(borrowed(&bereft));
        for job in &jobs {
            let (pods, orphans) = (children.owned_by(job), children.orphans_beside(job));
            let versions = Versions::of([job]).and_groups([pods, orphans]);
            plan.extend(settled.plan(brief(job).uid(), &versions, now, || {
                let (pods, orphans) = (decoded(pods.members()), decoded(orphans.members()));
                job::plan(&job::Input { job: &object(job), pods: &borrowed(&pods), orphans: &borrowed(&orphans) }, now)
            }));
        }
        plan
    }
}

pub(crate) fn daemonsets() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    let (mut children, mut of_sets) = (Children::new(&kinds::POD), Children::new(&kinds::CONTROLLERREVISION));
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let sets = all(&view, &kinds::DAEMONSET);
        children.0.follow_for(&sets, &view);
        of_sets.0.follow_for(&sets, &view);
        let nodes = all(&view, &kinds::NODE);
        let mut plan = Plan::default();
        for set in &sets {
            let (pods, orphans) = (children.owned_by(set), children.orphans_beside(set));
            let (own, left) = (of_sets.owned_by(set), of_sets.orphans_beside(set));
            let versions = Versions::of([set]).and_groups([pods, orphans, own, left]).and(&nodes);
            plan.extend(settled.plan(brief(set).uid(), &versions, now, || {
                let (pods, orphans) = (decoded(pods.members()), decoded(orphans.members()));
                let (revisions, left, nodes) = (decoded(own.members()), decoded(left.members()), decoded(&nodes));
                let taken = taken(&view, &kinds::CONTROLLERREVISION, set);
                let input = daemonset::Input {
                    daemonset: &object(set),
                    pods: &borrowed(&pods),
                    orphans: &borrowed(&orphans),
                    revisions: &borrowed(&revisions),
                    orphan_revisions: &borrowed(&left),
                    taken: &taken.iter().map(String::as_str).collect(),
                    nodes: &borrowed(&nodes),
                };
                daemonset::plan(&input, now)
            }));
        }
        plan
    }
}

/// Claims by the keys of the StatefulSets whose they may be: of a thousand claims in a namespace one changes, and one set is
/// planned anew.
pub(crate) fn by_set() -> Grouped<Box<str>> {
    Grouped::new(&kinds::PERSISTENTVOLUMECLAIM, |claim, each| {
        let (namespace, name) = claim.key().name().split_once('/').unwrap_or_default();
        statefulset::sets_of_claim(name).for_each(|set| each(format!("{namespace}/{set}").into()));
    })
}

pub(crate) fn statefulsets() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    let (mut children, mut of_sets) = (Children::new(&kinds::POD), Children::new(&kinds::CONTROLLERREVISION));
    let mut claims = by_set();
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let sets = all(&view, &kinds::STATEFULSET);
        children.0.follow_for(&sets, &view);
        of_sets.0.follow_for(&sets, &view);
        claims.follow_for(&sets, &view);
        let mut plan = Plan::default();
        for set in &sets {
            let (pods, orphans) = (children.owned_by(set), children.orphans_beside(set));
            let (own, left) = (of_sets.owned_by(set), of_sets.orphans_beside(set));
            let claims = claims.of(&set.key().name().into());
            let versions = Versions::of([set]).and_groups([pods, orphans, own, left, claims]);
            plan.extend(settled.plan(brief(set).uid(), &versions, now, || {
                let (pods, orphans) = (decoded(pods.members()), decoded(orphans.members()));
                let (own, left, claims) = (decoded(own.members()), decoded(left.members()), decoded(claims.members()));
                let taken = taken(&view, &kinds::CONTROLLERREVISION, set);
                let input = statefulset::Input {
                    statefulset: &object(set),
                    pods: &borrowed(&pods),
                    orphans: &borrowed(&orphans),
                    revisions: &borrowed(&own),
                    orphan_revisions: &borrowed(&left),
                    taken: &taken.iter().map(String::as_str).collect(),
                    claims: &borrowed(&claims),
                };
                statefulset::plan(&input, now)
            }));
        }
        plan
    }
}

pub(crate) fn cronjobs() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut settled = Settled::default();
    let mut children = Children::new(&kinds::JOB);
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        let cronjobs = all(&view, &kinds::CRONJOB);
        children.0.follow_for(&cronjobs, &view);
        let mut plan = Plan::default();
        for stored in &cronjobs {
            let jobs = children.owned_by(stored);
            let versions = Versions::of([stored]).and_groups([jobs]);
            plan.extend(settled.plan(brief(stored).uid(), &versions, now, || {
                let (cronjob, jobs) = (object(stored), decoded(jobs.members()));
                // Without a name it is the clock of whoever leads in Kubernetes; here it is one clock for all. The names are
                // those that were allowed when it was written, not those of the leader's machine.
                let zone = match cronjob.text("/spec/timeZone") {
                    "" => Some(TimeZone::UTC),
                    name => zones::named(name),
                };
                let input = cronjob::Input { cronjob: &cronjob, jobs: &borrowed(&jobs), zone: zone.as_ref() };
                cronjob::plan(&input, now)
            }));
        }
        plan
    }
}

/// Objects of a namespace that have a label.
type Labelled = Grouped<(Box<str>, u64)>;

fn by_label(kind: &'static Kind) -> Labelled {
    Grouped::new(kind, |stored, each| {
        brief(stored).labels().for_each(|label| each((namespace(stored).into(), label)));
    })
}

/// One of the labels that a service's pods have, within its namespace.
type Term = Option<(Box<str>, u64)>;

/// Services, each with the label that its pods are found by: read once a version.
#[derive(Default)]
struct Services(Vec<(Arc<Stored>, Term)>);

impl Services {
    fn follow(&mut self, view: &View) {
        let last = std::mem::take(&mut self.0);
        let mut last = last.into_iter().peekable();
        for service in all(view, &kinds::SERVICE) {
            // Both are in the order of names.
            while last.next_if(|(old, _)| old.key().name() < service.key().name()).is_some() {}
            let known = last.next_if(|(old, _)| **old == *service);
            let term = known.map_or_else(|| term(&object(&service), &service), |(_, term)| term);
            self.0.push((service, term));
        }
    }
}

pub(crate) fn endpointslices() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let (mut settled, mut services) = (Settled::default(), Services::default());
    let (mut pods_of, mut slices_of) = (by_label(&kinds::POD), by_label(&kinds::ENDPOINTSLICE));
    move |desk, now| {
        settled.begin();
        let view = desk.cluster.store().view();
        services.follow(&view);
        pods_of.follow(&view);
        slices_of.follow(&view);
        let mut plan = Plan::default();
        for (service, term) in &services.0 {
            let pods = term.as_ref().map(|term| pods_of.of(term));
            let slices = slices_of.of(&slices_term(service));
            let versions = Versions::of([service]).and_groups(pods).and_groups([slices]);
            plan.extend(settled.plan(brief(service).uid(), &versions, now, || {
                let pods = decoded(pods.map(Group::members).unwrap_or_default());
                let slices = decoded(slices.members());
                endpointslice::plan(&endpointslice::Input {
                    service: &object(service),
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
    let mut services = Services::default();
    let (mut pods_of, mut slices_of) = (by_label(&kinds::POD), by_label(&kinds::ENDPOINTSLICE));
    move |desk, now| {
        settled.begin();
        mirrored.begin();
        let view = desk.cluster.store().view();
        services.follow(&view);
        pods_of.follow(&view);
        slices_of.follow(&view);
        let every = all(&view, &kinds::ENDPOINTS);
        let of_name: HashMap<&str, &Arc<Stored>> = every.iter().map(|it| (it.key().name(), it)).collect();
        let by_name: HashMap<&str, &Arc<Stored>> =
            services.0.iter().map(|(service, _)| (service.key().name(), service)).collect();
        let mut plan = Plan::default();
        for (service, term) in &services.0 {
            let pods = term.as_ref().map(|term| pods_of.of(term));
            let endpoints = of_name.get(service.key().name()).copied();
            let versions = Versions::of([service]).and_groups(pods).and(endpoints);
            plan.extend(settled.plan(brief(service).uid(), &versions, now, || {
                let pods = decoded(pods.map(Group::members).unwrap_or_default());
                let endpoints = endpoints.map(|stored| object(stored));
                let (service, endpoints) = (object(service), endpoints.as_deref());
                endpoints::plan(&endpoints::Input { service: &service, pods: &borrowed(&pods), endpoints })
            }));
        }
        for stored in &every {
            let service = by_name.get(stored.key().name()).copied();
            let slices = slices_of.of(&slices_term(stored));
            let versions = Versions::of([stored]).and(service).and_groups([slices]);
            plan.extend(mirrored.plan(brief(stored).uid(), &versions, now, || {
                let (endpoints, slices) = (object(stored), decoded(slices.members()));
                let service = service.map(|stored| object(stored));
                let mut plan = Plan::default();
                if service.is_none() && endpoints::is_made(&endpoints) && !endpoints.is_deleting() {
                    plan.orders.push(endpoints::delete(&endpoints));
                }
                plan.extend(mirror::plan(&mirror::Input {
                    endpoints: &endpoints,
                    service: service.as_deref(),
                    slices: &borrowed(&slices),
                }));
                plan
            }));
        }
        plan
    }
}

/// The label with the longest value, which the fewest others share. Each service is shown the pods that have it, not all pods of its namespace: a hundred services of a
/// hundred pods each would be a million looks.
fn term(service: &Object, stored: &Stored) -> Term {
    let selector = service.at("/spec/selector")?.as_object()?;
    let labels = selector.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
    let (key, value) = labels.max_by_key(|(_, value)| value.len())?;
    Some((namespace(stored).into(), label_hash(key, value)))
}

/// The label that the slices of a service have, or of Endpoints of its name.
fn slices_term(stored: &Stored) -> (Box<str>, u64) {
    let (namespace, name) = stored.key().name().split_once('/').unwrap_or_default();
    (namespace.into(), label_hash(endpointslice::SERVICE_LABEL, name))
}
