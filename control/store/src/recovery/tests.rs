use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::backup::{self, About, Part};
use crate::command::ProposalId;
use crate::model::{Change, Expect, Key, Op, Txn};
use crate::options::Transport;
use crate::store::Store;

struct Alone;

impl Transport for Alone {
    fn send(&self, _: MemberId, _: Bytes) {}
}

fn put(collection: &str, name: &str, text: &str) -> Txn {
    let value = Value { bytes: Bytes::copy_from_slice(text.as_bytes()), stamp: None };
    Op { key: Key::new(collection, name), expect: Expect::Any, change: Change::Put(value) }.into()
}

fn open(dir: &Path, member: MemberId, start: Start) -> Store {
    Store::open(Options::new(dir, member, start), Arc::new(Alone)).expect("opens")
}

/// A backup of a store with a few objects, in `path`.
async fn make_backup(dir: &Path, path: &Path) -> Revision {
    let store = open(dir, MemberId(1), Start::Bootstrap);
    for name in ["a", "b", "c"] {
        store.write(put("things", name, name)).await.expect("writes");
    }
    store.write(put("members", "old", "1")).await.expect("writes");
    let about = About { cluster: "c".to_owned(), version: "v".to_owned(), time: "t".to_owned() };
    let mut backup = store.backup(about).await.expect("a backup");
    // What is written meanwhile is not in it.
    store.write(put("things", "late", "late")).await.expect("writes");
    let mut bytes = Vec::new();
    while let Some(piece) = backup.next() {
        bytes.extend_from_slice(&piece);
    }
    let revision = backup.header().revision;
    bytes.extend_from_slice(&backup.end());
    fs::write(path, bytes).expect("write");
    store.stop().await;
    revision
}

fn restoration(path: &Path) -> Restoration {
    let mut restoration = None;
    for part in backup::parts_of(path).expect("opens") {
        match part.expect("is whole") {
            Part::Header(header) => restoration = Some(Restoration::new(&header).expect("there is room")),
            Part::Object(stored) => {
                let fate = match (stored.key().collection(), stored.key().name()) {
                    ("members", _) => Fate::Drop,
                    (_, "b") => Fate::Replace(Value { bytes: Bytes::from_static(b"\"\""), stamp: Some(1) }),
                    _ => Fate::Keep,
                };
                restoration.as_mut().expect("the header is first").take(&stored, fate);
            }
            Part::File { .. } | Part::Data(_) | Part::Note(_) | Part::End(_) => {}
        }
    }
    restoration.expect("there is a header")
}

#[tokio::test]
async fn restored_store_has_the_objects_and_takes_writes_at_revisions_never_used() {
    let root = tempfile::tempdir().expect("a directory");
    let (file, dir) = (root.path().join("backup"), root.path().join("new"));
    let backed_up = make_backup(&root.path().join("old"), &file).await;
    let restored = restoration(&file).found(&dir).expect("restores");
    assert_eq!((restored.objects, restored.revision.0), (3, backed_up.0 + REVISIONS_SKIPPED));
    let store = open(&dir, restored.member, Start::Resume);
    let view = store.read().await.expect("it leads");
    let things: Vec<_> = view.list("things", "").map(|stored| (stored.revision(), stored.bytes().clone())).collect();
    let digits = format!("\"{}\"", restored.revision);
    assert_eq!(things[0], (Revision(backed_up.0 - 3), Bytes::from_static(b"a")));
    assert_eq!(things[1], (restored.revision, Bytes::from(digits)));
    assert_eq!(things[2].0, Revision(backed_up.0 - 1));
    assert!(view.is_empty("members"));
    let status = store.status().borrow().clone();
    assert_eq!(status.voters, BTreeSet::from([restored.member]));
    // Whoever watched the old cluster is told to list again, wherever it stood.
    for old in [1, backed_up.0, backed_up.0 + 1000] {
        assert!(store.watch("things", Revision(old)).is_err(), "{old}");
    }
    let written = store.write(put("things", "d", "d")).await.expect("writes");
    assert!(written > restored.revision);
    store.stop().await;
    let store = open(&dir, restored.member, Start::Resume);
    assert_eq!(store.read().await.expect("it leads").len("things"), 4);
    store.stop().await;
}

