//! Changes of who takes part, one at a time.
//!
//! Voters change by joint consensus: the entry that Raft calls a change enters the joint state, and an empty one, which
//! the leader of the day appends by itself, leaves it. Both are judged by the state they meet, the same on every member.
//! Whoever asked hears of it when the joint state is left: until then the old voters are needed.

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry};

use super::{Core, Fatal, Orders};
use crate::codec::{Malformed, Reader, put_list};
use crate::command::ProposalId;
use crate::model::{MemberChange, MemberId};

/// The level from which all members know joint changes and witnesses.
const JOINT_LEVEL: u32 = 2;

/// The format of what a change says beside Raft's part of it: who of the new members are witnesses. Changes without
/// witnesses say nothing, as in the version before there were any.
const CONTEXT_FORMAT: u8 = 1;

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

/// What an entry does to the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes the change, or enters the joint state to make it.
    Change(MemberChange),
    /// Leaves the joint state.
    Leave,
}

impl Core {
    /// The feature level that all members understand; see [`crate::Store::speak`].
    pub(crate) fn speak(&mut self, level: u32) {
        self.level = level;
    }

    /// Proposes a change of members; its verdict comes with `id`.
    pub(crate) fn change_members(&mut self, change: &MemberChange, id: ProposalId) -> Result<(), NotProposed> {
        if !self.is_leader() {
            return Err(NotProposed::NotLeader);
        }
        let is_pending = self.node.raft.has_pending_conf() || self.machine.is_joint();
        if is_pending || self.node.raft.lead_transferee.is_some() {
            return Err(NotProposed::Busy);
        }
        if self.machine.is_done(change) {
            return Err(NotProposed::Done);
        }
        self.machine.judge_members(change).map_err(NotProposed::Refused)?;
        self.judge_here(change).map_err(NotProposed::Refused)?;
        let mut context = Vec::new();
        id.put(&mut context);
        let is_voter = matches!(change, MemberChange::Remove(id) if self.machine.members.voters.contains(&id.0));
        let by_joint = self.level >= JOINT_LEVEL && (is_voter || matches!(change, MemberChange::Vote { .. }));
        self.node.propose_conf_change(context, to_raft(change, by_joint)).map_err(|_| NotProposed::Busy)
    }

    /// What only the leader judges: others may see it differently without harm.
    fn judge_here(&self, change: &MemberChange) -> Result<(), String> {
        let (leads, old) = (MemberId(self.member), self.level < JOINT_LEVEL);
        match change {
            MemberChange::Remove(id) if *id == leads => {
                Err(format!("member {id} leads: hand leadership over before it is removed"))
            }
            MemberChange::Vote { demote, .. } if demote.contains(&leads) => {
                Err(format!("member {leads} leads: hand leadership over before it stops voting"))
            }
            MemberChange::Vote { promote, demote } if old && (promote.len() != 1 || !demote.is_empty()) => {
                Err("a member runs a version that changes one voter at a time: update it first".to_owned())
            }
            MemberChange::AddWitness(_) if old => {
                Err("a member runs a version that knows no witnesses: update it first".to_owned())
            }
            MemberChange::AddLearner(_)
            | MemberChange::AddWitness(_)
            | MemberChange::Vote { .. }
            | MemberChange::Remove(_) => Ok(()),
        }
    }

    /// Applies a committed change of members, if it still makes sense: it is judged by the state it meets, which is the
    /// same on every member.
    pub(super) fn apply_members(&mut self, entry: &Entry, orders: &mut Orders) -> Result<(), Fatal> {
        let broken = |what: &str| Fatal(format!("entry {} of the log changes members and {what}", entry.index));
        let raft = ConfChangeV2::parse_from_carllerche_bytes(&entry.data).map_err(|_| broken("does not decode"))?;
        let asked = ProposalId::read(&mut Reader::new(entry.context.clone())).ok();
        let (verdict, applies) = match from_raft(&raft).ok_or_else(|| broken("is none of ours"))? {
            // Nobody leaves twice; were it so, the second one would be nothing.
            Step::Leave => (Ok(()), self.machine.is_joint()),
            Step::Change(change) => {
                let is_done = self.machine.is_done(&change);
                let verdict = if is_done { Ok(()) } else { self.machine.judge_members(&change) };
                let applies = verdict.is_ok() && !(is_done && raft.transition == ConfChangeTransition::Implicit);
                if applies && let MemberChange::AddWitness(id) = change {
                    self.machine.witnesses.insert(id.0);
                }
                (verdict, applies)
            }
        };
        if applies {
            let members = self.node.apply_conf_change(&raft);
            self.machine.set_members(members.map_err(|error| broken(&format!("Raft refuses it: {error}")))?);
            let removed = raft.changes.iter().filter(|single| single.change_type == ConfChangeType::RemoveNode);
            self.machine.retired.extend(removed.map(|single| single.node_id));
            self.heard.retain(|&id, _| self.machine.takes_part(id));
            tracing::info!(
                member = self.member,
                voters = ?self.machine.members.voters,
                old_voters = ?self.machine.members.voters_outgoing,
                learners = ?self.machine.members.learners,
                witnesses = ?self.machine.witnesses,
                "the members changed"
            );
            self.check_witness()?;
            self.leave_if_removed();
        }
        if self.machine.is_joint() && verdict.is_ok() {
            self.joint_asked = asked.or(self.joint_asked);
        } else if let Some(id) = asked.or_else(|| self.joint_asked.take()) {
            orders.member_verdicts.push((id, verdict));
        }
        Ok(())
    }

