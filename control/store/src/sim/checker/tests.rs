//! Histories that are known to be good or bad: a checker that never fails proves nothing.

use super::*;

fn put(key: usize, wanted: Wanted, value: ValueNumber) -> Vec<Step> {
    vec![Step { key, wanted, effect: Effect::Put(value) }]
}

fn saw(value: Option<ValueNumber>) -> Act {
    Act::Read([value, None, None])
}

/// `(called, returned, act)`.
fn history(parts: Vec<(Moment, Moment, Act)>) -> Vec<Operation> {
    parts.into_iter().map(|(called, returned, act)| Operation { called, returned, act, revision: None }).collect()
}

fn is_linearizable(parts: Vec<(Moment, Moment, Act)>) -> bool {
    match check(&history(parts)) {
        Verdict::Linearizable => true,
        Verdict::Not { .. } => false,
        Verdict::GaveUp { .. } => panic!("a small history is judged"),
    }
}

fn written(value: ValueNumber) -> Act {
    Act::Written(put(0, Wanted::Any, value))
}

#[test]
fn a_read_beside_a_write_sees_either_value() {
    for seen in [Some(1), Some(2)] {
        assert!(is_linearizable(vec![(1, 2, written(1)), (3, 6, written(2)), (4, 5, saw(seen))]));
    }
}

#[test]
fn a_stale_read_is_found() {
    assert!(!is_linearizable(vec![(1, 2, written(1)), (3, 4, written(2)), (5, 6, saw(Some(1)))]));
    assert!(!is_linearizable(vec![(1, 2, written(1)), (3, 4, saw(None))]));
}

#[test]
fn a_lost_update_is_found() {
    // Both wrote on top of the value 1.
    let update = |value| Act::Written(put(0, Wanted::Value(1), value));
    assert!(!is_linearizable(vec![(1, 2, written(1)), (3, 6, update(2)), (4, 5, update(3))]));
    assert!(!is_linearizable(vec![
        (1, 2, Act::Written(put(0, Wanted::Absent, 1))),
        (3, 4, { Act::Written(put(0, Wanted::Absent, 2)) })
    ]));
}

#[test]
fn an_acknowledged_write_that_vanishes_is_found() {
    assert!(!is_linearizable(vec![(1, 2, written(1)), (3, 4, written(2)), (5, 6, saw(Some(1))), (7, 8, saw(Some(1)))]));
}

#[test]
fn a_write_applied_twice_is_found() {
    let parts = vec![(1, 2, written(1)), (3, 4, written(2)), (5, 6, saw(Some(2))), (7, 8, saw(Some(1)))];
    assert!(!is_linearizable(parts));
}

#[test]
fn reads_that_go_backwards_are_found() {
    // The write is under way all the time, so each read alone is fine.
    let parts = |first, second| {
        vec![(1, 2, written(1)), (3, 20, written(2)), (4, 5, saw(Some(first))), (6, 7, saw(Some(second)))]
    };
    assert!(is_linearizable(parts(1, 2)));
    assert!(!is_linearizable(parts(2, 1)));
}

#[test]
fn an_unknown_write_may_have_happened_or_not_or_late_but_once() {
    let unknown = || (3, 0, Act::Unknown(put(0, Wanted::Any, 2)));
    let parts = |seen: &[ValueNumber]| {
        let reads = seen.iter().zip(0..).map(|(&value, at)| (10 + 2 * at, 11 + 2 * at, saw(Some(value))));
        [(1, 2, written(1)), unknown()].into_iter().chain(reads).collect::<Vec<_>>()
    };
    for seen in [&[1][..], &[2], &[1, 2], &[1, 1, 2, 2]] {
        assert!(is_linearizable(parts(seen)), "{seen:?}");
    }
    assert!(!is_linearizable(parts(&[2, 1])), "it cannot be undone");
    let mut parts = parts(&[2]);
    parts.extend([(20, 21, written(3)), (22, 23, saw(Some(2)))]);
    assert!(!is_linearizable(parts), "it cannot happen again");
}

#[test]
fn an_unknown_write_cannot_have_happened_before_it_was_asked() {
    assert!(!is_linearizable(vec![(1, 2, saw(Some(2))), (3, 0, Act::Unknown(put(0, Wanted::Any, 2)))]));
}

#[test]
fn a_refusal_needs_a_reason() {
    let refused = |wanted| Act::Refused(put(0, wanted, 9), 0);
    assert!(is_linearizable(vec![(1, 2, written(1)), (3, 4, refused(Wanted::Absent))]));
    assert!(!is_linearizable(vec![(1, 2, refused(Wanted::Absent))]));
    assert!(!is_linearizable(vec![(1, 2, written(1)), (3, 4, refused(Wanted::Value(1)))]));
    assert!(!is_linearizable(vec![(1, 2, written(1)), (3, 4, refused(Wanted::Absent)), (5, 6, saw(Some(9)))]));
}

#[test]
fn half_of_a_transaction_is_found() {
    let both = vec![
        Step { key: 0, wanted: Wanted::Absent, effect: Effect::Put(1) },
        Step { key: 1, wanted: Wanted::Absent, effect: Effect::Put(2) },
    ];
    let parts = |seen| vec![(1, 4, Act::Written(both.clone())), (2, 3, Act::Read(seen))];
    assert!(is_linearizable(parts([None, None, None])));
    assert!(is_linearizable(parts([Some(1), Some(2), None])));
    assert!(!is_linearizable(parts([Some(1), None, None])));
}

#[test]
fn a_check_and_a_delete_are_seen() {
    let delete = vec![
        Step { key: 0, wanted: Wanted::Value(1), effect: Effect::Check },
        Step { key: 1, wanted: Wanted::Any, effect: Effect::Delete },
    ];
    let start = [(1, 2, written(1)), (3, 4, Act::Written(put(1, Wanted::Any, 2)))];
    let with = |more: Vec<(Moment, Moment, Act)>| start.iter().cloned().chain(more).collect::<Vec<_>>();
    let after = |seen| with(vec![(5, 6, Act::Written(delete.clone())), (7, 8, Act::Read(seen))]);
    assert!(is_linearizable(after([Some(1), None, None])));
    assert!(!is_linearizable(after([Some(1), Some(2), None])));
}

#[test]
fn wrong_revisions_cost_time_and_not_truth() {
    let mut parts = history(vec![(1, 10, written(1)), (2, 11, written(2)), (12, 13, saw(Some(1)))]);
    parts[0].revision = Some(4);
    parts[1].revision = Some(9);
    assert_eq!(check(&parts), Verdict::Linearizable);
}

#[test]
fn what_did_not_fit_is_named() {
    let parts = history(vec![(1, 2, written(1)), (3, 4, written(2)), (5, 6, saw(Some(1)))]);
    assert_eq!(check(&parts), Verdict::Not { placed: 2, stuck: vec![2] });
}

#[test]
fn long_histories_with_unknown_outcomes_are_judged() {
    let mut parts = Vec::new();
    for round in 0..400u32 {
        let at = u64::from(round) * 10;
        parts.push((at, at + 6, written(round + 1)));
        parts.push((at + 1, at + 7, saw(Some(round + 1))));
        if round % 10 == 0 {
            parts.push((at + 2, 0, Act::Unknown(put(0, Wanted::Any, 10_000 + round))));
        }
    }
    let mut history = history(parts);
    for operation in &mut history {
        operation.revision = matches!(operation.act, Act::Written(_)).then_some(operation.called);
    }
    assert_eq!(check(&history), Verdict::Linearizable);
}
