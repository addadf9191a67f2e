//! The node's side of the compiling process: starts it, gives it the module, takes the code, and never waits for ever.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::worker::{CODE, Header, REFUSAL};
use super::{CODE_BYTES_MAX, CompileLimits};
use crate::prepare::PrepareError;
use crate::target::Settings;

/// What is kept of what a dying compiler says.
const COMPLAINT_BYTES_MAX: u64 = 2048;

pub(super) async fn compile(
    program: &Path,
    arguments: &[String],
    limits: CompileLimits,
    settings: &Settings,
    wasm: &[u8],
) -> Result<Vec<u8>, PrepareError> {
    let failed = |message: String| PrepareError::Compiler { message };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("start the compiling process: {error}")))?;
    let missing = || failed("the compiling process has no pipes".into());
    let mut input = child.stdin.take().ok_or_else(missing)?;
    let (output, complaint) = (child.stdout.take().ok_or_else(missing)?, child.stderr.take().ok_or_else(missing)?);
    let header = Header { profile: settings.profile.clone(), sum: settings.sum, limits };
    let header = serde_json::to_vec(&header).map_err(|error| failed(error.to_string()))?;

    let give = async move {
        // A worker that dies early says why in how it ends, not in how its pipe breaks.
        let _ = input.write_all(&header).await;
        let _ = input.write_all(b"\n").await;
        let _ = input.write_all(wasm).await;
    };
    let all = async {
        let ((), answer, complaint) =
            tokio::join!(give, read(output, CODE_BYTES_MAX + 1), read(complaint, COMPLAINT_BYTES_MAX));
        (answer, complaint, child.wait().await)
    };
    let exhausted = |message: String| PrepareError::CompileLimit { message };
    let (answer, complaint, status) = tokio::time::timeout(limits.wall(), all)
        .await
        .map_err(|_| exhausted(format!("it was not done within {:?}", limits.wall())))?;
    let status = status.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(end(status, &String::from_utf8_lossy(&complaint), limits));
    }
    match answer.split_first() {
        Some((&CODE, code)) if code.len() as u64 <= CODE_BYTES_MAX => Ok(code.to_vec()),
        Some((&REFUSAL, refusal)) => {
            Err(serde_json::from_slice(refusal).unwrap_or_else(|error| failed(error.to_string())))
        }
        _ => Err(failed("it answered what is neither code nor a refusal".into())),
    }
}

async fn read(from: impl AsyncRead + Unpin, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.take(limit).read_to_end(&mut bytes).await;
    bytes
}

/// Why a worker died, in words for whoever deployed the module.
fn end(status: ExitStatus, complaint: &str, limits: CompileLimits) -> PrepareError {
    // What Rust says to those who debug a program is no reason.
    let is_reason = |line: &&str| !line.trim().is_empty() && !line.starts_with("note: ");
    let last = complaint.lines().rfind(is_reason).unwrap_or_default();
    let exhausted = |message: String| PrepareError::CompileLimit { message };
    let failed = |message: String| PrepareError::Compiler { message };
    match status.signal() {
        Some(signal) if signal == Signal::XCPU.as_raw() => {
            exhausted(format!("it used more than {} s of processor time", limits.cpu_seconds))
        }
        // Not its own limit: whatever else needs memory now, compilers are the first to go.
        Some(signal) if signal == Signal::KILL.as_raw() => {
            failed(format!("it was killed, as it is when the machine runs out of memory ({status})"))
        }
        Some(_) if complaint.contains("memory") => {
            exhausted(format!("it needed more memory than the {} MiB that a compiler may have", limits.memory() >> 20))
        }
        Some(_) => failed(format!("it ended with {status}: {last}")),
        None => failed(format!("the compiling process ended with {status}: {last}")),
    }
}
