//! What is on disk after a restart, a crash, and damage.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::disk::RealDisk;
use crate::error::OpenError;
use crate::machine::Machine;
use crate::options::{Limits, Options, Start};

fn options(dir: &Path) -> Options {
    let limits = Limits { segment_bytes: 200, ..Limits::default() };
    Options { limits, ..Options::new(dir, MemberId(1), Start::Resume) }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term, data: Bytes::from(format!("entry {index} of term {term}")), ..Entry::default() }
}

fn hard_state(term: u64, commit: u64) -> HardState {
    HardState { term, vote: 1, commit, ..HardState::default() }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir).expect("lists").map(|item| item.expect("lists").path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    found.sort();
    found
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn bootstrap(options: &Options) -> Result<(Log, Recovered), OpenError> {
    super::bootstrap(options, &disk())
}

fn join(options: &Options) -> Result<(Log, Recovered), OpenError> {
    super::join(options, &disk())
}

fn resume(options: &Options) -> Result<(Log, Recovered), OpenError> {
    super::resume(options, &disk())
}

/// Writes a snapshot, as a part when it `is_part`.
fn snapshot(dir: &Path, index: u64, term: u64, is_part: bool) -> SnapshotId {
    let machine = Machine { applied: index, term, ..Machine::bootstrap(1) };
    let id = snapshot::write(&RealDisk, dir, &machine).expect("is written");
    if is_part {
        fs::rename(id.path(dir), id.part(dir)).expect("is renamed");
    }
    id
}

/// A log with the entries 2 to `last`, one frame each.
fn filled(last: u64) -> (TempDir, Log) {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut log, _) = bootstrap(&options(dir.path())).expect("is made");
    for index in 2..=last {
        log.append(&[entry(index, 1)], &hard_state(1, index - 1)).expect("is written");
    }
    (dir, log)
}

fn reopened(dir: &Path) -> (Log, Recovered) {
    resume(&options(dir)).expect("opens")
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.entries.iter().map(|entry| entry.index).collect()
}

#[test]
fn what_was_appended_is_there_after_a_restart_over_several_segments() {
    let (dir, log) = filled(30);
    drop(log);
    assert!(segments(dir.path()).len() > 3);
    let (mut log, recovered) = reopened(dir.path());
    assert_eq!(indexes(&recovered), (2..=30).collect::<Vec<_>>());
    assert_eq!(recovered.hard_state, hard_state(1, 29));
    assert_eq!(recovered.entries[5], entry(7, 1));
    log.append(&[entry(31, 2)], &hard_state(2, 30)).expect("is written");
    let (_, recovered) = reopened(dir.path());
    assert_eq!((recovered.entries.len(), recovered.hard_state), (30, hard_state(2, 30)));
}

#[test]
fn a_later_entry_voids_those_at_its_index_and_after() {
    let (dir, mut log) = filled(10);
    log.append(&[entry(6, 2), entry(7, 2)], &hard_state(2, 5)).expect("is written");
    let (_, recovered) = reopened(dir.path());
    assert_eq!(indexes(&recovered), (2..=7).collect::<Vec<_>>());
    assert_eq!(recovered.entries[4..], [entry(6, 2), entry(7, 2)]);
}

#[test]
fn the_tail_that_a_crash_tore_is_cut_wherever_it_was_torn() {
    let (dir, log) = filled(4);
    drop(log);
    let path = segments(dir.path()).pop().expect("a segment");
    let whole = fs::read(&path).expect("reads");
    let (_, mut log) = (&dir, reopened(dir.path()).0);
    log.append(&[entry(5, 1)], &hard_state(1, 4)).expect("is written");
    let longer = fs::read(&path).expect("reads");
    assert!(longer.len() > whole.len() && longer.starts_with(&whole), "in the same segment");
    for end in whole.len()..longer.len() {
        fs::write(&path, &longer[..end]).expect("is written");
        let (_, recovered) = reopened(dir.path());
        assert_eq!(indexes(&recovered), [2, 3, 4], "torn at {end}");
        assert_eq!(fs::read(&path).expect("reads"), whole, "cut");
    }
}

#[test]
fn damage_is_refused_with_file_and_offset_and_nothing_is_changed() {
    let (dir, log) = filled(12);
    drop(log);
    for path in segments(dir.path()) {
        let whole = fs::read(&path).expect("reads");
        for at in (0..whole.len()).step_by(5) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x20;
            fs::write(&path, &damaged).expect("is written");
            match resume(&options(dir.path())).map(|_| ()) {
                Err(OpenError::Corrupt { file, offset, .. }) => {
                    assert_eq!(file, path);
                    assert!(offset <= at as u64, "offset {offset} for damage at {at}");
                }
                Err(OpenError::NewerFormat { .. }) if (8..12).contains(&at) => {}
                other => panic!("damage at {at} of {}: {other:?}", path.display()),
            }
            assert_eq!(fs::read(&path).expect("reads"), damaged);
        }
        fs::write(&path, &whole).expect("is written");
    }
    assert_eq!(reopened(dir.path()).1.entries.len(), 11);
}

