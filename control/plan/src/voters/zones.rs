//! Zones: how many of them a set of voters may lose.
//!
//! Members whose zone is not known count as one zone: they may well stand side by side.

use std::collections::{BTreeMap, BTreeSet};

use super::{Input, Vote};

/// How many voters stand in each zone, the largest first.
pub(super) fn shares(input: &Input, voters: &BTreeSet<u64>) -> Vec<usize> {
    let mut counts: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for id in voters {
        *counts.entry(zone(input, *id)).or_default() += 1;
    }
    let mut shares: Vec<usize> = counts.into_values().collect();
    shares.sort_unstable_by(|one, other| other.cmp(one));
    shares
}

/// How many whole zones may be lost, whichever they are, with a majority left.
pub(super) fn may_be_lost(input: &Input, voters: &BTreeSet<u64>) -> usize {
    let mut spare = voters.len() - (voters.len() / 2 + 1).min(voters.len());
    let affordable = shares(input, voters).into_iter().take_while(|share| {
        let is_affordable = *share <= spare;
        spare = spare.saturating_sub(*share);
        is_affordable
    });
    affordable.count()
}

/// Of `candidates`, the one that stands most apart from `voters`: in the zone with the fewest of them. Then the one whose
/// log is longest, then the oldest.
pub(super) fn most_apart(input: &Input, voters: &BTreeSet<u64>, candidates: &BTreeSet<u64>) -> Option<u64> {
    candidates.iter().copied().min_by_key(|id| (beside(input, voters, *id), input.lag(*id), *id))
}

/// Of `candidates`, the one that `voters` miss least: in the zone with the most of them; the youngest of those. Never the
/// leader while there is another.
pub(super) fn least_missed(input: &Input, voters: &BTreeSet<u64>, candidates: &BTreeSet<u64>) -> Option<u64> {
    candidates.iter().copied().max_by_key(|id| (*id != input.leader, beside(input, voters, *id), *id))
}

fn beside(input: &Input, voters: &BTreeSet<u64>, id: u64) -> usize {
    voters.iter().filter(|other| **other != id && zone(input, **other) == zone(input, id)).count()
}

fn zone(input: &Input, id: u64) -> Option<&str> {
    input.members.get(&id)?.zone.as_deref().filter(|zone| !zone.is_empty())
}

/// `voters` with one of them exchanged for one of `ready`, if a row of such exchanges ends where more zones may be lost.
pub(super) fn better_spread(input: &Input, voters: &BTreeSet<u64>, ready: &BTreeSet<u64>) -> Option<BTreeSet<u64>> {
    let mut goal = voters.clone();
    let mut first = None;
    let lost = may_be_lost(input, voters);
    // Each exchange makes the list of shares smaller, so there are few of them.
    while let Some(next) = one_exchange(input, &goal, ready) {
        first.get_or_insert_with(|| next.clone());
        goal = next;
        if may_be_lost(input, &goal) > lost {
            return first;
        }
    }
    None
}

fn one_exchange(input: &Input, voters: &BTreeSet<u64>, ready: &BTreeSet<u64>) -> Option<BTreeSet<u64>> {
    let movable = |id: &&u64| **id != input.leader && input.vote(**id) == Vote::Voter;
    let out = least_missed(input, voters, &voters.iter().filter(movable).copied().collect())?;
    let mut rest = voters.clone();
    rest.remove(&out);
    let candidates = ready.difference(voters).copied().filter(|id| input.vote(*id) == Vote::Voter).collect();
    rest.insert(most_apart(input, &rest, &candidates)?);
    (shares(input, &rest) < shares(input, voters)).then_some(rest)
}
