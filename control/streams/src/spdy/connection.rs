//! One SPDY connection: a loop that reads, a loop that writes, and the streams between them.
//!
//! A stream whose data nobody takes stops the reading of the whole connection, as it does in the clients: so a
//! connection never holds more than [`STREAMS_MAX`] times `PIECES_MAX` pieces.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::frame::{self, Control, FrameError, HEAD_BYTES, Head, ResetCode};
use super::headers::{Deflater, HeaderError, Headers, Inflater};

/// Streams of one connection at once: two for each connection that is forwarded.
pub const STREAMS_MAX: usize = 128;
/// Pieces of a stream's data that wait for whoever takes them.
const PIECES_MAX: usize = 4;
/// The longest piece; longer frames come in several.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// The longest data frame that is written. kubectl reads into buffers of 32 KiB.
const DATA_BYTES_MAX: usize = 32 * 1024;
/// Data frames of all streams that wait for the client.
const DATA_FRAMES_MAX: usize = 8;
/// Answers to pings, new streams and taken data that wait for the client; a client that makes more and reads none is
/// cut off.
const CONTROL_FRAMES_MAX: usize = 4 * STREAMS_MAX;
/// A client is told of taken data when it is this much: half of the window a stream starts with.
const WINDOW_STEP: u32 = 32 * 1024;

/// Why a connection ended, unless the client closed it.
#[derive(Debug, thiserror::Error)]
pub enum SpdyError {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// Something that is no frame.
    #[error("malformed frame")]
    Frame(#[from] FrameError),
    /// Headers that cannot be read.
    #[error("malformed headers")]
    Headers(#[from] HeaderError),
    /// Stream ids must grow and be odd.
    #[error("stream {0} out of order")]
    Order(u32),
    /// It sends and does not read.
    #[error("the client does not read what it is sent")]
    Flood,
}

/// A stream that the client opened.
#[derive(Debug)]
pub struct Stream {
    /// Its id.
    pub id: u32,
    /// What it is for.
    pub headers: Headers,
    /// What the client sends.
    pub reader: Reader,
    /// What the client is sent.
    pub writer: Writer,
}

/// The client's side of a stream.
#[derive(Debug)]
pub struct Reader {
    id: u32,
    pieces: mpsc::Receiver<Bytes>,
    taken: u32,
    control: mpsc::Sender<Told>,
    reset: CancellationToken,
    _live: Arc<()>,
}

/// Our side of a stream. Dropped without [`Writer::finish`], it resets the stream.
#[derive(Debug)]
pub struct Writer {
    id: u32,
    frames: mpsc::Sender<Bytes>,
    control: mpsc::Sender<Told>,
    reset: CancellationToken,
    finished: bool,
    _live: Arc<()>,
}

/// What the writing loop is told besides data.
#[derive(Debug)]
enum Told {
    /// A frame as it is.
    Frame(Bytes),
    /// A stream was accepted.
    Reply(u32),
}

impl Reader {
    /// The next piece; None at the client's end of the stream, an error after a reset or the connection's end.
    pub async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let Some(piece) = self.pieces.recv().await else {
            return self.reset.is_cancelled().then(|| Err(io::ErrorKind::ConnectionReset.into()));
        };
        self.taken = self.taken.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        if self.taken >= WINDOW_STEP {
            let update = Told::Frame(frame::window_update(self.id, self.taken));
            if self.control.try_send(update).is_ok() {
                self.taken = 0;
            }
        }
        Some(Ok(piece))
    }
}

impl Writer {
    /// Sends data; an error once the client wants no more.
    pub async fn write(&mut self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(DATA_BYTES_MAX));
            self.send(frame::data(self.id, false, &piece)).await?;
        }
        Ok(())
    }

    /// Ends our side after all that was written.
    pub async fn finish(mut self) -> io::Result<()> {
        self.finished = true;
        self.send(frame::data(self.id, true, &[])).await
    }

    /// Fires when the client reset the stream or the connection ended.
    pub fn reset(&self) -> CancellationToken {
        self.reset.clone()
    }

    async fn send(&mut self, frame: Bytes) -> io::Result<()> {
        let sent = self.reset.run_until_cancelled(self.frames.send(frame)).await;
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished && !self.reset.is_cancelled() {
            let _ = self.control.try_send(Told::Frame(frame::reset(self.id, ResetCode::Cancel)));
        }
    }
}

/// Speaks SPDY until the client closes the connection, and hands each of its streams to `accepted`.
///
/// Dropped, it ends the connection. `accepted` should have room for [`STREAMS_MAX`] streams; what finds none is refused.
pub async fn serve<R, W>(reader: R, writer: W, accepted: mpsc::Sender<Stream>) -> Result<(), SpdyError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (control, controls) = mpsc::channel(CONTROL_FRAMES_MAX);
    let (frames, datas) = mpsc::channel(DATA_FRAMES_MAX);
    let mut reading = Reading {
        reader,
        inflater: Inflater::default(),
        streams: BTreeMap::new(),
        last: 0,
        control,
        frames,
        accepted,
        ended: CancellationToken::new(),
    };
    let _end = reading.ended.clone().drop_guard();
    let mut writing = std::pin::pin!(write(writer, controls, datas));
    let result = tokio::select! {
        result = reading.run() => result,
        result = &mut writing => result,
    };
    if matches!(result, Err(SpdyError::Frame(_) | SpdyError::Headers(_) | SpdyError::Order(_))) {
        // The client learns why, if it reads: what is queued goes out, and this last.
        let _ = reading.control.try_send(Told::Frame(frame::go_away(reading.last, 1)));
        drop(reading);
        let _ = tokio::time::timeout(GOODBYE, writing).await;
    }
    result
}

