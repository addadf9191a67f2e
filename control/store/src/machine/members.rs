//! Which changes of members make sense, judged by the state that they meet: the same on every member.

use std::collections::BTreeSet;

use raft::eraftpb::ConfState;

use super::Machine;
use crate::model::{MemberChange, MemberId};

impl Machine {
    /// Voters are changing: a majority of the old ones and one of the new ones decide together.
    pub(crate) fn is_joint(&self) -> bool {
        !self.members.voters_outgoing.is_empty()
    }

    /// Whether `id` takes part in any way.
    pub(crate) fn takes_part(&self, id: u64) -> bool {
        let ConfState { voters, learners, voters_outgoing, learners_next, .. } = &self.members;
        [voters, learners, voters_outgoing, learners_next].into_iter().any(|ids| ids.contains(&id))
    }

    /// Who votes and holds data, of the old and the new voters.
    pub(crate) fn data_voters(&self) -> impl Iterator<Item = u64> {
        let (new, old) = (&self.members.voters, &self.members.voters_outgoing);
        let old = old.iter().filter(|id| !new.contains(id));
        new.iter().chain(old).copied().filter(|id| !self.witnesses.contains(id))
    }

    /// Takes the members as Raft has them after a change.
    pub(crate) fn set_members(&mut self, mut members: ConfState) {
        // In a fixed order, so that the bytes of a snapshot are the same on every member.
        members.voters.sort_unstable();
        members.learners.sort_unstable();
        members.voters_outgoing.sort_unstable();
        members.learners_next.sort_unstable();
        self.members = members;
        // A witness that leaves the voters is one until the last message to it.
        let mut witnesses = std::mem::take(&mut self.witnesses);
        witnesses.retain(|&id| self.takes_part(id));
        self.witnesses = witnesses;
    }

    /// True when the members are already as `change` would have them.
    pub(crate) fn is_done(&self, change: &MemberChange) -> bool {
        let (voters, learners) = (&self.members.voters, &self.members.learners);
        match change {
            _ if self.is_joint() => false,
            MemberChange::AddLearner(id) => learners.contains(&id.0) && !self.witnesses.contains(&id.0),
            MemberChange::AddWitness(id) => learners.contains(&id.0) && self.witnesses.contains(&id.0),
            MemberChange::Vote { promote, demote } => {
                promote.iter().all(|id| voters.contains(&id.0)) && demote.iter().all(|id| learners.contains(&id.0))
            }
            MemberChange::Remove(id) => !self.takes_part(id.0),
        }
    }

    /// Whether `change` makes sense for the members there are; why not, in words for a person.
    pub(crate) fn judge_members(&self, change: &MemberChange) -> Result<(), String> {
        if self.is_joint() {
            return Err("the change of voters before this one is not finished".to_owned());
        }
        match change {
            MemberChange::AddLearner(id) | MemberChange::AddWitness(id) => self.judge_new(*id),
            MemberChange::Vote { promote, demote } => self.judge_vote(promote, demote),
            MemberChange::Remove(id) if self.members.voters == [id.0] => {
                Err(format!("member {id} is the last voter: without it there is no cluster"))
            }
            MemberChange::Remove(id) => self.judge_voters(|voter| voter != id.0),
        }
    }

    fn judge_new(&self, id: MemberId) -> Result<(), String> {
        if id.0 == 0 {
            return Err("member 0 means nobody".to_owned());
        }
        if self.members.voters.contains(&id.0) {
            return Err(format!("member {id} votes already"));
        }
        if self.retired.contains(&id.0) {
            return Err(format!("member {id} was removed and its id is not given again: join under a new id"));
        }
        if self.members.learners.contains(&id.0) {
            let is_witness = self.witnesses.contains(&id.0);
            let is = if is_witness { "is a witness and has no data" } else { "holds data and cannot become a witness" };
            return Err(format!("member {id} {is}: join under a new id"));
        }
        Ok(())
    }

    fn judge_vote(&self, promote: &BTreeSet<MemberId>, demote: &BTreeSet<MemberId>) -> Result<(), String> {
        let (voters, learners) = (&self.members.voters, &self.members.learners);
        if let Some(id) = promote.intersection(demote).next() {
            return Err(format!("member {id} cannot become a voter and a learner at once"));
        }
        if let Some(id) = promote.iter().find(|id| !learners.contains(&id.0) && !voters.contains(&id.0)) {
            return Err(format!("member {id} is no learner"));
        }
        if let Some(id) = demote.iter().find(|id| !learners.contains(&id.0) && !voters.contains(&id.0)) {
            return Err(format!("member {id} is no voter"));
        }
        let promoted = promote.iter().filter(|id| learners.contains(&id.0)).map(|id| id.0);
        let after: BTreeSet<u64> = voters.iter().copied().chain(promoted).collect();
        self.judge_set(after.iter().copied().filter(|&id| !demote.contains(&MemberId(id))))
    }

    fn judge_voters(&self, stays: impl Fn(u64) -> bool) -> Result<(), String> {
        self.judge_set(self.members.voters.iter().copied().filter(|&id| stays(id)))
    }

    /// Whether `voters` may decide. Each majority of them must hold data, else what it acknowledged could be gone.
    fn judge_set(&self, voters: impl Iterator<Item = u64>) -> Result<(), String> {
        let (witnesses, data): (Vec<_>, Vec<_>) = voters.partition(|id| self.witnesses.contains(id));
        match (data.len(), witnesses.len()) {
            (0, 0) => Err("nobody would vote: without a voter there is no cluster".to_owned()),
            (0, _) => Err("only witnesses would vote, which hold no data and never lead".to_owned()),
            (data, witnesses) if witnesses > data => Err(format!(
                "{witnesses} witnesses would outvote {data} members with data: what they acknowledge could be lost"
            )),
            _ => Ok(()),
        }
    }

    /// The state as a witness keeps it: of the objects only those in `collections`.
    pub(crate) fn hollow(&self, collections: &[&str]) -> Self {
        let mut hollow = Self { collections: imbl::OrdMap::new(), ..self.clone() };
        for name in collections {
            if let Some((name, objects)) = self.collections.get_key_value(*name) {
                hollow.collections.insert(std::sync::Arc::clone(name), objects.clone());
            }
        }
        hollow
    }
}
