//! Deployment: one ReplicaSet a template, and the way from the old ones to the new one.
//!
//! The algorithm is Kubernetes' (`pkg/controller/deployment`), so that `kubectl rollout` reads what it expects. Here is
//! the order of the steps; [`rolling`] has the numbers of a rolling update, [`scale`] those of a change of replicas in
//! the middle of one, [`revision`] the history, [`template`] the hash, [`status`] what is said about it all.

mod revision;
mod rolling;
mod scale;
mod status;
mod template;

pub(crate) use template::template_hashes;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::order::{Event, EventType, Order, Plan, Target};
use crate::read::{self, Round};
use crate::{owned, pod};

const COMPONENT: &str = "deployment-controller";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// The largest number of replicas that the API can say.
const REPLICAS_MAX: i64 = i32::MAX as i64;

/// `maxSurge` is at most this many times `replicas`: far beyond any use, and a typing error in a percentage does not
/// drown the cluster.
const SURGE_FACTOR_MAX: i64 = 10;

/// What the decision is made from.
pub struct Input<'a> {
    /// The deployment.
    pub deployment: &'a Object,
    /// ReplicaSets that it controls.
    pub replicasets: &'a [&'a Object],
    /// ReplicaSets of its namespace that nobody controls.
    pub orphans: &'a [&'a Object],
    /// Names of all ReplicaSets of its namespace.
    pub taken: &'a BTreeSet<&'a str>,
    /// Pods that `replicasets` control.
    pub pods: &'a [&'a Object],
}

/// One step of the rollout.
pub fn plan(input: &Input<'_>, now: Timestamp) -> Plan {
    let deployment = input.deployment;
    let mut plan = Plan::default();
    if !deployment.is_deleting() {
        let (kind, child) = (&kinds::DEPLOYMENT, &kinds::REPLICASET);
        plan.orders = owned::claims(kind, deployment, child, input.replicasets, input.orphans);
        if !plan.orders.is_empty() {
            // Whose set is whose comes first; the next look counts.
            return plan;
        }
    }
    let rollout = Rollout::of(deployment, input.replicasets, input.pods);
    let mut fresh = None;
    if !deployment.is_deleting() {
        plan.orders = steps(&rollout, input, &mut fresh);
    }
    let said = status::plan(&rollout, fresh.as_ref(), now);
    let complete = status::is_complete(&rollout);
    if (complete || rollout.paused) && !deployment.is_deleting() {
        plan.orders.extend(revision::surplus(&rollout));
    }
    plan.say(rollout.summary(fresh.as_ref()));
    plan.extend(said);
    plan
}

fn steps(rollout: &Rollout<'_>, input: &Input<'_>, fresh: &mut Option<Fresh>) -> Vec<Order> {
    if rollout.paused || scale::is_due(rollout) {
        let orders = scale::plan(rollout);
        if rollout.paused || !orders.is_empty() {
            return orders;
        }
    }
    let housekeeping = revision::upkeep(rollout);
    if !housekeeping.is_empty() {
        return housekeeping;
    }
    match rollout.strategy {
        Strategy::Recreate => {
            let orders: Vec<Order> = rollout.old.iter().flat_map(|set| rollout.resize(set, 0)).collect();
            if !orders.is_empty() || has_running(input.pods, &rollout.old) {
                return orders;
            }
            match &rollout.new {
                None => create(rollout, input, rollout.replicas, fresh),
                Some(new) => rollout.resize(new, rollout.replicas),
            }
        }
        Strategy::Rolling { .. } => match &rollout.new {
            None => create(rollout, input, rolling::size_of_new(rollout), fresh),
            Some(_) => rolling::plan(rollout),
        },
    }
}

