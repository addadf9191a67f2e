//! Making a store of what is left: of a backup, or of a survivor's directory when the majority is lost for good.
//!
//! Both end in a store whose sole voter is one member, with the objects as they were and a revision far above theirs:
//! see [`REVISIONS_SKIPPED`]. Start at [`Restoration`] and [`Recovery`].

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, HardState};

use crate::backup::Header;
use crate::command;
use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::log::{self, Log};
use crate::machine::Machine;
use crate::model::{MemberId, Revision, Stored, Value};
use crate::options::{Options, Start};
use crate::view::View;

/// Revisions that are left out between what is known and the first write of the new cluster. Clients of the old one may
/// hold revisions that are lost; they must find them compacted, and not see other changes under the same numbers. A day
/// at 10,000 writes a second is less.
pub const REVISIONS_SKIPPED: u64 = 1_000_000_000;

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays as it is, its revision too.
    Keep,
    /// It is not in the new store.
    Drop,
    /// The same object in other bytes: it keeps its revision.
    Recode(Value),
    /// This is in its place, as if written by the first write of the new store.
    Replace(Value),
}

/// Why a store could not be restored or recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The directory could not be read or written.
    #[error("make a store of what is left")]
    Open(#[from] OpenError),
    /// An entry of the log cannot be applied.
    #[error("entry {index} of the log in {} cannot be applied: {what}. Nothing was changed", dir.display())]
    Entry {
        /// The directory.
        dir: PathBuf,
        /// Which entry.
        index: u64,
        /// Why.
        what: String,
    },
    /// There is nothing to recover.
    #[error("{} holds no objects: recover on a member that holds data", dir.display())]
    NoData {
        /// The directory.
        dir: PathBuf,
    },
    /// The numbers of the backup leave no room for the new cluster's.
    #[error("the revision or term is too high to go on from")]
    Exhausted,
}

/// A store in the making, of the parts of a backup.
pub struct Restoration {
    machine: Machine,
}

/// A store made of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Its sole voter. The id was never given to a member of the old cluster, and never will be to one of the new.
    pub member: MemberId,
    /// Where its log begins.
    pub revision: Revision,
    /// How many objects it has.
    pub objects: u64,
}

impl Restoration {
    /// The beginning of a new store after the backup with this header.
    pub fn new(header: &Header) -> Result<Self, RecoveryError> {
        let revision = header.revision.0.checked_add(REVISIONS_SKIPPED).ok_or(RecoveryError::Exhausted)?;
        let term = header.term.checked_add(1).ok_or(RecoveryError::Exhausted)?;
        // Members' ids are revisions of the log, so this one is free: all earlier ones are lower, all later ones higher.
        let members = ConfState::from((vec![revision], vec![]));
        Ok(Self { machine: Machine { applied: revision, term, members, ..Machine::default() } })
    }

    /// Takes an object of the backup.
    pub fn take(&mut self, stored: &Arc<Stored>, fate: Fate) {
        settle(&mut self.machine, stored, fate);
    }

    /// Makes the store in `dir`, which is empty or not there: whole or not at all.
    pub fn found(self, dir: &Path) -> Result<Restored, RecoveryError> {
        let Self { machine } = self;
        if fs::read_dir(dir).is_ok_and(|mut items| items.next().is_some()) {
            return Err(OpenError::NotEmpty { dir: dir.to_owned() }.into());
        }
        let mut staging = dir.as_os_str().to_owned();
        staging.push(".new");
        let staging = PathBuf::from(staging);
        remove_all(&staging)?;
        let (revision, objects) = (machine.applied, count(&machine));
        let member = MemberId(revision);
        let options = Options::new(&staging, member, Start::Bootstrap);
        let made = log::begin(&options, &disk(), machine)
            .and_then(|_| fs::rename(&staging, dir).and_then(|()| sync_parent(dir)).map_err(io_error("make", dir)));
        if let Err(error) = made {
            remove_all(&staging)?;
            return Err(error.into());
        }
        Ok(Restored { member, revision: Revision(revision), objects })
    }
}

