//! Attach: a container's own output from now on, and its input if it has one.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use wk_streams::relay::{Channel, Exec, Receiver, Sender};

use crate::logs::Stream;
use crate::streams::console::Console;
use crate::streams::end;
use crate::streams::terminal::{self, Key, Terminal};

/// How a terminal's user leaves: a guest takes no signals.
const DETACHED: &[u8] = b"\r\n[detached: the container runs on, wasm takes no signals]\r\n";

/// Runs until the container's run ends, or the client leaves.
pub(super) async fn run(console: Arc<Console>, wanted: Exec, mut from: Receiver, to: Sender) {
    let Some(watcher) = console.watch() else {
        let _ = to.send(Channel::Stderr, Bytes::from_static(b"too many clients are attached already\n")).await;
        return end(&to, 1).await;
    };
    let tty = wanted.tty && console.tty;
    let output = async {
        while let Some(pieces) = watcher.next().await {
            for (stream, data) in pieces {
                let data = if tty { terminal::printed(&data) } else { data };
                let sent = match stream {
                    Stream::Err if wanted.stderr && !tty => to.send(Channel::Stderr, data).await,
                    Stream::Out if wanted.stdout => to.send(Channel::Stdout, data).await,
                    Stream::Err if tty && wanted.stdout => to.send(Channel::Stdout, data).await,
                    Stream::Out | Stream::Err => Ok(()),
                };
                if sent.is_err() {
                    return;
                }
            }
        }
        end(&to, 0).await;
    };
    let input = async {
        match input(&console, &wanted, tty, &mut from, &to).await {
            // The client's input is over, or nobody reads it: its output goes on.
            Ok(Left::Stays) => while let Ok(Some(_)) = from.next().await {},
            Ok(Left::Leaves) => {
                let _ = to.send(Channel::Stdout, Bytes::from_static(DETACHED)).await;
                end(&to, 0).await;
            }
            Err(_) => {}
        }
    };
    tokio::select! {
        () = output => {}
        () = input => {}
        () = to.closed() => {}
    }
}

/// What a client does after its input.
enum Left {
    Stays,
    Leaves,
}

/// Passes the client's input on until it ends; an error when the client is gone.
async fn input(console: &Console, wanted: &Exec, tty: bool, from: &mut Receiver, to: &Sender) -> io::Result<Left> {
    let Some(pipe) = console.input().filter(|_| wanted.stdin) else { return Ok(Left::Stays) };
    let mut terminal = tty.then(Terminal::default);
    loop {
        let frame = from.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if frame.channel != Channel::Stdin {
            continue;
        }
        if frame.data.is_empty() {
            if console.stdin_once {
                pipe.lock().await.take();
            }
            return Ok(Left::Stays);
        }
        let mut pipe = pipe.lock().await;
        let Some(terminal) = &mut terminal else {
            put(&mut pipe, &frame.data).await;
            continue;
        };
        for key in terminal.keys(&frame.data) {
            match key {
                Key::Echo(shown) => to.send(Channel::Stdout, shown).await?,
                Key::Line(line) => put(&mut pipe, &line).await,
                Key::End => drop(pipe.take()),
                Key::Interrupt => return Ok(Left::Leaves),
            }
        }
    }
}

/// Writes to the guest; a guest that reads no more loses it, as the writer of a closed pipe does.
async fn put(pipe: &mut Option<DuplexStream>, data: &[u8]) {
    if let Some(writer) = pipe
        && writer.write_all(data).await.is_err()
    {
        *pipe = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use wk_streams::relay;

    use super::*;
    use crate::spec::ContainerSpec;
    use crate::streams::console::Consoles;
    use wk_engine::{CpuLimits, MemoryBytes, Mounts, Usage, Variables};

    #[tokio::test]
    async fn a_client_writes_to_the_container_reads_it_and_is_told_its_end() {
        let spec = ContainerSpec { stdin: true, stdin_once: true, ..ContainerSpec::default() };
        let usage = Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
        let (console, source) = Console::new(&spec, Variables::default(), Mounts::default(), &usage);
        let registered = Consoles::default().insert(&"u".into(), &console);
        let (client, input) = relay::channel();
        let (sender, output) = relay::channel();
        let wanted = Exec { stdin: true, stdout: true, ..Exec::default() };
        let session = tokio::spawn(run(Arc::clone(&console), wanted, Receiver::new(input), sender));
        client.send(Channel::Stdin, Bytes::from_static(b"hello")).await.unwrap();
        client.end(Channel::Stdin).await.unwrap();
        let mut read = String::new();
        source.unwrap().read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "hello");
        console.write(Stream::Out, b"answer");
        console.write(Stream::Err, b"not wanted");
        let mut output = Receiver::new(output);
        let first = output.next().await.unwrap().unwrap();
        assert_eq!((first.channel, &*first.data), (Channel::Stdout, &b"answer"[..]));
        drop(registered);
        let last = output.next().await.unwrap().unwrap();
        assert_eq!(last.channel, Channel::Error);
        assert!(String::from_utf8_lossy(&last.data).contains("Success"));
        session.await.unwrap();
    }
}
