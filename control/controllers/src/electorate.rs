//! Who may vote: the facts of `wk_plan::voters`, for the controller and for whoever asks what it would do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use wk_api::kinds;
use wk_base::time::Timestamp;
use wk_plan::voters;
use wk_store::{Store, View};

use crate::gather;
use crate::heartbeats::Heartbeats;

/// A node that beat within this long has told the present leader what it has to tell: nodes beat once a second, and at
/// once when another peer leads.
const FRESH: SignedDuration = SignedDuration::from_secs(3);

/// Members of this level of the store's language and above understand joint changes.
const JOINT_LEVEL: u32 = 2;

/// Where a node says in which zone it stands.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Reads the members' records out of a view, by member id.
pub type Roll = dyn Fn(&View) -> BTreeMap<u64, voters::Member> + Send + Sync;

/// The members as their records have them, and the rule for silent ones.
#[derive(Clone)]
pub struct Electorate {
    /// Reads the records: who they are is the caller's business.
    pub roll: Arc<Roll>,
    /// A voter silent for longer is replaced.
    pub limit: Duration,
}

impl Electorate {
    /// What the planner of voters is told by the leader at `now`.
    pub fn input(&self, store: &Store, heartbeats: &Heartbeats, now: Timestamp) -> voters::Input {
        // First the status: each member in it had its record before, so the view has it too.
        let status = store.status().borrow().clone();
        let view = store.view();
        let mut members = (self.roll)(&view);
        let heard = heartbeats.told();
        for node in gather::list(&view, &kinds::NODE) {
            if let Some(zone) = node.label(ZONE_LABEL)
                && let Some(member) = members.values_mut().find(|member| member.name == node.name())
            {
                // The Node's label is what people change.
                member.zone = Some(zone.to_owned());
            }
        }
        for member in members.values_mut() {
            if let Some((at, told)) = heard.get(&member.name) {
                member.heard = now.duration_since(*at) < FRESH;
                member.leaving = told.leaving;
                member.failure.clone_from(&told.failure);
            }
        }
        let numbers = |ids: &BTreeSet<wk_store::MemberId>| ids.iter().map(|id| id.0).collect();
        let mut learners: BTreeSet<u64> = numbers(&status.learners);
        learners.extend(status.witnesses.iter().filter(|id| !status.voters.contains(id)).map(|id| id.0));
        voters::Input {
            joint: members.values().all(|member| member.level >= JOINT_LEVEL),
            members,
            leader: status.member.0,
            voters: numbers(&status.voters),
            learners,
            lag: status.lag.iter().map(|(id, lag)| (id.0, *lag)).collect(),
            silent: status.silent.iter().map(|(id, silent)| (id.0, *silent)).collect(),
            limit: self.limit,
            changing: status.joint,
        }
    }
}

impl fmt::Debug for Electorate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Electorate").field("limit", &self.limit).finish_non_exhaustive()
    }
}
