//! The caller of a preview-1 function: its memory, every access checked, and the host's side of it.

use wasmtime::{Caller, Extern};

use super::errno::{Errno, Outcome};
use crate::host::Host;

/// Buffers of one read or write; POSIX' `IOV_MAX`.
const VECTORS_MAX: u32 = 1024;

/// The longest path: Linux' `PATH_MAX`.
const PATH_BYTES_MAX: u32 = 4096;

/// A guest that has called, for as long as the call takes.
pub(super) struct Guest<'a> {
    pub(super) host: &'a mut Host,
    memory: &'a mut [u8],
}

/// A piece of the guest's memory, which lies within it.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    at: usize,
    pub(super) len: usize,
}

impl<'a> Guest<'a> {
    pub(super) fn of(caller: &'a mut Caller<'_, Host>) -> wasmtime::Result<Self> {
        let memory = caller.get_export("memory").and_then(Extern::into_memory);
        let memory = memory.ok_or_else(|| wasmtime::format_err!("the module exports no memory to call WASI with"))?;
        let (memory, host) = memory.data_and_store_mut(caller);
        Ok(Self { host, memory })
    }

    pub(super) fn piece(&self, at: u32, len: u32) -> Outcome<Piece> {
        let (at, len) = (at as usize, len as usize);
        match at.checked_add(len) {
            Some(end) if end <= self.memory.len() => Ok(Piece { at, len }),
            _ => Err(Errno::Fault.into()),
        }
    }

    pub(super) fn bytes(&self, piece: Piece) -> &[u8] {
        &self.memory[piece.at..piece.at + piece.len]
    }

    /// Writes as much as both have room for.
    pub(super) fn fill(&mut self, piece: Piece, bytes: &[u8]) -> usize {
        let count = piece.len.min(bytes.len());
        self.memory[piece.at..piece.at + count].copy_from_slice(&bytes[..count]);
        count
    }

    pub(super) fn read<const N: usize>(&self, at: u32) -> Outcome<[u8; N]> {
        let piece = self.piece(at, u32::try_from(N).unwrap_or(u32::MAX))?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.bytes(piece));
        Ok(bytes)
    }

    /// Writes all of `bytes`, or nothing.
    pub(super) fn write(&mut self, at: u32, bytes: &[u8]) -> Outcome<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?;
        let piece = self.piece(at, len)?;
        self.fill(piece, bytes);
        Ok(())
    }

    pub(super) fn put_u32(&mut self, at: u32, value: u32) -> Outcome<()> {
        self.write(at, &value.to_le_bytes())
    }

    pub(super) fn put_u64(&mut self, at: u32, value: u64) -> Outcome<()> {
        self.write(at, &value.to_le_bytes())
    }

    pub(super) fn path(&self, at: u32, len: u32) -> Outcome<String> {
        if len > PATH_BYTES_MAX {
            return Err(Errno::Nametoolong.into());
        }
        let bytes = self.bytes(self.piece(at, len)?);
        String::from_utf8(bytes.to_vec()).map_err(|_| Errno::Ilseq.into())
    }

    /// The buffers of a scattered read or gathered write, cut off where they hold `bytes_max` together: a call may do less
    /// than it was asked for.
    pub(super) fn vectors(&self, at: u32, count: u32, bytes_max: usize) -> Outcome<Vec<Piece>> {
        if count > VECTORS_MAX {
            return Err(Errno::Inval.into());
        }
        let mut left = bytes_max;
        let mut pieces = Vec::with_capacity(count as usize);
        for index in 0..count {
            let at = at.checked_add(index * 8).ok_or(Errno::Fault)?;
            let pair = self.read::<8>(at)?;
            let [start, len] =
                [0, 4].map(|at| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]));
            let mut piece = self.piece(start, len)?;
            piece.len = piece.len.min(left);
            left -= piece.len;
            if piece.len > 0 {
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }

    /// What the buffers hold, in one.
    pub(super) fn gather(&self, pieces: &[Piece]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| self.bytes(*piece)).copied().collect()
    }

    /// Spreads `bytes` over the buffers.
    pub(super) fn scatter(&mut self, pieces: &[Piece], mut bytes: &[u8]) {
        for piece in pieces {
            let count = self.fill(*piece, bytes);
            bytes = &bytes[count..];
        }
    }
}
