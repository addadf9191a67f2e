//! Claims and volumes: which volume a claim gets, and volumes made on the node where the claim's first pod runs.
//!
//! A volume of the class [`CLASS`] is a directory below the data of one node. It is made when a pod that claims it has a
//! node (`WaitForFirstConsumer`; so are volumes of an `Immediate` class of this provisioner: a directory has to be
//! somewhere), and its node affinity keeps later pods there. Its node removes the data before the object goes.
//!
//! Not here: where the scheduler may put a pod (`scheduler`), and the directory (the node).

mod affinity;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wk_api::selector::Labels;
use wk_api::{Object, Quantity, kinds};

use crate::order::{Event, EventType, Order, Plan, Target};
use crate::{pod, read};

pub(crate) use affinity::{fits_node, holds_on};

/// The class that claims get which name none, unless another is marked as the default.
pub const CLASS: &str = "wk-local";
/// Makes volumes of that class; also the driver that they name.
pub const PROVISIONER: &str = "wk.dev/local";
/// Keeps a volume's object until its node has removed the data.
pub const DATA_FINALIZER: &str = "wk.dev/local-data";

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const COMPONENT: &str = "persistentvolume-controller";

/// What the decision is made from.
pub struct Input<'a> {
    /// All claims.
    pub claims: &'a [&'a Object],
    /// All volumes.
    pub volumes: &'a [&'a Object],
    /// All storage classes.
    pub classes: &'a [&'a Object],
    /// All pods.
    pub pods: &'a [&'a Object],
    /// All nodes.
    pub nodes: &'a [&'a Object],
}

/// Binds claims, makes volumes, and says what became of both.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    if !input.classes.iter().any(|class| class.name() == CLASS) {
        plan.orders.push(class());
    }
    let mut facts = Facts::of(input);
    let mut claims = input.claims.to_vec();
    claims.sort_by_key(|claim| (read::created(claim), claim.namespace(), claim.name()));
    for claim in claims.into_iter().filter(|claim| !claim.is_deleting()) {
        facts.claim(claim, &mut plan);
    }
    for volume in input.volumes {
        facts.volume(volume, &mut plan);
    }
    plan
}

