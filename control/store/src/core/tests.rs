//! The core by itself: several of them in one thread, without a clock.

mod members;
mod reads;
mod witnesses;

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::eraftpb::MessageType;

use super::*;
use crate::log::SnapshotId;
use crate::model::{Change, Expect, Key, MemberChange, Op, Txn, Value};
use crate::options::Start;
use crate::state;
use raft::eraftpb::HardState;

fn recovered(member: u64) -> Recovered {
    let machine = if member == 1 { Machine::bootstrap(1) } else { Machine::default() };
    let hard_state = HardState { term: machine.term, commit: machine.applied, ..HardState::default() };
    Recovered { machine, entries: Vec::new(), hard_state, snapshot: None }
}

fn core(member: u64, seed: u64) -> Core {
    let options = Options::new("unused", MemberId(member), Start::Resume);
    Core::new(&options, recovered(member), seed).expect("starts")
}

fn command(sequence: u64) -> Bytes {
    let id = ProposalId { member: 1, incarnation: 1, sequence };
    let value = Value { bytes: Bytes::from(format!("{sequence}")), stamp: None };
    let op = Op { key: Key::new("c", "n"), expect: Expect::Any, change: Change::Put(value) };
    command::encode(id, 0, &Txn { ops: vec![op] }).into()
}

/// Some cores and the messages between them; the first message sent is the first to arrive.
struct World {
    cores: Vec<Core>,
    messages: std::collections::VecDeque<Message>,
    trace: Vec<String>,
    /// Those that were taken.
    snapshots: BTreeMap<SnapshotId, Machine>,
    /// Snapshots to this member are lost, and how many were.
    lost_snapshots: Option<(u64, usize)>,
    /// This member gives up when it finds an invariant broken, and is down then.
    unfit: Option<u64>,
    /// Which messages the network loses.
    lost: fn(&Message) -> bool,
    /// Members that do nothing and hear nothing.
    down: BTreeSet<u64>,
    /// What each member wrote to disk of entries and snapshots.
    disks: BTreeMap<u64, Vec<u8>>,
    /// What became of changes of members, as their proposers heard it.
    verdicts: Vec<Result<(), String>>,
}

impl World {
    fn new(count: u64, seed: u64) -> Self {
        let cores = (1..=count).map(|member| core(member, seed)).collect();
        Self {
            cores,
            messages: std::collections::VecDeque::new(),
            trace: Vec::new(),
            snapshots: BTreeMap::new(),
            lost_snapshots: None,
            unfit: None,
            lost: |_| false,
            down: BTreeSet::new(),
            disks: BTreeMap::new(),
            verdicts: Vec::new(),
        }
    }

    /// Carries out all orders and delivers all messages, to all but the member `deaf`.
    fn run(&mut self, deaf: u64) {
        self.run_until(deaf, |_| false);
    }

    /// The same, until `end` holds.
    fn run_until(&mut self, deaf: u64, end: impl Fn(&Self) -> bool) {
        let mut gave_up = BTreeSet::new();
        while !end(self) {
            for core in self.cores.iter_mut().filter(|core| !self.down.contains(&core.member)) {
                loop {
                    let orders = match core.poll() {
                        Ok(Some(orders)) => orders,
                        Err(_) if self.unfit == Some(core.member) => {
                            gave_up.insert(core.member);
                            break;
                        }
                        idle => {
                            idle.expect("no invariant breaks");
                            break;
                        }
                    };
                    self.messages.extend(orders.send);
                    self.trace.extend(orders.changes.iter().map(|event| format!("{} {event:?}", core.member)));
                    let is_own = |id: &ProposalId| id.member == core.member;
                    let own = orders.member_verdicts.into_iter().filter(|(id, _)| is_own(id));
                    self.verdicts.extend(own.map(|(_, verdict)| verdict));
                    if let Some(persist) = orders.persist {
                        let disk = self.disks.entry(core.member).or_default();
                        let entries = persist.write.iter().flat_map(|write| &write.entries);
                        entries.for_each(|entry| disk.extend_from_slice(&entry.data));
                        self.messages.extend(persist.then_send);
                        core.persisted(persist.ticket);
                    }
                    if let Some(machine) = orders.snapshot {
                        let id = SnapshotId { index: machine.applied, term: machine.term, bytes: 1, checksum: 0 };
                        core.snapshot_taken(id, machine.members.clone());
                        self.snapshots.insert(id, *machine);
                    }
                }
            }
            self.down.append(&mut gave_up);
            let Some(message) = self.messages.pop_front() else { return };
            self.trace.push(format!("{message:?}"));
            if let Some((to, lost)) = &mut self.lost_snapshots
                && message.get_msg_type() == MessageType::MsgSnapshot
                && message.to == *to
            {
                *lost += 1;
                continue;
            }
            if (self.lost)(&message) || self.down.contains(&message.to) || self.down.contains(&message.from) {
                continue;
            }
            if message.to != deaf && message.from != deaf && message.to <= self.cores.len() as u64 {
                let core = &mut self.cores[usize::try_from(message.to).expect("small") - 1];
                if let inputs::Received::Snapshot(message, id) = core.receive(message).expect("no invariant breaks") {
                    let machine = if snapshots::is_described(message.get_snapshot()) {
                        self.snapshots[&id].clone()
                    } else {
                        state::decode(message.get_snapshot().data.clone()).expect("decodes")
                    };
                    self.disks.entry(core.member).or_default().extend_from_slice(&state::encode(&machine));
                    core.install(*message, id, machine);
                }
            }
        }
    }