/// What recovering means, and what it meant when it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The survivor.
    pub member: MemberId,
    /// Whether it voted. What a member without a vote lacks, the voters may have acknowledged all the same.
    pub voted: bool,
    /// The last entry of its log: all up to here is kept, nothing after it is known.
    pub last: Revision,
    /// Entries up to here are known to have been in the logs of a majority; the disk learns of it late.
    pub committed: Revision,
    /// The other members: none of them takes part any more, and no id of theirs is given again.
    pub dropped: BTreeSet<MemberId>,
    /// Where the log goes on.
    pub revision: Revision,
    /// Where the files of before are.
    pub aside: PathBuf,
}

/// A survivor's store, read and not yet changed. The node is stopped.
pub struct Recovery {
    log: Log,
    hard_state: HardState,
    machine: Machine,
    report: Report,
}

impl Recovery {
    /// Reads the store of `member` in `dir`: the newest snapshot and every entry of the log after it, in their order,
    /// whether a majority had them or not.
    pub fn open(dir: &Path, member: MemberId) -> Result<Self, RecoveryError> {
        let options = Options::new(dir, member, Start::Resume);
        let (log, recovered) = log::resume(&options, &disk())?;
        let log::Recovered { mut machine, entries, hard_state, .. } = recovered;
        let is_witness = machine.witnesses.contains(&member.0);
        if is_witness || machine.applied == 0 || machine.collections.is_empty() && entries.is_empty() {
            return Err(RecoveryError::NoData { dir: dir.to_owned() });
        }
        let mut known = Known::new(&machine.members);
        for entry in entries {
            let index = entry.index;
            replay(&mut machine, entry, &mut known).map_err(|what| RecoveryError::Entry {
                dir: dir.to_owned(),
                index,
                what,
            })?;
        }
        let voted = known.voters.contains(&member.0);
        let dropped = known.present.difference(&machine.retired).copied().map(MemberId);
        let dropped = dropped.filter(|other| *other != member).collect();
        known.ever.remove(&member.0);
        machine.retired.extend(known.ever);
        let last = machine.applied;
        let revision = last.checked_add(REVISIONS_SKIPPED).ok_or(RecoveryError::Exhausted)?;
        let mut aside = dir.as_os_str().to_owned();
        aside.push(format!(".before-{last}"));
        let report = Report {
            member,
            voted,
            last: Revision(last),
            committed: Revision(hard_state.commit),
            dropped,
            revision: Revision(revision),
            aside: aside.into(),
        };
        Ok(Self { log, hard_state, machine, report })
    }

    /// What recovering would mean.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The objects, with every entry of the log applied.
    pub fn view(&self) -> View {
        self.machine.view()
    }

    /// Makes the member the only one, and what `fate` says of each object. In one step: a crash leaves the store as it
    /// was or as it is to be.
    pub fn carry_out(self, mut fate: impl FnMut(&Stored) -> Fate) -> Result<Report, RecoveryError> {
        let Self { mut log, hard_state, mut machine, report } = self;
        let term = machine.term.max(hard_state.term).checked_add(1).ok_or(RecoveryError::Exhausted)?;
        machine.pass(report.revision.0, term);
        machine.members = ConfState::from((vec![report.member.0], vec![]));
        machine.witnesses.clear();
        for stored in machine.collections.clone().values().flat_map(|objects| objects.values()) {
            settle(&mut machine, stored, fate(stored));
        }
        let dir = log.dir().clone();
        keep_aside(&dir, &report.aside).map_err(io_error("keep the files of before in", &report.aside))?;
        let hard_state = HardState { term, commit: machine.applied, ..HardState::default() };
        log.replace(&machine, &hard_state).map_err(io_error("write a snapshot to", &dir))?;
        Ok(report)
    }
}

/// Who takes part, as far as the log tells.
struct Known {
    voters: BTreeSet<u64>,
    present: BTreeSet<u64>,
    /// Whoever was meant by any change.
    ever: BTreeSet<u64>,
}

