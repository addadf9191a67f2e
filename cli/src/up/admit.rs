//! While this peer leads: every member with a record is one of Raft's, and nobody else is.
//!
//! Not here: who of them votes (the controller of voters).

use std::collections::BTreeSet;
use std::time::Duration;

use wk_base::tasks::Tasks;
use wk_mesh::join::Vote;
use wk_store::{MemberChange, MemberId, Store};

use super::members;

/// Between two looks: records change without a change of Raft's members. A newcomer waits this long for its log.
const LOOK: Duration = Duration::from_millis(100);

/// Adds and removes for as long as the tasks run.
pub(crate) fn start(store: &Store, tasks: &Tasks) {
    let store = store.clone();
    tasks.spawn_until_stop("admit", async move {
        let mut status = store.status();
        loop {
            if let Some(change) = next(&store) {
                tracing::debug!(?change, "a member is added or removed");
                if let Err(error) = store.change_members(change).await {
                    tracing::debug!(%error, "members not changed yet");
                }
            }
            let _ = tokio::time::timeout(LOOK, status.changed()).await;
        }
    });
}

fn next(store: &Store) -> Option<MemberChange> {
    // First Raft's members, then the records: a record is written before its member is added, so that a member without
    // a record is one whose record was deleted.
    let (known, learners): (BTreeSet<MemberId>, BTreeSet<MemberId>) = {
        let now = store.status();
        let now = now.borrow();
        if !now.is_leader() {
            return None;
        }
        let known = now.voters.iter().chain(&now.learners).chain(&now.witnesses).copied().collect();
        (known, now.learners.difference(&now.voters).copied().collect())
    };
    let view = store.view();
    let records: Vec<_> = members::records(&view).map(|(member, record)| (MemberId(member.id), record.vote)).collect();
    let missing = records.iter().find(|(id, _)| !known.contains(id)).map(|(id, vote)| match vote {
        Vote::Witness => MemberChange::AddWitness(*id),
        Vote::Voter | Vote::None => MemberChange::AddLearner(*id),
    });
    let orphan = || learners.into_iter().find(|id| !records.iter().any(|(other, _)| other == id));
    missing.or_else(|| orphan().map(MemberChange::Remove))
}
