//! The network between peers: it drops, delays, reorders and duplicates, and links are cut in one direction or both.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::dice::Dice;

/// How bad the network is.
#[derive(Debug, Clone)]
pub(super) struct Quality {
    /// Of a thousand messages, those that are lost.
    pub(super) lost: u32,
    /// Those that arrive twice.
    pub(super) doubled: u32,
    /// Those that take ten times as long, and so are overtaken.
    pub(super) late: u32,
    /// Microseconds on the way.
    pub(super) micros: RangeInclusive<u64>,
}

pub(super) struct Network {
    quality: Quality,
    /// From whom to whom nothing arrives.
    cut: BTreeSet<(u64, u64)>,
}

impl Network {
    pub(super) fn new(quality: Quality) -> Self {
        Self { quality, cut: BTreeSet::new() }
    }

    /// How long each copy of a message takes; none when it is lost.
    pub(super) fn send(&self, dice: &mut Dice) -> Vec<Duration> {
        if dice.chance(self.quality.lost) {
            return Vec::new();
        }
        let copies = if dice.chance(self.quality.doubled) { 2 } else { 1 };
        let travel = |dice: &mut Dice| {
            let slow = if dice.chance(self.quality.late) { 10 } else { 1 };
            dice.micros(self.quality.micros.clone()) * slow
        };
        (0..copies).map(|_| travel(dice)).collect()
    }

    /// Whether the link is up when a message arrives.
    pub(super) fn carries(&self, from: u64, to: u64) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// Cuts one direction.
    pub(super) fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    /// Parts `some` from all others.
    pub(super) fn part(&mut self, all: &[u64], some: &BTreeSet<u64>) {
        for &from in all {
            for &to in all {
                if some.contains(&from) != some.contains(&to) {
                    self.cut(from, to);
                }
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Nothing is lost any more.
    pub(super) fn calm(&mut self) {
        self.heal();
        self.quality = Quality { lost: 0, doubled: 0, late: 0, ..self.quality.clone() };
    }
}
