//! The facts of the scheduler: the pods whose turn it is, and of all others what matters to them.
//!
//! Of ten thousand pods hardly any is decoded: briefs say what is asked of them. Not here: whose turn it is, and where they go
//! ([`wk_plan::scheduler`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;
use wk_cluster::{brief, label_hash, object};
use wk_plan::{Plan, scheduler};
use wk_store::{Part, Stored, View};

use crate::gather::{borrowed, has_claims, list};
use crate::grouped::Grouped;
use crate::work::Desk;
use crate::workloads::namespace;

/// The kinds that the scheduler looks at.
pub(crate) const READS: [&Kind; 6] = [
    &kinds::POD,
    &kinds::NODE,
    &kinds::PERSISTENTVOLUMECLAIM,
    &kinds::PERSISTENTVOLUME,
    &kinds::NAMESPACE,
    &kinds::PODDISRUPTIONBUDGET,
];

/// Groups of pods that are told apart at most. With more all are shown: to hold one against so many costs what showing it
/// does.
const GROUPS_MAX: usize = 256;

/// The pass of the scheduler's shell. It remembers who had a turn, and while some had none what there was when they were
/// looked at.
pub(crate) fn schedule() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut waiting: Grouped<()> = Grouped::new(&kinds::POD, |pod, each| {
        if waits(pod) {
            each(());
        }
    });
    let (mut turns, mut known) = (scheduler::Turns::default(), Vec::new());
    move |desk, now| {
        let view = desk.cluster.store().view();
        waiting.follow(&view);
        let waiting = waiting.of(&()).members();
        if waiting.is_empty() {
            (turns, known) = (scheduler::Turns::default(), Vec::new());
            return Plan::default();
        }
        let facts: Vec<Part> = READS.iter().map(|kind| view.part(kind.collection())).collect();
        if known != facts {
            turns.news();
        }
        let mut plan = place(&view, waiting, &mut turns, now);
        if turns.are_over() {
            known.clear();
        } else {
            // Those who had no turn since come next.
            known = facts;
            plan.due = Some(now);
        }
        plan
    }
}

/// Finds nodes for those of `waiting` whose turn it is.
fn place(view: &View, waiting: &[Arc<Stored>], turns: &mut scheduler::Turns, now: Timestamp) -> Plan {
    let all: Vec<Arc<Stored>> = view.list(kinds::POD.collection(), "").collect();
    let nodes = list(view, &kinds::NODE);
    let nodes = borrowed(&nodes);
    let placed = all.iter().filter_map(|stored| {
        let (brief, pod) = (brief(stored), brief(stored).pod()?);
        let bare = scheduler::Placed {
            node: &pod.node,
            sibling_of: brief.controller().filter(|_| !brief.is_deleting()),
            asked: pod.requests,
            priority: pod.priority.into(),
            is_going: brief.is_deleting(),
            pod: None,
        };
        (!pod.node.is_empty() && !pod.is_finished).then_some((stored, bare))
    });
    let (placed, bare): (Vec<&Arc<Stored>>, Vec<scheduler::Placed<'_>>) = placed.unzip();
    let repel = placed.iter().filter(|pod| brief(pod).pod().is_some_and(|it| it.repels));
    let repels = repel.map(|pod| scheduler::repels(&object(pod))).sum();
    let turn = turn(waiting, turns, scheduler::Size::of(nodes.len(), &bare, repels));
    let turn = borrowed(&turn);
    let shown = Shown::to(&turn, &bare, &nodes);
    let shown: Vec<Option<Arc<Object>>> =
        placed.iter().zip(&bare).map(|(stored, one)| shown.has(stored, one).then(|| object(stored))).collect();
    let claiming: Vec<_> = placed.iter().filter(|pod| has_claims(pod)).map(|pod| object(pod)).collect();
    let pods: Vec<&Object> = turn.into_iter().chain(borrowed(&claiming)).collect();
    let placed = bare.iter().zip(&shown).map(|(one, pod)| scheduler::Placed { pod: pod.as_deref(), ..*one });
    let (claims, volumes) = (list(view, &kinds::PERSISTENTVOLUMECLAIM), list(view, &kinds::PERSISTENTVOLUME));
    let (namespaces, budgets) = (list(view, &kinds::NAMESPACE), list(view, &kinds::PODDISRUPTIONBUDGET));
    let input = scheduler::Input {
        pods: &pods,
        nominated: &waiting.iter().filter_map(|stored| nominated(stored)).collect::<Vec<_>>(),
        placed: &placed.collect::<Vec<_>>(),
        nodes: &nodes,
        claims: &borrowed(&claims),
        volumes: &borrowed(&volumes),
        namespaces: &borrowed(&namespaces),
        budgets: &borrowed(&budgets),
    };
    scheduler::plan(&input, now)
}

/// Those of `waiting` that have their turn in the next plan.
fn turn(waiting: &[Arc<Stored>], turns: &mut scheduler::Turns, size: scheduler::Size) -> Vec<Arc<Object>> {
    let line = waiting.iter().filter_map(|stored| {
        let (uid, priority) = (brief(stored).uid(), brief(stored).pod()?.priority.into());
        Some((scheduler::Waiting { uid, namespace: namespace(stored), priority, since: stored.created().0 }, stored))
    });
    turns.take(&line.collect::<Vec<_>>(), size, |stored| object(stored))
}

/// Where room is made for a pod that waits.
fn nominated(stored: &Stored) -> Option<scheduler::Nominated<'_>> {
    let (brief, pod) = (brief(stored), brief(stored).pod()?);
    (!pod.nominated.is_empty()).then(|| scheduler::Nominated {
        uid: brief.uid(),
        node: &pod.nominated,
        asked: pod.requests,
        priority: pod.priority.into(),
    })
}

