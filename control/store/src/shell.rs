//! The threads of a peer. One owns the [`Peer`] and runs a loop; a second one owns the log, so that the next batch is
//! replicated while this one is written; a third one does the slow work with snapshots. It decides nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::core::Fatal;
use crate::log::files::{self, Files};
use crate::log::{self, Log};
use crate::options::Transport;
use crate::peer::{Input, Output, Peer};
use crate::room::Room;
use crate::shared::Shared;

/// Events taken together at most, so that a tick is never late by more than their handling.
const BATCH: usize = 2048;

/// Ticks made up for after the thread was held up. More would start elections that no silence of the leader caused.
const TICKS_LATE: u32 = 2;

/// Jobs that wait for the log, or for the worker beside it. Each is a batch of up to a thousand writes: a disk that is so
/// far behind holds up the peer instead of filling the memory.
const JOBS: usize = 64;

/// How long to wait for word of a worker whose queue is full, before another look at the queue.
const FULL: Duration = Duration::from_millis(10);

/// What can happen to the loop.
pub(crate) enum Event {
    /// Something for the peer.
    Input(Input),
    /// A worker has something to tell.
    Nudge,
    /// The end.
    Stop,
}

/// What a worker tells: something for the peer, or that the disk failed.
type Told = Result<Input, String>;

/// A thread that carries out jobs in order.
struct Worker<Job> {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Stop,
}

/// What the thread owns.
pub(crate) struct Shell {
    peer: Peer,
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    events: Receiver<Event>,
    told: Receiver<Told>,
    /// Told while jobs were ordered: no more than there were jobs.
    heard: VecDeque<Told>,
    log: Worker<log::Job>,
    files: Worker<files::Job>,
    /// Whether snapshots find room on the disk.
    snapshots: Arc<Room>,
}

impl Shell {
    /// Starts the workers. `nudge` is the other end of `events`.
    pub(crate) fn new(
        peer: Peer,
        (mut log, mut files): (Log, Files),
        shared: Arc<Shared>,
        transport: Arc<dyn Transport>,
        (nudge, events): (SyncSender<Event>, Receiver<Event>),
    ) -> std::io::Result<Self> {
        // Each job is told of once, and both workers may hold one more.
        let (tell, told) = mpsc::sync_channel(2 * JOBS + 2);
        let snapshots = Arc::new(Room::waiting());
        log.wait_for(Arc::clone(&shared.room));
        files.wait_for(Arc::clone(&snapshots));
        let log = Worker::start(
            "wk-store-log",
            Speaker { tell: tell.clone(), nudge: nudge.clone() },
            write_log(log, Arc::clone(&shared)),
        )?;
        let files = Worker::start("wk-store-files", Speaker { tell, nudge }, carry_out_files(files))?;
        Ok(Self { peer, shared, transport, events, told, heard: VecDeque::new(), log, files, snapshots })
    }

    /// Runs until the end. Whoever still waits then is told.
    pub(crate) fn run(mut self) {
        let end = panic::catch_unwind(AssertUnwindSafe(|| self.work()));
        let failure = match end {
            Ok(Ok(())) => None,
            Ok(Err(Fatal(why))) => Some(why),
            Err(panic) => Some(format!("an invariant broke: {}", text_of(&*panic))),
        };
        if let Some(why) = &failure {
            tracing::error!(%why, "the store gave up; this peer takes no part in it any more");
        }
        let last = panic::catch_unwind(AssertUnwindSafe(|| self.peer.end(failure.as_deref(), Instant::now())));
        for output in last.unwrap_or_default() {
            if let Output::Send { to, message } = output {
                self.transport.send(to, message);
            }
        }
        while let Ok(event) = self.events.try_recv() {
            refuse(event);
        }
        let Self { log, files, told, shared, snapshots, .. } = self;
        // Nobody hears what they tell now, which they take for their end; nor does anybody wait for room.
        drop(told);
        shared.room.close();
        snapshots.close();
        log.stop();
        files.stop();
    }