    /// Leaves a joint state that nobody is leaving. Raft does it by itself when the entry that entered it is applied by a
    /// leader; this is for the ways it may not know (its `commit_apply` names one).
    pub(super) fn finish_joint(&mut self) {
        let can_leave = self.is_leader() && self.machine.is_joint() && !self.node.raft.has_pending_conf();
        if can_leave && self.node.raft.lead_transferee.is_none() && self.node.raft.apply_to_current_term() {
            // Refused when a proposal of this kind is under way, which is what is wanted.
            let _ = self.node.propose_conf_change(Vec::new(), ConfChangeV2::default());
        }
    }
}

fn to_raft(change: &MemberChange, by_joint: bool) -> ConfChangeV2 {
    let mut all = ConfChangeV2::default();
    if by_joint {
        all.set_transition(ConfChangeTransition::Implicit);
    }
    let changes = match change {
        MemberChange::AddLearner(id) => vec![raft_single(ConfChangeType::AddLearnerNode, *id)],
        MemberChange::AddWitness(id) => {
            let mut context = vec![CONTEXT_FORMAT];
            put_list(&mut context, &[id.0]);
            all.context = context.into();
            vec![raft_single(ConfChangeType::AddLearnerNode, *id)]
        }
        MemberChange::Vote { promote, demote } => {
            let promote = promote.iter().map(|id| raft_single(ConfChangeType::AddNode, *id));
            promote.chain(demote.iter().map(|id| raft_single(ConfChangeType::AddLearnerNode, *id))).collect()
        }
        MemberChange::Remove(id) => vec![raft_single(ConfChangeType::RemoveNode, *id)],
    };
    all.set_changes(changes.into());
    all
}

fn raft_single(kind: ConfChangeType, id: MemberId) -> ConfChangeSingle {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id.0;
    single
}

/// What an entry of ours does. The version before joint changes wrote exactly one change, without context.
pub(super) fn from_raft(raft: &ConfChangeV2) -> Option<Step> {
    let is_joint = match raft.transition {
        ConfChangeTransition::Auto => false,
        ConfChangeTransition::Implicit => true,
        ConfChangeTransition::Explicit => return None,
    };
    let witnesses = read_witnesses(raft.context.clone()).ok()?;
    let of = |kind| raft.changes.iter().filter(move |single| single.change_type == kind);
    let ids = |kind| of(kind).map(|single| MemberId(single.node_id));
    let change = match (raft.get_changes(), &witnesses[..]) {
        ([], []) if !is_joint => return Some(Step::Leave),
        ([single], []) if !is_joint || single.change_type == ConfChangeType::RemoveNode => {
            let id = MemberId(single.node_id);
            match single.change_type {
                ConfChangeType::AddLearnerNode => MemberChange::AddLearner(id),
                ConfChangeType::AddNode => MemberChange::promote(id),
                ConfChangeType::RemoveNode => MemberChange::Remove(id),
            }
        }
        ([single], [witness])
            if !is_joint && single.change_type == ConfChangeType::AddLearnerNode && single.node_id == *witness =>
        {
            MemberChange::AddWitness(MemberId(*witness))
        }
        (_, []) if is_joint && of(ConfChangeType::RemoveNode).next().is_none() => MemberChange::Vote {
            promote: ids(ConfChangeType::AddNode).collect(),
            demote: ids(ConfChangeType::AddLearnerNode).collect(),
        },
        _ => return None,
    };
    Some(Step::Change(change))
}

fn read_witnesses(context: bytes::Bytes) -> Result<Vec<u64>, Malformed> {
    if context.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(context);
    if reader.byte()? != CONTEXT_FORMAT {
        return Err(Malformed("the change says what this version does not know"));
    }
    let witnesses = reader.list()?;
    if reader.is_empty() { Ok(witnesses) } else { Err(Malformed("something follows the witnesses")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn bytes_of(change: &MemberChange, by_joint: bool) -> Vec<u8> {
        let raft = to_raft(change, by_joint);
        let bytes = raft.write_to_bytes().expect("encodes");
        let again = ConfChangeV2::parse_from_bytes(&bytes).expect("decodes");
        assert_eq!(from_raft(&again), Some(Step::Change(change.clone())));
        bytes
    }

    #[test]
    fn changes_of_the_version_before_are_these_bytes_for_ever() {
        assert_eq!(bytes_of(&MemberChange::AddLearner(MemberId(2)), false), b"\x12\x04\x08\x02\x10\x02");
        assert_eq!(bytes_of(&MemberChange::promote(MemberId(2)), false), b"\x12\x02\x10\x02");
        assert_eq!(bytes_of(&MemberChange::Remove(MemberId(2)), false), b"\x12\x04\x08\x01\x10\x02");
    }

    #[test]
    fn joint_changes_and_witnesses_are_these_bytes_for_ever() {
        let ids = |ids: &[u64]| ids.iter().copied().map(MemberId).collect::<BTreeSet<_>>();
        let vote = MemberChange::Vote { promote: ids(&[4, 5]), demote: ids(&[3]) };
        assert_eq!(bytes_of(&vote, true), b"\x08\x01\x12\x02\x10\x04\x12\x02\x10\x05\x12\x04\x08\x02\x10\x03");
        let demote = MemberChange::Vote { promote: ids(&[]), demote: ids(&[3]) };
        assert_eq!(bytes_of(&demote, true), b"\x08\x01\x12\x04\x08\x02\x10\x03");
        assert_eq!(bytes_of(&MemberChange::Remove(MemberId(2)), true), b"\x08\x01\x12\x04\x08\x01\x10\x02");
        let witness = MemberChange::AddWitness(MemberId(2));
        assert_eq!(bytes_of(&witness, false), b"\x12\x04\x08\x02\x10\x02\x1a\x03\x01\x01\x02");
        assert_eq!(from_raft(&ConfChangeV2::default()), Some(Step::Leave));
    }
}
