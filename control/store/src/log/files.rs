//! What is done with snapshot files beside the log: taking, sending in pieces, receiving. One worker a peer, in order.
//!
//! Not here: when ([`crate::core`]), and with whom ([`crate::peer`]).

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use raft::eraftpb::{ConfState, Message};

use super::snapshot::{self, HEADER_BYTES, SnapshotId};
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::machine::Machine;
use crate::model::MemberId;
use crate::room::Room;

/// What the worker is asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Write a snapshot of a state.
    Take(Box<Machine>),
    /// Delete the snapshots from before `newest` but the `kept` ones.
    Prune { newest: u64, kept: Vec<u64> },
    /// Read a piece of a snapshot for a follower.
    Read { to: MemberId, snapshot: SnapshotId, offset: u64, length: usize },
    /// Read a whole snapshot into a message, for a follower of an earlier version.
    Fill { message: Box<Message>, snapshot: SnapshotId },
    /// Begin to receive a snapshot, or go on with what is there of it.
    Begin(SnapshotId),
    /// Add a piece to the snapshot being received.
    Add { snapshot: SnapshotId, piece: Bytes },
    /// Write a snapshot that came as a whole.
    Keep { snapshot: SnapshotId, state: Bytes },
    /// Check the snapshot being received, which is whole.
    Finish(SnapshotId),
    /// Drop a state: a million objects take their time.
    Forget(Box<Machine>),
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Done {
    /// A snapshot is on disk.
    Taken { snapshot: SnapshotId, members: ConfState },
    /// A piece of a snapshot; empty when the snapshot is gone.
    Piece { to: MemberId, snapshot: SnapshotId, offset: u64, piece: Bytes },
    /// A message with its snapshot; None when that is gone.
    Filled { message: Option<Box<Message>> },
    /// So many bytes of the snapshot being received are here.
    Begun { snapshot: SnapshotId, offset: u64 },
    /// The snapshot received is whole and good, or is not and was deleted.
    Finished { snapshot: SnapshotId, state: Result<Box<Machine>, String> },
    /// Nothing to tell.
    Nothing,
}

/// The worker.
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    receiving: Option<(SnapshotId, Box<dyn DiskFile>)>,
    /// Who waits when the disk is full.
    room: Arc<Room>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, receiving: None, room: Arc::default() }
    }

    /// From now on a full disk is waited for when a snapshot is taken.
    pub(crate) fn wait_for(&mut self, room: Arc<Room>) {
        self.room = room;
    }

    /// Carries out one job. An error is one of the disk: what could not be done, and why.
    pub(crate) fn carry_out(&mut self, job: Job) -> Result<Done, String> {
        let dir = self.dir.display().to_string();
        let failed = |act: &'static str| {
            let dir = &dir;
            move |error: std::io::Error| format!("{act} in {dir}: {error}")
        };
        match job {
            Job::Take(machine) => {
                let taken = self.room.retry(|| snapshot::write(&*self.disk, &self.dir, &machine));
                let snapshot = taken.map_err(failed("write a snapshot"))?;
                Ok(Done::Taken { snapshot, members: machine.members })
            }
            Job::Prune { newest, kept } => {
                let receiving = self.receiving.as_ref().map(|(id, _)| id);
                let pruned = snapshot::prune(&*self.disk, &self.dir, newest, &kept)
                    .and_then(|()| snapshot::prune_parts(&*self.disk, &self.dir, receiving, newest));
                pruned.map(|()| Done::Nothing).map_err(failed("delete old snapshots"))
            }
            Job::Read { to, snapshot, offset, length } => {
                let piece = self.disk.read_at(&snapshot.path(&self.dir), HEADER_BYTES + offset, length);
                Ok(Done::Piece { to, snapshot, offset, piece: found(piece).map_err(failed("read a snapshot"))? })
            }
            Job::Fill { mut message, snapshot } => {
                let length = usize::try_from(snapshot.bytes).unwrap_or(usize::MAX);
                let state = found(self.disk.read_at(&snapshot.path(&self.dir), HEADER_BYTES, length));
                let state = state.map_err(failed("read a snapshot"))?;
                let is_whole = state.len() == length;
                message.mut_snapshot().data = state;
                Ok(Done::Filled { message: is_whole.then_some(message) })
            }
            Job::Begin(snapshot) => {
                let offset = self.begin(snapshot).map_err(failed("begin to receive a snapshot"))?;
                Ok(Done::Begun { snapshot, offset })
            }
            Job::Add { snapshot, piece } => {
                if let Some((_, file)) = self.receiving.as_mut().filter(|(id, _)| *id == snapshot) {
                    file.write(&piece).map_err(failed("receive a snapshot"))?;
                }
                Ok(Done::Nothing)
            }
            Job::Keep { snapshot, state } => {
                self.keep(snapshot, &state).map_err(failed("receive a snapshot"))?;
                Ok(Done::Nothing)
            }
            Job::Finish(snapshot) => self.finish(snapshot),
            Job::Forget(machine) => {
                drop(machine);
                Ok(Done::Nothing)
            }
        }
    }

    fn begin(&mut self, snapshot: SnapshotId) -> std::io::Result<u64> {
        snapshot::prune_parts(&*self.disk, &self.dir, Some(&snapshot), u64::MAX)?;
        let path = snapshot.part(&self.dir);
        let there = self.disk.length(&path).unwrap_or(0);
        let (file, offset) = if (HEADER_BYTES..=HEADER_BYTES + snapshot.bytes).contains(&there) {
            (self.disk.extend(&path, there)?, there - HEADER_BYTES)
        } else {
            let mut file = self.disk.create(&path)?;
            file.write(&snapshot::header())?;
            (file, 0)
        };
        self.receiving = Some((snapshot, file));
        Ok(offset)
    }

    fn keep(&mut self, snapshot: SnapshotId, state: &[u8]) -> std::io::Result<()> {
        snapshot::prune_parts(&*self.disk, &self.dir, None, u64::MAX)?;
        let mut file = self.disk.create(&snapshot.part(&self.dir))?;
        file.write(&snapshot::header())?;
        file.write(state)?;
        self.receiving = Some((snapshot, file));
        Ok(())
    }

    fn finish(&mut self, snapshot: SnapshotId) -> Result<Done, String> {
        let path = snapshot.part(&self.dir);
        let Some((_, mut file)) = self.receiving.take_if(|(id, _)| *id == snapshot) else {
            let state = Err("it is not being received".to_owned());
            return Ok(Done::Finished { snapshot, state });
        };
        if let Err(error) = file.sync() {
            // The page cache may take for written what is not, and it would be trusted after a restart.
            let _ = self.disk.remove(&path);
            return Err(format!("receive a snapshot in {}: {error}", self.dir.display()));
        }
        let state = match snapshot::read(&*self.disk, &path) {
            Ok(read) if read.id == snapshot => Ok(Box::new(read.machine)),
            Ok(_) => Err("it is another one than it said".to_owned()),
            Err(error @ OpenError::Io { .. }) => {
                return Err(format!(
                    "{}: {}",
                    error,
                    std::error::Error::source(&error).map_or_else(String::new, ToString::to_string)
                ));
            }
            Err(error) => Err(error.to_string()),
        };
        if state.is_err() {
            let removed = self.disk.remove(&path);
            removed.map_err(|error| format!("delete {}: {error}", path.display()))?;
        }
        Ok(Done::Finished { snapshot, state })
    }
}

/// What was read; nothing when the file is gone, because a newer snapshot took its place.
fn found(read: std::io::Result<Bytes>) -> std::io::Result<Bytes> {
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Bytes::new()),
        read => read,
    }
}
