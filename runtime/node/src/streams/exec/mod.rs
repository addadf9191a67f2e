//! Exec: a command beside a container. A wasm pod has no programs but its own, so this node answers a few itself, over
//! what the container has: its environment and its files. Any other name is that of a function the component exports.
//!
//! Not here: the files' world ([`files`]), archives ([`tar`]), calls of functions ([`program`]).

pub mod files;
pub mod program;
mod small;
mod tar;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::io::SyncIoBridge;
use wk_base::error::Chain;
use wk_engine::{Mounts, Pace, Usage, apart};
use wk_streams::relay::{Channel, Exec, Receiver, Sender};

use crate::streams::console::Console;
use crate::streams::end;
use crate::streams::exec::files::Files;
use crate::streams::terminal::{self, Key, Terminal};

/// Bytes of each of a command's streams that wait for the other side: a pipe's size.
const PIPE_BYTES: usize = 64 * 1024;
/// Read from a command at a time.
const PIECE_BYTES: usize = 32 * 1024;
/// Steps of a command for a probe or hook, which are taken at once, however little its container may have of the cores: some
/// eighty mebibytes that are read, or so many names. Those that only look at a file take ten.
const STEPS_MAX: u32 = 10_000;
const TOO_MUCH: &str = "ended: more work than a command of a probe or hook may make";
/// A command whose container has used up its quota sees after so long whether anybody waits for it still.
const REST_MAX: Duration = Duration::from_millis(100);
/// What a shell ends with when there is no such program.
pub(crate) const NOT_FOUND: i32 = 127;
/// What a shell ends with after Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Called before each step of a command: each piece that is read, each name. An error ends it.
type Step<'a> = &'a dyn Fn() -> io::Result<()>;

/// What a command works with.
pub(super) struct Process<'a> {
    pub(super) args: &'a [String],
    pub(super) env: &'a [(String, String)],
    pub(super) files: &'a Files,
    /// Who pays for what it opens.
    pub(super) usage: &'a Arc<Usage>,
    pub(super) step: Step<'a>,
    pub(super) stdin: &'a mut dyn Read,
    pub(super) stdout: &'a mut dyn Write,
    pub(super) stderr: &'a mut dyn Write,
}

/// Whether a command is answered by the node itself.
fn is_built_in(args: &[String]) -> bool {
    let name = args.first().and_then(|name| name.rsplit('/').next());
    matches!(name, Some("tar" | "test" | "[" | "ls" | "cat" | "env" | "printenv")) || rest_of_archive(args).is_some()
}

/// The one line for a shell that is understood: `tar cf - FILE | tail -c+N`, by which `kubectl cp --retries` goes on
/// with a copy that was cut off. The file, and the bytes that it has already.
fn rest_of_archive(args: &[String]) -> Option<(&str, u64)> {
    let [shell, option, line] = args else { return None };
    if shell != "sh" || option != "-c" {
        return None;
    }
    let (file, first) = line.strip_prefix("tar cf - ")?.rsplit_once(" | tail -c+")?;
    // Counted from one.
    Some((file, first.parse::<u64>().ok()?.saturating_sub(1)))
}

/// Reads in steps.
struct Stepped<'a, R> {
    from: R,
    step: Step<'a>,
}

impl<R: Read> Read for Stepped<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (self.step)()?;
        self.from.read(into)
    }
}

/// Leaves out the first bytes of what is written.
struct Rest<'a> {
    to: &'a mut dyn Write,
    left_out: u64,
}

impl Write for Rest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = usize::try_from(self.left_out).unwrap_or(usize::MAX).min(bytes.len());
        self.left_out -= skipped as u64;
        self.to.write_all(&bytes[skipped..])?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Runs a command and answers its exit code.
