//! What goes wrong, and the operator who changes the members meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use super::node::{End, Node};
use super::weather::Blow;
use super::world::{Event, Held, World};
use crate::model::{MemberChange, MemberId};

/// Members that are there at most, beside the first ones: new machines cost time and prove little more.
const NEW_MAX: u64 = 5;

/// A change of members that asks for many more is refused by hand: the cluster keeps as many voters.
const VOTERS_MIN: usize = 3;

/// Who changes the members.
#[derive(Default)]
pub(super) struct Nemesis {
    /// The first machines all vote.
    is_complete: bool,
}

impl World {
    /// The next blow.
    pub(super) fn strike(&mut self) -> Held {
        if self.is_healed {
            return Ok(());
        }
        let wait = self.dice.millis(self.weather.pause.clone());
        self.after(wait, Event::Strike);
        let Some(blow) = self.dice.pick(&self.weather.blows) else { return Ok(()) };
        let up: Vec<u64> = self.nodes.values().filter(|node| node.running.is_some()).map(|node| node.id).collect();
        let Some(id) = self.dice.pick(&up) else { return Ok(()) };
        // The leader is hit as often as all others together.
        let id = self.leader().filter(|_| self.dice.chance(400)).unwrap_or(id);
        self.say(&format!("blow: {blow:?} {id}"));
        match blow {
            Blow::Power => self.fell(id, End::Power),
            Blow::Kill => self.fell(id, End::Killed),
            Blow::Blackout => up.into_iter().for_each(|id| self.fell(id, End::Power)),
            Blow::Partition => self.part(),
            Blow::Asymmetric => self.deafen(id),
            Blow::DiskFull | Blow::SyncFails | Blow::DiskSlow => self.spoil(blow, id),
            Blow::Freeze => {
                let lasts = self.dice.millis(50..=3000);
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.frozen = self.now + lasts;
                }
            }
            Blow::HandOver => {
                let (base, now) = (self.base, self.now);
                let done = self.nodes.get_mut(&id).map_or(Ok(()), |node| node.hand_over(base, now));
                return self.then(id, done);
            }
            Blow::Members => return self.rearrange(),
        }
        Ok(())
    }

    /// Ends a process and starts it again soon.
    fn fell(&mut self, id: u64, how: End) {
        self.stop(id, how);
        let downtime = if self.dice.chance(500) { self.dice.millis(1..=100) } else { self.dice.millis(100..=4000) };
        let end = self.dice.chance(200).then_some(End::Power);
        self.after(downtime, Event::Start { node: id, end });
    }

    /// The power fails right after a vote has been promised.
    pub(super) fn ambush(&mut self, id: u64) {
        self.say(&format!("ambush: {id} has voted"));
        self.stop(id, End::Power);
        let downtime = self.dice.millis(1..=30);
        self.after(downtime, Event::Start { node: id, end: None });
    }

    fn part(&mut self) {
        let all: Vec<u64> = self.nodes.keys().copied().collect();
        let some: BTreeSet<u64> = all.iter().copied().filter(|_| self.dice.chance(400)).collect();
        self.say(&format!("parted: {some:?}"));
        self.network.part(&all, &some);
        let lasts = self.dice.millis(200..=4000);
        self.after(lasts, Event::Mend { blow: Blow::Partition, node: 0 });
    }

    fn deafen(&mut self, id: u64) {
        let hears = self.dice.chance(500);
        for other in self.nodes.keys().copied().filter(|&other| other != id).collect::<Vec<_>>() {
            if self.dice.chance(700) {
                if hears { self.network.cut(id, other) } else { self.network.cut(other, id) }
            }
        }
        let lasts = self.dice.millis(200..=4000);
        self.after(lasts, Event::Mend { blow: Blow::Asymmetric, node: id });
    }

    fn spoil(&mut self, blow: Blow, id: u64) {
        let slowness = self.dice.number(10..=100) as u32;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match blow {
            Blow::DiskSlow => node.slowness = slowness,
            Blow::SyncFails => {
                node.is_hurt = true;
                node.disk.faults(|faults| faults.syncs_fail = true);
            }
            _ => {
                node.is_hurt = true;
                node.disk.faults(|faults| faults.is_full = true);
            }
        }
        let lasts = self.dice.millis(100..=3000);
        self.after(lasts, Event::Mend { blow, node: id });
    }

    /// The end of a blow, or of all when the world is healed.
    pub(super) fn mend(&mut self, blow: Blow, id: u64) {
        self.say(&format!("mended: {blow:?} {id}"));
        match blow {
            Blow::Partition | Blow::Asymmetric => self.network.heal(),
            Blow::DiskFull | Blow::SyncFails | Blow::DiskSlow => {
                let Some(node) = self.nodes.get_mut(&id) else { return };
                node.slowness = 1;
                node.disk.faults(|faults| (faults.is_full, faults.syncs_fail) = (false, false));
                // A peer that has noticed gave up; one that has not goes on.
                node.is_hurt = false;
                if node.running.is_none() {
                    let wait = self.dice.millis(1..=500);
                    self.after(wait, Event::Start { node: id, end: None });
                }
            }
            Blow::Freeze => {
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.frozen = Duration::ZERO;
                }
            }
            Blow::Power | Blow::Blackout | Blow::Kill | Blow::HandOver | Blow::Members => {}
        }
    }

    /// The operator makes voters of the first machines, and switches off those that were removed.
    pub(super) fn operate(&mut self) -> Held {
        let wait = self.dice.millis(if self.nemesis.is_complete { 300..=900 } else { 20..=80 });
        self.after(wait, Event::Operate);
        let Some(leader) = self.leader() else { return Ok(()) };
        let Some(machine) = self.nodes.get(&leader).and_then(Node::machine) else { return Ok(()) };
        let (members, retired) = (machine.members.clone(), machine.retired.clone());
        for id in retired {
            if self.nodes.get(&id).is_some_and(|node| !node.is_retired) {
                let wait = self.dice.millis(0..=2000);
                self.after(wait, Event::Retire { node: id });
            }
        }
        if self.nemesis.is_complete {
            return Ok(());
        }
        let learners: BTreeSet<MemberId> = members.learners.iter().copied().map(MemberId).collect();
        let is_new = |id: &u64| !members.voters.contains(id) && !members.learners.contains(id);
        let new = self.nodes.keys().copied().find(is_new);
        // One after the other, or all together by a joint step.
        let is_time = !learners.is_empty() && (new.is_none() || self.weather.level == 1 || self.dice.chance(300));
        if is_time && !self.weather.has_sole_voter {
            let promote = if self.weather.level == 1 { learners.into_iter().take(1).collect() } else { learners };
            return self.change(leader, MemberChange::Vote { promote, demote: BTreeSet::new() });
        }
        if let Some(id) = new {
            return self.change(leader, MemberChange::AddLearner(MemberId(id)));
        }
        self.nemesis.is_complete = true;
        Ok(())
    }

    /// One change of members, at random.
    fn rearrange(&mut self) -> Held {
        let Some(leader) = self.leader() else { return Ok(()) };
        let Some(machine) = self.nodes.get(&leader).and_then(Node::machine) else { return Ok(()) };
        if !self.nemesis.is_complete {
            return Ok(());
        }
        let (members, retired) = (machine.members.clone(), machine.retired.clone());
        let others: Vec<u64> = members.voters.iter().copied().filter(|id| *id != leader).collect();
        let learners = members.learners.clone();
        let change = match self.dice.number(0..=5) {
            0 if members.voters.len() > VOTERS_MIN => {
                self.dice.pick(&others).map(|id| MemberChange::Remove(MemberId(id)))
            }
            1 if !learners.is_empty() => self.dice.pick(&learners).map(|id| MemberChange::Remove(MemberId(id))),
            2..=4 if !self.weather.has_sole_voter => Some(self.vote(&others, &learners)),
            _ => {
                let known = |id: u64| members.voters.contains(&id) || learners.contains(&id) || retired.contains(&id);
                self.newcomer(known)
            }
        };
        change.map_or(Ok(()), |change| self.change(leader, change))
    }

    /// Voters come and go in one step: none, one or some of each.
    fn vote(&mut self, others: &[u64], learners: &[u64]) -> MemberChange {
        let mut some = |all: &[u64], per_mille| -> BTreeSet<MemberId> {
            all.iter().filter(|_| self.dice.chance(per_mille)).map(|&id| MemberId(id)).collect()
        };
        let (promote, demote) = (some(learners, 600), some(others, 300));
        // The version before knows promotions of one.
        let is_old = self.weather.level == 1;
        let promote = if is_old { promote.into_iter().take(1).collect() } else { promote };
        MemberChange::Vote { promote, demote: if is_old { BTreeSet::new() } else { demote } }
    }

    /// A new machine, or one that waits since it was to be added the last time.
    fn newcomer(&mut self, known: impl Fn(u64) -> bool) -> Option<MemberChange> {
        let waiting = self.nodes.values().find(|node| !known(node.id) && !node.is_retired).map(|node| node.id);
        let is_room = (self.nodes.len() as u64) < self.weather.peers + NEW_MAX;
        let witness = self.weather.has_witness && self.dice.chance(400);
        let id = match waiting {
            Some(id) => id,
            None if is_room => self.add_node(witness),
            None => return None,
        };
        let is_witness = self.nodes.get(&id).is_some_and(|node| node.is_witness);
        let member = MemberId(id);
        Some(if is_witness { MemberChange::AddWitness(member) } else { MemberChange::AddLearner(member) })
    }

    fn change(&mut self, leader: u64, change: MemberChange) -> Held {
        self.say(&format!("the operator asks {leader}: {change:?}"));
        let (base, now) = (self.base, self.now);
        let done = self.nodes.get_mut(&leader).map_or(Ok(()), |node| node.change(change, base, now));
        self.then(leader, done)
    }
}
