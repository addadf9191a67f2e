//! How hard a world is on its peers. Each seed draws its own weather: a world with everything at once hides what needs
//! one thing often.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::dice::Dice;
use super::network::Quality;
use crate::options::{LEVEL, Limits, Timing};

/// What happens, and how often.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    /// Peers at the beginning.
    pub(super) peers: u64,
    /// Whether only the first peer votes, and the others follow it.
    pub(super) has_sole_voter: bool,
    /// The feature level that all members speak: 1 is the version before.
    pub(super) level: u32,
    /// Whether a witness may join.
    pub(super) has_witness: bool,
    pub(super) clients: usize,
    /// Until the world is healed.
    pub(super) lasts: Duration,
    pub(super) network: Quality,
    /// Microseconds of a write to disk.
    pub(super) disk: RangeInclusive<u64>,
    /// Milliseconds between two questions of a client.
    pub(super) think: RangeInclusive<u64>,
    /// Milliseconds between two blows.
    pub(super) pause: RangeInclusive<u64>,
    /// The kinds of blows, some more than once.
    pub(super) blows: Vec<Blow>,
    /// Clocks run this many per mille faster or slower.
    pub(super) drift: u64,
    /// Of a thousand votes written to disk, those after which the power of the voter fails.
    pub(super) ambush: u32,
    pub(super) timing: Timing,
    pub(super) limits: Limits,
}

/// What the nemesis does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// The machine of a peer loses its power.
    Power,
    /// All machines lose their power.
    Blackout,
    /// The process of a peer is killed.
    Kill,
    /// Peers are parted from each other.
    Partition,
    /// The leader hears nobody, or nobody hears the leader.
    Asymmetric,
    /// A disk is full for a while.
    DiskFull,
    /// A disk fails to sync, and its machine is started again.
    SyncFails,
    /// A disk is slow for a while.
    DiskSlow,
    /// A process does not run for a while.
    Freeze,
    /// Leadership is handed over.
    HandOver,
    /// Members are added, promoted, removed.
    Members,
}

const BLOWS: [Blow; 11] = [
    Blow::Power,
    Blow::Blackout,
    Blow::Kill,
    Blow::Partition,
    Blow::Asymmetric,
    Blow::DiskFull,
    Blow::SyncFails,
    Blow::DiskSlow,
    Blow::Freeze,
    Blow::HandOver,
    Blow::Members,
];

impl Weather {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        let level = if dice.chance(200) { 1 } else { LEVEL };
        let rough = |dice: &mut Dice, most: u64| if dice.chance(500) { dice.number(0..=most) as u32 } else { 0 };
        let slowest = dice.pick(&[1_000, 5_000, 40_000]).unwrap_or(1_000);
        let network = Quality {
            lost: rough(dice, 100),
            doubled: rough(dice, 100),
            late: rough(dice, 100),
            micros: 100..=slowest,
        };
        // Some kinds of blows and not others, and a few of them often.
        let mut blows: Vec<Blow> = BLOWS.into_iter().filter(|_| dice.chance(600)).collect();
        let often = dice.index(BLOWS.len());
        blows.extend([BLOWS[often]; 3]);
        let between = dice.pick(&[300, 1000, 2500]).unwrap_or(1000);
        Self {
            peers: dice.pick(&[3, 3, 3, 5, 5, 4, 7]).unwrap_or(3),
            has_sole_voter: dice.chance(60),
            level,
            has_witness: level > 1 && dice.chance(300),
            clients: dice.number(2..=10) as usize,
            lasts: dice.millis(9_000..=20_000),
            network,
            disk: 100..=dice.pick(&[500, 5_000, 30_000]).unwrap_or(500),
            think: 1..=dice.pick(&[20, 60, 150]).unwrap_or(60),
            pause: between / 4..=between,
            blows,
            drift: dice.pick(&[0, 50, 300]).unwrap_or(0),
            ambush: dice.pick(&[0, 100, 400]).unwrap_or(0),
            timing: Timing {
                tick: Duration::from_millis(50),
                heartbeat: 2,
                election: dice.number(8..=12) as usize,
                snapshot: 40,
                deadline: dice.millis(1_500..=3_000),
            },
            limits: Limits {
                log_bytes: dice.number(6_000..=40_000),
                log_entries: dice.number(10..=200),
                kept_bytes: dice.number(500..=20_000),
                kept_entries: dice.number(2..=60),
                segment_bytes: dice.number(500..=10_000),
                history_events: dice.number(8..=200) as usize,
                history_bytes: 1 << 20,
                ..Limits::default()
            },
        }
    }

    /// A weather in which leaders are elected all the time, by peers that come back quickly, over a slow network.
    pub(super) fn elections(dice: &mut Dice) -> Self {
        let mut weather = Self::draw(dice);
        weather.peers = 5;
        (weather.has_sole_voter, weather.has_witness) = (false, false);
        weather.network = Quality { lost: 50, doubled: 50, late: 150, micros: 1_000..=60_000 };
        weather.blows = vec![Blow::Asymmetric, Blow::Partition, Blow::Freeze, Blow::HandOver, Blow::Power];
        weather.pause = 100..=700;
        weather.ambush = 700;
        weather.timing.election = 6;
        weather.disk = 100..=500;
        weather
    }
}
