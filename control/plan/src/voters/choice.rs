//! Choosing the voters: a few sets that could be, one of each size, and the best of them.

use std::collections::BTreeSet;

use super::{Input, VOTERS_MAX, Vote, zones};

/// What speaks for a set of voters, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Merit {
    /// Whether a majority is healthy, and whether one of them may fail too: no more than 1.
    survives: isize,
    /// How few of them should not vote at all, as a negative number.
    few_misfits: isize,
    /// How many zones may be lost.
    zones: usize,
    /// How many healthy voters may fail.
    tolerance: isize,
    /// An odd number, or one less while somebody who left is expected back.
    is_neat: bool,
    /// How many they are.
    size: usize,
    /// How few changes lead there, as a negative number.
    few_changes: isize,
}

/// Who should vote. The same as now when nothing is gained by a change.
pub(super) fn wanted(input: &Input) -> BTreeSet<u64> {
    let floor = floor(input);
    let fits = |set: &BTreeSet<u64>| set.len() >= floor || set.len() >= input.voters.len();
    let sets = (1..=VOTERS_MAX).flat_map(|size| [of_size(input, size, false), of_size(input, size, true)]);
    let sets = sets.flatten().filter(fits).chain([input.voters.clone()]);
    let best = sets.max_by_key(|set| merit(input, set)).unwrap_or_else(|| input.voters.clone());
    if best != input.voters || !best.iter().all(|id| input.is_good(*id)) {
        return best;
    }
    zones::better_spread(input, &best, &ready(input)).unwrap_or(best)
}

/// For members that know no joint changes: one learner more while that leads to a larger odd number, and never while a
/// voter is away, since the even number on the way bears one failure less.
pub(super) fn one_more(input: &Input) -> BTreeSet<u64> {
    let mut voters = input.voters.clone();
    let ready = ready(input);
    let room = odd(voters.len() + ready.len()).saturating_sub(voters.len());
    if room > 0 && voters.iter().all(|id| input.is_there(*id)) {
        voters.extend(zones::most_apart(input, &voters, &ready));
    }
    voters
}

/// Fewer voters than this are not left of more. Three of a cluster that has three: one that stops without anybody to
/// vote instead keeps its vote, because two voters bear no loss more than three of which one is away, and when it is back
/// beside one that is lost meanwhile, it makes the majority. Two beside a witness: the last one alone would go on writing
/// what no other disk has.
fn floor(input: &Input) -> usize {
    let may_vote = input.members.values().filter(|member| member.vote == Vote::Voter).count();
    let has_witness = input.members.values().any(|member| member.vote == Vote::Witness);
    match may_vote {
        0 | 1 => 1,
        2 => 1 + usize::from(has_witness),
        _ => 3,
    }
}

/// The largest odd number of voters that `count` members make.
fn odd(count: usize) -> usize {
    let most = count.clamp(1, VOTERS_MAX);
    most - usize::from(most.is_multiple_of(2))
}

fn ready(input: &Input) -> BTreeSet<u64> {
    let data = |id: &u64| input.vote(*id) == Vote::Voter && input.is_ready(*id);
    input.learners.iter().copied().filter(data).collect()
}

/// The best voters if they are to be `size`, a witness among them or not: healthy voters stay, then come learners that
/// are ready, then voters that are away, and at last those that should not vote.
fn of_size(input: &Input, size: usize, with_witness: bool) -> Option<BTreeSet<u64>> {
    let witness = match (with_witness, size) {
        (false, _) => None,
        // The third beside two that hold data, and never in place of one of them.
        (true, 3) => Some(witness(input)?),
        (true, _) => return None,
    };
    let size = size - usize::from(witness.is_some());
    let holds_data = |id: &u64| input.vote(*id) != Vote::Witness;
    let (good, bad): (BTreeSet<u64>, Vec<u64>) = {
        let (good, bad): (Vec<u64>, _) =
            input.voters.iter().copied().filter(holds_data).partition(|id| input.is_good(*id));
        (good.into_iter().collect(), bad)
    };
    let mut set = good;
    while set.len() > size {
        let least = zones::least_missed(input, &set, &set)?;
        set.remove(&least);
    }
    let mut ready = ready(input);
    while set.len() < size
        && let Some(learner) = zones::most_apart(input, &set, &ready)
    {
        ready.remove(&learner);
        set.insert(learner);
    }
    let mut bad = bad;
    bad.sort_by_key(|id| (input.must_go(*id), *id != input.leader, input.silence(*id), *id));
    let missing = size - set.len();
    set.extend(bad.into_iter().take(missing));
    (set.len() == size).then(|| set.into_iter().chain(witness).collect())
}

/// The witness that votes, or could.
fn witness(input: &Input) -> Option<u64> {
    let witnesses = input.voters.iter().chain(&input.learners).copied().filter(|id| input.vote(*id) == Vote::Witness);
    let usable = |id: u64| input.is_good(id) || input.is_ready(id);
    let known = witnesses.filter(|id| usable(*id) || (input.voters.contains(id) && !input.must_go(*id)));
    known.min_by_key(|id| (!usable(*id), !input.voters.contains(id), *id))
}

fn merit(input: &Input, set: &BTreeSet<u64>) -> Merit {
    let usable = set.iter().filter(|id| input.is_good(**id) || input.is_ready(**id)).count();
    let tolerance = usable.cast_signed() - (set.len() / 2 + 1).cast_signed();
    let changes = set.symmetric_difference(&input.voters).count();
    Merit {
        survives: tolerance.min(1),
        few_misfits: -misfits(input, set).cast_signed(),
        zones: zones::may_be_lost(input, set),
        tolerance,
        is_neat: !set.len().is_multiple_of(2) || is_expecting(input, set),
        size: set.len(),
        few_changes: -changes.cast_signed(),
    }
}

/// Voters that should not be any: told so, leaving, failed, or a witness that is not the third beside two.
fn misfits(input: &Input, set: &BTreeSet<u64>) -> usize {
    let told = set.iter().filter(|id| input.must_go(**id)).count();
    let is_witness = |id: &&u64| input.vote(**id) == Vote::Witness && !input.must_go(**id);
    let witnesses = set.iter().filter(is_witness).count();
    let good = input.voters.iter().filter(|id| input.vote(**id) == Vote::Voter && input.is_good(**id)).count();
    let is_third = witnesses == 1 && set.len() == 3 && good + ready(input).len() < 3;
    told + if is_third { 0 } else { witnesses }
}

/// An even number that is left of more voters, while one of those that are gone for a moment would make it odd again.
fn is_expecting(input: &Input, set: &BTreeSet<u64>) -> bool {
    let expected = input.members.iter().filter(|(id, it)| it.vote == Vote::Voter && input.silence(**id) <= input.limit);
    set.len() <= input.voters.len() && odd(expected.count()) > set.len()
}