fn class() -> Order {
    let object = json!({
        "metadata": {"name": CLASS, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
    });
    Order::Create { kind: &kinds::STORAGECLASS, namespace: None, object, announce: None }
}

struct Facts<'a> {
    input: &'a Input<'a>,
    volumes: BTreeMap<&'a str, &'a Object>,
    nodes: BTreeMap<&'a str, &'a Object>,
    /// Nodes of the first pods that have one, by namespace and claim.
    consumers: BTreeMap<(&'a str, String), &'a str>,
    /// Volumes that this plan has given away.
    given: BTreeSet<&'a str>,
}

impl<'a> Facts<'a> {
    fn of(input: &'a Input<'a>) -> Self {
        Self {
            input,
            volumes: input.volumes.iter().map(|volume| (volume.name(), *volume)).collect(),
            nodes: input.nodes.iter().map(|node| (node.name(), *node)).collect(),
            consumers: consumers(input.pods),
            given: BTreeSet::new(),
        }
    }

    fn claim(&mut self, claim: &'a Object, plan: &mut Plan) {
        let named = claim.text("/spec/volumeName");
        if !named.is_empty() {
            plan.orders.extend(self.bound(claim, named));
            return;
        }
        let Some(class) = claim.at("/spec/storageClassName").and_then(Value::as_str) else {
            if let Some(class) = default_class(self.input.classes) {
                let change = json!({"spec": {"storageClassName": class}});
                plan.orders
                    .push(Order::Update { target: Target::version(&kinds::PERSISTENTVOLUMECLAIM, claim), change });
            }
            return;
        };
        if let Some(volume) = self.input.volumes.iter().find(|volume| is_for(volume, claim)) {
            plan.orders.push(bind(claim, volume));
            return;
        }
        let node = self.consumers.get(&(claim.namespace(), claim.name().to_owned())).copied();
        let class_object = self.input.classes.iter().find(|object| object.name() == class).copied();
        let waits = class_object.is_some_and(|class| class.text("/volumeBindingMode") == "WaitForFirstConsumer");
        if waits && node.is_none() {
            plan.say(format!("{}/{} waits for its first pod", claim.namespace(), claim.name()));
            return;
        }
        if let Some(volume) = self.free(claim, class, node) {
            self.given.insert(volume.name());
            let change = json!({"spec": {"claimRef": reference(claim)}});
            plan.orders.push(Order::Update { target: Target::version(&kinds::PERSISTENTVOLUME, volume), change });
            return;
        }
        let Some(class) = class_object.filter(|class| class.text("/provisioner") == PROVISIONER) else {
            plan.say(format!("{}/{} waits for a volume of class {class:?}", claim.namespace(), claim.name()));
            return;
        };
        match node {
            Some(node) => plan.orders.extend(provision(claim, class, node)),
            None => plan.say(format!("{}/{} waits for its first pod", claim.namespace(), claim.name())),
        }
    }

    /// The status of a claim that names its volume.
    fn bound(&self, claim: &Object, name: &str) -> Option<Order> {
        let status = match self.volumes.get(name) {
            None => json!({"phase": "Lost", "accessModes": null, "capacity": null}),
            Some(volume) if is_for(volume, claim) => json!({
                "phase": "Bound",
                "accessModes": volume.at("/spec/accessModes").cloned().unwrap_or_default(),
                "capacity": volume.at("/spec/capacity").cloned().unwrap_or_default(),
            }),
            // A claim that names its volume itself gets it when nobody else has it and it does.
            Some(volume) if read::at(volume, "/spec/claimRef").is_none() => {
                let class = claim.at("/spec/storageClassName").and_then(Value::as_str);
                let class = class.or_else(|| default_class(self.input.classes)).unwrap_or_default();
                let wanted = storage(claim, "/spec/resources/requests/storage");
                if !wanted.is_some_and(|wanted| does(volume, claim, class, wanted)) {
                    return None;
                }
                let change = json!({"spec": {"claimRef": reference(claim)}});
                return Some(Order::Update { target: Target::version(&kinds::PERSISTENTVOLUME, volume), change });
            }
            Some(_) => return None,
        };
        let same =
            |field: &str| read::same(claim.at(&format!("/status/{field}")).unwrap_or(&Value::Null), &status[field]);
        if ["phase", "accessModes", "capacity"].into_iter().all(same) {
            return None;
        }
        let target = Target::version(&kinds::PERSISTENTVOLUMECLAIM, claim);
        Some(Order::Status { target, change: json!({"status": status}) })
    }

    /// The smallest volume that nobody has and that does for the claim.
    fn free(&self, claim: &Object, class: &str, node: Option<&str>) -> Option<&'a Object> {
        let node = node.and_then(|node| self.nodes.get(node));
        let selector = read::at(claim, "/spec/selector").map(Labels::from_label_selector).transpose().ok()?;
        let wanted = storage(claim, "/spec/resources/requests/storage")?;
        let fits = |volume: &&&Object| {
            !self.given.contains(volume.name())
                && read::at(volume, "/spec/claimRef").is_none()
                && does(volume, claim, class, wanted)
                && selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels()))
                && node.is_none_or(|node| fits_node(volume, node))
        };
        let free = self.input.volumes.iter().filter(fits);
        free.min_by_key(|volume| (storage(volume, "/spec/capacity/storage"), volume.name())).copied()
    }

    /// What became of a volume.
    fn volume(&self, volume: &Object, plan: &mut Plan) {
        let reference = read::at(volume, "/spec/claimRef");
        let uid = reference.map(|reference| read::text(reference, "uid")).unwrap_or_default();
        let phase = match reference {
            None => "Available",
            Some(_) if uid.is_empty() => "Available",
            Some(_) if self.input.claims.iter().any(|claim| claim.uid() == uid) => "Bound",
            Some(_) => "Released",
        };
        let gone = !volume.text("/status/phase").is_empty() && phase == "Released" && self.is_unused(volume);
        let ours = volume.annotation(PROVISIONED_BY) == Some(PROVISIONER);
        if volume.is_deleting() {
            self.abandon(volume, plan);
        } else if gone && ours && volume.text("/spec/persistentVolumeReclaimPolicy") == "Delete" {
            plan.say(format!("{} goes with its claim", volume.name()));
            plan.orders.push(Target::version(&kinds::PERSISTENTVOLUME, volume).delete());
        } else if volume.text("/status/phase") != phase {
            let target = Target::version(&kinds::PERSISTENTVOLUME, volume);
            plan.orders.push(Order::Status { target, change: json!({"status": {"phase": phase}}) });
        }
    }

    /// Whether no pod that has not ended names the claim that had the volume. One that came with another claim of that name
    /// or after it has what that one got; one from before may still have this. Of one of the same second nobody can tell; the
    /// data stays while the pod's node sees it use the claim.
    fn is_unused(&self, volume: &Object) -> bool {
        let (namespace, name) = (volume.text("/spec/claimRef/namespace"), volume.text("/spec/claimRef/name"));
        let mut claims = self.input.claims.iter();
        let next =
            claims.find(|claim| (claim.namespace(), claim.name()) == (namespace, name)).map(|it| read::created(it));
        let pods = self.input.pods.iter().filter(|pod| pod.namespace() == namespace && !pod::is_finished(pod));
        let mut before = pods.filter(|pod| next.is_none_or(|next| read::created(pod) < next));
        !before.any(|pod| claims_of(pod).any(|claim| claim == name))
    }

    /// Lets a volume go whose node is gone, and its data with it.
    fn abandon(&self, volume: &Object, plan: &mut Plan) {
        let finalizers = volume.finalizers();
        if finalizers.contains(&DATA_FINALIZER) && !self.nodes.values().any(|node| fits_node(volume, node)) {
            plan.say(format!("{} was on a node that is gone", volume.name()));
            let rest: Vec<&str> = finalizers.into_iter().filter(|name| *name != DATA_FINALIZER).collect();
            let target = Target::version(&kinds::PERSISTENTVOLUME, volume);
            plan.orders.push(Order::Update { target, change: json!({"metadata": {"finalizers": rest}}) });
        }
    }
}