    fn tick(&mut self, times: usize, deaf: u64) {
        for _ in 0..times {
            let down = self.down.clone();
            let running = self.cores.iter_mut().filter(|core| core.member != deaf && !down.contains(&core.member));
            running.for_each(Core::tick);
            self.run(deaf);
        }
    }

    fn change(&mut self, change: &MemberChange) {
        let id = ProposalId { member: 1, incarnation: 1, sequence: 0 };
        self.cores[0].change_members(change, id).expect("is proposed");
        self.tick(4, 0);
    }

    fn three(seed: u64) -> Self {
        let mut world = Self::new(3, seed);
        world.run(0);
        for member in [2, 3] {
            world.change(&MemberChange::AddLearner(MemberId(member)));
            world.change(&MemberChange::promote(MemberId(member)));
        }
        world
    }

    fn leaders(&self) -> Vec<u64> {
        let running = self.cores.iter().filter(|core| !self.down.contains(&core.member));
        running.filter(|core| core.is_leader()).map(|core| core.member).collect()
    }
}

fn story(seed: u64) -> World {
    let mut world = World::three(seed);
    assert_eq!(world.leaders(), [1]);
    for sequence in 1..5 {
        world.cores[1].propose(vec![command(sequence), command(sequence)]).expect("a leader is known");
        world.run(0);
    }
    // The leader is cut off until another leads.
    world.tick(60, 1);
    world.tick(10, 0);
    world.cores[0].propose(vec![command(4), command(5)]).expect("a leader is known");
    world.tick(5, 0);
    world
}

#[test]
fn the_same_inputs_give_the_same_orders() {
    let (one, two) = (story(7), story(7));
    assert_eq!(one.trace, two.trace);
    assert_ne!(one.leaders(), [1], "another leads");
    assert_ne!(one.trace, story(8).trace, "the seed throws other dice");
}

#[test]
fn all_members_have_the_same_state_and_applied_each_proposal_once() {
    let world = story(3);
    let states: Vec<_> = world.cores.iter().map(|core| state::encode(core.machine())).collect();
    assert!(states.iter().all(|state| *state == states[0]));
    for member in 1..=3 {
        let seen = world.trace.iter().filter(|line| line.starts_with(&format!("{member} Put"))).count();
        assert_eq!(seen, 5, "by member {member}");
    }
}

#[test]
fn nothing_is_acknowledged_before_it_is_on_disk() {
    let mut core = core(1, 1);
    let drain = |core: &mut Core, is_durable: bool| {
        let mut verdicts = Vec::new();
        while let Some(orders) = core.poll().expect("no invariant breaks") {
            verdicts.extend(orders.verdicts);
            if let Some(persist) = orders.persist.filter(|_| is_durable) {
                core.persisted(persist.ticket);
            }
        }
        verdicts.len()
    };
    drain(&mut core, true);
    core.propose(vec![command(1)]).expect("it leads");
    assert_eq!(drain(&mut core, false), 0);
    core.propose(vec![command(2)]).expect("it leads");
    assert_eq!(drain(&mut core, true), 2);
}

