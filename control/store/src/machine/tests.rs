//! What entries do to the state.

use bytes::Bytes;

use super::*;
use crate::model::{Key, MemberChange, MemberId, Value};

const INCARNATION: u64 = 5;

fn id(sequence: u64) -> ProposalId {
    ProposalId { member: 1, incarnation: INCARNATION, sequence }
}

fn put(name: &str, expect: Expect, text: &str) -> Op {
    let value = Value { bytes: Bytes::copy_from_slice(text.as_bytes()), stamp: None };
    Op { key: Key::new("things", name), expect, change: Change::Put(value) }
}

fn delete(name: &str, expect: Expect) -> Op {
    Op { key: Key::new("things", name), expect, change: Change::Delete }
}

struct Run {
    machine: Machine,
    changes: Vec<Arc<Event>>,
    sequence: u64,
}

impl Run {
    fn new() -> Self {
        Self { machine: Machine::bootstrap(1), changes: Vec::new(), sequence: 0 }
    }

    fn apply(&mut self, ops: Vec<Op>) -> Verdict {
        self.sequence += 1;
        self.apply_copy(self.sequence, 0, ops)
    }

    fn apply_copy(&mut self, sequence: u64, base: u64, ops: Vec<Op>) -> Verdict {
        let command = Command { id: id(sequence), base, txn: Txn { ops } };
        self.machine.apply(self.machine.applied + 1, 1, command, &mut self.changes)
    }

    fn get(&self, name: &str) -> Option<Arc<Stored>> {
        self.machine.view().get(&Key::new("things", name))
    }
}

#[test]
fn the_revision_is_the_index_and_creation_is_kept_over_updates() {
    let mut run = Run::new();
    assert!(matches!(run.apply(vec![put("a", Expect::Absent, "1")]), Verdict::Written(Revision(2))));
    assert!(matches!(run.apply(vec![put("a", Expect::Revision(Revision(2)), "2")]), Verdict::Written(Revision(3))));
    let stored = run.get("a").expect("is there");
    assert_eq!((stored.revision(), stored.created(), &stored.bytes()[..]), (Revision(3), Revision(2), &b"2"[..]));
}

#[test]
fn one_expectation_that_fails_stops_the_whole_transaction() {
    let mut run = Run::new();
    run.apply(vec![put("a", Expect::Any, "1")]);
    let verdict = run.apply(vec![put("b", Expect::Absent, "1"), delete("a", Expect::Revision(Revision(1)))]);
    let Verdict::Conflict { op: 1, found: Some(found) } = verdict else { panic!("{verdict:?}") };
    assert_eq!(found.revision(), Revision(2));
    assert!(run.get("b").is_none() && run.get("a").is_some());
    assert_eq!(run.changes.len(), 1);
}

#[test]
fn expectations_are_judged_on_the_state_before_the_transaction() {
    let mut run = Run::new();
    let verdict = run.apply(vec![put("a", Expect::Absent, "1"), put("b", Expect::Absent, "1")]);
    assert!(matches!(verdict, Verdict::Written(_)));
    assert!(matches!(run.apply(vec![delete("c", Expect::Present)]), Verdict::Conflict { op: 0, found: None }));
}

#[test]
fn a_stamp_is_inserted_and_made_anew_for_the_deletion() {
    let mut run = Run::new();
    let value = Value { bytes: Bytes::from_static(b"{\"rv\":\"\",\"x\":1}"), stamp: Some(7) };
    run.apply(vec![Op { key: Key::new("things", "a"), expect: Expect::Any, change: Change::Put(value) }]);
    assert_eq!(&run.get("a").expect("is there").bytes()[..], b"{\"rv\":\"2\",\"x\":1}");
    for _ in 0..8 {
        run.apply(vec![]);
    }
    run.apply(vec![delete("a", Expect::Present)]);
    let event = run.changes.last().expect("an event");
    let Event::Deleted { last, previous } = &**event else { panic!("{event:?}") };
    assert_eq!(&last.bytes()[..], b"{\"rv\":\"11\",\"x\":1}");
    assert_eq!(&previous.bytes()[..], b"{\"rv\":\"2\",\"x\":1}");
    assert_eq!((event.revision(), last.created()), (Revision(11), Revision(2)));
}

