//! Reads of followers: answered at once where leader and follower are a majority, and by a heartbeat else.

use super::*;

const ID: ProposalId = ProposalId { member: 2, incarnation: 7, sequence: 9 };

fn sent(core: &mut Core) -> Vec<Message> {
    let mut sent = Vec::new();
    while let Some(orders) = core.poll().expect("no invariant breaks") {
        sent.extend(orders.send);
        if let Some(persist) = orders.persist {
            sent.extend(persist.then_send);
            core.persisted(persist.ticket);
        }
    }
    sent
}

/// What the second member sends when it reads.
fn question(world: &mut World) -> Message {
    let mut context = Vec::new();
    ID.put(&mut context);
    world.cores[1].read(context);
    let [question]: [Message; 1] = sent(&mut world.cores[1]).try_into().expect("one message");
    assert_eq!((question.get_msg_type(), question.to), (MessageType::MsgReadIndex, 1));
    question
}

/// The kinds of message that the leader sends when it is asked.
fn answered(world: &mut World, question: Message) -> Vec<(MessageType, u64)> {
    assert_eq!(world.cores[0].receive(question), Ok(inputs::Received::Taken));
    let mut sent: Vec<_> =
        sent(&mut world.cores[0]).iter().map(|message| (message.get_msg_type(), message.to)).collect();
    sent.sort_by_key(|(_, to)| *to);
    sent
}

const BY_HEARTBEAT: [(MessageType, u64); 2] = [(MessageType::MsgHeartbeat, 2), (MessageType::MsgHeartbeat, 3)];

#[test]
fn follower_that_is_a_majority_with_the_leader_is_answered_at_once_with_what_is_committed() {
    let mut world = World::three(1);
    world.cores[0].propose(vec![command(1)]).expect("it leads");
    world.run(0);
    let question = question(&mut world);
    assert_eq!(world.cores[0].receive(question), Ok(inputs::Received::Taken));
    let [answer]: [Message; 1] = sent(&mut world.cores[0]).try_into().expect("one message");
    let committed = world.cores[0].raft().raft.raft_log.committed;
    assert_eq!((answer.get_msg_type(), answer.to, answer.index), (MessageType::MsgReadIndexResp, 2, committed));
    assert_eq!(world.cores[1].receive(answer), Ok(inputs::Received::Taken));
    let orders = world.cores[1].poll().expect("no invariant breaks").expect("the read is confirmed");
    let [(index, context)] = orders.reads.as_slice() else { panic!("one read") };
    assert_eq!(*index, committed);
    assert_eq!(ProposalId::read(&mut crate::codec::Reader::new(context.clone().into())), Ok(ID));
}

#[test]
fn question_of_another_term_or_of_an_earlier_version_proves_nothing() {
    let mut world = World::three(1);
    let of_now = question(&mut world);
    let changes: [fn(&mut Vec<u8>); 3] = [|data| data[24] += 1, |data| data[24] -= 1, |data| data.truncate(24)];
    for change in changes {
        let mut question = of_now.clone();
        let mut data = question.get_entries()[0].data.to_vec();
        change(&mut data);
        question.mut_entries()[0].data = data.into();
        assert_eq!(answered(&mut world, question), BY_HEARTBEAT);
        world.tick(4, 0);
    }
}

#[test]
fn follower_that_is_no_majority_with_the_leader_is_answered_by_a_heartbeat() {
    let mut world = World::new(4, 1);
    world.run(0);
    for member in [2, 3, 4] {
        world.change(&MemberChange::AddLearner(MemberId(member)));
        world.change(&MemberChange::promote(MemberId(member)));
    }
    let question = question(&mut world);
    let expected: Vec<_> = BY_HEARTBEAT.into_iter().chain([(MessageType::MsgHeartbeat, 4)]).collect();
    assert_eq!(answered(&mut world, question), expected);
}

#[test]
fn leader_that_was_cut_off_answers_nobody_of_a_later_term() {
    let mut world = World::three(1);
    world.tick(60, 1);
    assert!(world.leaders().iter().any(|leader| *leader != 1), "another one leads");
    assert!(world.cores[0].is_leader(), "and it does not know");
    let mut question = Message { to: 1, from: 2, ..Message::default() };
    question.set_msg_type(MessageType::MsgReadIndex);
    let mut context = Vec::new();
    ID.put(&mut context);
    context.extend_from_slice(&world.cores[1].term().to_le_bytes());
    question.set_entries(vec![Entry { data: context.into(), ..Entry::default() }].into());
    assert_eq!(answered(&mut world, question), BY_HEARTBEAT);
}