#[test]
fn a_sole_voter_tells_nobody_of_its_term_before_that_is_on_disk() {
    let mut world = World::new(2, 1);
    world.run(0);
    world.change(&MemberChange::AddLearner(MemberId(2)));
    let machine = world.cores[0].machine().clone();
    let hard_state = HardState { term: 2, vote: 1, commit: machine.applied, ..HardState::default() };
    let options = Options::new("unused", MemberId(1), Start::Resume);
    let mut again =
        Core::new(&options, Recovered { machine, entries: Vec::new(), hard_state, snapshot: None }, 1).expect("starts");
    let first = again.poll().expect("no invariant breaks").expect("it campaigns");
    assert!(again.is_leader());
    let persist = first.persist.expect("a new term is written");
    assert!(first.send.is_empty() && persist.write.is_some());
    assert!(persist.then_send.iter().all(|message| message.term == 3 && message.to == 2));
    again.propose(vec![command(1)]).expect("it leads");
    let mut tickets = vec![persist.ticket];
    while let Some(orders) = again.poll().expect("no invariant breaks") {
        assert!(orders.send.is_empty(), "the term is not on disk yet");
        tickets.extend(orders.persist.map(|persist| persist.ticket));
    }
    again.persisted(*tickets.last().expect("some"));
    (0..4).for_each(|_| again.tick());
    let next = again.poll().expect("no invariant breaks").expect("its heart beats");
    assert!(!next.send.is_empty());
}

#[test]
fn what_would_take_raft_down_is_dropped() {
    let mut world = World::three(1);
    let message = |kind: MessageType| {
        let mut message = Message { to: 1, from: 2, term: 2, ..Message::default() };
        message.set_msg_type(kind);
        message
    };
    let entry = |index| Entry { index, term: 1, ..Entry::default() };
    let mut gap = message(MessageType::MsgAppend);
    gap.set_entries(vec![entry(5), entry(9)].into());
    let mut future = message(MessageType::MsgAppendResponse);
    future.index = 1_000_000;
    let mut snapshot = message(MessageType::MsgSnapshot);
    snapshot.mut_snapshot().mut_metadata().index = 1_000_000;
    let mut elsewhere = message(MessageType::MsgHeartbeat);
    elsewhere.to = 2;
    let mut propose = message(MessageType::MsgPropose);
    propose.term = 0;
    let proposal = |data: Bytes| {
        let mut proposal = propose.clone();
        proposal.set_entries(vec![Entry { data, ..Entry::default() }].into());
        proposal
    };
    let newer = proposal(Bytes::from_static(b"\x02a command of a version to come"));
    let noise = proposal(Bytes::from_static(b"\x01noise"));
    let mut with_term = proposal(command(1));
    with_term.term = 2;
    let mut append = message(MessageType::MsgAppend);
    append.commit = 1_000_000;
    let mut heartbeat = message(MessageType::MsgHeartbeat);
    heartbeat.commit = 1_000_000;
    let mut stranger = message(MessageType::MsgRequestPreVote);
    stranger.priority = -1;
    let without_term = [append, heartbeat, message(MessageType::MsgTimeoutNow), message(MessageType::MsgSnapshot)]
        .map(|message| Message { term: 0, ..message });
    let bad = [gap, future, snapshot, elsewhere, propose.clone(), newer, noise, with_term, stranger];
    let kinds = [MessageType::MsgHup, MessageType::MsgReadIndex, MessageType::MsgTransferLeader].map(message);
    for message in bad.into_iter().chain(without_term).chain(kinds) {
        for core in &mut world.cores {
            let received = core.receive(message.clone()).expect("no harm");
            assert!(matches!(received, inputs::Received::Dropped(_)), "{message:?}");
        }
    }
    world.run(0);
    let received = world.cores[0].receive(proposal(command(1))).expect("no harm");
    assert_eq!(received, inputs::Received::Taken);
}

#[test]
fn a_member_whose_disk_lost_the_log_gives_up_instead_of_voting() {
    let mut heartbeat = Message { to: 2, from: 1, term: 9, commit: 50, ..Message::default() };
    heartbeat.set_msg_type(MessageType::MsgHeartbeat);
    let error = core(2, 1).receive(heartbeat).expect_err("it acknowledged 50 once");
    assert!(error.0.contains("join again as a new member"), "{error}");
}

