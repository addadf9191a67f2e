//! Logs of pods that are gone: the newest of them stay on disk for a day, within a budget.
//!
//! For a person at the machine, or a collector of logs that had not read to the end: the files are as they were, below
//! `logs-of-ended-pods/<milliseconds>_<bytes>_<namespace>_<name>_<uid>/<container>/`. Not here: a way to them through the
//! API, where a pod that is gone has no name any more.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// All of them together take no more of the disk, whatever pods print: what five containers may have.
const BYTES_MAX: u64 = 256 << 20;
/// Nor are they more: each is some inodes.
const PODS_MAX: usize = 1000;
/// Nor are they older: what is asked later is asked of whoever collects logs.
const AGE_MAX: Duration = Duration::from_hours(24);

/// Where they are, below the data directory.
const DIR: &str = "logs-of-ended-pods";

/// The logs of pods that are gone.
#[derive(Debug)]
pub(super) struct Ended {
    dir: PathBuf,
    /// What is there, the oldest first; read from the disk once something is added.
    kept: Mutex<Option<VecDeque<Entry>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    /// Milliseconds since 1970.
    at: u64,
    bytes: u64,
}

impl Entry {
    fn parse(name: String) -> Option<Self> {
        let mut parts = name.splitn(3, '_');
        let (at, bytes) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { name, at, bytes })
    }
}

impl Ended {
    /// Beside the directory of those that are there.
    pub(super) fn beside(logs: &Path) -> Self {
        Self { dir: logs.with_file_name(DIR), kept: Mutex::new(None) }
    }

    /// Takes over what is at `from`, a pod's whole directory, if there is a line in it. Blocks.
    pub(super) fn keep(&self, from: &Path, named: &str) {
        let bytes = size(from);
        let Some(uid) = from.file_name().and_then(|name| name.to_str()) else { return };
        if bytes == 0 || bytes > BYTES_MAX {
            return;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let name = format!("{at:013}_{bytes}_{named}_{uid}");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_with(|| self.read());
        if let Err(error) = fs::create_dir_all(&self.dir).and_then(|()| fs::rename(from, self.dir.join(&name))) {
            tracing::debug!(%error, name, "log of a pod that is gone is not kept");
            return;
        }
        kept.push_back(Entry { name, at, bytes });
        self.make_room(kept, at);
    }

    fn make_room(&self, kept: &mut VecDeque<Entry>, now: u64) {
        let mut all: u64 = kept.iter().map(|entry| entry.bytes).sum();
        let oldest = now.saturating_sub(u64::try_from(AGE_MAX.as_millis()).unwrap_or(u64::MAX));
        while kept.front().is_some_and(|first| first.at < oldest || kept.len() > PODS_MAX || all > BYTES_MAX) {
            let Some(first) = kept.pop_front() else { return };
            all -= first.bytes;
            let _ = fs::remove_dir_all(self.dir.join(first.name));
        }
    }

    fn read(&self) -> VecDeque<Entry> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut found: Vec<_> = names.filter_map(Entry::parse).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.into()
    }
}

/// Bytes of the containers' logs in a pod's directory.
fn size(pod: &Path) -> u64 {
    let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    let files = below(pod).filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir()));
    files.flat_map(|dir| below(&dir.path())).filter_map(|file| file.metadata().ok()).map(|it| it.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(root: &Path, uid: &str, text: &str) -> PathBuf {
        let dir = root.join("pods").join(uid);
        fs::create_dir_all(dir.join("app")).unwrap();
        fs::write(dir.join("app/0.log"), text).unwrap();
        dir
    }

    #[test]
    fn log_of_a_pod_that_is_gone_stays_and_an_empty_one_does_not() {
        let root = tempfile::tempdir().unwrap();
        let ended = Ended::beside(&root.path().join("pods"));
        ended.keep(&pod(root.path(), "silent", ""), "default_silent");
        ended.keep(&pod(root.path(), "uid", "its last words"), "default_web");
        let kept = ended.read();
        assert_eq!(kept.len(), 1);
        assert!(kept[0].name.ends_with("_14_default_web_uid"), "{kept:?}");
        let text = fs::read_to_string(root.path().join(DIR).join(&kept[0].name).join("app/0.log")).unwrap();
        assert_eq!(text, "its last words");
    }

    #[test]
    fn oldest_go_first_when_there_are_too_many_or_they_are_too_old_or_too_large() {
        let root = tempfile::tempdir().unwrap();
        let ended = Ended::beside(&root.path().join("pods"));
        let entry = |at: u64, bytes: u64| Entry { name: format!("{at:013}_{bytes}_d_n_u"), at, bytes };
        let left = |mut kept: VecDeque<Entry>, now: u64| {
            ended.make_room(&mut kept, now);
            kept.iter().map(|entry| entry.at).collect::<Vec<_>>()
        };
        assert_eq!(left([entry(1, 1), entry(2, 1)].into(), 3), [1, 2]);
        assert_eq!(left([entry(1, BYTES_MAX), entry(2, 1)].into(), 3), [2]);
        let day = u64::try_from(AGE_MAX.as_millis()).unwrap();
        assert_eq!(left([entry(1, 1), entry(2, 1)].into(), day + 2), [2]);
        let many: VecDeque<_> = (0..1002).map(|at| entry(at, 1)).collect();
        assert_eq!(left(many, 1003).first(), Some(&2));
    }
}