#[tokio::test]
async fn restoring_over_something_is_refused_and_changes_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let (file, old) = (root.path().join("backup"), root.path().join("old"));
    make_backup(&old, &file).await;
    let error = restoration(&file).found(&old).expect_err("it is not empty");
    assert!(matches!(error, RecoveryError::Open(OpenError::NotEmpty { .. })), "{error:?}");
    let store = open(&old, MemberId(1), Start::Resume);
    assert_eq!(store.read().await.expect("it leads").len("things"), 4);
    store.stop().await;
    assert!(!root.path().join("old.new").exists());
}

#[test]
fn numbers_that_leave_no_room_are_refused() {
    let about = About { cluster: String::new(), version: String::new(), time: String::new() };
    let header = |revision, term| Header { about: about.clone(), revision: Revision(revision), term, objects: 0 };
    assert!(matches!(Restoration::new(&header(u64::MAX, 1)), Err(RecoveryError::Exhausted)));
    assert!(matches!(Restoration::new(&header(1, u64::MAX)), Err(RecoveryError::Exhausted)));
}

fn entry(index: u64, data: Vec<u8>) -> Entry {
    Entry { index, term: 5, data: data.into(), ..Entry::default() }
}

fn open_machine(dir: &Path, member: u64, machine: Machine) -> Log {
    log::begin(&Options::new(dir, MemberId(member), Start::Bootstrap), &disk(), machine).expect("begins").0
}

fn change(index: u64, kind: ConfChangeType, id: u64) -> Entry {
    let mut single = raft::eraftpb::ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id;
    let mut change = ConfChangeV2::default();
    change.set_changes(vec![single].into());
    let data = change.write_to_bytes().expect("encodes");
    Entry { entry_type: EntryType::EntryConfChangeV2, ..entry(index, data) }
}

#[test]
fn who_takes_part_is_read_from_the_log_too() {
    use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
    let mut known = Known::new(&ConfState::from((vec![1], vec![2])));
    let mut machine = Machine { applied: 10, ..Machine::default() };
    let changes = [(AddNode, 2), (AddLearnerNode, 3), (AddNode, 4), (RemoveNode, 4), (AddLearnerNode, 1)];
    for ((kind, id), index) in changes.into_iter().zip(11..) {
        replay(&mut machine, change(index, kind, id), &mut known).expect("applies");
    }
    assert_eq!(known.voters, BTreeSet::from([2]));
    assert_eq!(known.present, BTreeSet::from([1, 2, 3]));
    assert_eq!(known.ever, BTreeSet::from([1, 2, 3, 4]));
    assert_eq!(machine.applied, 15);
}

/// The store of member 1 of 1, 2 and 3: two entries that are committed, one of which nobody knows.
fn survivor(dir: &Path) {
    let members = ConfState::from((vec![1, 2, 3], vec![4]));
    let mut machine = Machine { applied: 10, term: 4, members, ..Machine::default() };
    machine.retired.insert(9);
    let mut log = open_machine(dir, 1, machine);
    let command = |index, name| {
        let id = ProposalId { member: 2, incarnation: 1, sequence: index };
        entry(index, command::encode(id, 0, &put("things", name, name)))
    };
    let hard_state = |commit| HardState { term: 5, vote: 2, commit, ..HardState::default() };
    log.append(&[command(11, "known"), entry(12, Vec::new())], &hard_state(12)).expect("writes");
    log.append(&[command(13, "unsure")], &hard_state(12)).expect("writes");
}

