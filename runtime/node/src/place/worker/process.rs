//! A worker's process before it has anything to do, and while it is watched.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::link::StartError;
use crate::worker::door::Door;
use crate::worker::wire::{self, Preparation};

/// What of this process' environment a worker gets: what it writes to the log.
const PASSED_ON: &[&str] = &["WK_LOG", "RUST_BACKTRACE"];

/// Of what one worker says, so much is put into the node's log: a panic with its backtrace, a few times.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// What program a worker is.
#[derive(Debug, Clone)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Program {
    /// This very program with the arguments `args`. It is named by what runs, so that a file replaced on disk meanwhile
    /// is not started.
    pub fn itself(args: &[&str]) -> Self {
        Self { path: "/proc/self/exe".into(), args: args.iter().map(|&arg| arg.to_owned()).collect() }
    }
}

/// A process that waits for its assignment.
pub(super) struct Spare {
    child: Child,
    door: Door,
}

impl Spare {
    /// Starts one and has it make its engine.
    pub(super) fn start(program: &Program, preparation: &Preparation) -> Result<Self, StartError> {
        let (door, theirs) = Door::pair().map_err(StartError::Spawn)?;
        let mut command = Command::new(&program.path);
        command.arg0("wk").args(&program.args).env_clear().current_dir("/");
        command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(StartError::Spawn)?;
        if let (Some(said), Some(pid)) = (child.stderr.take(), child.id()) {
            tokio::spawn(pass_on(said, pid));
        }
        door.send(&wire::encode(preparation), &[]).map_err(StartError::Sockets)?;
        Ok(Self { child, door })
    }

    /// Whether it is still there.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Hands it a message and sockets.
    pub(super) fn send(&self, message: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.door.send(message, sockets)
    }

    /// The process and its door, from now on apart.
    pub(super) fn split(self) -> (Child, Door) {
        (self.child, self.door)
    }
}

/// Puts what a worker says of itself into the node's log. Only so much: whoever has broken into it shall not fill a disk.
async fn pass_on(said: ChildStderr, pid: u32) {
    let mut lines = BufReader::new(said.take(SAID_BYTES_MAX)).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::warn!(pid, "{line}");
    }
    let mut rest = lines.into_inner().into_inner().into_inner();
    // Else it would wait for a reader.
    let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
}

/// Owns the process: ends it when `dead` fires, which it also does when the process ends by itself, and tells how it went.
pub(super) async fn watch_over(mut child: Child, dead: CancellationToken, fate: watch::Sender<Option<String>>) {
    let waited = dead.run_until_cancelled(child.wait()).await;
    let ended = if let Some(ended) = waited {
        ended
    } else {
        // It closed its sockets, or is not wanted any more. If it is ending already, how stays as it is.
        let _ = child.start_kill();
        child.wait().await
    };
    let told = match ended {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    fate.send_replace(Some(told));
    dead.cancel();
}
