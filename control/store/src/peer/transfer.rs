//! Snapshots on their way between members. The follower fetches: it is told by Raft's message which snapshot it needs,
//! asks for one piece after the other, and goes on where it was after a lost message, a lost connection or a restart.
//!
//! A piece has a checksum of its own, and the whole is checked before Raft hears of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft::eraftpb::Message;

use super::Output;
use crate::log::{SnapshotId, files};
use crate::model::MemberId;
use crate::wire::{Ask, Parcel, Piece};

/// Bytes of a piece. One is on its way at a time, so that a follower that catches up takes little of the leader's time
/// and of the link: 512 KiB every millisecond or so on a local network, 5 MB/s at 100 ms away. Few in the simulator, so
/// that its small snapshots come in pieces too.
pub(crate) const PIECE_BYTES: usize = if cfg!(test) { 3000 } else { 512 << 10 };

/// How long a piece may take until it is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Questions for one piece until the snapshot is given up. What is here of it stays, for when the leader sends it again.
const ASKED_MAX: u32 = 10;

/// The snapshots a peer receives and sends.
#[derive(Default)]
pub(super) struct Transfers {
    incoming: Option<Incoming>,
    /// Members for whom a piece is being read: one each.
    reading: BTreeSet<MemberId>,
}

struct Incoming {
    message: Box<Message>,
    snapshot: SnapshotId,
    phase: Phase,
}

enum Phase {
    /// The disk is asked how much is here.
    Beginning,
    /// The piece at `offset` has been asked for.
    Receiving { offset: u64, asked: Instant, times: u32 },
    /// All is here and being checked. The sender is told now and then that we live.
    Finishing { asked: Instant },
}

impl Transfers {
    /// Raft's `message` tells of `snapshot`, or brings its `state`.
    pub(super) fn begin(
        &mut self,
        message: Box<Message>,
        snapshot: SnapshotId,
        state: Option<Bytes>,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if let Some(incoming) = self.incoming.as_mut().filter(|incoming| incoming.snapshot == snapshot) {
            // The same again, perhaps in a newer term.
            incoming.message = message;
            return;
        }
        let phase = match state {
            None => {
                out.push(Output::Files(files::Job::Begin(snapshot)));
                Phase::Beginning
            }
            Some(state) => {
                out.push(Output::Files(files::Job::Keep { snapshot, state }));
                out.push(Output::Files(files::Job::Finish(snapshot)));
                Phase::Finishing { asked: now }
            }
        };
        tracing::info!(member = message.to, revision = snapshot.index, bytes = snapshot.bytes, "receives a snapshot");
        self.incoming = Some(Incoming { message, snapshot, phase });
    }

    /// The disk has `offset` bytes of `snapshot` already.
    pub(super) fn begun(&mut self, snapshot: SnapshotId, offset: u64, now: Instant, out: &mut Vec<Output>) {
        if let Some(incoming) = self.incoming.as_mut().filter(|incoming| incoming.snapshot == snapshot)
            && matches!(incoming.phase, Phase::Beginning)
        {
            incoming.go_on(offset, now, out);
        }
    }

    /// A piece came.
    pub(super) fn receive(&mut self, from: MemberId, piece: Piece, now: Instant, out: &mut Vec<Output>) {
        let Some(incoming) = &mut self.incoming else { return };
        let Phase::Receiving { offset, .. } = incoming.phase else { return };
        if incoming.snapshot != piece.snapshot || incoming.message.from != from.0 || offset != piece.offset {
            return;
        }
        if piece.bytes.is_empty() {
            // The sender has it no more, and will tell of a newer one.
            self.incoming = None;
            return;
        }
        let end = offset + piece.bytes.len() as u64;
        if end > incoming.snapshot.bytes {
            return;
        }
        out.push(Output::Files(files::Job::Add { snapshot: incoming.snapshot, piece: piece.bytes }));
        incoming.go_on(end, now, out);
    }

    /// The snapshot is good: it and Raft's message that told of it. Or it is not, and the sender will tell of it again.
    pub(super) fn finished(&mut self, snapshot: SnapshotId) -> Option<Box<Message>> {
        self.incoming.take_if(|incoming| incoming.snapshot == snapshot).map(|incoming| incoming.message)
    }

    /// Whether a piece for `to` is to be read now.
    pub(super) fn may_read(&mut self, to: MemberId) -> bool {
        self.reading.insert(to)
    }

    /// A piece for `to` was read.
    pub(super) fn was_read(&mut self, to: MemberId) {
        self.reading.remove(&to);
    }

    /// Asks again for what did not come.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(incoming) = &mut self.incoming else { return };
        let (snapshot, is_hopeless) = (incoming.snapshot, incoming.is_hopeless());
        let (offset, asked) = match &mut incoming.phase {
            Phase::Receiving { offset, asked, times } if now.duration_since(*asked) >= AGAIN => {
                *times += 1;
                (*offset, asked)
            }
            Phase::Finishing { asked } if now.duration_since(*asked) >= AGAIN => (snapshot.bytes, asked),
            Phase::Beginning | Phase::Receiving { .. } | Phase::Finishing { .. } => return,
        };
        *asked = now;
        if is_hopeless {
            self.incoming = None;
        } else {
            incoming.ask(offset, out);
        }
    }
}

impl Incoming {
    fn is_hopeless(&self) -> bool {
        matches!(self.phase, Phase::Receiving { times, .. } if times >= ASKED_MAX)
    }

    /// All before `offset` is here.
    fn go_on(&mut self, offset: u64, now: Instant, out: &mut Vec<Output>) {
        if offset == self.snapshot.bytes {
            out.push(Output::Files(files::Job::Finish(self.snapshot)));
            self.phase = Phase::Finishing { asked: now };
        } else {
            self.phase = Phase::Receiving { offset, asked: now, times: 0 };
            self.ask(offset, out);
        }
    }

    fn ask(&self, offset: u64, out: &mut Vec<Output>) {
        let to = MemberId(self.message.from);
        let ask = Ask { to, snapshot: self.snapshot, offset };
        out.push(Output::Send { to, message: Parcel::Ask(ask).encode() });
    }
}
