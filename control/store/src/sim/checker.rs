//! Judges whether what clients saw can be explained by one order of their operations that respects real time:
//! linearizability (Herlihy, Wing 1990), by the search of Wing and Gong (1993) with the memory of Lowe (2017).
//!
//! It knows what clients know and nothing of the store: which values they wrote and saw, and when they asked and heard.
//! An operation whose outcome is unknown may have happened at any time after it was asked, or never.
//!
//! Two things keep the search short. An operation that changes nothing is placed as soon as it fits: placing it later
//! explains no more. And the revisions that the store claims say which write to try first; a wrong claim costs time, not
//! truth.

use std::collections::HashSet;

/// Keys that one transaction may touch together. Histories of different groups are judged apart.
pub(super) const GROUP_KEYS: usize = 3;

/// States of the search after which it gives up: histories that are in order take a few per operation, as the revisions
/// show the way.
const STATES_MAX: usize = 200_000;

/// A value, different for each write.
pub(super) type ValueNumber = u32;

/// The values of one group.
pub(super) type Values = [Option<ValueNumber>; GROUP_KEYS];

/// A moment in the history. No two things happen at the same one.
pub(super) type Moment = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    Absent,
    Present,
    Value(ValueNumber),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Put(ValueNumber),
    Delete,
    Check,
}

/// One op of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) key: usize,
    pub(super) wanted: Wanted,
    pub(super) effect: Effect,
}

/// What an operation did, as far as its client knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// Saw these values, of one moment.
    Read(Values),
    /// All expectations held and all was done.
    Written(Vec<Step>),
    /// The expectation of this step was the first that did not hold.
    Refused(Vec<Step>, usize),
    /// It was asked.
    Unknown(Vec<Step>),
}

/// An operation of a client.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) called: Moment,
    /// When the outcome was heard; not of use for an unknown one.
    pub(super) returned: Moment,
    pub(super) act: Act,
    /// The revision that the store named, if it did.
    pub(super) revision: Option<u64>,
}

impl Operation {
    fn is_unknown(&self) -> bool {
        matches!(self.act, Act::Unknown(_))
    }

    fn returned(&self) -> Moment {
        if self.is_unknown() { Moment::MAX } else { self.returned }
    }

    fn changes_nothing(&self) -> bool {
        matches!(self.act, Act::Read(_) | Act::Refused(..))
    }

    /// The values after it, if it can happen at `values`.
    fn apply(&self, values: &Values) -> Option<Values> {
        match &self.act {
            Act::Read(seen) => (seen == values).then_some(*values),
            Act::Refused(steps, at) => {
                let first = steps.iter().position(|step| !step.holds(values));
                (first == Some(*at)).then_some(*values)
            }
            Act::Written(steps) | Act::Unknown(steps) => {
                if !steps.iter().all(|step| step.holds(values)) {
                    return None;
                }
                let mut after = *values;
                for step in steps {
                    match step.effect {
                        Effect::Put(value) => after[step.key] = Some(value),
                        Effect::Delete => after[step.key] = None,
                        Effect::Check => {}
                    }
                }
                Some(after)
            }
        }
    }
}

impl Step {
    fn holds(&self, values: &Values) -> bool {
        match self.wanted {
            Wanted::Any => true,
            Wanted::Absent => values[self.key].is_none(),
            Wanted::Present => values[self.key].is_some(),
            Wanted::Value(value) => values[self.key] == Some(value),
        }
    }
}

/// What the search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    /// No order explains it. How many operations the best one does, and the ones that did not fit there.
    Not {
        placed: usize,
        stuck: Vec<usize>,
    },
    /// The search took too long. In a history whose revisions show the way that is no good sign either.
    GaveUp {
        placed: usize,
        stuck: Vec<usize>,
    },
}

