//! What a peer knows of itself and the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{MemberId, Revision};

/// What a peer is in the present term.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    /// Orders the writes of the cluster.
    Leader,
    /// Asks to become the leader.
    Candidate,
    /// Votes and follows.
    Follower,
    /// Follows without a vote, also before it was added and after it was removed.
    #[default]
    Learner,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Candidate => "candidate",
            Self::Follower => "follower",
            Self::Learner => "learner",
        })
    }
}

/// A peer's view of the cluster. Leader, role and members are published at once, positions once a tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Who reports.
    pub member: MemberId,
    /// Who leads, as far as known.
    pub leader: Option<MemberId>,
    /// Raft's term.
    pub term: u64,
    /// What the reporting peer is.
    pub role: Role,
    /// Who votes; while voters change, the old ones and the new ones.
    pub voters: BTreeSet<MemberId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<MemberId>,
    /// Those of the voters and learners that hold no data.
    pub witnesses: BTreeSet<MemberId>,
    /// Voters are changing: a majority of the old ones and one of the new ones decide together.
    pub joint: bool,
    /// The last revision applied here.
    pub applied: Revision,
    /// The last revision known to be in the logs of a majority.
    pub commit: Revision,
    /// On the leader: how many entries each other member's log is behind. Empty elsewhere.
    pub lag: BTreeMap<MemberId, u64>,
    /// On the leader: the other members heard from within the last election timeout. Empty elsewhere.
    pub active: BTreeSet<MemberId>,
    /// On the leader: how long each other member has been silent while this leader listened, in whole election timeouts,
    /// so that it is zero for those in `active`. Empty elsewhere.
    pub silent: BTreeMap<MemberId, Duration>,
    /// Why this peer gave up, if it did: its disk failed, or an invariant broke. It takes no part any more.
    pub failure: Option<Arc<str>>,
}

impl Status {
    pub(crate) fn new(member: MemberId) -> Self {
        Self {
            member,
            leader: None,
            term: 0,
            role: Role::Learner,
            voters: BTreeSet::new(),
            learners: BTreeSet::new(),
            witnesses: BTreeSet::new(),
            joint: false,
            applied: Revision(0),
            commit: Revision(0),
            lag: BTreeMap::new(),
            active: BTreeSet::new(),
            silent: BTreeMap::new(),
            failure: None,
        }
    }

    /// True when the reporting peer leads.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}
