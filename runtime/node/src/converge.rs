//! What separates the pods that should be here from those that are: a pure comparison.

use std::collections::{BTreeSet, HashSet};

use wk_base::time::Timestamp;

/// A pod that is assigned to this node.
#[derive(Debug)]
pub struct Assigned<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// When its grace ends, if it is marked for deletion and that is news.
    pub marked: Option<Timestamp>,
}

/// One step towards what should be.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Take on the pod that has this place among those assigned.
    Begin(usize),
    /// This pod is marked for deletion; its grace ends at the time given.
    End(String, Timestamp),
    /// This pod's object is gone: stop it at once.
    Forget(String),
}

/// The steps from the pods `here` (by uid) to those `assigned` to this node.
pub fn converge<'a>(assigned: &[Assigned<'_>], here: impl Iterator<Item = &'a str>) -> Vec<Step> {
    let wanted: HashSet<&str> = assigned.iter().map(|pod| pod.uid).collect();
    let here: BTreeSet<&str> = here.collect();
    let gone = here.iter().filter(|uid| !wanted.contains(*uid)).map(|uid| Step::Forget((*uid).to_owned()));
    let present = assigned.iter().enumerate().flat_map(|(place, pod)| {
        let begin = (!here.contains(pod.uid)).then_some(Step::Begin(place));
        // In Kubernetes `deletionTimestamp` is when the grace period ends, not when the deletion was asked for.
        let end = pod.marked.map(|grace_ends| Step::End(pod.uid.to_owned(), grace_ends));
        begin.into_iter().chain(end)
    });
    gone.chain(present).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod<'a>(uid: &'a str, marked: Option<&str>) -> Assigned<'a> {
        Assigned { uid, marked: marked.map(|time| time.parse().unwrap()) }
    }

    #[test]
    fn new_pods_begin_deleted_ones_end_and_unknown_ones_are_forgotten() {
        let time = "2026-01-01T00:00:00Z";
        let assigned = [pod("new", None), pod("kept", None), pod("dying", Some(time))];
        let steps = converge(&assigned, ["old", "kept", "dying"].into_iter());
        assert_eq!(
            steps,
            [Step::Forget("old".into()), Step::Begin(0), Step::End("dying".into(), time.parse().unwrap())]
        );
    }

    #[test]
    fn pod_marked_while_this_node_was_away_begins_and_ends_so_that_its_object_goes() {
        let steps = converge(&[pod("a", Some("2026-01-01T00:00:00Z"))], std::iter::empty());
        assert!(matches!(&steps[..], [Step::Begin(_), Step::End(..)]));
    }

    #[test]
    fn pod_that_did_not_change_stays_as_it_is() {
        let assigned = [pod("kept", None)];
        assert_eq!(converge(&assigned, ["kept"].into_iter()), []);
        assert_eq!(converge(&assigned, std::iter::empty()), [Step::Begin(0)]);
    }
}