/// The node of the oldest pod that has one and names a claim, by namespace and claim.
pub(crate) fn consumers<'a>(pods: &[&'a Object]) -> BTreeMap<(&'a str, String), &'a str> {
    let mut with_node: Vec<&&Object> =
        pods.iter().filter(|pod| !pod::node(pod).is_empty() && !pod::is_finished(pod)).collect();
    with_node.sort_by_key(|pod| (read::created(pod), pod.name()));
    let mut consumers = BTreeMap::new();
    for pod in with_node {
        for claim in claims_of(pod) {
            consumers.entry((pod.namespace(), claim)).or_insert_with(|| pod::node(pod));
        }
    }
    consumers
}

/// The claims that a pod names, those of its ephemeral volumes by the name that they get.
pub(crate) fn claims_of(pod: &Object) -> impl Iterator<Item = String> {
    pod.items("/spec/volumes").iter().filter_map(|volume| {
        let named = volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned);
        named.or_else(|| volume.get("ephemeral").map(|_| format!("{}-{}", pod.name(), read::text(volume, "name"))))
    })
}

fn default_class<'a>(classes: &[&'a Object]) -> Option<&'a str> {
    let marked = classes.iter().filter(|class| class.annotation(DEFAULT_CLASS) == Some("true"));
    marked.max_by_key(|class| (read::created(class), std::cmp::Reverse(class.name()))).map(|class| class.name())
}

/// Whether a volume is of the class, the modes and the size that a claim wants.
fn does(volume: &Object, claim: &Object, class: &str, wanted: i64) -> bool {
    let modes = volume.items("/spec/accessModes");
    !volume.is_deleting()
        && volume.text("/spec/storageClassName") == class
        && volume.text("/spec/volumeMode") == claim.text("/spec/volumeMode")
        && claim.items("/spec/accessModes").iter().all(|mode| modes.contains(mode))
        && storage(volume, "/spec/capacity/storage").is_some_and(|has| has >= wanted)
}

/// Whether a volume was made for a claim, or kept for it.
fn is_for(volume: &Object, claim: &Object) -> bool {
    let Some(reference) = read::at(volume, "/spec/claimRef") else { return false };
    let uid = read::text(reference, "uid");
    read::text(reference, "namespace") == claim.namespace()
        && read::text(reference, "name") == claim.name()
        && (uid == claim.uid() || uid.is_empty())
}

fn bind(claim: &Object, volume: &Object) -> Order {
    // A volume that was kept for a claim of this name becomes this one's first.
    if volume.text("/spec/claimRef/uid").is_empty() {
        let change = json!({"spec": {"claimRef": reference(claim)}});
        return Order::Update { target: Target::version(&kinds::PERSISTENTVOLUME, volume), change };
    }
    let change = json!({
        "metadata": {"annotations": {
            "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
        }},
        "spec": {"volumeName": volume.name()},
    });
    Order::Update { target: Target::version(&kinds::PERSISTENTVOLUMECLAIM, claim), change }
}

fn reference(claim: &Object) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "namespace": claim.namespace(), "name": claim.name(), "uid": claim.uid(),
    })
}

fn provision(claim: &Object, class: &Object, node: &str) -> [Order; 2] {
    let name = format!("pvc-{}", claim.uid());
    let object = json!({
        "metadata": {
            "name": name, "finalizers": [DATA_FINALIZER], "annotations": {PROVISIONED_BY: PROVISIONER},
        },
        "spec": {
            "capacity": {"storage": claim.at("/spec/resources/requests/storage").cloned().unwrap_or_default()},
            "accessModes": claim.at("/spec/accessModes").cloned().unwrap_or_default(),
            "volumeMode": claim.at("/spec/volumeMode").cloned().unwrap_or_else(|| json!("Filesystem")),
            "persistentVolumeReclaimPolicy": match class.text("/reclaimPolicy") { "" => "Delete", policy => policy },
            "storageClassName": class.name(),
            "csi": {"driver": PROVISIONER, "volumeHandle": name},
            "claimRef": reference(claim),
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
            ]}]}},
        },
    });
    let event = Event {
        regarding: Target::incarnation(&kinds::PERSISTENTVOLUMECLAIM, claim),
        kind: EventType::Normal,
        reason: "ProvisioningSucceeded",
        message: format!("Successfully provisioned volume {name} on {node}"),
        component: COMPONENT,
    };
    let create = Order::Create { kind: &kinds::PERSISTENTVOLUME, namespace: None, object, announce: None };
    [create, Order::Event(event)]
}

fn storage(object: &Object, pointer: &str) -> Option<i64> {
    Quantity::from_value(object.at(pointer)?).ok().map(Quantity::value)
}
