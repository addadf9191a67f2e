//! A hundred seeds, the search for more, and the proof that planted bugs are found.

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft::eraftpb::Entry;

use super::bug::Bug;
use super::dice::Dice;
use super::disk::SimDisk;
use super::referee::{Rule, Violation};
use super::trace::say;
use super::weather::Weather;
use super::world::{Summary, World};
use crate::disk::Disk as _;
use crate::log::files::{Done, Files, Job};
use crate::log::{self, SnapshotId};
use crate::machine::Machine;
use crate::model::MemberId;
use crate::options::{Limits, Options, Start};
use crate::room::Room;
use crate::state;

type Draw = fn(&mut Dice) -> Weather;

/// Lives through one world. A panic of a peer is a violation as well.
fn live(world: &mut World) -> Result<Summary, Violation> {
    panic::catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Rule::Alive.broken(format!("something panicked: {}", text.unwrap_or_default()))
    })
}

fn run(seed: u64, draw: Draw, bug: Option<Bug>) -> Result<Summary, Violation> {
    live(&mut World::new(seed, draw, bug))
}

/// Lives through the world of `seed`; when a promise breaks, says what happened last and how to see it again.
fn prove(seed: u64) -> Summary {
    let mut world = World::new(seed, Weather::draw, None);
    match live(&mut world) {
        Ok(summary) => summary,
        Err(violation) => {
            panic!("{}\nseed {seed}: {violation}\nreplay it with: cargo xtask sim --seed {seed}", world.trace.text())
        }
    }
}

fn prove_all(seeds: std::ops::Range<u64>) {
    let mut all = Summary::default();
    for seed in seeds {
        all.add(&prove(seed));
    }
    // A world in which nothing happens breaks no promise either.
    let enough = all.acknowledged > 1000 && all.read > 1000 && all.unknown > 100 && all.watched > 1000;
    assert!(
        enough && all.restored > 10 && all.terms > 50 && all.starts > 100 && all.changes > 100 && all.installs > 10,
        "{all:?}"
    );
}

#[test]
fn seeds_0_to_24_keep_all_promises() {
    prove_all(0..25);
}

#[test]
fn seeds_25_to_49_keep_all_promises() {
    prove_all(25..50);
}

#[test]
fn seeds_50_to_74_keep_all_promises() {
    prove_all(50..75);
}

#[test]
fn seeds_75_to_99_keep_all_promises() {
    prove_all(75..100);
}

#[test]
fn the_same_seed_makes_the_same_world() {
    for seed in [3, 4] {
        assert_eq!(prove(seed), prove(seed));
    }
    assert_ne!(prove(3).trace, prove(4).trace);
}

/// Receives `snapshot` by the worker of a process, and whether it ended well.
fn receive(disk: &SimDisk, snapshot: SnapshotId, state: &Bytes) -> bool {
    let mut files = Files::new(Arc::new(disk.clone()), PathBuf::from("/peer"));
    let begun = files.carry_out(Job::Begin(snapshot)).expect("begins");
    let Done::Begun { offset, .. } = begun else { panic!("{begun:?}") };
    let piece = state.slice(offset as usize..);
    files.carry_out(Job::Add { snapshot, piece }).expect("is written");
    matches!(files.carry_out(Job::Finish(snapshot)), Ok(Done::Finished { state: Ok(_), .. }))
}

#[test]
fn a_snapshot_whose_fsync_failed_is_not_trusted_after_a_restart() {
    let mut machine = Machine::bootstrap(1);
    machine.retired = (1_000_000..1_001_000).collect();
    let state = state::encode(&machine);
    let checksum = u32::from_le_bytes(*state.last_chunk().expect("is long"));
    let snapshot = SnapshotId { index: 1, term: 1, bytes: state.len() as u64, checksum };
    for seed in 0..20 {
        let disk = SimDisk::new(Dice::new(seed));
        disk.faults(|faults| faults.syncs_fail = true);
        assert!(!receive(&disk, snapshot, &state));
        disk.faults(|faults| faults.syncs_fail = false);
        disk.lose_process();
        assert!(receive(&disk, snapshot, &state));
        disk.sync_dir(Path::new("/peer")).expect("is synced");
        disk.lose_power();
        log::snapshot::read(&disk, &snapshot.part(Path::new("/peer"))).expect("what is taken for durable is");
    }
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_of_what_it_refused_is_found_later() {
    for seed in 0..4 {
        let disk = SimDisk::new(Dice::new(seed));
        let limits = Limits { segment_bytes: 200, ..Limits::default() };
        let options = Options { limits, ..Options::new("/peer", MemberId(1), Start::Bootstrap) };
        let shared: Arc<dyn crate::disk::Disk> = Arc::new(disk.clone());
        let (mut log, before) = log::bootstrap(&options, &shared).expect("begins");
        let room = Arc::new(Room::waiting());
        log.wait_for(Arc::clone(&room));
        let (first, term) = (before.machine.applied + 1, before.hard_state.term);
        let entries: Vec<_> = (first..first + 6)
            .map(|index| Entry { index, term, data: Bytes::from(vec![b'x'; 100]), ..Entry::default() })
            .collect();
        for (number, entry) in entries.iter().enumerate() {
            disk.faults(|faults| faults.is_full = number == 3);
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    while number == 3 && !room.is_full() {
                        std::thread::yield_now();
                    }
                    disk.faults(|faults| faults.is_full = false);
                });
                log.append(std::slice::from_ref(entry), &before.hard_state).expect("is written once there is room");
            });
        }
        disk.lose_process();
        disk.lose_power();
        let (_, after) = log::resume(&options, &shared).expect("is whole");
        assert_eq!(after.entries, entries);
    }
}

