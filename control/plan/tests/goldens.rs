//! Golden tests of every planner: a cluster as YAML in, the plan's own text out.
//!
//! Each `goldens/<planner>/<fact>.yaml` starts with a document of what the planner is told besides objects (`now`, what
//! was heard, …); the objects follow. Uid, namespace, version and time of creation are filled in where a file does not
//! say. Beside it lies `<fact>.plan`. `WK_GOLDENS=write cargo test -p wk-plan` writes the plans anew: read the diff.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;
use wk_plan::{
    Children, Plan, apiservice, claims, deployment, disruption, endpointslice, ephemeral, events, garbage, namespaces,
    nodes, podgc, replicaset, resourcequotas, rootca, scheduler, serviceaccounts, voters,
};

/// One golden's input.
struct World {
    facts: Value,
    objects: Vec<(&'static Kind, Object)>,
}

impl World {
    fn read(text: &str) -> Self {
        let mut documents =
            serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).expect("YAML"));
        let facts = documents.next().expect("the first document has the facts");
        let objects = documents.enumerate().map(|(index, document)| object(document, index)).collect();
        Self { facts, objects }
    }

    fn now(&self) -> Timestamp {
        self.time("now")
    }

    fn time(&self, field: &str) -> Timestamp {
        let text = self.facts[field].as_str().unwrap_or_else(|| panic!("the first document lacks {field}"));
        text.parse().expect("a time")
    }

    fn of(&self, kind: &'static Kind) -> Vec<&Object> {
        self.objects.iter().filter(|(other, _)| *other == kind).map(|(_, object)| object).collect()
    }

    fn all(&self) -> Vec<(&'static Kind, &Object)> {
        self.objects.iter().map(|(kind, object)| (*kind, object)).collect()
    }

    /// `members` by number: those with `votes: true` vote, the others follow. The first voter leads.
    fn electorate(&self) -> voters::Input {
        let mut input = voters::Input {
            limit: Duration::from_secs(30),
            joint: self.facts["joint"] != json!(false),
            ..voters::Input::default()
        };
        for (id, it) in self.facts["members"].as_object().expect("members") {
            let (id, text) = (id.parse().expect("a number"), |field: &str| it[field].as_str().map(str::to_owned));
            let vote = match it["vote"].as_str() {
                None => voters::Vote::Voter,
                Some("none") => voters::Vote::None,
                Some("witness") => voters::Vote::Witness,
                Some(other) => panic!("no vote {other}"),
            };
            let member = voters::Member {
                name: format!("n{id}"),
                zone: text("zone"),
                vote,
                level: 2,
                heard: it["heard"] != json!(false),
                leaving: it["leaving"] == json!(true),
                failure: text("failure"),
            };
            input.members.insert(id, member);
            if it["votes"] == json!(true) { &mut input.voters } else { &mut input.learners }.insert(id);
            input.lag.insert(id, it["lag"].as_u64().unwrap_or_default());
            input.silent.insert(id, Duration::from_millis(it["silent_ms"].as_u64().unwrap_or_default()));
        }
        input.leader = input.voters.first().copied().expect("somebody votes");
        input
    }
}

fn object(document: Value, index: usize) -> (&'static Kind, Object) {
    let word = document["kind"].as_str().expect("kind").to_owned();
    let kind = kinds().iter().find(|kind| kind.kind == word).unwrap_or_else(|| panic!("no kind {word}"));
    let mut object = Object::new(document);
    let name = object.name().to_owned();
    object.0["apiVersion"] = kind.api_version().into();
    let metadata = object.metadata_mut();
    let mut default = |field: &str, value: Value| {
        metadata.entry(field).or_insert(value);
    };
    default("uid", format!("{}-{name}", kind.singular).into());
    default("resourceVersion", (100 + index).to_string().into());
    default("creationTimestamp", "2025-01-01T00:00:00Z".into());
    if kind.is_namespaced() {
        default("namespace", "default".into());
    }
    (kind, object)
}

