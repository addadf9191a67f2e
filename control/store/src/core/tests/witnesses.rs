//! Two members with data and a witness: the loss of one is survived, and nothing is acknowledged that could be lost.

use super::members::vote;
use super::*;

const A: u64 = 1;
const B: u64 = 2;
const W: u64 = 3;

fn contains(disk: &[u8], text: &str) -> bool {
    disk.windows(text.len()).any(|window| window == text.as_bytes())
}

fn record(sequence: u64, collection: &'static str, text: &'static str) -> Bytes {
    let id = ProposalId { member: 1, incarnation: 2, sequence };
    let value = Value { bytes: Bytes::from_static(text.as_bytes()), stamp: None };
    let op = Op { key: Key::new(collection, "n"), expect: Expect::Any, change: Change::Put(value) };
    command::encode(id, 0, &Txn { ops: vec![op] }).into()
}

fn start(recovered: Recovered, member: u64, witness: bool, seed: u64) -> Result<Core, OpenError> {
    let options = Options { witness, ..Options::new("unused", MemberId(member), Start::Resume) };
    Core::new(&options, recovered, seed)
}

impl World {
    /// A and B with data and the witness W, all voting, A leading.
    fn with_witness(seed: u64) -> Self {
        let mut world = Self::new(3, seed);
        world.cores[2] = start(recovered(W), W, true, seed).expect("starts");
        world.cores.iter_mut().for_each(|core| core.speak(2));
        world.run(0);
        world.cores[0].propose(vec![record(1, "things", "secret-before")]).expect("it leads");
        world.cores[0].propose(vec![record(2, "wk.dev/members", "address-before")]).expect("it leads");
        world.run(0);
        world.change(&MemberChange::AddLearner(MemberId(B)));
        world.change(&MemberChange::AddWitness(MemberId(W)));
        world.tick(4, 0);
        assert_eq!(world.ask(&vote(&[B, W], &[])), Ok(()));
        world.tick(4, 0);
        for member in [A, B, W] {
            assert_eq!(world.voters(member), [A, B, W]);
            assert_eq!(world.core(member).status().witnesses, BTreeSet::from([MemberId(W)]));
        }
        world
    }

    fn last(&mut self, member: u64) -> u64 {
        self.core(member).node.raft.raft_log.last_index()
    }

    fn nobody_leads_for(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick(1, 0);
            assert_eq!(self.leaders(), [] as [u64; 0]);
        }
    }
}

#[test]
fn a_witness_holds_the_addresses_of_members_and_no_other_data() {
    let mut world = World::with_witness(1);
    world.cores[1].propose(vec![record(3, "things", "secret-after")]).expect("a leader is known");
    world.cores[1].propose(vec![record(4, "wk.dev/members", "address-after")]).expect("a leader is known");
    world.tick(8, 0);
    assert_eq!(world.last(W), world.last(A));
    let (data, witness) = (&world.disks[&B], &world.disks[&W]);
    for text in ["secret-before", "secret-after", "address-before", "address-after"] {
        assert!(contains(data, text), "{text}");
        assert_eq!(contains(witness, text), text.starts_with("address"), "{text}");
    }
    let view = world.cores[2].machine().view();
    assert_eq!(view.revision(), world.cores[0].machine().view().revision());
    assert!(view.is_empty("things"));
    let address = view.get(&Key::new("wk.dev/members", "n")).expect("is there");
    assert_eq!(&address.bytes()[..], b"address-after");
    let kept = state::encode(world.cores[2].machine());
    assert!(!contains(&kept, "secret"), "nor does its own snapshot");
}

#[test]
fn when_the_leader_dies_in_health_the_other_member_with_data_leads_and_has_everything() {
    for seed in 0..8 {
        let mut world = World::with_witness(seed);
        assert!(world.write(1));
        // The last write dies with the leader, when B has just acknowledged it.
        world.cores[0].propose(vec![command(2)]).expect("it leads");
        world.run_until(0, |world| world.messages.iter().any(|message| message.from == B));
        world.kill(A);
        assert_eq!(world.elect(), B);
        world.tick(4, 0);
        assert!(world.has(B, 2));
        assert!(world.write(3), "B and the witness are a majority");
        world.down.remove(&A);
        world.tick(40, 0);
        assert!(world.has(A, 3));
        assert_eq!(world.last(A), world.last(W));
    }
}