/// `cargo xtask sim` asks for more by these.
const MINUTES: &str = "WK_SIM_MINUTES";
const SEED: &str = "WK_SIM_SEED";

/// Does nothing unless asked to by the environment.
#[test]
fn search() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (minutes, seed) = (number(MINUTES), number(SEED));
    match (minutes, seed) {
        (None, None) => {}
        (None, Some(seed)) => replay(seed),
        (Some(minutes), seed) => {
            let first = seed.unwrap_or_else(|| rand::random::<u32>().into());
            search_from(first, Duration::from_mins(minutes));
        }
    }
}

fn replay(seed: u64) {
    let mut world = World::new(seed, Weather::draw, None);
    world.trace.is_loud = true;
    match live(&mut world) {
        Ok(summary) => say(&format!("seed {seed} keeps all promises: {summary:?}")),
        Err(violation) => panic!("seed {seed}: {violation}"),
    }
}

fn search_from(first: u64, lasts: Duration) {
    let until = Instant::now() + lasts;
    let mut seed = first;
    let mut all = Summary::default();
    while Instant::now() < until {
        all.add(&prove(seed));
        seed += 1;
    }
    say(&format!("seeds {first} to {} keep all promises: {all:?}", seed - 1));
}

/// The simulator finds `bug` in one of `seeds` worlds, by one of `rules`, and nothing in the same worlds without it.
fn finds(bug: Bug, draw: Draw, seeds: u64, rules: &[Rule]) {
    let found = (0..seeds).find_map(|seed| Some((seed, run(seed, draw, Some(bug)).err()?)));
    let Some((seed, violation)) = found else { panic!("{bug:?} was not found in {seeds} worlds") };
    assert!(rules.contains(&violation.rule), "{bug:?} was found by another rule: {violation}");
    if std::env::var_os(SEED).is_some() {
        say(&format!("{bug:?} is found in the world of seed {seed}: {violation}"));
    }
    let sound = run(seed, draw, None);
    assert!(sound.is_ok(), "seed {seed} without {bug:?}: {sound:?}");
}

#[test]
fn a_skipped_fsync_is_found() {
    finds(Bug::SkipFsync, Weather::draw, 20, &[Rule::Alive, Rule::CommittedStays, Rule::OneLeader, Rule::Linearizable]);
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    finds(Bug::AckBeforeCommit, Weather::draw, 20, &[Rule::Acknowledged]);
}

#[test]
fn a_stale_read_is_found() {
    finds(Bug::StaleRead, Weather::draw, 20, &[Rule::Linearizable]);
}

#[test]
fn a_write_applied_twice_is_found() {
    finds(Bug::ApplyTwice, Weather::draw, 20, &[Rule::SameState]);
}

#[test]
fn a_lost_vote_is_found() {
    finds(Bug::LoseVote, Weather::elections, 100, &[Rule::OneLeader]);
}

#[test]
fn a_truncated_log_is_found() {
    finds(Bug::TruncateTail, Weather::draw, 20, &[Rule::Alive, Rule::CommittedStays, Rule::OneLeader]);
}

#[test]
fn a_skipped_event_is_found() {
    finds(Bug::SkipEvent, Weather::draw, 20, &[Rule::Watched]);
}

#[test]
fn a_snapshot_without_its_last_entry_is_found() {
    finds(Bug::SnapshotWithoutLast, Weather::draw, 20, &[Rule::SameState]);
}