fn has_running(pods: &[&Object], sets: &[Set<'_>]) -> bool {
    pods.iter().any(|pod| {
        let owner = owned::controller_uid(pod);
        !pod::is_finished(pod) && sets.iter().any(|set| Some(set.object.uid()) == owner)
    })
}

/// A ReplicaSet that this very plan creates.
struct Fresh {
    name: String,
    revision: u64,
}

fn create(rollout: &Rollout<'_>, input: &Input<'_>, replicas: i64, fresh: &mut Option<Fresh>) -> Vec<Order> {
    let deployment = rollout.deployment;
    let hash = template::free_hash(deployment, input.taken);
    let name = format!("{}-{hash}", deployment.name());
    let revision = revision::next(&rollout.old);
    let mut pod_template = read::at(deployment, "/spec/template").cloned().unwrap_or_else(|| json!({}));
    let mut selector = read::at(deployment, "/spec/selector").cloned().unwrap_or_else(|| json!({}));
    set_text(&mut pod_template, &["metadata", "labels", template::HASH_LABEL], &hash);
    set_text(&mut selector, &["matchLabels", template::HASH_LABEL], &hash);
    let mut annotations = revision::inherited_annotations(deployment);
    annotations.insert(revision::ANNOTATION.to_owned(), revision.to_string().into());
    annotations.insert(DESIRED.to_owned(), rollout.replicas.to_string().into());
    annotations.insert(MAX.to_owned(), rollout.max_replicas().to_string().into());
    let object = json!({
        "apiVersion": kinds::REPLICASET.api_version(),
        "kind": kinds::REPLICASET.kind,
        "metadata": {
            "name": name,
            "namespace": deployment.namespace(),
            "labels": pod_template["metadata"]["labels"],
            "annotations": annotations,
            "ownerReferences": [owned::controller_reference(&kinds::DEPLOYMENT, deployment)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": rollout.min_ready_seconds(),
            "selector": selector,
            "template": pod_template,
        },
    });
    let namespace = Some(deployment.namespace().to_owned());
    let mut orders = vec![Order::Create { kind: &kinds::REPLICASET, namespace, object, announce: None }];
    if replicas > 0 {
        orders.push(rollout.announce_scale(&name, 0, replicas));
    }
    *fresh = Some(Fresh { name, revision });
    orders
}

fn set_text(value: &mut Value, path: &[&str], text: &str) {
    let mut place = value;
    for field in path {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[*field];
    }
    *place = text.into();
}

/// A ReplicaSet with the numbers that matter.
#[derive(Clone)]
struct Set<'a> {
    object: &'a Object,
    /// `spec.replicas`.
    wanted: i64,
    /// `status.replicas`.
    existing: i64,
    /// Pods that are there, whatever the status says yet.
    present: i64,
    available: i64,
}

impl<'a> Set<'a> {
    fn of(object: &'a Object, pods: &[&Object]) -> Self {
        let uid = Some(object.uid());
        let present = pods.iter().filter(|pod| owned::controller_uid(pod) == uid && pod::is_active(pod)).count();
        Self {
            object,
            wanted: object.int("/spec/replicas").unwrap_or(1).clamp(0, REPLICAS_MAX),
            existing: object.int("/status/replicas").unwrap_or_default(),
            present: i64::try_from(present).unwrap_or(i64::MAX),
            available: object.int("/status/availableReplicas").unwrap_or_default(),
        }
    }

    fn name(&self) -> &'a str {
        self.object.name()
    }
}

enum Strategy {
    Recreate,
    Rolling { surge: i64, unavailable: i64 },
}

/// A deployment and its sets, read once.
struct Rollout<'a> {
    deployment: &'a Object,
    replicas: i64,
    paused: bool,
    strategy: Strategy,
    /// The set with today's template.
    new: Option<Set<'a>>,
    /// All others, oldest first.
    old: Vec<Set<'a>>,
}