#[test]
fn a_missing_segment_or_snapshot_is_refused() {
    let (dir, log) = filled(30);
    drop(log);
    let all = segments(dir.path());
    let content = fs::read(&all[1]).expect("reads");
    fs::remove_file(&all[1]).expect("is removed");
    assert!(matches!(resume(&options(dir.path())), Err(OpenError::Corrupt { .. })));
    fs::write(&all[1], content).expect("is written");
    let (path, _) = snapshot::list(&RealDisk, dir.path()).expect("lists").pop().expect("a snapshot");
    fs::remove_file(path).expect("is removed");
    assert!(matches!(resume(&options(dir.path())), Err(OpenError::Corrupt { .. })));
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let (dir, log) = filled(3);
    drop(log);
    let (path, _) = snapshot::list(&RealDisk, dir.path()).expect("lists").pop().expect("a snapshot");
    let whole = fs::read(&path).expect("reads");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).expect("is written");
        let refused = resume(&options(dir.path())).map(|_| ());
        assert!(
            matches!(&refused, Err(OpenError::Corrupt { file, .. } | OpenError::NewerFormat { file, .. }) if *file == path),
            "damage at {at}: {refused:?}"
        );
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (dir, log) = filled(3);
    drop(log);
    let (snapshot, _) = snapshot::list(&RealDisk, dir.path()).expect("lists").pop().expect("a snapshot");
    for path in [segments(dir.path()).remove(0), snapshot] {
        let whole = fs::read(&path).expect("reads");
        let mut newer = whole.clone();
        newer[8] = 2;
        fs::write(&path, newer).expect("is written");
        let Err(OpenError::NewerFormat { file, found: 2, known: 1 }) = resume(&options(dir.path())) else {
            panic!("{} was taken", path.display());
        };
        assert_eq!(file, path);
        fs::write(&path, whole).expect("is written");
    }
}

#[test]
fn compaction_deletes_whole_segments_and_the_rest_still_opens() {
    let (dir, mut log) = filled(30);
    snapshot(dir.path(), 20, 1, false);
    let before = segments(dir.path()).len();
    log.compact(15).expect("compacts");
    assert!(segments(dir.path()).len() < before);
    let (_, recovered) = reopened(dir.path());
    assert_eq!((recovered.machine.applied, indexes(&recovered)), (20, (21..=30).collect()));
    assert_eq!(recovered.hard_state, hard_state(1, 29));
}

#[test]
fn a_conflict_that_reaches_back_before_the_first_segment_kept_is_no_damage() {
    let (dir, mut log) = filled(20);
    for index in 5..=20 {
        log.append(&[entry(index, 2)], &hard_state(2, index)).expect("is written");
    }
    snapshot(dir.path(), 12, 2, false);
    let before = segments(dir.path());
    log.compact(12).expect("is compacted");
    let after = segments(dir.path());
    assert!(after.len() < before.len() && after[0] < before[before.len() / 2], "entries of term 1 are kept");
    let recovered = reopened(dir.path()).1;
    assert_eq!(indexes(&recovered), (13..=20).collect::<Vec<_>>());
    assert!(recovered.entries.iter().all(|entry| entry.term == 2));
}

#[test]
fn an_installed_snapshot_voids_the_log_before_it() {
    let (dir, mut log) = filled(30);
    let snapshot = snapshot(dir.path(), 100, 5, true);
    log.install(&snapshot, &hard_state(5, 100)).expect("installs");
    assert_eq!(segments(dir.path()).len(), 1);
    log.append(&[entry(101, 5)], &hard_state(5, 100)).expect("is written");
    let (_, recovered) = reopened(dir.path());
    assert_eq!((recovered.machine.applied, indexes(&recovered)), (100, vec![101]));
    assert_eq!(recovered.hard_state, hard_state(5, 100));
}