fn plan(planner: &str, world: &World) -> Plan {
    let (pods, nodes_all) = (world.of(&kinds::POD), world.of(&kinds::NODE));
    let one = |kind| *world.of(kind).first().expect("the object that the plan is about");
    match planner {
        "deployment" => {
            let deployment = one(&kinds::DEPLOYMENT);
            let sets = world.of(&kinds::REPLICASET);
            let children = Children::of(sets.iter().copied());
            let input = deployment::Input {
                deployment,
                replicasets: children.owned_by(deployment),
                orphans: children.orphans_beside(deployment),
                taken: &sets.iter().map(|set| set.name()).collect(),
                pods: &pods,
            };
            deployment::plan(&input, world.now())
        }
        "replicaset" => {
            let replicaset = one(&kinds::REPLICASET);
            let children = Children::of(pods.iter().copied());
            let (pods, orphans) = (children.owned_by(replicaset), children.orphans_beside(replicaset));
            let refused = world.facts["refused"].as_str();
            let kind = &kinds::REPLICASET;
            replicaset::plan(&replicaset::Input { kind, replicaset, pods, orphans, refused }, world.now())
        }
        "disruption" => {
            let budget = one(&kinds::PODDISRUPTIONBUDGET);
            let controllers: Vec<&Object> =
                [&kinds::DEPLOYMENT, &kinds::REPLICASET].into_iter().flat_map(|kind| world.of(kind)).collect();
            let pods: Vec<&Object> = pods.into_iter().filter(|pod| disruption::covers(budget, pod)).collect();
            let scales = disruption::scales(&controllers);
            disruption::plan(&disruption::Input { budget, pods: &pods, scales: &scales }, world.now())
        }
        "endpointslice" => {
            let (service, slices) = (one(&kinds::SERVICE), world.of(&kinds::ENDPOINTSLICE));
            endpointslice::plan(&endpointslice::Input { service, pods: &pods, slices: &slices })
        }
        "garbage" => garbage::plan(&garbage::Input { objects: &world.all(), kinds: kinds() }),
        "namespaces" => {
            let content: Vec<_> = world.all().into_iter().filter(|(kind, _)| kind.is_namespaced()).collect();
            namespaces::plan(&namespaces::Input { namespace: one(&kinds::NAMESPACE), content: &content }, world.now())
        }
        "resourcequotas" => {
            let content: Vec<_> = world.all().into_iter().filter(|(kind, _)| kind.is_namespaced()).collect();
            let quota = one(&kinds::RESOURCEQUOTA);
            resourcequotas::plan(&resourcequotas::Input { quota, content: &content }, world.now())
        }
        "serviceaccounts" => {
            let (namespaces, accounts) = (world.of(&kinds::NAMESPACE), world.of(&kinds::SERVICEACCOUNT));
            let input = serviceaccounts::Input { namespaces: &namespaces, accounts: &accounts, name: "default" };
            serviceaccounts::plan(&input)
        }
        "rootca" => {
            let (namespaces, published) = (world.of(&kinds::NAMESPACE), world.of(&kinds::CONFIGMAP));
            rootca::plan(&rootca::Input { namespaces: &namespaces, published: &published, certificate: "pem" })
        }
        "ephemeral" => {
            let claims = world.of(&kinds::PERSISTENTVOLUMECLAIM);
            ephemeral::plan(&ephemeral::Input { pods: &pods, claims: &claims })
        }
        "apiservice" => {
            let (namespaces, slices) = (world.of(&kinds::NAMESPACE), world.of(&kinds::ENDPOINTSLICE));
            let input = apiservice::Input {
                namespaces: &namespaces,
                nodes: &nodes_all,
                service: world.of(&kinds::SERVICE).first().copied(),
                endpoints: world.of(&kinds::ENDPOINTS).first().copied(),
                slices: &slices,
                range: "10.96.0.0/12",
                service_cidr: world.of(&kinds::SERVICECIDR).first().copied(),
            };
            apiservice::plan(&input, world.now())
        }
        "podgc" => {
            let absent = world.facts["absent"].as_object().into_iter().flatten();
            let time = |text: &Value| text.as_str().and_then(|text| text.parse().ok()).expect("a time");
            let absent = absent.map(|(node, since)| (node.clone(), time(since))).collect();
            podgc::plan(&podgc::Input { pods: &pods, nodes: &nodes_all, absent: &absent }, world.now())
        }
        "events" => {
            let events: Vec<_> = world.of(&kinds::EVENT).into_iter().map(events::Seen::of).collect();
            events::plan(&events::Input { events: &events }, world.now())
        }
        "nodes" => {
            let heard = world.facts["heard"].as_object().into_iter().flatten();
            let heard: BTreeMap<String, Timestamp> = heard
                .map(|(node, time)| (node.clone(), time.as_str().and_then(|t| t.parse().ok()).expect("time")))
                .collect();
            let hearing_since = world.time("hearing_since");
            let failures = world.facts["failures"].as_object().into_iter().flatten();
            let failures = failures.map(|(node, why)| (node.as_str(), why.as_str().expect("text"))).collect();
            let input =
                nodes::Input { nodes: &nodes_all, pods: &pods, heard: &heard, failures: &failures, hearing_since };
            nodes::plan(&input, world.now())
        }
        "scheduler" => {
            let (claims, volumes) = (world.of(&kinds::PERSISTENTVOLUMECLAIM), world.of(&kinds::PERSISTENTVOLUME));
            let placed: Vec<_> = pods.iter().filter_map(|pod| placed(pod)).collect();
            let (nodes, claims, volumes) = (&nodes_all, &claims, &volumes);
            let (namespaces, budgets) = (&world.of(&kinds::NAMESPACE), &world.of(&kinds::PODDISRUPTIONBUDGET));
            let (nominated, pods) = (&nominated(&pods), &those_with_a_turn(pods, &world.facts["turn"]));
            let placed = &placed;
            let input = scheduler::Input { pods, nominated, placed, nodes, claims, volumes, namespaces, budgets };
            scheduler::plan(&input, world.now())
        }
        "claims" => {
            let (claims, volumes) = (world.of(&kinds::PERSISTENTVOLUMECLAIM), world.of(&kinds::PERSISTENTVOLUME));
            let classes = world.of(&kinds::STORAGECLASS);
            claims::plan(&claims::Input {
                claims: &claims,
                volumes: &volumes,
                classes: &classes,
                pods: &pods,
                nodes: &nodes_all,
            })
        }
        "voters" => voters::plan(&world.electorate()),
        other => panic!("no planner {other}"),
    }
}

