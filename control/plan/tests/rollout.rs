//! Rolling updates under every order of events that a seed can think of: Deployment and ReplicaSet planners in a world of
//! maps, with pods that become ready and end whenever they like. The bounds are checked after each step.
//!
//! A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds, patch};
use wk_base::time::Timestamp;
use wk_plan::{Children, Order, Plan, deployment, replicaset};

const SEEDS: u64 = 300;

/// Far more steps than any rollout takes; one that needs them is stuck.
const STEPS_MAX: usize = 5000;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).expect("below a usize")
    }
}

struct World {
    now: Timestamp,
    made: usize,
    objects: BTreeMap<(&'static Kind, String), Object>,
}

impl World {
    fn new(replicas: i64, surge: &Value, unavailable: &Value) -> Self {
        let web = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "web", "generation": 1},
            "spec": {
                "replicas": replicas,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "1"}]}},
            },
        });
        let objects = BTreeMap::from([((&kinds::DEPLOYMENT, "web".to_owned()), Object::new(web))]);
        Self { now: "2025-01-01T00:00:00Z".parse().expect("time"), made: 0, objects }
    }

    fn of(&self, kind: &'static Kind) -> Vec<&Object> {
        self.objects.iter().filter(|((other, _), _)| *other == kind).map(|(_, object)| object).collect()
    }

    fn web(&mut self) -> &mut Object {
        self.objects.get_mut(&(&kinds::DEPLOYMENT, "web".to_owned())).expect("the deployment")
    }

    fn plan_deployment(&self) -> Plan {
        let sets = self.of(&kinds::REPLICASET);
        let taken: BTreeSet<&str> = sets.iter().map(|set| set.name()).collect();
        let (deployment, pods) = (self.of(&kinds::DEPLOYMENT)[0], self.of(&kinds::POD));
        let input = deployment::Input { deployment, replicasets: &sets, orphans: &[], taken: &taken, pods: &pods };
        deployment::plan(&input, self.now)
    }

    fn plan_set(&self, replicaset: &Object) -> Plan {
        let children = Children::of(self.of(&kinds::POD));
        let pods = children.owned_by(replicaset);
        let kind = &kinds::REPLICASET;
        replicaset::plan(&replicaset::Input { kind, replicaset, pods, orphans: &[], refused: None }, self.now)
    }

    fn apply(&mut self, plan: Plan) {
        for order in plan.orders {
            match order {
                Order::Create { kind, mut object, .. } => {
                    self.made += 1;
                    let name = object["metadata"]["name"].as_str().map_or(format!("p{}", self.made), str::to_owned);
                    object["metadata"]["name"] = name.as_str().into();
                    object["metadata"]["uid"] = format!("u{}", self.made).into();
                    object["metadata"]["generation"] = 1.into();
                    self.objects.insert((kind, name), Object::new(object));
                }
                Order::Update { target, change } | Order::Status { target, change } => {
                    let object = self.objects.get_mut(&(target.kind, target.name)).expect("target");
                    patch::merge(&mut object.0, &change);
                }
                Order::Delete { target, .. } | Order::Evict { target, .. } => {
                    let object = self.objects.get_mut(&(target.kind, target.name)).expect("target");
                    object.0["metadata"]["deletionTimestamp"] = "2025-01-01T00:00:00Z".into();
                }
                Order::Event(_) => {}
                other => panic!("unexpected {other}"),
            }
        }
    }

    /// Something happens somewhere. False when there was nothing for it to happen to.
    fn step(&mut self, dice: &mut Dice) -> bool {
        let pods: Vec<String> = self.of(&kinds::POD).iter().map(|pod| pod.name().to_owned()).collect();
        match dice.below(4) {
            0 => {
                let plan = self.plan_deployment();
                let any = !plan.orders.is_empty();
                self.apply(plan);
                any
            }
            1 | 2 => {
                let sets = self.of(&kinds::REPLICASET);
                let Some(set) = sets.get(dice.below(sets.len())) else { return false };
                let plan = self.plan_set(set);
                let any = !plan.orders.is_empty();
                self.apply(plan);
                any
            }
            _ => {
                let Some(name) = pods.get(dice.below(pods.len())) else { return false };
                let key = (&kinds::POD, name.clone());
                let pod = self.objects.get_mut(&key).expect("pod");
                if pod.is_deleting() {
                    self.objects.remove(&key);
                } else if is_ready(pod) {
                    return false;
                } else {
                    pod.0["spec"]["nodeName"] = "n1".into();
                    pod.0["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
                }
                true
            }
        }
    }

    fn active(&self) -> impl Iterator<Item = &Object> {
        self.of(&kinds::POD).into_iter().filter(|pod| !pod.is_deleting())
    }

    fn is_settled(&self) -> bool {
        self.of(&kinds::POD).iter().all(|pod| is_ready(pod) && !pod.is_deleting())
            && self.of(&kinds::REPLICASET).iter().all(|set| self.plan_set(set).orders.is_empty())
            && self.plan_deployment().orders.is_empty()
    }

    /// Steps until nothing is left to do, checking `bounds` (fewest ready, most pods) after each.
    fn settle(&mut self, dice: &mut Dice, bounds: Option<(usize, usize)>, what: &str) {
        for _ in 0..STEPS_MAX {
            if !self.step(dice) && self.is_settled() {
                return;
            }
            let (ready, all) = (self.active().filter(|pod| is_ready(pod)).count(), self.active().count());
            if let Some((fewest, most)) = bounds {
                assert!(ready >= fewest && all <= most, "{what}: {ready} ready of {all}, allowed {fewest} to {most}");
            }
        }
        panic!("{what}: still moving after {STEPS_MAX} steps");
    }
}

fn is_ready(pod: &Object) -> bool {
    pod.text("/status/conditions/0/status") == "True"
}

#[test]
fn rolling_updates_keep_their_bounds_whatever_the_order_of_events() {
    // (replicas, maxSurge, maxUnavailable, fewest ready, most pods)
    let cases = [
        (3, json!(1), json!(0), 3, 4),
        (3, json!(0), json!(1), 2, 3),
        (4, json!("25%"), json!("25%"), 3, 5),
        (10, json!("30%"), json!("20%"), 8, 13),
        (1, json!(1), json!(0), 1, 2),
    ];
    for seed in 0..SEEDS {
        let (replicas, surge, unavailable, fewest, most) = &cases[usize::try_from(seed).expect("small") % cases.len()];
        let what = format!("seed {seed}: {replicas} replicas, surge {surge}, unavailable {unavailable}");
        let (mut world, mut dice) = (World::new(*replicas, surge, unavailable), Dice(seed));
        world.settle(&mut dice, None, &what);
        // The second update starts in the middle of the first.
        for image in ["2", "3"] {
            let web = world.web();
            web.0["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
            web.0["metadata"]["generation"] = (web.generation() + 1).into();
            for _ in 0..dice.below(40) {
                world.step(&mut dice);
            }
        }
        world.settle(&mut dice, Some((*fewest, *most)), &what);
        let images: BTreeSet<&str> = world.active().map(|pod| pod.text("/spec/containers/0/image")).collect();
        assert_eq!(images, BTreeSet::from(["3"]), "{what}");
        let progress = world.web().items("/status/conditions").iter().find(|one| one["type"] == "Progressing").cloned();
        assert_eq!(progress.expect("condition")["reason"], "NewReplicaSetAvailable", "{what}");
    }
}