impl<'a> Rollout<'a> {
    fn of(deployment: &'a Object, replicasets: &[&'a Object], pods: &[&Object]) -> Self {
        let mut old: Vec<Set<'_>> = replicasets.iter().map(|object| Set::of(object, pods)).collect();
        old.sort_by_key(|set| (read::created(set.object), set.name()));
        let today = template::canonical(deployment);
        let new = old.iter().position(|set| !set.object.is_deleting() && template::canonical(set.object) == today);
        let new = new.map(|index| old.remove(index));
        let replicas = deployment.int("/spec/replicas").unwrap_or(1).clamp(0, REPLICAS_MAX);
        Self {
            deployment,
            replicas,
            paused: read::at(deployment, "/spec/paused") == Some(&Value::Bool(true)),
            strategy: strategy(deployment, replicas),
            new,
            old,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Set<'a>> {
        self.old.iter().chain(&self.new)
    }

    fn surge(&self) -> i64 {
        match self.strategy {
            Strategy::Recreate => 0,
            Strategy::Rolling { surge, .. } => surge,
        }
    }

    /// Pods that may be missing while all is well.
    fn unavailable(&self) -> i64 {
        match self.strategy {
            Strategy::Recreate => 0,
            Strategy::Rolling { unavailable, .. } => unavailable.min(self.replicas),
        }
    }

    fn max_replicas(&self) -> i64 {
        (self.replicas + self.surge()).min(REPLICAS_MAX)
    }

    fn min_ready_seconds(&self) -> i64 {
        self.deployment.int("/spec/minReadySeconds").unwrap_or_default()
    }

    /// Orders that give `set` `replicas` pods and note what they were counted from; none if that is so already.
    fn resize(&self, set: &Set<'_>, replicas: i64) -> Vec<Order> {
        let (desired, max) = (self.replicas.to_string(), self.max_replicas().to_string());
        let noted = |key, value: &str| set.object.annotation(key) == Some(value);
        if set.wanted == replicas && (replicas == 0 || noted(DESIRED, &desired) && noted(MAX, &max)) {
            return Vec::new();
        }
        let mut orders = vec![Order::Update {
            target: Target::version(&kinds::REPLICASET, set.object),
            change: json!({
                "metadata": {"annotations": {DESIRED: desired, MAX: max}},
                "spec": {"replicas": replicas},
            }),
        }];
        if set.wanted != replicas {
            orders.push(self.announce_scale(set.name(), set.wanted, replicas));
        }
        orders
    }

    fn announce_scale(&self, set: &str, from: i64, to: i64) -> Order {
        let direction = if to > from { "up" } else { "down" };
        Order::Event(Event {
            regarding: Target::incarnation(&kinds::DEPLOYMENT, self.deployment),
            kind: EventType::Normal,
            reason: "ScalingReplicaSet",
            message: format!("Scaled {direction} replica set {set} from {from} to {to}"),
            component: COMPONENT,
        })
    }

    fn summary(&self, fresh: Option<&Fresh>) -> String {
        let new = match (&self.new, fresh) {
            (Some(new), _) => format!("{} has {} of {} available", new.name(), new.available, self.replicas),
            (None, Some(fresh)) => format!("{} is being created", fresh.name),
            (None, None) => "no set with the present template yet".to_owned(),
        };
        let old: i64 = self.old.iter().map(|set| set.existing).sum();
        let paused = if self.paused { "; paused" } else { "" };
        format!("{}: {new}; {old} old pods{paused}", self.deployment.name())
    }
}

fn strategy(deployment: &Object, replicas: i64) -> Strategy {
    if deployment.text("/spec/strategy/type") == "Recreate" {
        return Strategy::Recreate;
    }
    let bound = |field: &str, round| {
        let value = read::at(deployment, &format!("/spec/strategy/rollingUpdate/{field}"));
        read::share(value.or(Some(&json!("25%"))), replicas, round).unwrap_or_default().max(0)
    };
    let surge = bound("maxSurge", Round::Up).min(replicas.max(1) * SURGE_FACTOR_MAX);
    // Both may round to zero, and then nothing could ever move.
    let unavailable = match bound("maxUnavailable", Round::Down) {
        0 if surge == 0 => 1,
        unavailable => unavailable,
    };
    Strategy::Rolling { surge, unavailable }
}
