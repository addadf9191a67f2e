//! A `wasi:cli/command` 0.3 that uses files and the network as its arguments say, and prints what came of it:
//!
//! `write PATH COUNT`, `append PATH TEXT`, `read PATH`, `list PATH`, `hoard PATH COUNT`, `make PATH`, `size PATH COUNT`,
//! `move FROM TO`, `remove PATH`, `lookup NAME`, `tcp NAME:PORT TEXT`, `serve PORT`, `udp NAME:PORT TEXT`.

mod files;
mod sockets;

use wasip3::cli::{environment, stdout};
use wasip3::wit_stream;

wasip3::cli::command::export!(Guest);

struct Guest;

impl wasip3::exports::cli::run::Guest for Guest {
    async fn run() -> Result<(), ()> {
        let arguments = environment::get_arguments();
        let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
        let text = match act(&words).await {
            Ok(text) => format!("{text}\n"),
            Err(error) => format!("error {error}\n"),
        };
        let (mut writer, reader) = wit_stream::new();
        let printed = stdout::write_via_stream(reader);
        wasip3::wit_bindgen::spawn_local(async move {
            writer.write_all(text.into_bytes()).await;
        });
        printed.await.map_err(|_| ())
    }
}

async fn act(words: &[&str]) -> Result<String, String> {
    match words {
        ["write", path, count] => files::write(path, vec![b'x'; number(count)?], Some(0)).await,
        ["append", path, text] => files::write(path, text.as_bytes().to_vec(), None).await,
        ["read", path] => files::read(path).await,
        ["list", path] => files::list(path).await,
        ["hoard", path, count] => files::hoard(path, number(count)?).await,
        ["make", path] => files::make(path).await,
        ["size", path, count] => files::size(path, number(count)? as u64).await,
        ["move", from, to] => files::rename(from, to).await,
        ["remove", path] => files::remove(path).await,
        ["lookup", name] => sockets::look_up(name).await,
        ["tcp", to, text] => sockets::tcp(to, text).await,
        ["serve", port] => sockets::serve(number(port)? as u16).await,
        ["udp", to, text] => sockets::udp(to, text).await,
        other => Err(format!("no such use: {other:?}")),
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