#[test]
fn a_proposal_passed_on_twice_comes_from_who_passed_it_on() {
    let mut world = World::three(1);
    let mut propose = Message { to: 3, from: 2, ..Message::default() };
    propose.set_msg_type(MessageType::MsgPropose);
    propose.set_entries(vec![Entry { data: command(1), ..Entry::default() }].into());
    assert_eq!(world.cores[2].receive(propose), Ok(inputs::Received::Taken));
    let orders = world.cores[2].poll().expect("no invariant breaks").expect("passes it on");
    let sent = orders.send.into_iter().chain(orders.persist.into_iter().flat_map(|persist| persist.then_send));
    let sent: Vec<_> = sent.map(|message| (message.get_msg_type(), message.from, message.to)).collect();
    assert_eq!(sent, [(MessageType::MsgPropose, 3, 1)]);
}

#[test]
fn a_follower_is_told_of_a_snapshot_again_until_it_asks_and_when_it_falls_silent() {
    let mut world = World::new(2, 1);
    world.cores[0].speak(2);
    world.run(0);
    world.lost_snapshots = Some((2, 0));
    world.change(&MemberChange::AddLearner(MemberId(2)));
    let told = |world: &World| world.lost_snapshots.expect("are lost").1;
    assert_eq!(told(&world), 1);
    let election = Timing::default().election;
    world.tick(2 * election + 4, 0);
    assert_eq!(told(&world), 2, "it did not ask");
    let id = *world.snapshots.keys().next_back().expect("one was taken");
    for _ in 0..20 {
        world.tick(election, 0);
        assert!(world.cores[0].asked_for(2, id));
    }
    assert_eq!(told(&world), 2, "it is receiving");
    assert!(!world.cores[0].asked_for(3, id), "nobody told member 3");
    world.tick(17 * election, 0);
    assert_eq!(told(&world), 3, "it fell silent");
    world.lost_snapshots = None;
    world.tick(4 * election, 0);
    assert!(world.cores[1].applied() > 1, "the next word arrives");
}

#[test]
fn while_a_snapshot_is_installed_older_ones_stay_and_further_ones_are_dropped() {
    let mut world = World::new(2, 1);
    world.run(0);
    world.cores[0].speak(2);
    world.change(&MemberChange::AddLearner(MemberId(2)));
    world.cores[0].propose(vec![command(1), command(2)]).expect("it leads");
    world.run(2);
    // Member 2 begins to install the leader's state, and its disk is slow.
    let machine = world.cores[0].machine().clone();
    let id = SnapshotId { index: machine.applied, term: machine.term, bytes: 1, checksum: 0 };
    let mut message = Message { to: 2, from: 1, term: world.cores[0].term(), ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.set_snapshot(snapshots::describe(id, machine.members.clone()));
    let follower = &mut world.cores[1];
    let own = SnapshotId { index: follower.applied(), term: follower.machine().term, bytes: 1, checksum: 0 };
    assert!(own.index > 0 && own.index < id.index);
    let received = follower.receive(message.clone()).expect("no invariant breaks");
    assert!(matches!(received, inputs::Received::Snapshot(_, told) if told == id));
    assert_eq!(follower.install(message.clone(), id, machine.clone()), inputs::Received::Taken);
    let orders = follower.poll().expect("no invariant breaks").expect("it installs");
    let ticket = orders.persist.expect("to be written").ticket;
    let received = follower.receive(message).expect("no invariant breaks");
    assert!(matches!(received, inputs::Received::Dropped(_)));
    // The one of its own that was being taken is all that the disk has until then.
    let taken = follower.snapshot_taken(own, machine.members.clone());
    assert_eq!((taken.newest, taken.kept), (own.index, vec![]));
    follower.persisted(ticket);
    while follower.poll().expect("no invariant breaks").is_some() {}
    assert_eq!(follower.applied(), id.index);
}

#[test]
fn a_snapshot_that_contradicts_what_is_committed_is_dropped() {
    let mut world = World::three(1);
    let core = &mut world.cores[1];
    let (index, term) = (core.applied(), core.machine().term);
    let id = SnapshotId { index, term: term + 1, bytes: 1, checksum: 0 };
    let mut message = Message { to: 2, from: 1, term: core.term(), ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.set_snapshot(snapshots::describe(id, core.machine().members.clone()));
    let received = core.receive(message.clone()).expect("no harm");
    assert!(matches!(received, inputs::Received::Dropped(_)));
    message.from = 3;
    message.mut_snapshot().mut_metadata().index = index + 100;
    let received = core.receive(message).expect("no harm");
    assert!(matches!(received, inputs::Received::Dropped(_)), "member 3 does not lead");
}
