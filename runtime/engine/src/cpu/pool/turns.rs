//! Whose turn it is: containers by weighted time, the one that had least of it first; each container's tasks in the order
//! in which they came. Pure: it is told the time.
//!
//! This is fair queueing by virtual time, as in Linux' CFS: running for a while moves a container's virtual time by that
//! while divided by its weight. One that comes back from idleness starts at the time of those that are there.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use crate::ticker::TICK;
use crate::usage::Usage;

/// A container of this weight is charged a nanosecond for a nanosecond.
const SHARES_UNIT: u128 = 1024;

/// Containers that have tasks which are ready or running.
pub(super) struct Turns<T> {
    present: HashMap<u64, Present<T>>,
    order: BTreeSet<(u128, u64)>,
    throttled: BTreeMap<(Instant, u64), Instant>,
    /// Virtual time of whoever is behind all others; never goes back.
    floor: u128,
}

struct Present<T> {
    usage: Arc<Usage>,
    virtual_time: u128,
    ready: VecDeque<T>,
    running: u32,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// None of its tasks is ready.
    Nowhere,
    /// Waits for its turn.
    Ordered,
    /// Waits for its quota, until then.
    Throttled(Instant),
}

/// What a thread shall do.
pub(super) enum Next<T> {
    /// Run this.
    Run(T),
    /// Look again then: all that is ready has used up its quota.
    At(Instant),
    /// Wait until something is ready.
    Nothing,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { present: HashMap::new(), order: BTreeSet::new(), throttled: BTreeMap::new(), floor: 0 }
    }
}

/// In 128 bits: 64 would be used up after a week of a large machine's cores for one container that asks for none.
fn weighted(nanos: u128, shares: u32) -> u128 {
    nanos * SHARES_UNIT / u128::from(shares.max(1))
}

fn slice(shares: u32) -> u128 {
    weighted(TICK.as_nanos(), shares)
}

impl<T> Turns<T> {
    /// A task of the container is ready.
    pub(super) fn push(&mut self, usage: &Arc<Usage>, task: T, now: Instant) {
        let account = &usage.account;
        let floor = self.floor;
        let present = self.present.entry(account.id).or_insert_with(|| Present {
            usage: Arc::clone(usage),
            virtual_time: (*account.virtual_time.lock().unwrap_or_else(PoisonError::into_inner)).max(floor),
            ready: VecDeque::new(),
            running: 0,
            place: Place::Nowhere,
        });
        present.ready.push_back(task);
        if present.place == Place::Nowhere {
            self.place(account.id, now);
        }
    }

    /// The task whose turn it is. Its container is charged a whole slice for now, so that the next thread that asks sees
    /// that it has its turn already.
    pub(super) fn next(&mut self, now: Instant) -> Next<T> {
        while let Some((&(until, id), &since)) = self.throttled.first_key_value() {
            if until > now {
                break;
            }
            self.throttled.pop_first();
            if let Some(present) = self.present.get_mut(&id) {
                present.usage.waited(since, now);
                present.place = Place::Nowhere;
            }
            self.place(id, now);
        }
        let Some((virtual_time, id)) = self.order.pop_first() else {
            return self.throttled.first_key_value().map_or(Next::Nothing, |((until, _), _)| Next::At(*until));
        };
        self.floor = self.floor.max(virtual_time);
        let present = self.present.get_mut(&id).expect("what is in order is present");
        present.place = Place::Nowhere;
        present.virtual_time += slice(present.usage.account.shares);
        present.running += 1;
        let task = present.ready.pop_front().expect("what is in order has a task");
        self.place(id, now);
        Next::Run(task)
    }

    /// A task of the container ran for so long. If it is ready again, it has been pushed again.
    pub(super) fn ran(&mut self, usage: &Arc<Usage>, nanos: u64, now: Instant) {
        let id = usage.account.id;
        let Some(present) = self.present.get_mut(&id) else { return };
        if present.place == Place::Ordered {
            self.order.remove(&(present.virtual_time, id));
            present.place = Place::Nowhere;
        }
        let shares = usage.account.shares;
        present.running -= 1;
        present.virtual_time = present.virtual_time - slice(shares) + weighted(nanos.into(), shares);
        if present.running == 0 && present.ready.is_empty() {
            *usage.account.virtual_time.lock().unwrap_or_else(PoisonError::into_inner) = present.virtual_time;
            self.present.remove(&id);
        } else if present.place == Place::Nowhere {
            self.place(id, now);
        }
    }

