//! Who takes part: several voters in one step, and what happens when somebody dies between its two halves.

use proptest::prelude::*;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use super::*;
use crate::core::members::{NotProposed, from_raft};

pub(super) fn vote(promote: &[u64], demote: &[u64]) -> MemberChange {
    let ids = |ids: &[u64]| ids.iter().copied().map(MemberId).collect();
    MemberChange::Vote { promote: ids(promote), demote: ids(demote) }
}

impl World {
    /// Member 1 votes, the others up to `count` learn.
    pub(super) fn learners(count: u64, seed: u64) -> Self {
        let mut world = Self::new(count, seed);
        world.cores.iter_mut().for_each(|core| core.speak(2));
        world.run(0);
        for member in 2..=count {
            world.change(&MemberChange::AddLearner(MemberId(member)));
        }
        world
    }

    /// Members 1, 2 and 3 vote, the others up to `count` learn.
    fn voters_and_learners(count: u64, seed: u64) -> Self {
        let mut world = Self::learners(count, seed);
        assert_eq!(world.ask(&vote(&[2, 3], &[])), Ok(()));
        world.tick(4, 0);
        world
    }

    /// Asks the leader, and waits until it has said what became of it.
    pub(super) fn ask(&mut self, change: &MemberChange) -> Result<(), NotProposed> {
        self.propose(change)?;
        let before = self.verdicts.len();
        for _ in 0..100 {
            self.tick(1, 0);
            if let Some(verdict) = self.verdicts.get(before) {
                return verdict.clone().map_err(NotProposed::Refused);
            }
        }
        panic!("nobody ever heard what became of {change:?}");
    }

    pub(super) fn propose(&mut self, change: &MemberChange) -> Result<(), NotProposed> {
        let leader = self.leaders()[0];
        let id = ProposalId { member: leader, incarnation: 1, sequence: 0 };
        self.core(leader).change_members(change, id)
    }

    pub(super) fn core(&mut self, member: u64) -> &mut Core {
        &mut self.cores[usize::try_from(member).expect("small") - 1]
    }

    /// Ticks until one of the members that run leads; says who.
    pub(super) fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            if let [leader] = self.leaders()[..] {
                return leader;
            }
            self.tick(1, 0);
        }
        panic!("nobody leads");
    }

    /// Writes on the leader; true when it was committed there.
    pub(super) fn write(&mut self, sequence: u64) -> bool {
        let leader = self.leaders()[0];
        self.core(leader).propose(vec![command(sequence)]).expect("it leads");
        self.run(0);
        self.tick(4, 0);
        self.has(leader, sequence)
    }

    /// Whether the last write applied by `member` was this one.
    pub(super) fn has(&mut self, member: u64, sequence: u64) -> bool {
        let view = self.core(member).machine().view();
        view.get(&Key::new("c", "n")).is_some_and(|stored| stored.bytes()[..] == *sequence.to_string().as_bytes())
    }

    pub(super) fn voters(&mut self, member: u64) -> Vec<u64> {
        let machine = self.core(member).machine();
        assert!(!machine.is_joint());
        machine.members.voters.clone()
    }

    /// What is on its way is lost, and `member` dies.
    pub(super) fn kill(&mut self, member: u64) {
        self.messages.clear();
        self.down.insert(member);
    }

    /// What the disk of `member` has, as a new process finds it.
    pub(super) fn recovered(&mut self, member: u64) -> Recovered {
        let core = self.core(member);
        let machine = state::decode(state::encode(core.machine())).expect("decodes");
        let (log, after) = (core.node.store(), machine.applied + 1);
        let all = raft::GetEntriesContext::empty(false);
        let entries = raft::Storage::entries(log, after, log.last() + 1, None, all).expect("are there");
        Recovered { machine, entries, hard_state: log.hard_state().clone(), snapshot: None }
    }

    pub(super) fn restart(&mut self, member: u64) {
        let recovered = self.recovered(member);
        let (seed, witness) = (self.core(member).seed, self.core(member).witness);
        let options = Options { witness, ..Options::new("unused", MemberId(member), Start::Resume) };
        *self.core(member) = Core::new(&options, recovered, seed).expect("starts");
        self.core(member).speak(2);
    }
}