impl Known {
    fn new(members: &ConfState) -> Self {
        let voters: BTreeSet<u64> = members.voters.iter().chain(&members.voters_outgoing).copied().collect();
        let learners = members.learners.iter().chain(&members.learners_next).copied();
        let present: BTreeSet<u64> = voters.iter().copied().chain(learners).collect();
        Self { voters, ever: present.clone(), present }
    }

    fn note(&mut self, change: &ConfChangeV2) {
        for single in change.get_changes() {
            let id = single.node_id;
            self.ever.insert(id);
            match single.change_type {
                ConfChangeType::AddNode => {
                    self.voters.insert(id);
                    self.present.insert(id);
                }
                ConfChangeType::AddLearnerNode => {
                    self.voters.remove(&id);
                    self.present.insert(id);
                }
                ConfChangeType::RemoveNode => {
                    self.voters.remove(&id);
                    self.present.remove(&id);
                }
            }
        }
    }
}

/// Applies an entry as the core would, but for changes of members: of them only who was meant is noted.
fn replay(machine: &mut Machine, entry: Entry, known: &mut Known) -> Result<(), String> {
    let (index, term) = (entry.index, entry.term);
    match entry.entry_type {
        EntryType::EntryNormal if entry.data.is_empty() => machine.pass(index, term),
        EntryType::EntryNormal => {
            let command = command::decode(entry.data).map_err(|error| error.to_string())?;
            machine.apply(index, term, command, &mut Vec::new());
        }
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
            let change = ConfChangeV2::parse_from_carllerche_bytes(&entry.data).map_err(|error| error.to_string())?;
            known.note(&change);
            machine.pass(index, term);
        }
    }
    Ok(())
}

fn settle(machine: &mut Machine, stored: &Arc<Stored>, fate: Fate) {
    let revision = Revision(machine.applied);
    let (collection, name) = (stored.key().shared_collection(), stored.key().shared_name());
    let kept = match fate {
        Fate::Keep => Some(Arc::clone(stored)),
        Fate::Drop => None,
        Fate::Recode(value) => {
            Some(Arc::new(Stored::stamped(stored.key().clone(), &value, stored.revision(), stored.created())))
        }
        Fate::Replace(value) => {
            Some(Arc::new(Stored::stamped(stored.key().clone(), &value, revision, stored.created())))
        }
    };
    let objects = machine.collections.entry(Arc::clone(collection)).or_default();
    match kept {
        Some(kept) => drop(objects.insert(Arc::clone(name), kept)),
        None => drop(objects.remove(name)),
    }
    if objects.is_empty() {
        machine.collections.remove(collection);
    }
}

fn count(machine: &Machine) -> u64 {
    machine.collections.values().map(|objects| objects.len() as u64).sum()
}

/// Names all files of `dir` in `aside` too, without a copy where the file system can: all that is still written to them
/// is a newer term.
fn keep_aside(dir: &Path, aside: &Path) -> io::Result<()> {
    // Of an earlier try; what it holds is still in the directory.
    match fs::remove_dir_all(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir(aside)?;
    for item in fs::read_dir(dir)? {
        let (path, name) = item.map(|item| (item.path(), item.file_name()))?;
        let to = aside.join(name);
        if fs::hard_link(&path, &to).is_err() {
            fs::copy(&path, &to)?;
            fs::File::open(&to)?.sync_all()?;
        }
    }
    RealDisk.sync_dir(aside)?;
    sync_parent(aside)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => RealDisk.sync_dir(parent),
        None => RealDisk.sync_dir(Path::new(".")),
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn remove_all(dir: &Path) -> Result<(), OpenError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", dir)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn io_error<'a>(act: &'static str, file: &'a Path) -> impl Fn(io::Error) -> OpenError + 'a {
    move |source| OpenError::Io { act, file: file.to_owned(), source }
}

#[cfg(test)]
mod tests;