#[tokio::test]
async fn survivor_goes_on_alone_with_every_entry_of_its_log() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("store");
    survivor(&dir);
    let recovery = Recovery::open(&dir, MemberId(1)).expect("opens");
    assert_eq!(recovery.view().len("things"), 2);
    let report = recovery.report().clone();
    assert_eq!((report.last, report.committed, report.voted), (Revision(13), Revision(12), true));
    assert_eq!(report.dropped, BTreeSet::from([2, 3, 4].map(MemberId)));
    let done = recovery
        .carry_out(|stored| if stored.key().name() == "known" { Fate::Drop } else { Fate::Keep })
        .expect("recovers");
    assert_eq!(done, report);
    let store = open(&dir, MemberId(1), Start::Resume);
    let view = store.read().await.expect("it leads without the others");
    let names: Vec<_> = view.list("things", "").map(|stored| stored.key().name().to_owned()).collect();
    assert_eq!(names, ["unsure"]);
    assert!(store.write(put("things", "new", "new")).await.expect("writes") > report.revision);
    let status = store.status().borrow().clone();
    assert_eq!((status.voters, status.learners.len()), (BTreeSet::from([MemberId(1)]), 0));
    assert!(status.term > 5);
    for gone in [2, 3, 4, 9].map(MemberId) {
        let again = store.change_members(crate::model::MemberChange::AddLearner(gone)).await;
        assert!(again.is_err(), "the id {gone} is given again");
    }
    store.stop().await;
}

#[test]
fn files_of_before_are_kept_and_lead_to_the_same_again() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("store");
    survivor(&dir);
    let report = Recovery::open(&dir, MemberId(1)).expect("opens").carry_out(|_| Fate::Keep).expect("recovers");
    fs::remove_dir_all(&dir).expect("removes");
    fs::rename(&report.aside, &dir).expect("renames");
    assert_eq!(*Recovery::open(&dir, MemberId(1)).expect("opens").report(), report);
}

#[test]
fn recovery_that_is_only_looked_at_changes_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("store");
    survivor(&dir);
    let names = || {
        let items = fs::read_dir(&dir).expect("lists").map(|item| item.expect("an item").path());
        items.map(|path| (path.clone(), fs::read(path).expect("reads"))).collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = names();
    drop(Recovery::open(&dir, MemberId(1)).expect("opens"));
    assert_eq!(names(), before);
}

#[test]
fn crash_after_the_snapshot_is_written_leaves_the_new_state() {
    let root = tempfile::tempdir().expect("a directory");
    let (dir, other) = (root.path().join("store"), root.path().join("other"));
    survivor(&dir);
    let report = Recovery::open(&dir, MemberId(1)).expect("opens").carry_out(|_| Fate::Keep).expect("recovers");
    // The snapshot is there, and of the log only what was there before.
    fs::rename(&report.aside, &other).expect("renames");
    for item in fs::read_dir(&dir).expect("lists") {
        let path = item.expect("an item").path();
        if path.extension().is_some_and(|extension| extension == "snap") {
            fs::copy(&path, other.join(path.file_name().expect("a name"))).expect("copies");
        }
    }
    let (_, recovered) = log::resume(&Options::new(&other, MemberId(1), Start::Resume), &disk()).expect("resumes");
    assert_eq!(recovered.machine.members.voters, [1]);
    assert_eq!((recovered.machine.applied, recovered.entries.len()), (report.revision.0, 0));
}

#[test]
fn member_without_data_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    log::join(&Options::new(root.path(), MemberId(5), Start::Join), &disk()).expect("makes a log");
    assert!(matches!(Recovery::open(root.path(), MemberId(5)), Err(RecoveryError::NoData { .. })));
    let witness = root.path().join("witness");
    let members = ConfState::from((vec![1, 2, 3], vec![]));
    let mut machine = Machine { applied: 10, term: 4, members, ..Machine::default() };
    machine.witnesses.insert(3);
    let store = open_machine(&witness, 3, machine);
    drop(store);
    assert!(matches!(Recovery::open(&witness, MemberId(3)), Err(RecoveryError::NoData { .. })));
    let error = Recovery::open(root.path(), MemberId(6)).err();
    assert!(matches!(error, Some(RecoveryError::Open(OpenError::WrongMember { .. }))), "{error:?}");
}