#[test]
fn one_voter_becomes_three_in_one_step() {
    let mut world = World::voters_and_learners(3, 1);
    for member in 1..=3 {
        assert_eq!(world.voters(member), [1, 2, 3]);
    }
    world.down.insert(3);
    assert!(world.write(1), "two of three are a majority");
}

#[test]
fn a_change_of_voters_is_answered_when_the_old_ones_are_no_longer_needed() {
    let mut world = World::learners(2, 1);
    assert_eq!(world.ask(&vote(&[2], &[])), Ok(()));
    assert_eq!(world.ask(&MemberChange::Remove(MemberId(2))), Ok(()));
    world.down.insert(2);
    assert!(world.write(1), "member 1 is alone");
    assert!(matches!(world.propose(&MemberChange::AddLearner(MemberId(2))), Err(NotProposed::Refused(_))));
}

#[test]
fn while_voters_change_no_other_change_is_taken_and_the_status_shows_both_halves() {
    let mut world = World::learners(3, 1);
    world.propose(&vote(&[2, 3], &[])).expect("is proposed");
    world.run_until(0, |world| world.cores[0].machine().is_joint());
    assert_eq!(world.verdicts.len(), 2, "of the learners: this one is not answered before it is finished");
    let status = world.cores[0].status();
    assert!(status.joint && status.voters.len() == 3, "{status:?}");
    assert!(!world.cores[0].has_members(&Status { joint: false, ..status.clone() }));
    assert!(world.cores[0].has_members(&status));
    assert_eq!(world.propose(&MemberChange::Remove(MemberId(2))), Err(NotProposed::Busy));
    world.run(0);
    assert!(!world.cores[0].status().joint, "it waits for no heartbeat");
    assert_eq!(world.verdicts.len(), 3);
}

#[test]
fn a_joint_state_that_raft_forgot_to_leave_is_left_with_the_next_tick() {
    let mut world = World::learners(3, 1);
    world.propose(&vote(&[2, 3], &[])).expect("is proposed");
    world.cores[0].node.raft.pending_conf_index = u64::MAX;
    world.run(0);
    assert!(world.cores[0].machine().is_joint());
    world.cores[0].node.raft.pending_conf_index = 0;
    world.tick(4, 0);
    assert_eq!(world.voters(1), [1, 2, 3]);
    assert_eq!(world.verdicts.last(), Some(&Ok(())));
}

#[test]
fn a_voter_that_died_is_replaced_by_a_learner_in_one_step() {
    let mut world = World::voters_and_learners(4, 1);
    world.down.insert(3);
    world.tick(40, 0);
    let leader = world.elect();
    let status = world.core(leader).status();
    assert!(status.silent[&MemberId(3)] >= Timing::default().tick * 24, "{:?}", status.silent);
    assert!(status.silent[&MemberId(4)].is_zero() && !status.silent.contains_key(&MemberId(leader)));
    assert_eq!(world.ask(&vote(&[4], &[3])), Ok(()));
    assert_eq!(world.ask(&MemberChange::Remove(MemberId(3))), Ok(()));
    world.tick(4, 0);
    assert_eq!(world.voters(4), [1, 2, 4]);
    world.down.insert(2);
    assert!(world.write(1), "the new voter counts");
}

#[test]
fn a_new_leader_counts_the_silence_of_others_from_when_it_began_to_lead() {
    let mut world = World::voters_and_learners(3, 1);
    world.down.insert(3);
    world.tick(100, 0);
    assert!(world.cores[0].status().silent[&MemberId(3)] >= Timing::default().tick * 84);
    assert!(world.cores[0].hand_over());
    world.run(0);
    assert_eq!(world.elect(), 2);
    assert!(world.cores[1].status().silent[&MemberId(3)].is_zero());
    assert!(world.cores[0].status().silent.is_empty());
}