pub(super) fn command(process: &mut Process<'_>) -> io::Result<i32> {
    if let Some((file, left_out)) = rest_of_archive(process.args) {
        let args = ["tar", "cf", "-", file].map(str::to_owned);
        let mut stdout = Rest { to: &mut *process.stdout, left_out };
        let Process { env, files, usage, step, .. } = *process;
        return tar::run(&mut Process {
            args: &args,
            env,
            files,
            usage,
            step,
            stdin: &mut *process.stdin,
            stdout: &mut stdout,
            stderr: &mut *process.stderr,
        });
    }
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    match name.rsplit('/').next().unwrap_or_default() {
        "tar" => tar::run(process),
        "test" | "[" => small::test(process),
        "ls" => small::ls(process),
        "cat" => small::cat(process),
        "env" | "printenv" => small::env(process),
        _ => {
            writeln!(
                process.stderr,
                "exec: {name:?}: executable file not found: a wasm pod has no shell and no programs; \
                 what is answered here is cat, env, ls, tar and test"
            )?;
            Ok(NOT_FOUND)
        }
    }
}

/// The container's directories, with what is made late. What cannot be made is missing, as the guest would find.
async fn filled(console: &Console) -> Mounts {
    if let Err(error) = console.mounts.fill().await {
        tracing::debug!(%error, "a volume's files could not be made");
    }
    console.mounts.clone()
}

/// What a command is about, and who pays for it.
struct Command {
    args: Vec<String>,
    env: Vec<(String, String)>,
    mounts: Mounts,
    usage: Arc<Usage>,
}

impl Command {
    async fn of(console: &Console, args: &[String]) -> Self {
        let (env, mounts) = (console.env.to_vec(), filled(console).await);
        Self { args: args.to_vec(), env, mounts, usage: Arc::clone(&console.usage) }
    }

    /// Runs it to its end and answers its exit code. Blocks.
    fn run(&self, step: Step<'_>, stdin: &mut dyn Read, stdout: &mut dyn Write, stderr: &mut dyn Write) -> i32 {
        let files = match Files::open(&self.mounts) {
            Ok(files) => files,
            Err(error) => {
                let _ = writeln!(stderr, "exec: {}", Chain(&error));
                return 1;
            }
        };
        let Self { args, env, usage, .. } = self;
        let mut stdin = Stepped { from: stdin, step };
        let mut process = Process { args, env, files: &files, usage, step, stdin: &mut stdin, stdout, stderr };
        command(&mut process).unwrap_or_else(|error| {
            let _ = writeln!(process.stderr, "{error}");
            1
        })
    }
}

/// Pays for a step of a command, and rests as its container's quota says. An error once nobody waits for it any more. Blocks.
fn paid(pace: &mut Pace, gone: &AtomicBool) -> io::Result<()> {
    loop {
        if gone.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let Some(until) = pace.pay() else { return Ok(()) };
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()).min(REST_MAX));
    }
}

/// Runs a command for a client until it ends, or the client leaves. It keeps `place` until then, and where that takes a thread,
/// until that is done.
pub(super) async fn run(console: &Console, wanted: Exec, place: impl Send + 'static, mut from: Receiver, to: &Sender) {
    if let Some(program) = console.program().filter(|_| !is_built_in(&wanted.command)) {
        Box::pin(program::run(&program, wanted, from, to)).await;
        return drop(place);
    }
    let (stdin, command_in) = tokio::io::duplex(PIPE_BYTES);
    let (command_out, stdout) = tokio::io::duplex(PIPE_BYTES);
    let (command_err, stderr) = tokio::io::duplex(PIPE_BYTES);
    let command = Command::of(console, &wanted.command).await;
    let gone = Arc::new(AtomicBool::new(false));
    let _waiting = Waiting(Arc::clone(&gone));
    let running = tokio::task::spawn_blocking(move || {
        let mut stdin = SyncIoBridge::new(command_in);
        let (mut stdout, mut stderr) = (SyncIoBridge::new(command_out), SyncIoBridge::new(command_err));
        let pace = RefCell::new(Pace::begin(&command.usage));
        let step = || paid(&mut pace.borrow_mut(), &gone);
        let code = command.run(&step, &mut stdin, &mut stdout, &mut stderr);
        drop(place);
        code
    });
    let tty = wanted.tty;
    let (out, err) = (
        wanted.stdout.then_some(Channel::Stdout),
        match (wanted.stderr, tty) {
            (_, true) => wanted.stdout.then_some(Channel::Stdout),
            (true, false) => Some(Channel::Stderr),
            (false, false) => None,
        },
    );
    // Both to their end first, then how it ended. A client that leaves closes the pipes, which ends the command.
    let output = async {
        tokio::join!(copy(stdout, out, tty, to), copy(stderr, err, tty, to));
        running.await.unwrap_or(1)
    };
    let input = async {
        let leaves = input(&wanted, stdin, &mut from, to).await;
        if !leaves {
            // Sizes of the terminal go on; the client's end is seen by what it is sent.
            while let Ok(Some(_)) = from.next().await {}
            std::future::pending::<()>().await;
        }
    };
    let code = tokio::select! {
        code = output => code,
        () = input => INTERRUPTED,
        () = to.closed() => return,
    };
    end(to, code).await;
}