    /// Puts a container that is nowhere where it belongs.
    fn place(&mut self, id: u64, now: Instant) {
        let Some(present) = self.present.get_mut(&id).filter(|present| !present.ready.is_empty()) else { return };
        if let Some(until) = present.usage.account.throttled(now) {
            present.place = Place::Throttled(until);
            self.throttled.insert((until, id), now);
        } else {
            present.place = Place::Ordered;
            self.order.insert((present.virtual_time, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::MemoryBytes;
    use crate::usage::CpuLimits;

    const SLICE: u64 = 10_000_000;

    fn container(shares: u32) -> Arc<Usage> {
        Usage::new(CpuLimits { shares, quota: None }, MemoryBytes(0))
    }

    /// Lets `threads` run what loops for so many rounds; answers how many slices each container had. A task is the
    /// container's index.
    fn loops(containers: &[Arc<Usage>], tasks: &[usize], threads: usize, rounds: usize) -> Vec<u64> {
        let mut turns = Turns::default();
        let now = Instant::now();
        for task in tasks {
            turns.push(&containers[*task], *task, now);
        }
        let mut had = vec![0; containers.len()];
        for _ in 0..rounds {
            let running: Vec<usize> = (0..threads)
                .filter_map(|_| match turns.next(now) {
                    Next::Run(task) => Some(task),
                    Next::At(_) | Next::Nothing => None,
                })
                .collect();
            for task in running {
                had[task] += 1;
                turns.push(&containers[task], task, now);
                turns.ran(&containers[task], SLICE, now);
            }
        }
        had
    }

    #[test]
    fn containers_get_slices_by_their_weight() {
        let containers = [container(1024), container(512), container(256)];
        assert_eq!(loops(&containers, &[0, 1, 2], 1, 700), [400, 200, 100]);
    }

    #[test]
    fn many_tasks_give_a_container_no_larger_share() {
        let containers = [container(100), container(100)];
        let had = loops(&containers, &[0, 0, 0, 0, 0, 0, 0, 1], 1, 400);
        assert_eq!(had, [200, 200]);
    }

    #[test]
    fn two_threads_serve_two_containers_alike() {
        let containers = [container(100), container(100)];
        let had = loops(&containers, &[0, 0, 0, 1, 1], 2, 100);
        assert_eq!(had, [100, 100]);
    }

    #[test]
    fn idleness_saves_up_nothing() {
        let (busy, late) = (container(100), container(100));
        let mut turns = Turns::default();
        let now = Instant::now();
        let mut had = [0, 0];
        turns.push(&busy, 0, now);
        for round in 0..300 {
            if round == 100 {
                turns.push(&late, 1, now);
            }
            let Next::Run(task) = turns.next(now) else { panic!("something is ready") };
            had[task] += 1;
            let usage = [&busy, &late][task];
            turns.push(usage, task, now);
            turns.ran(usage, SLICE, now);
        }
        assert!((199..=201).contains(&had[0]), "{had:?}");
    }

    #[test]
    fn turns_are_fair_however_much_time_was_had() {
        let containers = [container(2), container(2)];
        let mut turns = Turns::default();
        let now = Instant::now();
        let mut had = [0, 0];
        for task in [0, 1] {
            turns.push(&containers[task], task, now);
        }
        for round in 0..402 {
            let Next::Run(task) = turns.next(now) else { panic!("something is ready") };
            turns.push(&containers[task], task, now);
            // Each has had some centuries.
            turns.ran(&containers[task], if round < 2 { u64::MAX } else { SLICE }, now);
            had[task] += 1;
        }
        assert_eq!(had, [201, 201]);
    }

    #[test]
    fn container_without_quota_left_waits_and_others_run() {
        let limited = Usage::new(CpuLimits { shares: 1024, quota: Some(100) }, MemoryBytes(0));
        let free = container(2);
        let mut turns = Turns::default();
        let now = Instant::now();
        limited.ran(2 * SLICE);
        turns.push(&limited, 0, now);
        let Next::At(until) = turns.next(now) else { panic!("its quota is used up") };
        turns.push(&free, 1, now);
        assert!(matches!(turns.next(now), Next::Run(1)));
        turns.ran(&free, SLICE, now);
        // The account has a clock of its own, a moment later.
        assert!(matches!(turns.next(until + TICK), Next::Run(0)));
        assert!(limited.used().throttled.as_millis() > 0);
    }
}