/// Three voters and two learners, with the change that puts 4 and 5 in the place of 3 applied by the leader, and the
/// entry that ends it lost.
fn joint(seed: u64) -> World {
    let mut world = World::voters_and_learners(5, seed);
    world.propose(&vote(&[4, 5], &[3])).expect("is proposed");
    let enter = world.cores[0].node.raft.raft_log.last_index();
    let is_leave = move |message: &Message| message.get_entries().iter().any(|entry| entry.index > enter);
    // All have the entry that enters, and the leader has applied it.
    world.run_until(0, |world| {
        let has = |core: &Core| core.node.raft.raft_log.last_index() >= enter;
        world.cores.iter().all(has) && world.messages.iter().any(is_leave)
    });
    assert!(world.cores[0].machine().is_joint());
    world.messages.clear();
    world
}

#[test]
fn when_the_leader_dies_in_the_joint_state_the_next_one_leaves_it() {
    for seed in 0..8 {
        let mut world = joint(seed);
        world.kill(1);
        let first = world.elect();
        world.tick(40, 0);
        for member in [2, 3, 4, 5] {
            assert_eq!(world.voters(member), [1, 2, 4, 5], "seed {seed}, member {first} led");
        }
        let leader = world.elect();
        assert_ne!(leader, 3, "it votes no more");
        assert!(world.write(1));
    }
}

#[test]
fn a_joint_state_is_left_after_all_restarted_in_it() {
    for seed in 0..4 {
        let mut world = joint(seed);
        for member in 1..=5 {
            world.restart(member);
        }
        world.elect();
        world.tick(40, 0);
        for member in 1..=5 {
            assert_eq!(world.voters(member), [1, 2, 4, 5]);
        }
    }
}

#[test]
fn a_member_that_was_away_gets_the_joint_state_by_a_snapshot() {
    let mut world = World::voters_and_learners(4, 1);
    world.down.insert(4);
    world.propose(&vote(&[4], &[3])).expect("is proposed");
    world.run_until(0, |world| world.cores[0].machine().is_joint());
    world.messages.clear();
    // Only what 4 acknowledges can end it now.
    world.down.extend([2]);
    world.down.remove(&4);
    let through = world.cores[0].applied();
    world.cores[0].node.mut_store().compact(through);
    world.tick(20, 3);
    assert!(world.cores[3].machine().is_joint(), "by a snapshot: the log does not go back that far");
    world.tick(40, 0);
    assert_eq!(world.voters(4), [1, 2, 4], "1 and 3, 1 and 4 are majorities");
}

#[test]
fn a_member_that_loses_its_vote_while_it_leads_finishes_the_change_and_lets_another_lead() {
    let mut world = World::voters_and_learners(3, 1);
    let itself = world.propose(&vote(&[], &[1]));
    assert!(matches!(&itself, Err(NotProposed::Refused(why)) if why.contains("hand leadership")), "{itself:?}");
    world.propose(&vote(&[], &[2])).expect("is proposed");
    // Member 2 has the entry, and leads before it is applied.
    let last = world.cores[0].node.raft.raft_log.last_index();
    world.run_until(3, |world| world.cores[1].node.store().last() >= last);
    world.kill(1);
    for _ in 0..60 {
        world.cores[1].tick();
        world.cores[2].tick();
        world.run_until(0, |world| world.cores[1].is_leader());
        if world.cores[1].is_leader() {
            break;
        }
    }
    assert!(world.cores[1].is_leader() && world.cores[1].applied() < last);
    world.down.remove(&1);
    let mut ticks = 0;
    while world.leaders() == [2] || world.leaders().is_empty() {
        world.tick(1, 0);
        ticks += 1;
        assert!(ticks < 12, "nobody waits for an election timeout");
    }
    world.tick(8, 0);
    for member in 1..=3 {
        assert_eq!(world.voters(member), [1, 3]);
    }
    assert_eq!(world.core(2).status().role, Role::Learner);
    assert!(world.write(1));
}

#[test]
fn leadership_is_handed_over_while_voters_change() {
    let mut world = joint(3);
    assert!(world.cores[0].hand_over());
    world.tick(60, 0);
    let leader = world.elect();
    assert_eq!(world.voters(leader), [1, 2, 4, 5]);
    assert!(world.write(1));
}