#[test]
fn a_member_that_missed_writes_does_not_lead_by_the_vote_of_the_witness() {
    for seed in 0..8 {
        let mut world = World::with_witness(seed);
        world.down.insert(B);
        world.tick(20, 0);
        assert!(world.write(1), "A and the witness are a majority");
        world.kill(A);
        world.down.remove(&B);
        world.nobody_leads_for(150);
        world.down.remove(&A);
        assert_eq!(world.elect(), A, "who has it all");
        world.tick(20, 0);
        assert!(world.has(B, 1) && world.write(2));
    }
}

#[test]
fn a_witness_never_leads() {
    let mut world = World::with_witness(1);
    assert!(world.cores[0].hand_over());
    world.tick(20, 0);
    assert_eq!(world.elect(), B, "not the witness");
    world.kill(A);
    world.tick(20, 0);
    assert!(!world.cores[1].hand_over(), "only the witness is left");
    let mut now = Message { to: W, from: B, term: world.cores[1].term(), ..Message::default() };
    now.set_msg_type(MessageType::MsgTimeoutNow);
    assert!(matches!(world.cores[2].receive(now), Ok(inputs::Received::Dropped(_))));
    world.kill(B);
    world.nobody_leads_for(100);
    let status = world.cores[2].status();
    assert_eq!((status.role, status.leader), (Role::Follower, None), "it forgot who led");
}

#[test]
fn a_witness_gets_an_entry_when_the_voters_that_keep_up_have_it() {
    let mut world = World::with_witness(1);
    assert!(world.write(1));
    // B is cut off: for an election timeout it is waited for.
    let (before, election) = (world.last(W), Timing::default().election);
    world.cores[0].propose(vec![command(2)]).expect("it leads");
    world.tick(election - 4, B);
    assert_eq!(world.last(W), before);
    assert!(!world.has(A, 2));
    world.tick(8, B);
    assert_eq!(world.last(W), world.last(A));
    assert!(world.has(A, 2), "A and the witness are a majority");
    // Then no longer.
    world.cores[0].propose(vec![command(3)]).expect("it leads");
    world.run(B);
    assert!(world.has(A, 3));
    // It comes back and is waited for again.
    world.tick(20, 0);
    assert!(world.has(B, 3));
    let before = world.last(W);
    world.cores[0].propose(vec![command(4)]).expect("it leads");
    world.run(B);
    assert_eq!(world.last(W), before);
    world.tick(4, 0);
    assert!(world.has(A, 4) && world.has(B, 4));
}

#[test]
fn writes_go_on_with_a_voter_that_hears_and_does_not_acknowledge() {
    let mut world = World::with_witness(1);
    world.lost = |message| message.from == B && message.get_msg_type() == MessageType::MsgAppendResponse;
    world.cores[0].propose(vec![command(1)]).expect("it leads");
    world.run(0);
    assert!(!world.has(A, 1));
    world.tick(Timing::default().election + 4, 0);
    assert!(world.cores[0].is_active(B) && world.leaders() == [A]);
    assert!(world.has(A, 1), "A and the witness are a majority");
}

#[test]
fn writes_go_on_with_a_voter_that_comes_and_goes() {
    let mut world = World::with_witness(2);
    let mut sequence = 0;
    for round in 0..30 {
        let deaf = if round % 2 == 0 { B } else { 0 };
        for _ in 0..5 {
            sequence += 1;
            world.cores[0].propose(vec![command(sequence)]).expect("it leads");
            world.tick(1, deaf);
        }
        assert_eq!(world.leaders(), [A]);
    }
    world.tick(20, 0);
    assert!(world.cores.iter().all(|core| core.applied() == world.cores[0].applied()));
    assert!(world.has(B, sequence));
}

#[test]
fn a_witness_gets_nothing_that_the_leader_has_not_on_disk() {
    let mut world = World::with_witness(1);
    world.down.insert(B);
    world.tick(30, 0);
    let before = world.last(W);
    world.cores[0].propose(vec![command(1)]).expect("it leads");
    let mut tickets = Vec::new();
    let mut sent = |core: &mut Core| {
        let mut sent = 0;
        while let Some(orders) = core.poll().expect("no invariant breaks") {
            tickets.extend(orders.persist.map(|persist| persist.ticket));
            let is_new = |message: &&Message| message.get_entries().iter().any(|entry| entry.index > before);
            sent += orders.send.iter().filter(|message| message.to == W).filter(is_new).count();
        }
        (sent, tickets.last().copied())
    };
    let (none, ticket) = sent(&mut world.cores[0]);
    assert_eq!(none, 0);
    world.cores[0].persisted(ticket.expect("it writes"));
    assert_eq!(sent(&mut world.cores[0]).0, 1);
}

