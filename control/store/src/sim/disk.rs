//! A disk that forgets what was not synced.
//!
//! What is written stands in the page cache, where everyone reads it, and reaches the platter with a sync. When the
//! power fails, of what was not synced any sectors survive: none, all, the first ones, or some with holes of zeros
//! between them. Names are kept in a journal as file systems do it: some of the last changes are lost, the later before
//! the earlier. When only the process dies, the page cache stays as it is and stays unsynced.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::dice::Dice;
use crate::disk::{Disk, DiskFile};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// The disk of one peer. Clones are the same disk.
#[derive(Clone)]
pub(super) struct SimDisk(Arc<Mutex<Files>>);

struct Files {
    dice: Dice,
    all: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    /// The names as they stand on the platter.
    kept_names: BTreeMap<PathBuf, usize>,
    /// What happened to the names since.
    journal: Vec<Renaming>,
    faults: Faults,
    /// Which start of the process: files that an earlier one opened are closed.
    process: u64,
}

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// Writes fail for want of space.
    pub(super) is_full: bool,
    /// Syncs fail.
    pub(super) syncs_fail: bool,
    /// After so many more acts the power is gone: nothing works until [`SimDisk::lose_power`].
    pub(super) fuse: Option<u64>,
    /// A planted bug: syncs do nothing.
    pub(super) syncs_lie: bool,
}

#[derive(Default)]
struct File {
    /// As everyone reads it.
    cache: Vec<u8>,
    /// As it stands on the platter.
    kept: Vec<u8>,
    /// Sectors of the cache that are not on the platter and will get there.
    dirty: BTreeSet<usize>,
}

#[derive(Clone)]
enum Renaming {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimDisk {
    pub(super) fn new(dice: Dice) -> Self {
        Self(Arc::new(Mutex::new(Files {
            dice,
            all: Vec::new(),
            names: BTreeMap::new(),
            kept_names: BTreeMap::new(),
            journal: Vec::new(),
            faults: Faults::default(),
            process: 0,
        })))
    }

    pub(super) fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        change(&mut self.files().faults)
    }

    /// The process died: what it wrote is still there, as long as the machine runs.
    pub(super) fn lose_process(&self) {
        self.files().process += 1;
    }

    /// The machine died.
    pub(super) fn lose_power(&self) {
        let mut files = self.files();
        let files = &mut *files;
        files.process += 1;
        files.faults.fuse = None;
        for file in &mut files.all {
            file.lose_power(&mut files.dice);
        }
        let survive = files.dice.number(0..=files.journal.len() as u64);
        let journal = std::mem::take(&mut files.journal);
        for change in journal.into_iter().take(survive as usize) {
            change.apply(&mut files.kept_names);
        }
        files.names = files.kept_names.clone();
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().expect("no act on the disk panics")
    }
}

impl Files {
    /// Something is about to be written.
    fn act(&mut self) -> io::Result<()> {
        match &mut self.faults.fuse {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn space(&self) -> io::Result<()> {
        if self.faults.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&mut self, change: Renaming) {
        change.apply(&mut self.names);
        self.journal.push(change);
    }

    fn sync(&mut self, number: usize) -> io::Result<()> {
        self.act()?;
        let file = &mut self.all[number];
        if self.faults.syncs_fail {
            // Some of it is written, and the rest is taken for written: the next sync says Ok and does nothing.
            let dirty = std::mem::take(&mut file.dirty);
            file.keep(dirty.into_iter().filter(|_| self.dice.chance(500)));
            return Err(io::Error::other("the disk does not answer"));
        }
        if !self.faults.syncs_lie {
            let dirty = std::mem::take(&mut file.dirty);
            file.keep(dirty);
            file.kept.resize(file.cache.len(), 0);
        }
        Ok(())
    }
}

impl File {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let first = self.cache.len() / SECTOR_BYTES;
        self.cache.extend_from_slice(bytes);
        self.dirty.extend(first..=(self.cache.len() - 1) / SECTOR_BYTES);
    }

    /// Puts these sectors on the platter.
    fn keep(&mut self, sectors: impl IntoIterator<Item = usize>) {
        for sector in sectors {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(self.cache.len());
            if end > self.kept.len() {
                self.kept.resize(end, 0);
            }
            self.kept[start..end].copy_from_slice(&self.cache[start..end]);
        }
    }

    fn lose_power(&mut self, dice: &mut Dice) {
        let dirty: Vec<usize> = std::mem::take(&mut self.dirty).into_iter().collect();
        if !dirty.is_empty() {
            let survive = match dice.number(0..=3) {
                0 => Vec::new(),
                1 => dirty,
                2 => dirty[..dice.index(dirty.len())].to_vec(),
                _ => dirty.into_iter().filter(|_| dice.chance(500)).collect(),
            };
            self.keep(survive);
            // The length may be written without the content.
            if self.kept.len() < self.cache.len() && dice.chance(250) {
                self.kept.resize(self.cache.len(), 0);
            }
        }
        self.cache.clone_from(&self.kept);
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.files().act()
    }

    fn is_dir(&self, dir: &Path) -> bool {
        self.files().names.keys().any(|path| path.parent() == Some(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.files().names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        let files = self.files();
        Ok(Bytes::copy_from_slice(&files.all[files.find(path)?].cache))
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Bytes> {
        let whole = self.read(path)?;
        let start = whole.len().min(offset as usize);
        Ok(whole.slice(start..whole.len().min(start + length)))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let files = self.files();
        Ok(files.all[files.find(path)?].cache.len() as u64)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files();
        files.act()?;
        files.space()?;
        let file = files.all.len();
        files.all.push(File::default());
        files.rename(Renaming::Create(path.to_owned(), file));
        Ok(Box::new(Open { disk: self.clone(), file, process: files.process }))
    }

    fn extend(&self, path: &Path, length: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files();
        let file = files.find(path)?;
        let there = &mut files.all[file];
        if there.cache.len() as u64 != length {
            there.cache.resize(length as usize, 0);
            there.dirty.retain(|sector| sector * SECTOR_BYTES < length as usize);
            let (old, new) = (there.kept.len(), there.cache.len());
            if old > new {
                there.kept.truncate(new);
            }
            files.sync(file)?;
        }
        Ok(Box::new(Open { disk: self.clone(), file, process: files.process }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.act()?;
        files.find(from)?;
        files.rename(Renaming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.act()?;
        if files.find(path).is_ok() {
            files.rename(Renaming::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut files = self.files();
        files.act()?;
        if files.faults.syncs_fail {
            return Err(io::Error::other("the disk does not answer"));
        }
        files.journal.clear();
        files.kept_names = files.names.clone();
        Ok(())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files();
        f.debug_map().entries(files.names.iter().map(|(path, &file)| (path, files.all[file].cache.len()))).finish()
    }
}

/// A file open for writing.
struct Open {
    disk: SimDisk,
    file: usize,
    process: u64,
}

impl Open {
    fn files(&self) -> io::Result<MutexGuard<'_, Files>> {
        let files = self.disk.files();
        if files.process == self.process { Ok(files) } else { Err(io::Error::other("its process died")) }
    }
}

impl DiskFile for Open {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files()?;
        files.act()?;
        if let Err(full) = files.space() {
            // Some of it had room.
            let fits = files.dice.index(bytes.len() + 1);
            files.all[self.file].write(&bytes[..fits]);
            return Err(full);
        }
        files.all[self.file].write(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.files()?.sync(self.file)
    }
}

#[cfg(test)]
mod tests;