#[test]
fn beside_an_older_version_one_voter_changes_at_a_time_as_that_version_does_it() {
    let mut world = World::learners(3, 1);
    world.cores[0].speak(1);
    for change in [vote(&[2, 3], &[]), vote(&[2], &[3]), MemberChange::AddWitness(MemberId(4))] {
        let refused = world.propose(&change);
        let is_told = matches!(&refused, Err(NotProposed::Refused(why)) if why.contains("a member runs a version"));
        assert!(is_told, "{refused:?}");
    }
    for change in [vote(&[2], &[]), vote(&[3], &[]), MemberChange::Remove(MemberId(2))] {
        world.propose(&change).expect("is proposed");
        let log = world.cores[0].node.raft.raft_log.all_entries();
        let entry = log.iter().rev().find(|entry| entry.entry_type == EntryType::EntryConfChangeV2).expect("is there");
        let raft = ConfChangeV2::parse_from_bytes(&entry.data).expect("decodes");
        assert_eq!((raft.transition, raft.changes.len(), raft.context.len()), (ConfChangeTransition::Auto, 1, 0));
        world.tick(4, 0);
    }
    assert_eq!(world.voters(3), [1, 3]);
}

fn any_change() -> impl Strategy<Value = ConfChangeV2> {
    let kind = prop_oneof![
        Just(ConfChangeType::AddNode),
        Just(ConfChangeType::AddLearnerNode),
        Just(ConfChangeType::RemoveNode)
    ];
    let single = (kind, 1..6u64).prop_map(|(kind, node_id)| {
        let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        single
    });
    (any::<bool>(), prop::collection::vec(single, 0..4), any::<bool>()).prop_map(|(joint, singles, witness)| {
        let mut change = ConfChangeV2::default();
        if joint {
            change.set_transition(ConfChangeTransition::Implicit);
        }
        if let (true, [single]) = (witness, &singles[..]) {
            change.context = vec![1, 1, u8::try_from(single.node_id).expect("small")].into();
        }
        change.set_changes(singles.into());
        change
    })
}

/// Member 9, which takes no part, with the state `machine`.
fn onlooker(machine: Machine) -> Core {
    let hard_state = HardState { term: 1, commit: machine.applied, ..HardState::default() };
    let options = Options::new("unused", MemberId(9), Start::Resume);
    Core::new(&options, Recovered { machine, entries: Vec::new(), hard_state, snapshot: None }, 1).expect("starts")
}

proptest! {
    /// One member applies all changes, the other one is started anew from a snapshot before each.
    #[test]
    fn changes_are_judged_the_same_by_every_member(changes in prop::collection::vec(any_change(), 0..32)) {
        let (mut steady, mut anew) = (onlooker(Machine::bootstrap(1)), onlooker(Machine::bootstrap(1)));
        for (change, index) in changes.into_iter().filter(|change| from_raft(change).is_some()).zip(2..) {
            let mut context = Vec::new();
            if !change.changes.is_empty() {
                ProposalId { member: 1, incarnation: 1, sequence: index }.put(&mut context);
            }
            let data = change.write_to_bytes().expect("encodes").into();
            let mut entry = Entry { index, term: 1, data, context: context.into(), ..Entry::default() };
            entry.set_entry_type(EntryType::EntryConfChangeV2);
            let asked = anew.joint_asked;
            anew = onlooker(state::decode(state::encode(anew.machine())).expect("decodes"));
            anew.joint_asked = asked;
            let (mut one, mut two) = (Orders::default(), Orders::default());
            prop_assert_eq!(steady.apply(entry.clone(), &mut one), Ok(()));
            prop_assert_eq!(anew.apply(entry, &mut two), Ok(()));
            prop_assert_eq!(one.member_verdicts, two.member_verdicts);
            prop_assert_eq!(state::encode(steady.machine()), state::encode(anew.machine()));
            let machine = steady.machine();
            let witnesses = machine.members.voters.iter().filter(|id| machine.witnesses.contains(id)).count();
            prop_assert!(witnesses * 2 <= machine.members.voters.len(), "each majority holds data");
        }
    }
}