/// A client that broke the protocol has this long to take the reason.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut controls: mpsc::Receiver<Told>,
    mut datas: mpsc::Receiver<Bytes>,
) -> Result<(), SpdyError> {
    let mut deflater = Deflater::default();
    loop {
        let frame = tokio::select! {
            biased;
            Some(control) = controls.recv() => match control {
                Told::Frame(frame) => frame,
                Told::Reply(id) => frame::syn_reply(id, &deflater.write(&Headers::default())),
            },
            Some(frame) = datas.recv() => frame,
            else => return Ok(()),
        };
        writer.write_all(&frame).await?;
        writer.flush().await?;
    }
}

struct Reading<R> {
    reader: R,
    inflater: Inflater,
    streams: BTreeMap<u32, Open>,
    last: u32,
    control: mpsc::Sender<Told>,
    frames: mpsc::Sender<Bytes>,
    accepted: mpsc::Sender<Stream>,
    ended: CancellationToken,
}

/// A stream as the reading loop knows it.
struct Open {
    /// None after the client's end of it.
    pieces: Option<mpsc::Sender<Bytes>>,
    reset: CancellationToken,
    /// Gone when both sides of it were dropped here.
    live: Weak<()>,
}

impl<R: AsyncRead + Unpin> Reading<R> {
    async fn run(&mut self) -> Result<(), SpdyError> {
        loop {
            let mut head = [0; HEAD_BYTES];
            match self.reader.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            match Head::parse(head)? {
                Head::Data { id, fin, length } => self.data(id, fin, length).await?,
                Head::Control { kind, flags, length } => {
                    let mut payload = BytesMut::zeroed(length as usize);
                    self.reader.read_exact(&mut payload).await?;
                    self.control(Control::parse(kind, flags, payload.freeze())?)?;
                }
            }
        }
    }

    async fn data(&mut self, id: u32, fin: bool, length: u32) -> Result<(), SpdyError> {
        let mut left = length as usize;
        while left > 0 {
            let mut piece = BytesMut::zeroed(left.min(PIECE_BYTES_MAX));
            self.reader.read_exact(&mut piece).await?;
            left -= piece.len();
            // A stream that ended here or there: what was on its way belongs to nobody.
            let Some(pieces) = self.streams.get(&id).and_then(|open| open.pieces.as_ref()) else { continue };
            let _ = pieces.send(piece.freeze()).await;
        }
        if fin && let Some(open) = self.streams.get_mut(&id) {
            open.pieces = None;
        }
        Ok(())
    }

    fn control(&mut self, control: Control) -> Result<(), SpdyError> {
        match control {
            Control::SynStream { id, fin, unidirectional, block } => {
                let headers = self.inflater.read(&block)?;
                if id % 2 == 0 || id <= self.last {
                    return Err(SpdyError::Order(id));
                }
                self.last = id;
                self.open(id, fin || unidirectional, headers)
            }
            Control::Headers { id, fin, block } => {
                self.inflater.read(&block)?;
                if fin && let Some(open) = self.streams.get_mut(&id) {
                    open.pieces = None;
                }
                Ok(())
            }
            Control::Reset { id } => {
                if let Some(open) = self.streams.remove(&id) {
                    open.reset.cancel();
                }
                Ok(())
            }
            Control::Ping { id } => self.tell(Told::Frame(frame::ping(id))),
            Control::GoAway | Control::WindowUpdate | Control::Other => Ok(()),
        }
    }

    fn open(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), SpdyError> {
        self.streams.retain(|_, open| open.live.strong_count() > 0);
        if self.streams.len() >= STREAMS_MAX {
            return self.tell(Told::Frame(frame::reset(id, ResetCode::Refused)));
        }
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let (reset, live) = (self.ended.child_token(), Arc::new(()));
        let reader = Reader {
            id,
            pieces,
            taken: 0,
            control: self.control.clone(),
            reset: reset.clone(),
            _live: Arc::clone(&live),
        };
        let open = Open { pieces: (!fin).then_some(sender), reset: reset.clone(), live: Arc::downgrade(&live) };
        let (frames, control) = (self.frames.clone(), self.control.clone());
        let writer = Writer { id, frames, control, reset, finished: false, _live: live };
        self.tell(Told::Reply(id))?;
        self.streams.insert(id, open);
        // A stream that is not taken is dropped, and so reset.
        let _ = self.accepted.try_send(Stream { id, headers, reader, writer });
        Ok(())
    }

    fn tell(&self, control: Told) -> Result<(), SpdyError> {
        self.control.try_send(control).map_err(|_| SpdyError::Flood)
    }
}