/// Which pods that have a node are shown to the scheduler as they are. Of the others a few numbers are enough, and none is
/// decoded.
struct Shown<'a> {
    /// Namespaces, or any, and the labels that pods there have to have.
    about: BTreeSet<(Option<String>, Vec<u64>)>,
    /// Below which priority pods may have to go, by node.
    rooms: BTreeMap<&'a str, i64>,
}

impl<'a> Shown<'a> {
    /// What has to be shown for the sake of those that wait.
    fn to(waiting: &[&Object], placed: &[scheduler::Placed<'a>], nodes: &[&'a Object]) -> Self {
        let interests = waiting.iter().flat_map(|pod| scheduler::interests(pod));
        let about = interests.map(|interest| {
            let labels = interest.labels.iter().map(|(key, value)| label_hash(key, value));
            (interest.namespace.map(str::to_owned), labels.collect())
        });
        let mut about: BTreeSet<(Option<String>, Vec<u64>)> = about.collect();
        if about.len() > GROUPS_MAX {
            about = BTreeSet::from([(None, Vec::new())]);
        }
        Self { about, rooms: scheduler::rooms(waiting, placed, nodes) }
    }

    fn has(&self, stored: &Stored, placed: &scheduler::Placed<'_>) -> bool {
        let space = namespace(stored);
        let is_meant = |(namespace, labels): &(Option<String>, Vec<u64>)| {
            namespace.as_ref().is_none_or(|namespace| namespace == space)
                && labels.iter().all(|label| brief(stored).labels().any(|own| own == *label))
        };
        brief(stored).pod().is_some_and(|pod| pod.repels)
            || self.rooms.get(placed.node).is_some_and(|below| placed.priority < *below)
            || self.about.iter().any(is_meant)
    }
}

/// Whether a pod has no node yet and may get one from this scheduler. Others' are not decoded each time something changes.
fn waits(pod: &Stored) -> bool {
    let brief = brief(pod);
    brief.pod().is_some_and(|pod| pod.is_ours && pod.node.is_empty() && !pod.is_finished) && !brief.is_deleting()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wk_api::requests::Amounts;

    use super::*;
    use crate::hearing::Hearing;
    use crate::shells;
    use crate::testing::Alone;

    #[tokio::test]
    async fn for_whom_room_is_made_is_known_of_all_that_wait_and_none_is_decoded_for_it() {
        let store = Alone::start().await;
        for (name, node) in [("plain", ""), ("urgent", "n1")] {
            let container = json!({"name": "c", "resources": {"requests": {"cpu": "3"}}});
            let pod = json!({"metadata": {"name": name, "namespace": "default", "uid": name},
                "spec": {"priority": 9, "containers": [container]}, "status": {"nominatedNodeName": node}});
            store.write(&kinds::POD, &format!("default/{name}"), Some(pod)).await;
        }
        let all: Vec<Arc<Stored>> = store.view().list(kinds::POD.collection(), "").collect();
        let found: Vec<_> = all.iter().filter_map(|stored| nominated(stored)).collect();
        let [one] = &found[..] else { panic!("one of them: {found:?}") };
        let asked = Amounts { cpu_millis: 3_000, pods: 1, ..Amounts::default() };
        assert_eq!((one.uid, one.node, one.priority, one.asked), ("urgent", "n1", 9, asked));
        assert!(all.iter().all(|stored| stored.decoded_here::<Object>().is_none()));
        store.stop().await;
    }

    #[test]
    fn namespaces_and_budgets_wake_the_scheduler_as_they_are_what_pods_may_wait_for() {
        let shell = shells::named("scheduler", Arc::new(Hearing::default()));
        for kind in [&kinds::POD, &kinds::NODE, &kinds::NAMESPACE, &kinds::PODDISRUPTIONBUDGET] {
            assert!(shell.reads.contains(&kind), "{}", kind.kind);
        }
    }
}
