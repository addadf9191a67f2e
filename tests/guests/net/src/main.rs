//! A command that uses the network as its arguments say, and prints what came of it:
//!
//! `get URL …`, `post URL TEXT`, `lookup NAME …`, `tcp NAME:PORT TEXT`, `serve ADDRESS:PORT`, `hold NAME:PORT COUNT`,
//! `udp NAME:PORT TEXT`, `udp-serve PORT`, `each` (reads one of these a line from standard input).

mod http;
mod sockets;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
}

fn run(arguments: &[&str]) {
    match arguments {
        ["get", urls @ ..] => urls.iter().for_each(|url| println!("{url}: {}", told(http::get(url)))),
        ["post", url, text] => println!("{url}: {}", told(http::post(url, text))),
        ["lookup", names @ ..] => names.iter().for_each(|name| println!("{name}: {}", told(sockets::addresses(name)))),
        ["tcp", to, text] => println!("{to}: {}", told(sockets::tcp(to, text))),
        ["serve", at] => println!("{}", told(sockets::serve(at))),
        ["hold", to, count] => println!("{}", sockets::hold(to, count.parse().expect("a number"))),
        ["udp", to, text] => println!("{to}: {}", told(sockets::udp(to, text))),
        ["udp-serve", port] => println!("{}", told(sockets::udp_serve(port.parse().expect("a port")))),
        ["each"] => {
            for line in std::io::stdin().lines() {
                run(&line.expect("a line").split_whitespace().collect::<Vec<_>>());
            }
        }
        other => {
            eprintln!("no such use of the network: {other:?}");
            std::process::exit(64);
        }
    }
}

fn told(outcome: Result<String, String>) -> String {
    outcome.unwrap_or_else(|error| format!("error {error}"))
}