/// How a command ended that the node itself has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this code, after it wrote what begins like this.
    Code(i32, String),
    /// It did not begin, for there is none of its name, as the node says here. No guest has a part in it.
    Missing(String),
}

/// Runs a command that reads nothing to its end, and returns the start of what it wrote with how it ended. That is never far:
/// a probe that has timed out keeps no thread.
pub(crate) async fn once(console: &Console, args: &[String], bytes_max: usize) -> Ended {
    let start = |text: String| text.chars().take(bytes_max).collect();
    if let Some(program) = console.program().filter(|_| !is_built_in(args)) {
        return match program::once(&program, args).await {
            Ended::Code(code, text) => Ended::Code(code, start(text)),
            Ended::Missing(why) => Ended::Missing(start(why)),
        };
    }
    // What was done before is paid for first: this is done at once, whatever the container may have.
    while let Some(until) = console.usage.throttled() {
        tokio::time::sleep_until(until.into()).await;
    }
    let command = Command::of(console, args).await;
    let usage = Arc::clone(&command.usage);
    let work = move || {
        let left = Cell::new(STEPS_MAX);
        let step = || -> io::Result<()> {
            let next = left.get().checked_sub(1).ok_or_else(|| io::Error::other(TOO_MUCH))?;
            left.set(next);
            Ok(())
        };
        let start = || Start { bytes: Vec::new(), bytes_max };
        let (mut stdout, mut stderr) = (start(), start());
        let code = command.run(&step, &mut io::empty(), &mut stdout, &mut stderr);
        stdout.bytes.append(&mut stderr.bytes);
        let text = String::from_utf8_lossy(&stdout.bytes).into_owned();
        if code == NOT_FOUND { Ended::Missing(text) } else { Ended::Code(code, text) }
    };
    apart(&usage, work).await
}

/// Whoever waits for a command's end. Dropping it says that nobody does any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keeps the start of what is written, and lets the rest go.
struct Start {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Start {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.bytes_max.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes the client's input on until it ends; true when it was interrupted.
async fn input(wanted: &Exec, mut stdin: DuplexStream, from: &mut Receiver, to: &Sender) -> bool {
    if !wanted.stdin {
        return false;
    }
    let mut terminal = wanted.tty.then(Terminal::default);
    while let Ok(Some(frame)) = from.next().await {
        if frame.channel != Channel::Stdin {
            continue;
        }
        if frame.data.is_empty() {
            return false;
        }
        let keys = match &mut terminal {
            Some(terminal) => terminal.keys(&frame.data),
            None => vec![Key::Line(frame.data.to_vec())],
        };
        for key in keys {
            match key {
                Key::Echo(shown) => drop(to.send(Channel::Stdout, shown).await),
                Key::Line(line) if stdin.write_all(&line).await.is_ok() => {}
                // The command reads no more.
                Key::Line(_) | Key::End => return false,
                Key::Interrupt => return true,
            }
        }
    }
    false
}

async fn copy(mut from: impl AsyncRead + Unpin, channel: Option<Channel>, tty: bool, to: &Sender) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(length) = from.read(&mut piece).await {
        if length == 0 {
            return;
        }
        let Some(channel) = channel else { continue };
        let data = if tty { terminal::printed(&piece[..length]) } else { Bytes::copy_from_slice(&piece[..length]) };
        if to.send(channel, data).await.is_err() {
            return;
        }
    }
}
