//! A command in a worker, or a call of a function there, from start to end; and where the words of containers go.

use std::fs::File;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::StreamBody;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use wk_base::body::{self, Body, BoxError};
use wk_engine::{Exit, Failure, Input, InvokeError, Record, Sandbox, Stream, Used, disk_refused};

use super::link::Link;
use super::{Class, Code, Workers};
use crate::place::FailureSink;
use crate::worker::frames::{Frame, Full, Reader};
use crate::worker::wire::{self, Given, Job, Kept, Start};

/// Does a job to its end, or until `cancel`. An error is why it could not begin.
pub(crate) async fn run(
    workers: &Workers,
    class: &Class,
    job: Job,
    code: Code,
    sandbox: Sandbox,
    cancel: CancellationToken,
) -> Result<Exit, InvokeError> {
    cancel.run_until_cancelled(to_end(workers, class, job, code, sandbox)).await.unwrap_or(Ok(Exit::Cancelled))
}

async fn to_end(workers: &Workers, class: &Class, job: Job, code: Code, sandbox: Sandbox) -> Result<Exit, InvokeError> {
    let link = workers.link(class).await.map_err(InvokeError::Place)?;
    let (given, mut kept) = Given::of(sandbox);
    let number = link.number();
    let given = if matches!(job, Job::Call(..)) { given.beside() } else { given };
    let start = wire::with_length(&Start { number, job, digest: code.digest, given });
    let (input, answers) = (kept.input.take(), kept.answers.clone());
    let teller = Teller::new(kept, None);
    match follow(&link, number, &code.file, answers, with_input(start, input.as_ref()), teller).await {
        Some(ended) => ended,
        // What broke is no use any more, whatever broke it.
        None => Ok(Exit::Failed(Failure::Crashed(link.broke("it said what makes no sense").await))),
    }
}

/// Until the worker tells how it ended; None when that breaks.
async fn follow(
    link: &Link,
    number: u64,
    code: &File,
    answers: wire::Answers,
    body: Body,
    mut teller: Teller,
) -> Option<Result<Exit, InvokeError>> {
    let (frames, _asking) = link.start(number, code, answers, body).await?;
    let mut frames = Reader::new(frames);
    loop {
        match frames.frame().await {
            Ok(Some(Frame::Ended(exit))) => return Some(Ok(exit)),
            Ok(Some(Frame::Refused(why))) => return Some(Err(InvokeError::Place(why))),
            Ok(Some(Frame::NotCalled(error))) => return Some(Err(error)),
            Ok(Some(frame)) => teller.tell(frame),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// What starts the command, and then what it reads.
fn with_input(start: Bytes, input: Option<&Input>) -> Body {
    let Some(source) = input.and_then(Input::take) else { return body::full(start) };
    let start = futures::stream::once(async { Ok(start) });
    let pieces = start.chain(ReaderStream::new(source));
    let frames = pieces.map(|piece| piece.map(http_body::Frame::data).map_err(BoxError::from));
    body::boxed(StreamBody::new(frames))
}

/// Passes on what a container tells, to where its sandbox said.
pub(super) struct Teller {
    kept: Kept,
    failed: Option<FailureSink>,
    /// What its process has told of its use until now.
    used: Used,
}

impl Teller {
    pub(super) fn new(kept: Kept, failed: Option<FailureSink>) -> Self {
        Self { kept, failed, used: Used::default() }
    }

    pub(super) fn tell(&mut self, frame: Frame) {
        let output = &self.kept.output;
        match frame {
            Frame::Output(stream, piece) => output.write(stream, &piece),
            Frame::Log(message) => {
                let (context, text) = (message.context.as_str(), message.message.as_str());
                output.log(&Record { level: message.level, context, message: text });
            }
            Frame::Lost(bytes) => {
                let note = format!("\nwk: {bytes} bytes of output lost: they came faster than they were written\n");
                output.write(Stream::Err, note.as_bytes());
            }
            Frame::Used(now) => self.count(now),
            Frame::Full(Full { mount, used }) => {
                // One that was given no limit cannot be full.
                let mount = self.kept.mounts.list().get(mount).filter(|mount| mount.limit.is_some());
                if let Some(mount) = mount {
                    disk_refused(&mount.root, used);
                }
            }
            Frame::Failed(failure) => {
                if let Some(failed) = &self.failed {
                    self.kept.usage.failure();
                    failed(&failure);
                }
            }
            Frame::Started | Frame::Refused(_) | Frame::NotCalled(_) | Frame::Ended(_) => {}
        }
    }

    fn count(&mut self, now: Used) {
        self.kept.usage.take_over(&self.used, &now);
        self.used = now;
    }
}

impl Drop for Teller {
    /// With its process goes what the container held.
    fn drop(&mut self) {
        self.count(Used { memory: 0, instances: 0, ..self.used });
    }
}