/// Judges a history of one group, which begins with nothing.
pub(super) fn check(operations: &[Operation]) -> Verdict {
    let mut order: Vec<usize> = (0..operations.len()).collect();
    order.sort_by_key(|&at| operations[at].called);
    let operations: Vec<_> = order.iter().map(|&at| &operations[at]).collect();
    let known = operations.iter().filter(|operation| !operation.is_unknown()).count();
    let mut search = Search { operations, known, seen: HashSet::new(), best: 0, stuck: Vec::new() };
    let place = Place { placed: vec![0; search.operations.len().div_ceil(64)].into(), values: [None; GROUP_KEYS] };
    let outcome = search.run(place);
    let (placed, stuck) = (search.best, search.stuck.into_iter().map(|at| order[at]).collect());
    match outcome {
        Some(true) => Verdict::Linearizable,
        Some(false) => Verdict::Not { placed, stuck },
        None => Verdict::GaveUp { placed, stuck },
    }
}

/// Which operations have been placed, and the values after them.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    placed: Box<[u64]>,
    values: Values,
}

impl Place {
    fn has(&self, at: usize) -> bool {
        self.placed[at / 64] & (1 << (at % 64)) != 0
    }

    fn with(mut self, at: usize, values: Values) -> Self {
        self.placed[at / 64] |= 1 << (at % 64);
        self.values = values;
        self
    }
}

struct Search<'a> {
    /// By the moment they were called.
    operations: Vec<&'a Operation>,
    /// How many of them have to be placed.
    known: usize,
    seen: HashSet<Place>,
    best: usize,
    stuck: Vec<usize>,
}

impl Search<'_> {
    /// Depth first, without recursion: histories may be long. None: gave up.
    fn run(&mut self, start: Place) -> Option<bool> {
        let mut open = vec![start];
        while let Some(place) = open.pop() {
            let (place, next) = self.settle(place);
            let placed = (0..self.operations.len()).filter(|&at| place.has(at) && !self.operations[at].is_unknown());
            let placed = placed.count();
            if placed == self.known {
                return Some(true);
            }
            if placed > self.best {
                self.best = placed;
                self.stuck = next.iter().copied().filter(|&at| !self.operations[at].is_unknown()).collect();
            }
            if !self.seen.insert(place.clone()) {
                continue;
            }
            if self.seen.len() > STATES_MAX {
                return None;
            }
            let mut fits: Vec<(usize, Values)> = next
                .into_iter()
                .filter(|&at| !self.operations[at].changes_nothing())
                .filter_map(|at| Some((at, self.operations[at].apply(&place.values)?)))
                // One that need not be placed, would change nothing, and is not said to have happened.
                .filter(|(at, values)| {
                    let operation = self.operations[*at];
                    !operation.is_unknown() || operation.revision.is_some() || *values != place.values
                })
                .collect();
            // The last is tried first: the lowest revision; of those without one, the unknown at the end.
            fits.sort_by_key(|(at, _)| {
                let operation = self.operations[*at];
                std::cmp::Reverse((operation.revision.unwrap_or(u64::MAX), operation.is_unknown(), operation.called))
            });
            open.extend(fits.into_iter().map(|(at, values)| place.clone().with(at, values)));
        }
        Some(false)
    }

    /// Places what changes nothing and fits, and returns those that could come next.
    fn settle(&self, mut place: Place) -> (Place, Vec<usize>) {
        loop {
            let next = self.next(&place);
            let fits = next.iter().copied().find(|&at| {
                let operation = self.operations[at];
                operation.changes_nothing() && operation.apply(&place.values).is_some()
            });
            match fits {
                Some(at) => {
                    let values = place.values;
                    place = place.with(at, values);
                }
                None => return (place, next),
            }
        }
    }

    /// The operations not placed before whose call no other such one returned.
    fn next(&self, place: &Place) -> Vec<usize> {
        let (mut next, mut until) = (Vec::new(), Moment::MAX);
        for (at, operation) in self.operations.iter().enumerate() {
            if operation.called > until {
                break;
            }
            if !place.has(at) {
                until = until.min(operation.returned());
                next.push(at);
            }
        }
        next
    }
}

#[cfg(test)]
mod tests;