#[test]
fn a_crash_right_after_the_snapshot_of_the_leader_is_an_install_too() {
    // The log ends before the snapshot, or disagrees with it after what is committed.
    for (index, term) in [(100, 5), (32, 5)] {
        let (dir, mut log) = filled(32);
        let id = snapshot(dir.path(), index, term, true);
        // As `install` does, up to the rename.
        log.append(&[], &HardState { vote: 3, ..hard_state(5, 31) }).expect("is written");
        drop(log);
        assert_eq!(indexes(&reopened(dir.path()).1).len(), 31, "before the rename nothing has changed");
        fs::rename(id.part(dir.path()), id.path(dir.path())).expect("is renamed");
        let (mut log, recovered) = reopened(dir.path());
        assert_eq!((recovered.machine.applied, indexes(&recovered)), (index, vec![]));
        assert_eq!((recovered.hard_state.term, recovered.hard_state.vote), (5, 3), "not less than was promised");
        assert_eq!((recovered.hard_state.commit, recovered.snapshot), (index, Some(id)));
        log.append(&[entry(index + 1, 5)], &hard_state(5, index)).expect("is written");
        assert_eq!(indexes(&reopened(dir.path()).1), [index + 1]);
    }
}

#[test]
fn writes_that_wait_together_become_one_frame() {
    let (dir, mut log) = filled(2);
    let job = |ticket, index| Job::Write {
        ticket,
        write: Write { snapshot: None, entries: vec![entry(index, 1)], hard_state: hard_state(1, index - 1) },
    };
    let before = log.active.len();
    let last = log.carry_out([job(7, 3), job(8, 4), job(9, 4)]).expect("is written");
    assert_eq!(last, Some(9));
    let (mut log, recovered) = reopened(dir.path());
    assert_eq!((indexes(&recovered), recovered.hard_state), (vec![2, 3, 4], hard_state(1, 3)));
    let file = Bytes::from(fs::read(log.active.path()).expect("reads"));
    let at = usize::try_from(before).expect("small");
    assert_eq!(frame::read(&file, at), frame::Found::Frame(at + 16..file.len()), "one frame");
    assert_eq!(log.carry_out([Job::Compact(2)]).expect("compacts"), None);
}

#[test]
fn a_directory_is_taken_only_as_what_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    assert!(matches!(resume(&options(dir.path())), Err(OpenError::NothingToResume { .. })));
    assert!(matches!(resume(&options(&dir.path().join("none"))), Err(OpenError::NothingToResume { .. })));
    let (log, recovered) = join(&options(&dir.path().join("joined"))).expect("is made");
    assert_eq!((recovered.machine.applied, recovered.hard_state), (0, HardState::default()));
    drop(log);
    assert!(matches!(bootstrap(&options(&dir.path().join("joined"))), Err(OpenError::NotEmpty { .. })));
    assert!(matches!(join(&options(&dir.path().join("joined"))), Err(OpenError::NotEmpty { .. })));
    assert_eq!(reopened(&dir.path().join("joined")).1.machine.applied, 0);
    let other = Options { member: MemberId(2), ..options(&dir.path().join("joined")) };
    assert!(matches!(resume(&other), Err(OpenError::WrongMember { found: MemberId(1), expected: MemberId(2), .. })));
}

#[test]
fn a_bootstrap_that_a_crash_cut_short_is_done_again() {
    let dir = tempfile::tempdir().expect("a directory");
    snapshot(dir.path(), 1, 1, false);
    fs::write(dir.path().join("0000000000000000.log.tmp"), b"half").expect("is written");
    let (_, recovered) = bootstrap(&options(dir.path())).expect("is made");
    assert_eq!(recovered.machine.applied, 1);
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2, "nothing half-written is left");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn any_batches_come_back_in_order(batches in prop::collection::vec(prop::collection::vec(any::<Vec<u8>>(), 1..4), 1..12)) {
        let dir = tempfile::tempdir().expect("a directory");
        let (mut log, _) = bootstrap(&options(dir.path())).expect("is made");
        let mut all = Vec::new();
        for batch in batches {
            let first = all.len() as u64 + 2;
            let entries: Vec<_> = (first..).zip(batch)
                .map(|(index, data)| Entry { index, term: 1, data: data.into(), ..Entry::default() })
                .collect();
            log.append(&entries, &hard_state(1, first - 1)).expect("is written");
            all.extend(entries);
        }
        prop_assert_eq!(reopened(dir.path()).1.entries, all);
    }
}

#[test]
fn old_snapshots_go_but_those_that_followers_receive() {
    let (dir, _log) = filled(9);
    for index in [10, 20, 30, 40] {
        snapshot(dir.path(), index, 1, false);
    }
    snapshot::prune(&RealDisk, dir.path(), 40, &[20]).expect("deletes");
    let kept: Vec<u64> =
        snapshot::list(&RealDisk, dir.path()).expect("lists").into_iter().map(|(_, index)| index).collect();
    assert_eq!(kept, [20, 40]);
}
