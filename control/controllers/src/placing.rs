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

/// The pass of the scheduler's shell. It remembers who had a turn in this round, and what there was when it began.
pub(crate) fn schedule() -> impl FnMut(&Desk, Timestamp) -> Plan + Send {
    let mut waiting: Grouped<()> = Grouped::new(&kinds::POD, |pod, each| {
        if waits(pod) {
            each(());
        }
    });
    let (mut round, mut begun) = (scheduler::Round::default(), Vec::new());
    move |desk, now| {
        let view = desk.cluster.store().view();
        waiting.follow(&view);
        let waiting = waiting.of(&()).members();
        if waiting.is_empty() {
            (round, begun) = (scheduler::Round::default(), Vec::new());
            return Plan::default();
        }
        let facts: Vec<Part> = READS.iter().map(|kind| view.part(kind.collection())).collect();
        if round.is_new() {
            begun.clone_from(&facts);
        }
        let mut plan = place(&view, waiting, &mut round, now);
        // Those who had no turn come next. After several looks the first of a round have not seen what changed since.
        let ends = round.ends(waiting.iter().map(|pod| brief(pod).uid()));
        if !ends || begun != facts {
            plan.due = Some(now);
        }
        if ends {
            begun.clear();
        }
        plan
    }
}

/// Finds nodes for those of `waiting` whose turn it is.
fn place(view: &View, waiting: &[Arc<Stored>], round: &mut scheduler::Round, now: Timestamp) -> Plan {
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
    let size = scheduler::Size { nodes: nodes.len(), placed: bare.len(), repels };
    let turn = turn(waiting, round, size);
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
        placed: &placed.collect::<Vec<_>>(),
        nodes: &nodes,
        claims: &borrowed(&claims),
        volumes: &borrowed(&volumes),
        namespaces: &borrowed(&namespaces),
        budgets: &borrowed(&budgets),
    };
    scheduler::plan(&input, round, now)
}

/// The pods that this plan can afford, of those that wait.
fn turn(waiting: &[Arc<Stored>], round: &scheduler::Round, size: scheduler::Size) -> Vec<Arc<Object>> {
    let line = waiting.iter().filter_map(|stored| {
        let (uid, priority) = (brief(stored).uid(), brief(stored).pod()?.priority.into());
        Some((scheduler::Waiting { uid, namespace: namespace(stored), priority, since: stored.created().0 }, stored))
    });
    let mut purse = scheduler::Purse::of(size);
    round.in_order(line.collect()).map(|stored| object(stored)).take_while(|pod| purse.affords(pod)).collect()
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
    use super::*;
    use crate::hearing::Hearing;
    use crate::shells;

    #[test]
    fn namespaces_and_budgets_wake_the_scheduler_as_they_are_what_pods_may_wait_for() {
        let shell = shells::named("scheduler", Arc::new(Hearing::default()));
        for kind in [&kinds::POD, &kinds::NODE, &kinds::NAMESPACE, &kinds::PODDISRUPTIONBUDGET] {
            assert!(shell.reads.contains(&kind), "{}", kind.kind);
        }
    }
}
