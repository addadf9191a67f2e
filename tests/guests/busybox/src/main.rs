//! Several small programs in one, told apart by the name they are called by: what tests written for the image `busybox`
//! need of it. `sh` is a subset (see `shell`); what it does not know it says.
//!
//! Not here: processes. A program called by the shell is a function of this one.

mod applets;
mod shell;

use std::io::{self, Write as _};
use std::process::exit;

fn main() {
    let mut args: Vec<String> = std::env::args().collect();
    // By another name than a program's (a container's, `busybox`) the first argument is the program; `sh` if there is none.
    if !args.first().is_some_and(|name| applets::is_known(base(name))) && !args.is_empty() {
        args.remove(0);
    }
    let code = match args.first().map(|name| base(name)) {
        None => shell::interactive(),
        Some("sh") => shell::main(&args[1..]),
        Some(name) if applets::is_known(name) => applets::run(name, &args[1..], &mut io::stdin().lock(), &mut io::stdout()),
        Some(name) => {
            eprintln!("{name}: applet not found");
            127
        }
    };
    let _ = io::stdout().flush();
    exit(code);
}

/// The name of a program without its folder.
fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