/// For whom room is made.
fn nominated<'a>(pods: &[&'a Object]) -> Vec<scheduler::Nominated<'a>> {
    let of = |pod: &'a Object| scheduler::Nominated {
        uid: pod.uid(),
        node: pod.text("/status/nominatedNodeName"),
        asked: wk_api::requests::of_pod(pod),
        priority: pod.int("/spec/priority").unwrap_or_default(),
    };
    pods.iter().copied().map(of).filter(|pod| !pod.node.is_empty()).collect()
}

/// `turn` of the facts names them; else all.
fn those_with_a_turn<'a>(mut pods: Vec<&'a Object>, turn: &Value) -> Vec<&'a Object> {
    if let Some(turn) = turn.as_array() {
        pods.retain(|pod| turn.iter().any(|name| name == pod.name()));
    }
    pods
}

/// What of a pod that has a node matters to the scheduler.
fn placed(pod: &Object) -> Option<scheduler::Placed<'_>> {
    let (node, is_going) = (pod.text("/spec/nodeName"), pod.is_deleting());
    let is_finished = matches!(pod.text("/status/phase"), "Succeeded" | "Failed");
    let controller = pod.items("/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
    (!node.is_empty() && !is_finished).then(|| scheduler::Placed {
        node,
        sibling_of: controller.and_then(|owner| owner["uid"].as_str()).filter(|_| !is_going),
        asked: wk_api::requests::of_pod(pod),
        priority: pod.int("/spec/priority").unwrap_or_default(),
        is_going,
        pod: Some(pod),
    })
}

fn check(planner: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(planner);
    let files = std::fs::read_dir(&dir).expect("goldens of the planner");
    let mut cases: Vec<PathBuf> = files.map(|file| file.expect("directory entry").path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    assert!(!cases.is_empty(), "no golden in {}", dir.display());
    let write = std::env::var("WK_GOLDENS").is_ok_and(|value| value == "write");
    let mut wrong = String::new();
    for case in cases {
        let world = World::read(&std::fs::read_to_string(&case).expect("read golden"));
        let found = plan(planner, &world).to_string();
        assert_eq!(found, plan(planner, &world).to_string(), "same facts, same plan");
        let golden = case.with_extension("plan");
        if write {
            std::fs::write(&golden, &found).expect("write golden");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            wrong.push_str(
                &[&*golden.to_string_lossy(), ":\n--- expected\n", &expected, "--- found\n", &found].concat(),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn apiservice_plans_read_as_their_goldens() {
    check("apiservice");
}

#[test]
fn deployment_plans_read_as_their_goldens() {
    check("deployment");
}

#[test]
fn replicaset_plans_read_as_their_goldens() {
    check("replicaset");
}

#[test]
fn disruption_plans_read_as_their_goldens() {
    check("disruption");
}

#[test]
fn endpointslice_plans_read_as_their_goldens() {
    check("endpointslice");
}

#[test]
fn garbage_plans_read_as_their_goldens() {
    check("garbage");
}

#[test]
fn namespaces_plans_read_as_their_goldens() {
    check("namespaces");
}

#[test]
fn podgc_plans_read_as_their_goldens() {
    check("podgc");
}

#[test]
fn resourcequotas_plans_read_as_their_goldens() {
    check("resourcequotas");
}

#[test]
fn serviceaccounts_plans_read_as_their_goldens() {
    check("serviceaccounts");
}

#[test]
fn rootca_plans_read_as_their_goldens() {
    check("rootca");
}

#[test]
fn ephemeral_plans_read_as_their_goldens() {
    check("ephemeral");
}

#[test]
fn events_plans_read_as_their_goldens() {
    check("events");
}

#[test]
fn nodes_plans_read_as_their_goldens() {
    check("nodes");
}

#[test]
fn scheduler_plans_read_as_their_goldens() {
    check("scheduler");
}

#[test]
fn claims_get_volumes_and_volumes_go_with_their_claims() {
    check("claims");
}

#[test]
fn voters_plans_read_as_their_goldens() {
    check("voters");
}
