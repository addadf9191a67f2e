//! Frames as bytes: parsing what a client sends, writing what it is sent. Pure.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 8;
/// The longest control frame that is read. The draft asks for 8,192; headers of streams are some hundred bytes.
pub const CONTROL_BYTES_MAX: u32 = 16 * 1024;

const VERSION: u16 = 3;
const CONTROL_BIT: u16 = 0x8000;
/// The high bit of stream ids and window sizes is reserved.
const ID_MASK: u32 = 0x7fff_ffff;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a stream was reset (section 2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCode {
    /// The stream broke the protocol.
    Protocol = 1,
    /// It was refused before anything was done.
    Refused = 3,
    /// Nobody needs it any more.
    Cancel = 5,
}

/// Bytes that are no frame, or none that may be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not SPDY/3.
    #[error("version {0} of SPDY, not 3")]
    Version(u16),
    /// Longer than [`CONTROL_BYTES_MAX`].
    #[error("a control frame of {0} bytes")]
    TooLong(u32),
    /// Its parts do not fit its length.
    #[error("a control frame of type {kind} cannot have {length} bytes")]
    Length {
        /// The frame's type.
        kind: u16,
        /// Its length.
        length: usize,
    },
    /// Stream 0 is nobody's.
    #[error("a frame of stream 0")]
    NoStream,
}

/// The first eight bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Data of a stream follow.
    Data {
        /// Which stream.
        id: u32,
        /// Whether it is the stream's last.
        fin: bool,
        /// Bytes that follow: up to 16 MiB, to be read in pieces.
        length: u32,
    },
    /// A control frame's payload follows.
    Control {
        /// Its type.
        kind: u16,
        /// Its flags.
        flags: u8,
        /// Bytes that follow, at most [`CONTROL_BYTES_MAX`].
        length: u32,
    },
}

impl Head {
    /// Reads a head.
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Self, FrameError> {
        let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let (flags, length) = (bytes[4], u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]));
        let word = u16::from_be_bytes([bytes[0], bytes[1]]);
        if word & CONTROL_BIT == 0 {
            return match first & ID_MASK {
                0 => Err(FrameError::NoStream),
                id => Ok(Self::Data { id, fin: flags & FLAG_FIN != 0, length }),
            };
        }
        match word & !CONTROL_BIT {
            VERSION if length > CONTROL_BYTES_MAX => Err(FrameError::TooLong(length)),
            VERSION => Ok(Self::Control { kind: (first & 0xffff) as u16, flags, length }),
            version => Err(FrameError::Version(version)),
        }
    }
}

/// A control frame of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// A new stream.
    SynStream {
        /// Its id.
        id: u32,
        /// Whether the client sends nothing on it.
        fin: bool,
        /// Whether we may send nothing on it.
        unidirectional: bool,
        /// Its headers, compressed.
        block: Bytes,
    },
    /// Further headers, compressed: nobody sends them here, but they move the compression on.
    Headers {
        /// The stream.
        id: u32,
        /// Whether the client sends nothing more on it.
        fin: bool,
        /// Compressed.
        block: Bytes,
    },
    /// The client wants nothing more of a stream.
    Reset {
        /// The stream.
        id: u32,
    },
    /// To be sent back as it is.
    Ping {
        /// Whose, odd for a client's.
        id: u32,
    },
    /// The client opens no more streams.
    GoAway,
    /// More may be sent on a stream. Not looked at (see the module).
    WindowUpdate,
    /// Settings, and types that are not known: to be ignored (section 2.2.1).
    Other,
}

impl Control {
    /// Reads a control frame's payload, of the length its head said.
    pub fn parse(kind: u16, flags: u8, mut payload: Bytes) -> Result<Self, FrameError> {
        let length = payload.len();
        let needs = |exact: bool, bytes: usize| {
            let fits = if exact { length == bytes } else { length >= bytes };
            if fits { Ok(()) } else { Err(FrameError::Length { kind, length }) }
        };
        let id = |payload: &mut Bytes| match payload.get_u32() & ID_MASK {
            0 => Err(FrameError::NoStream),
            id => Ok(id),
        };
        let fin = flags & FLAG_FIN != 0;
        Ok(match kind {
            SYN_STREAM => {
                needs(false, 10)?;
                let id = id(&mut payload)?;
                // The stream it belongs to, its priority, its credential.
                payload.advance(6);
                Self::SynStream { id, fin, unidirectional: flags & FLAG_UNIDIRECTIONAL != 0, block: payload }
            }
            SYN_REPLY | HEADERS => {
                needs(false, 4)?;
                Self::Headers { id: id(&mut payload)?, fin, block: payload }
            }
            RST_STREAM => {
                needs(true, 8)?;
                Self::Reset { id: id(&mut payload)? }
            }
            PING => {
                needs(true, 4)?;
                Self::Ping { id: payload.get_u32() }
            }
            GOAWAY => Self::GoAway,
            WINDOW_UPDATE => Self::WindowUpdate,
            _ => Self::Other,
        })
    }
}

/// A piece of a stream's data.
pub fn data(id: u32, fin: bool, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + data.len());
    frame.put_u32(id & ID_MASK);
    frame.put_u32(u32::from(if fin { FLAG_FIN } else { 0 }) << 24 | length(data.len()));
    frame.extend_from_slice(data);
    frame.freeze()
}

/// The answer to a new stream, with its compressed headers.
pub fn syn_reply(id: u32, block: &[u8]) -> Bytes {
    let mut frame = control(SYN_REPLY, 4 + block.len());
    frame.put_u32(id);
    frame.extend_from_slice(block);
    frame.freeze()
}

/// The end of a stream in both directions.
pub fn reset(id: u32, code: ResetCode) -> Bytes {
    let mut frame = control(RST_STREAM, 8);
    frame.put_u32(id);
    frame.put_u32(code as u32);
    frame.freeze()
}

/// A ping's answer.
pub fn ping(id: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(id);
    frame.freeze()
}

/// No stream after `last` is taken; `code` is 0 at an orderly end, 1 after a violation of the protocol.
pub fn go_away(last: u32, code: u32) -> Bytes {
    let mut frame = control(GOAWAY, 8);
    frame.put_u32(last);
    frame.put_u32(code);
    frame.freeze()
}

/// The client may send so many bytes more.
pub fn window_update(id: u32, delta: u32) -> Bytes {
    let mut frame = control(WINDOW_UPDATE, 8);
    frame.put_u32(id);
    frame.put_u32(delta & ID_MASK);
    frame.freeze()
}

fn control(kind: u16, bytes: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + bytes);
    frame.put_u16(CONTROL_BIT | VERSION);
    frame.put_u16(kind);
    frame.put_u32(length(bytes));
    frame
}

fn length(bytes: usize) -> u32 {
    // Callers cut data into pieces far shorter than this, and headers of ours are short.
    u32::try_from(bytes).ok().filter(|bytes| *bytes < 1 << 24).expect("a frame shorter than 16 MiB")
}
