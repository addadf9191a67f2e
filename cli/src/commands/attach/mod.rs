//! `wk exec` and `wk attach`: the three streams of a program in a pod, through kube's WebSocket client.

mod terminal;

use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use futures::SinkExt as _;

use super::pods;
use crate::args::{AttachArgs, ExecArgs};
use crate::client::Client;
use crate::exit::{Code, ExitError};
use crate::fields::name;
use crate::render::Ui;
use terminal::RawMode;

/// Bytes passed on at once.
const CHUNK: usize = 32 << 10;

/// Pieces of standard input that wait for the network: the reader stops when they are that many.
const INPUT_WAITING: usize = 4;

/// Runs a program in a pod.
pub(super) async fn exec(client: &Client, args: &ExecArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let (pod, container) = chosen(client, &args.attach, ui).await?;
    let raw = raw_mode(&args.attach, ui);
    let params = params(&args.attach, &container, raw.is_some());
    let path = format!("pods/{pod}/exec");
    let started = client.pods().exec(&pod, args.command.clone(), &params).await;
    let process = started.map_err(|error| client.explained(&path, error).context(format!("exec in pod {pod}")))?;
    converse(process, &params, raw, ui).await
}

/// Connects to the program of a pod.
pub(super) async fn attach(client: &Client, args: &AttachArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let (pod, container) = chosen(client, args, ui).await?;
    let raw = raw_mode(args, ui);
    let params = params(args, &container, raw.is_some());
    if !args.quiet {
        ui.note(&format!("attached to {container} of pod {pod}; what it wrote before is in `wk logs {pod}`"));
    }
    let path = format!("pods/{pod}/attach");
    let started = client.pods().attach(&pod, &params).await;
    let process = started.map_err(|error| client.explained(&path, error).context(format!("attach to pod {pod}")))?;
    converse(process, &params, raw, ui).await
}

/// The pod and the container meant.
async fn chosen(client: &Client, args: &AttachArgs, ui: &mut Ui) -> anyhow::Result<(String, String)> {
    let found = pods::meant(client, &args.target).await?.pods;
    let pod = pods::one(found).ok_or_else(|| ExitError::new(Code::NotFound, format!("{} has no pods", args.target)))?;
    let name = name(&pod).to_owned();
    let known = pods::containers(&pod);
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        let message = format!("pod {name} has ended ({phase}); `wk logs {name}` shows what it wrote");
        return Err(ExitError::new(Code::Conflict, message).into());
    }
    let container = match &args.container {
        Some(wanted) if !known.contains(&wanted.as_str()) => {
            let message = format!("pod {name} has no container {wanted:?}; it has {}", known.join(", "));
            return Err(ExitError::new(Code::NotFound, message).into());
        }
        Some(wanted) => wanted.clone(),
        None => {
            let container = pods::container(&pod).unwrap_or_default().to_owned();
            if known.len() > 1 && !args.quiet {
                ui.note(&format!("in container {container} of {}", known.join(", ")));
            }
            container
        }
    };
    Ok((name, container))
}

/// The terminal, if one is wanted and there.
fn raw_mode(args: &AttachArgs, ui: &mut Ui) -> Option<RawMode> {
    if !args.tty {
        return None;
    }
    let raw = args.stdin.then(RawMode::enter).flatten();
    if raw.is_none() {
        ui.note("standard input is no terminal, so -t has no effect");
    }
    raw
}

fn params(args: &AttachArgs, container: &str, tty: bool) -> AttachParams {
    // On a terminal both outputs are one.
    AttachParams {
        container: Some(container.to_owned()),
        stdin: args.stdin,
        stdout: true,
        stderr: !tty,
        tty,
        ..AttachParams::default()
    }
}

/// Passes everything on until the program ends.
async fn converse(
    mut process: AttachedProcess,
    params: &AttachParams,
    raw: Option<RawMode>,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let status = process.take_status();
    if let Some(stdin) = process.stdin().filter(|_| params.stdin) {
        tokio::spawn(feed(stdin, keyboard()));
    }
    if let Some(sizes) = process.terminal_size() {
        tokio::spawn(report_size(sizes));
    }
    let (mut stdout, mut stderr) = (process.stdout(), process.stderr());
    let (mut from_out, mut from_err) = (vec![0; CHUNK], vec![0; CHUNK]);
    while stdout.is_some() || stderr.is_some() {
        tokio::select! {
            read = some(&mut stdout, &mut from_out), if stdout.is_some() => match read? {
                0 => stdout = None,
                length => ui.data(&from_out[..length])?,
            },
            read = some(&mut stderr, &mut from_err), if stderr.is_some() => match read? {
                0 => stderr = None,
                length => ui.talk(&from_err[..length]),
            },
        }
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    drop(raw);
    ended(status.and_then(|status| serde_json::to_value(status).ok()))
}

async fn some(stream: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match stream {
        Some(stream) => stream.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// What the end of a program means for us.
fn ended(status: Option<Value>) -> anyhow::Result<()> {
    let Some(status) = status else {
        return Err(ExitError::new(Code::Unreachable, "the connection broke before the program ended").into());
    };
    let text =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text(&status, "/status") != "Failure" {
        return Ok(());
    }
    let causes = status.pointer("/details/causes").and_then(Value::as_array);
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| text(cause, "/reason") == "ExitCode")
        .map(|cause| text(cause, "/message"));
    match code.and_then(|code| code.parse::<u8>().ok()) {
        Some(code) => Err(ExitError::quiet(Code::Program(code)).into()),
        None => Err(ExitError::new(Code::General, text(&status, "/message")).into()),
    }
}

/// Standard input in pieces. It is read by a thread of its own that nobody waits for: a read of a terminal cannot be
/// given up.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    use std::io::Read as _;
    let (sender, receiver) = mpsc::channel(INPUT_WAITING);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        let mut stdin = std::io::stdin().lock();
        while let Ok(length @ 1..) = stdin.read(&mut buffer) {
            if sender.blocking_send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Passes the pieces on; at their end the program reads the end of its input.
async fn feed(mut stdin: impl tokio::io::AsyncWrite + Unpin, mut pieces: mpsc::Receiver<Vec<u8>>) {
    while let Some(piece) = pieces.recv().await {
        if stdin.write_all(&piece).await.is_err() {
            return;
        }
    }
    stdin.shutdown().await.ok();
}

/// Tells the other side how large the terminal is, now and whenever that changes.
async fn report_size(mut sizes: futures::channel::mpsc::Sender<TerminalSize>) {
    let Ok(mut changed) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()) else { return };
    loop {
        if let Some((width, height)) = terminal::size()
            && sizes.send(TerminalSize { width, height }).await.is_err()
        {
            return;
        }
        if changed.recv().await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn end_of_the_program_is_our_end() {
        assert!(ended(Some(json!({"status": "Success"}))).is_ok());
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with non-zero exit code",
            "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}});
        assert_eq!(crate::exit::code_of(&ended(Some(failed)).expect_err("failed")), Code::Program(3));
        let refused = ended(Some(json!({"status": "Failure", "message": "no such program"}))).expect_err("refused");
        assert_eq!(refused.to_string(), "no such program");
        assert_eq!(crate::exit::code_of(&ended(None).expect_err("broke")), Code::Unreachable);
    }
}
