//! Changes of who takes part, one at a time.

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeType, ConfChangeV2, Entry};

use super::{Core, Fatal, Orders};
use crate::codec::Reader;
use crate::command::ProposalId;
use crate::model::{MemberChange, MemberId};

/// Why a change of members was not proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotProposed {
    /// This peer does not lead.
    NotLeader,
    /// Another change is under way, or the leader is new: try again.
    Busy,
    /// It makes no sense.
    Refused(String),
    /// The members are as wanted already.
    Done,
}

impl Core {
    /// Proposes a change of members; its verdict comes with `id`.
    pub(crate) fn change_members(&mut self, change: MemberChange, id: ProposalId) -> Result<(), NotProposed> {
        if !self.is_leader() {
            return Err(NotProposed::NotLeader);
        }
        if self.node.raft.has_pending_conf() || self.node.raft.lead_transferee.is_some() {
            return Err(NotProposed::Busy);
        }
        if self.machine.is_done(change) {
            return Err(NotProposed::Done);
        }
        self.machine.judge_members(change).map_err(NotProposed::Refused)?;
        if change == MemberChange::Remove(MemberId(self.member)) {
            let why = format!("member {} leads: hand leadership over before it is removed", self.member);
            return Err(NotProposed::Refused(why));
        }
        let mut context = Vec::new();
        id.put(&mut context);
        self.node.propose_conf_change(context, to_raft(change)).map_err(|_| NotProposed::Busy)
    }

    /// Applies a committed change of members, if it still makes sense: it is judged by the state it meets, which is the
    /// same on every member.
    pub(super) fn apply_members(&mut self, entry: &Entry, orders: &mut Orders) -> Result<(), Fatal> {
        let broken = |what: &str| Fatal(format!("entry {} of the log changes members and {what}", entry.index));
        let change = ConfChangeV2::parse_from_carllerche_bytes(&entry.data).map_err(|_| broken("does not decode"))?;
        let verdict = match from_raft(&change).ok_or_else(|| broken("is none of ours"))? {
            change if self.machine.is_done(change) => Ok(()),
            MemberChange::Remove(id) if self.machine.is_done(MemberChange::Remove(id)) => Ok(()),
            change => self.machine.judge_members(change),
        };
        if verdict.is_ok() {
            let members = self.node.apply_conf_change(&change);
            self.machine.members = members.map_err(|error| broken(&format!("Raft refuses it: {error}")))?;
            for removed in change.changes.iter().filter(|single| single.change_type == ConfChangeType::RemoveNode) {
                self.machine.retired.insert(removed.node_id);
                self.heard.remove(&removed.node_id);
            }
            // In a fixed order, so that the bytes of a snapshot are the same on every member.
            self.machine.members.voters.sort_unstable();
            self.machine.members.learners.sort_unstable();
            tracing::info!(
                member = self.member,
                voters = ?self.machine.members.voters,
                learners = ?self.machine.members.learners,
                "the members changed"
            );
            self.leave_if_removed();
        }
        if let Ok(id) = ProposalId::read(&mut Reader::new(entry.context.clone())) {
            orders.member_verdicts.push((id, verdict));
        }
        Ok(())
    }
}

fn to_raft(change: MemberChange) -> ConfChangeV2 {
    let (kind, id) = match change {
        MemberChange::AddLearner(id) => (ConfChangeType::AddLearnerNode, id),
        MemberChange::Promote(id) => (ConfChangeType::AddNode, id),
        MemberChange::Remove(id) => (ConfChangeType::RemoveNode, id),
    };
    let mut all = ConfChangeV2::default();
    all.set_changes(vec![raft_single(kind, id.0)].into());
    all
}

fn raft_single(kind: ConfChangeType, id: u64) -> raft::eraftpb::ConfChangeSingle {
    let mut single = raft::eraftpb::ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id;
    single
}

/// The change in an entry of ours: exactly one.
fn from_raft(change: &ConfChangeV2) -> Option<MemberChange> {
    let [single] = change.get_changes() else { return None };
    let id = MemberId(single.node_id);
    Some(match single.change_type {
        ConfChangeType::AddLearnerNode => MemberChange::AddLearner(id),
        ConfChangeType::AddNode => MemberChange::Promote(id),
        ConfChangeType::RemoveNode => MemberChange::Remove(id),
    })
}
