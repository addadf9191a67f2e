//! A command that misbehaves as its first argument says. Without one it behaves.

mod misbehave;

use std::thread;
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None => println!("well behaved"),
        Some("trap") => misbehave::trap(),
        Some("panic") => panic!("as the argument says"),
        Some("loop") => misbehave::endless_loop(),
        Some("alloc") => misbehave::allocate(),
        Some("recurse") => println!("{}", misbehave::recurse(0)),
        Some("sleep") => thread::sleep(Duration::from_secs(3600)),
        Some("exit") => {
            let code = arguments.next().and_then(|code| code.parse().ok());
            std::process::exit(code.unwrap_or(1));
        }
        Some("print") => {
            println!("to standard output");
            eprintln!("to standard error");
        }
        Some("env") => print!("{:?}\n{}", std::env::args().collect::<Vec<_>>(), misbehave::variables()),
        Some("flood") => loop {
            println!("{}", "x".repeat(1000));
        },
        Some(other) => {
            eprintln!("no such misbehaviour: {other}");
            std::process::exit(64);
        }
    }
}