    fn work(&mut self) -> Result<(), Fatal> {
        self.flush()?;
        self.peer.publish_status(true);
        let mut next_tick = Instant::now() + self.shared.timing.tick;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            let mut go = match self.events.recv_timeout(wait) {
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => Go::On,
                // All handles are gone.
                Err(RecvTimeoutError::Disconnected) => Go::Stop,
            };
            for _ in 1..BATCH {
                match self.events.try_recv() {
                    Ok(event) if go == Go::On => go = self.handle(event)?,
                    Ok(event) => refuse(event),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            if go == Go::Stop {
                return Ok(());
            }
            self.listen()?;
            let now = Instant::now();
            let is_tick = next_tick <= now;
            for _ in 0..TICKS_LATE {
                if next_tick <= now {
                    self.peer.handle(Input::Tick, now)?;
                    next_tick += self.shared.timing.tick;
                }
            }
            next_tick = next_tick.max(now);
            self.flush()?;
            self.peer.publish_status(is_tick);
        }
    }

    fn handle(&mut self, event: Event) -> Result<Go, Fatal> {
        match event {
            Event::Input(input) => self.peer.handle(input, Instant::now())?,
            Event::Nudge => {}
            Event::Stop => return Ok(Go::Stop),
        }
        Ok(Go::On)
    }

    /// Hears what the workers tell.
    fn listen(&mut self) -> Result<(), Fatal> {
        while let Some(told) = self.heard.pop_front().or_else(|| self.told.try_recv().ok()) {
            self.peer.handle(told.map_err(Fatal)?, Instant::now())?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fatal> {
        let (begun, before) = (Instant::now(), self.shared.histories.applied());
        let outputs = self.peer.flush(begun)?;
        if self.shared.histories.applied() != before {
            self.shared.metrics.apply_seconds.observe(begun.elapsed().as_secs_f64());
        }
        for output in outputs {
            match output {
                Output::Send { to, message } => self.transport.send(to, message),
                Output::Log(job) => Self::order(&self.log, job, &self.told, &mut self.heard)?,
                Output::Files(job) => Self::order(&self.files, job, &self.told, &mut self.heard)?,
            }
        }
        Ok(())
    }

    /// Waits while too many jobs wait: there is nothing better to do than to let the disk catch up. What the workers tell
    /// meanwhile is kept, so that they never wait for the loop while it waits for them.
    fn order<Job>(
        worker: &Worker<Job>,
        mut job: Job,
        told: &Receiver<Told>,
        heard: &mut VecDeque<Told>,
    ) -> Result<(), Fatal> {
        loop {
            job = match worker.jobs.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(job)) => job,
                Err(TrySendError::Disconnected(_)) => {
                    heard.extend(told.try_iter());
                    // It told why before it ended.
                    let why = heard.drain(..).find_map(Result::err);
                    let ended = || format!("the thread {:?} ended", worker.thread.thread().name());
                    return Err(Fatal(why.unwrap_or_else(ended)));
                }
            };
            heard.extend(told.recv_timeout(FULL));
        }
    }
}

/// How a worker tells the loop.
struct Speaker {
    tell: SyncSender<Told>,
    nudge: SyncSender<Event>,
}

impl Speaker {
    /// False when the loop has ended.
    fn say(&self, told: Told) -> bool {
        let is_heard = self.tell.send(told).is_ok();
        // A full queue means that the loop is awake.
        let _ = self.nudge.try_send(Event::Nudge);
        is_heard
    }
}

impl<Job: Send + 'static> Worker<Job> {
    fn start(
        name: &str,
        speaker: Speaker,
        mut work: impl FnMut(&Receiver<Job>, Job) -> Result<Vec<Input>, String> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel(JOBS);
        let run = move || {
            while let Ok(job) = waiting.recv() {
                let told = or_panic(|| work(&waiting, job));
                let (inputs, failed) = match told {
                    Ok(inputs) => (inputs, None),
                    Err(why) => (Vec::new(), Some(why)),
                };
                let is_heard = inputs.into_iter().all(|input| speaker.say(Ok(input)));
                let is_failed = failed.is_some_and(|why| {
                    speaker.say(Err(why));
                    true
                });
                // After an error of the disk nothing more is written: what reached it is unknown.
                if is_failed || !is_heard {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { jobs, thread })
    }

    fn stop(self) {
        drop(self.jobs);
        let _ = self.thread.join();
    }
}

/// Takes all jobs that wait: one fsync carries them.
fn write_log(
    mut log: Log,
    shared: Arc<Shared>,
) -> impl FnMut(&Receiver<log::Job>, log::Job) -> Result<Vec<Input>, String> {
    move |waiting, first| {
        let jobs: Vec<_> = std::iter::once(first).chain(waiting.try_iter().take(JOBS)).collect();
        let entries: usize = jobs.iter().map(log::Job::entries).sum();
        let begun = Instant::now();
        let written = log.carry_out(jobs);
        if entries > 0 {
            shared.metrics.fsync_seconds.observe(begun.elapsed().as_secs_f64());
            shared.metrics.batch_entries.observe(entries as f64);
        }
        let written = written.map_err(|error| format!("write the log in {}: {error}", log.dir().display()))?;
        Ok(written.map(Input::Written).into_iter().collect())
    }
}

fn carry_out_files(mut files: Files) -> impl FnMut(&Receiver<files::Job>, files::Job) -> Result<Vec<Input>, String> {
    move |_, job| Ok(vec![Input::Files(files.carry_out(job)?)])
}

/// Tells whoever waits for `event` that nobody will handle it.
fn refuse(event: Event) {
    match event {
        Event::Input(input) => input.refuse(),
        Event::Nudge | Event::Stop => {}
    }
}

/// What `act` returns, or that it panicked: whoever waits for it hears of it either way.
fn or_panic<T>(act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(format!("an invariant broke: {}", text_of(&*panic))))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no words for it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_is_reported_as_failed() {
        let failed: Result<(), String> = or_panic(|| panic!("no room"));
        assert_eq!(failed, Err("an invariant broke: no room".to_owned()));
    }
}
