//! What preview 1 promises, checked from inside: `all`, or the beginnings of facts' names, is the first argument.
//!
//! The facts are those that the public suites look at (WebAssembly/wasi-testsuite, wasmtime's test programs), in words and
//! code of our own. It wants an empty writable directory at `/data`, another at `/other`, and at `/fixed` a read-only one
//! with a file `greeting` of `hello`; two more arguments and one variable, named in `process.rs`.

#[path = "../check.rs"]
mod check;
mod files;
mod paths;
mod process;
mod sys;
mod tree;

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let facts = [process::FACTS, files::FACTS, paths::FACTS, tree::FACTS].concat();
    std::process::exit(check::all(&facts, &wanted));
}
