//! What WASI 0.2 promises, checked from inside: `all`, or the beginnings of facts' names, is the first argument.
//!
//! The facts are those that the public suites look at, in words and code of our own. It wants what `preview1` wants, and
//! beside it egress to the cluster with a service `echo` of examples/hello-http.

#[path = "../check.rs"]
mod check;
mod files;
mod http;
mod process;
mod tcp;
mod udp;

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let facts = [process::FACTS, files::FACTS, tcp::FACTS, udp::FACTS, http::FACTS].concat();
    std::process::exit(check::all(&facts, &wanted));
}