#[test]
fn deleting_what_is_absent_changes_nothing_and_says_nothing() {
    let mut run = Run::new();
    assert!(matches!(run.apply(vec![delete("a", Expect::Any)]), Verdict::Written(_)));
    assert!(run.changes.is_empty());
}

#[test]
fn a_copy_of_a_proposal_is_applied_once() {
    let mut run = Run::new();
    run.apply_copy(1, 0, vec![put("a", Expect::Any, "1")]);
    run.apply_copy(2, 0, vec![delete("a", Expect::Any)]);
    assert!(matches!(run.apply_copy(1, 0, vec![put("a", Expect::Any, "1")]), Verdict::Repeated));
    assert!(run.get("a").is_none());
}

#[test]
fn a_copy_from_before_the_window_is_not_applied() {
    let mut run = Run::new();
    run.apply_copy(1, 1, vec![put("a", Expect::Any, "1")]);
    while run.machine.applied < REMEMBERED_ENTRIES + 10 {
        run.apply(vec![]);
    }
    run.sequence += 1;
    assert_eq!(run.machine.recent.outcome(&id(1)).map(|outcome| outcome.index), None, "forgotten by now");
    assert!(matches!(run.apply_copy(1, 1, vec![put("a", Expect::Any, "2")]), Verdict::Expired));
    assert_eq!(&run.get("a").expect("is there").bytes()[..], b"1");
    assert!(run.machine.recent.iter().len() as u64 <= REMEMBERED_ENTRIES + 1);
}

#[test]
fn a_removed_member_does_not_come_back_under_its_id() {
    let mut machine = Machine::bootstrap(1);
    machine.retired.insert(2);
    assert!(machine.judge_members(&MemberChange::AddLearner(MemberId(2))).is_err());
    assert!(machine.judge_members(&MemberChange::AddLearner(MemberId(3))).is_ok());
    assert!(machine.judge_members(&MemberChange::Remove(MemberId(1))).is_err(), "the last voter stays");
    assert!(machine.judge_members(&MemberChange::promote(MemberId(3))).is_err(), "no learner yet");
}

#[test]
fn changes_that_make_no_sense_are_refused_in_words() {
    let ids = |ids: &[u64]| ids.iter().copied().map(MemberId).collect::<BTreeSet<_>>();
    let vote = |promote, demote| MemberChange::Vote { promote: ids(promote), demote: ids(demote) };
    let mut machine = Machine::bootstrap(1);
    machine.members = ConfState::from((vec![1, 2, 3], vec![4, 5, 6]));
    machine.witnesses = BTreeSet::from([3, 5, 6]);
    let refused = [
        (vote(&[9], &[]), "member 9 is no learner"),
        (vote(&[], &[9]), "member 9 is no voter"),
        (vote(&[4], &[4]), "member 4 cannot become a voter and a learner at once"),
        (vote(&[], &[1, 2, 3]), "nobody would vote: without a voter there is no cluster"),
        (vote(&[], &[1, 2]), "only witnesses would vote, which hold no data and never lead"),
        (vote(&[5, 6], &[]), "3 witnesses would outvote 2 members with data: what they acknowledge could be lost"),
        (vote(&[5], &[1]), "2 witnesses would outvote 1 members with data: what they acknowledge could be lost"),
        (MemberChange::AddLearner(MemberId(5)), "member 5 is a witness and has no data: join under a new id"),
        (MemberChange::AddWitness(MemberId(4)), "member 4 holds data and cannot become a witness: join under a new id"),
        (MemberChange::AddWitness(MemberId(3)), "member 3 votes already"),
    ];
    for (change, why) in refused {
        assert!(!machine.is_done(&change), "{change:?}");
        assert_eq!(machine.judge_members(&change), Err(why.to_owned()), "{change:?}");
    }
    let fine = [vote(&[4, 5], &[]), vote(&[4], &[1]), vote(&[], &[3]), MemberChange::Remove(MemberId(1))];
    for change in fine {
        assert_eq!(machine.judge_members(&change), Ok(()), "{change:?}");
    }
    let done =
        [vote(&[1], &[4]), vote(&[], &[]), MemberChange::AddWitness(MemberId(5)), MemberChange::Remove(MemberId(7))];
    assert!(done.iter().all(|change| machine.is_done(change)));
    machine.members.voters_outgoing = vec![1, 2];
    assert!(machine.judge_members(&vote(&[4], &[])).is_err() && !machine.is_done(&done[0]), "one at a time");
}
