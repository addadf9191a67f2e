//! Which of the nodes that will do is the best.
//!
//! A pod without wishes goes where the fewest pods of its controller are, then where the most is left over. With wishes
//! these are weighed as Kubernetes' scheduler weighs them: each is brought to a hundred, wishes count twice, and taints that
//! are better avoided (`PreferNoSchedule`) three times.

use std::cmp::Reverse;

use wk_api::Object;
use wk_api::requests::Amounts;

use super::rules::Rules;
use super::{Candidate, filter};
use crate::owned;

/// `load_with` of a full node: three shares in millionths.
const FULL: u64 = 3_000_000;

/// A node that will do.
struct Good {
    index: usize,
    siblings: u64,
    load: u64,
    liking: i64,
    /// Taints there that the pod had better avoid.
    avoided: i64,
    company: i64,
    crowd: Option<i64>,
}

/// The best of `nodes`, which are numbers of candidates and at least one.
pub(super) fn best(
    pod: &Object,
    asked: &Amounts,
    rules: &Rules<'_>,
    candidates: &[Candidate<'_>],
    nodes: &[usize],
) -> usize {
    let owner = owned::controller_uid(pod);
    let good = |index: &usize| {
        let candidate = &candidates[*index];
        Good {
            index: *index,
            siblings: owner.and_then(|owner| candidate.siblings.get(owner)).copied().unwrap_or_default(),
            load: candidate.promised.load_with(asked, &candidate.has),
            liking: filter::liking(pod, candidate.node),
            avoided: filter::avoided(pod, candidate.node),
            company: rules.liking(candidate.node),
            crowd: rules.crowd(candidate.node),
        }
    };
    let all: Vec<Good> = nodes.iter().map(good).collect();
    if !rules.has_wishes() && all.iter().all(|good| good.liking == 0 && good.avoided == 0) {
        let first = all.iter().min_by_key(|good| (good.siblings, good.load, good.index));
        return first.expect("there is one").index;
    }
    let likings = Span::of(all.iter().map(|good| good.liking));
    let companies = Span::of(all.iter().map(|good| good.company));
    // What is said of spreading is meant in place of what is done without.
    let crowd = |good: &Good| good.crowd.unwrap_or_else(|| i64::try_from(good.siblings).unwrap_or(i64::MAX));
    let crowds = Span::of(all.iter().map(crowd));
    let most_avoided = all.iter().map(|good| good.avoided).max().unwrap_or_default().max(1);
    let points = |good: &Good| {
        let wishes = likings.percent(good.liking) + companies.percent(good.company) + 100 - crowds.percent(crowd(good));
        let left = 100 - i64::try_from(good.load.min(FULL) * 100 / FULL).unwrap_or(100);
        let taints = 100 - good.avoided * 100 / most_avoided;
        (wishes * 2 + taints * 3 + left, Reverse(good.index))
    };
    all.iter().max_by_key(|good| points(good)).expect("there is one").index
}

/// The least and the most of some numbers.
struct Span {
    least: i64,
    most: i64,
}

impl Span {
    fn of(numbers: impl Iterator<Item = i64>) -> Self {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for number in numbers {
            (least, most) = (least.min(number), most.max(number));
        }
        Self { least, most }
    }

    /// Where `number` is between them; 0 where all are the same.
    fn percent(&self, number: i64) -> i64 {
        let (from, width) = (i128::from(self.least), i128::from(self.most) - i128::from(self.least));
        if width <= 0 {
            return 0;
        }
        i64::try_from((i128::from(number) - from) * 100 / width).unwrap_or_default()
    }
}