#[test]
fn a_new_leader_that_dies_at_once_leaves_the_old_one_able_to_lead() {
    for seed in 0..8 {
        let mut world = World::with_witness(seed);
        assert!(world.write(1));
        assert!(world.cores[0].hand_over());
        world.run_until(0, |world| world.leaders().contains(&B));
        // All that is for the witness arrives, nothing that is for A.
        world.run(A);
        world.kill(B);
        assert_eq!(world.elect(), A);
        assert!(world.write(2));
    }
}

#[test]
fn a_witness_that_was_away_catches_up_by_a_snapshot_without_data() {
    let mut world = World::with_witness(1);
    world.down.insert(W);
    for sequence in 1..50 {
        world.cores[0].propose(vec![command(sequence)]).expect("it leads");
    }
    world.cores[0].propose(vec![record(9, "things", "secret-away")]).expect("it leads");
    world.tick(20, 0);
    let through = world.cores[0].applied();
    world.cores[0].node.mut_store().compact(through);
    world.down.remove(&W);
    world.tick(30, 0);
    assert_eq!(world.cores[2].applied(), world.cores[0].applied());
    assert!(!contains(&world.disks[&W], "secret"));
    world.down.insert(B);
    world.tick(20, 0);
    assert!(world.write(100), "it votes and acknowledges as before");
}

#[test]
fn a_witness_that_is_removed_gets_no_data_on_its_way_out() {
    let mut world = World::with_witness(1);
    world.propose(&MemberChange::Remove(MemberId(W))).expect("is proposed");
    // A write is under way to all when the leader applies the end of the change.
    world.run_until(0, |world| {
        let leave = world.cores[0].node.raft.raft_log.last_index();
        let ack = world.messages.front().filter(|message| message.from == B);
        world.cores[0].machine().is_joint()
            && ack.is_some_and(|ack| (ack.get_msg_type(), ack.index) == (MessageType::MsgAppendResponse, leave))
    });
    let ack = world.messages.pop_front().expect("is there");
    assert_eq!(world.cores[0].receive(ack), Ok(inputs::Received::Taken));
    world.cores[0].propose(vec![record(9, "things", "secret-late")]).expect("it leads");
    world.run(0);
    let sent = |to: &str| world.trace.iter().any(|line| line.contains(to) && line.contains("secret-late"));
    assert!(sent("to: 2") && !sent("to: 3"));
    world.tick(8, 0);
    assert_eq!(world.verdicts, vec![Ok(()); 4]);
    assert!(world.cores[0].machine().witnesses.is_empty());
    let kept = state::encode(world.cores[0].machine());
    assert_eq!(kept[0], 1, "what follows is for the version before witnesses too");
}

#[test]
fn a_member_is_a_witness_as_the_cluster_knows_it_or_does_not_start() {
    let mut world = World::with_witness(1);
    let refused =
        |recovered, member, witness| start(recovered, member, witness, 1).err().map(|error| error.to_string());
    let error = refused(world.recovered(W), W, false).expect("is refused");
    assert!(error.contains("start it as a witness"), "{error}");
    let error = refused(world.recovered(B), B, true).expect("is refused");
    assert!(error.contains("started as a witness"), "{error}");
    world.restart(W);
    world.tick(20, 0);
    assert!(world.write(1));
}

#[test]
fn a_newcomer_that_takes_itself_for_what_it_is_not_gives_up() {
    for (is, change) in [(true, MemberChange::AddLearner(MemberId(2))), (false, MemberChange::AddWitness(MemberId(2)))]
    {
        let mut world = World::new(2, 1);
        world.cores[1] = start(recovered(2), 2, is, 1).expect("is nobody yet");
        world.cores[0].speak(2);
        world.unfit = Some(2);
        world.run(0);
        world.change(&change);
        world.tick(20, 0);
        assert!(world.down.contains(&2), "it gave up");
    }
}
