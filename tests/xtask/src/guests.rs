//! `cargo xtask guests`: builds the committed `.wasm` files from the sources next to them.
//!
//! They are committed so that `cargo test` needs no wasm toolchain. Beside each lies a file with the digests of the
//! sources it was built from and of the binary itself; a test here fails when one of them is no longer true.
//!
//! The toolchain is Debian's: a Rust that carries its library's sources, and wasi-libc. It builds `wasm32-wasip1`;
//! HTTP guests become components with the adapter that wk itself uses for core modules.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::root;

/// Options of `cargo xtask guests`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build nothing; say which guests are older than their sources, and fail if one is.
    #[arg(long)]
    check: bool,
    /// Only the guests of this folder, for example `examples/ticker`.
    #[arg(long)]
    only: Option<String>,
}

/// What the Rust target becomes.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// A library that answers requests, made a component.
    HttpComponent,
    /// A program, left a core preview-1 module.
    CommandModule,
    /// A library, left a core module that carries its interface.
    TypedModule,
    /// A program that exports more than its main function, made a component.
    CommandComponent,
    /// A file in C with these options of its compiler, left a core preview-1 module.
    C(&'static [&'static str]),
}

/// One committed binary.
struct Guest {
    /// The folder of its crate, below the top folder.
    folder: &'static str,
    /// The Rust target's name, as a file name.
    target: &'static str,
    /// The binary's name in the folder.
    file: &'static str,
    form: Form,
}

const GUESTS: &[Guest] = &[
    Guest { folder: "examples/hello-http", target: "hello_http", file: "hello-http.wasm", form: Form::HttpComponent },
    Guest { folder: "examples/ticker", target: "ticker", file: "ticker.wasm", form: Form::CommandModule },
    Guest { folder: "tests/guests", target: "http", file: "http.wasm", form: Form::HttpComponent },
    Guest { folder: "tests/guests", target: "command", file: "command.wasm", form: Form::CommandModule },
    Guest { folder: "tests/worlds/service", target: "service", file: "service.wasm", form: Form::HttpComponent },
    Guest { folder: "tests/worlds/program", target: "program", file: "program.wasm", form: Form::HttpComponent },
    Guest { folder: "tests/worlds/io", target: "io", file: "io.wasm", form: Form::HttpComponent },
    Guest { folder: "tests/worlds/middleware", target: "middleware", file: "middleware.wasm", form: Form::TypedModule },
    Guest { folder: "tests/worlds/wstd", target: "wstd-guest", file: "wstd.wasm", form: Form::CommandComponent },
    Guest { folder: "tests/worlds/c", target: "program", file: "program.wasm", form: Form::C(&[]) },
    Guest {
        folder: "tests/worlds/c",
        target: "reactor",
        file: "reactor.wasm",
        form: Form::C(&["-mexec-model=reactor"]),
    },
    Guest { folder: "tests/guests/wasi", target: "preview1", file: "preview1.wasm", form: Form::CommandModule },
    Guest { folder: "tests/guests/wasi", target: "preview2", file: "preview2.wasm", form: Form::CommandModule },
    Guest { folder: "tests/guests/net", target: "net", file: "net.wasm", form: Form::CommandModule },
    Guest { folder: "tests/guests/busybox", target: "busybox", file: "busybox.wasm", form: Form::CommandModule },
    Guest { folder: "tests/guests/mirror", target: "mirror", file: "mirror.wasm", form: Form::HttpComponent },
];

const RUSTC: &str = "/usr/bin/rustc";
const LINKER: &str = "wasm-ld-19";
const LIBC: &str = "/usr/lib/wasm32-wasi";
const LIBRARY_SOURCES: &str = "/usr/lib/rustlib/src/rust";
/// Carries wasi-libc with it: `pip install ziglang`.
const C_COMPILER: [&str; 4] = ["python3", "-m", "ziglang", "cc"];
const INSTALL: &str = "apt-get install -y --no-install-recommends rustc-web rust-web-src wasi-libc lld-19";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = root();
    let wanted = |guest: &&Guest| arguments.only.as_ref().is_none_or(|only| only.trim_end_matches('/') == guest.folder);
    let chosen: Vec<&Guest> = GUESTS.iter().filter(wanted).collect();
    let folders: BTreeSet<&str> = GUESTS.iter().map(|guest| guest.folder).collect();
    ensure!(!chosen.is_empty(), "--only takes one of {folders:?}");
    if arguments.check {
        let stale = stale(&root, &chosen)?;
        ensure!(stale.is_empty(), "run `cargo xtask guests`:\n{}", stale.join("\n"));
        return Ok(());
    }
    if chosen.iter().any(|guest| !matches!(guest.form, Form::C(_))) {
        check_toolchain()?;
    }
    for guest in chosen {
        let wasm = build(&root, guest).with_context(|| format!("build {}", guest.path()))?;
        let path = root.join(guest.path());
        fs::write(&path, &wasm).with_context(|| format!("write {}", path.display()))?;
        let record = Record { sources: sources_digest(&root, guest)?, binary: hex::encode(Sha256::digest(&wasm)) };
        fs::write(guest.record_path(&root), record.to_text()).context("write the record")?;
        #[expect(clippy::print_stdout, reason = "the task's result")]
        {
            println!("{:>8} bytes  {}", wasm.len(), guest.path());
        }
    }
    Ok(())
}

impl Guest {
    fn path(&self) -> String {
        format!("{}/{}", self.folder, self.file)
    }

    fn record_path(&self, root: &Path) -> PathBuf {
        root.join(self.folder).join(format!("{}.built-from", self.file))
    }
}

/// What the file beside a binary says.
#[derive(PartialEq)]
struct Record {
    sources: String,
    binary: String,
}

impl Record {
    fn to_text(&self) -> String {
        format!("sources sha256:{}\nbinary sha256:{}\n", self.sources, self.binary)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let sources = lines.next()?.strip_prefix("sources sha256:")?.to_owned();
        let binary = lines.next()?.strip_prefix("binary sha256:")?.to_owned();
        Some(Self { sources, binary })
    }
}

/// One line for each guest whose binary is not what its sources make.
fn stale(root: &Path, guests: &[&Guest]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for guest in guests {
        let record = fs::read_to_string(guest.record_path(root)).ok().and_then(|text| Record::parse(&text));
        let binary = fs::read(root.join(guest.path())).ok();
        let why = match (record, binary) {
            (None, _) => "has no record of what it was built from",
            (_, None) => "is not there",
            (Some(record), _) if record.sources != sources_digest(root, guest)? => "is older than its sources",
            (Some(record), Some(binary)) if record.binary != hex::encode(Sha256::digest(&binary)) => {
                "is not the binary that was built from its sources"
            }
            _ => continue,
        };
        lines.push(format!("{} {why}", guest.path()));
    }
    Ok(lines)
}

/// Digest over the names and contents of a crate's manifest, lock file and sources.
fn sources_digest(root: &Path, guest: &Guest) -> Result<String> {
    let folder = root.join(guest.folder);
    let mut files = Vec::new();
    if let Form::C(_) = guest.form {
        files.push(folder.join(guest.target).with_extension("c"));
    } else {
        files.extend([folder.join("Cargo.toml"), folder.join("Cargo.lock")]);
        collect(&folder.join("src"), &mut files)?;
    }
    files.sort_unstable();
    let mut digest = Sha256::new();
    for file in files {
        let name = file.strip_prefix(&folder).expect("it was found below the folder").to_string_lossy();
        let content = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        digest.update(format!("{name}\0{}\0", content.len()));
        digest.update(content);
    }
    Ok(hex::encode(digest.finalize()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension() == Some(OsStr::new("rs")) {
            files.push(path);
        }
    }
    Ok(())
}

fn check_toolchain() -> Result<()> {
    for path in [RUSTC, LIBRARY_SOURCES, LIBC] {
        if !Path::new(path).exists() {
            bail!("{path} is not there; on Debian: {INSTALL}");
        }
    }
    Ok(())
}

fn build(root: &Path, guest: &Guest) -> Result<Vec<u8>> {
    let (target, start) = match guest.form {
        Form::HttpComponent | Form::TypedModule => (vec!["--lib"], "crt1-reactor.o"),
        Form::CommandModule | Form::CommandComponent => (vec!["--bin", guest.target], "crt1-command.o"),
        Form::C(options) => return compile_c(root, guest, options),
    };
    let target_dir = root.join("target/guests");
    let status = Command::new("cargo")
        .current_dir(root.join(guest.folder))
        .args(["rustc", "--release", "--target", "wasm32-wasip1", "-Zbuild-std=std,panic_abort"])
        .args(target)
        .args(["--", "-C", &format!("link-arg={LIBC}/{start}")])
        .env("RUSTC", RUSTC)
        // That compiler is a stable one, and building its library is not.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("CARGO_TARGET_WASM32_WASIP1_LINKER", LINKER)
        .env("CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS", flags(root))
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    let path = target_dir.join("wasm32-wasip1/release").join(format!("{}.wasm", guest.target));
    let module = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let adapter = match guest.form {
        Form::HttpComponent => WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
        Form::CommandComponent => WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
        Form::CommandModule | Form::TypedModule | Form::C(_) => return Ok(module),
    };
    ComponentEncoder::default()
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?
        .validate(true)
        .encode()
}

fn compile_c(root: &Path, guest: &Guest, options: &[&str]) -> Result<Vec<u8>> {
    let out = root.join("target/guests").join(guest.file);
    let [python, module @ ..] = C_COMPILER;
    let status = Command::new(python)
        .current_dir(root.join(guest.folder))
        .args(module)
        .args(["-target", "wasm32-wasi", "-Os", "-s"])
        .args(options)
        .arg(format!("{}.c", guest.target))
        .arg("-o")
        .arg(&out)
        .status()
        .context("start the C compiler; `pip install ziglang` has it")?;
    ensure!(status.success(), "the C compiler ended with {status}");
    fs::read(&out).with_context(|| format!("read {}", out.display()))
}

/// Panic messages carry paths of sources; those of this machine are nobody's business and would change the binary.
fn flags(root: &Path) -> String {
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .unwrap_or_default();
    [
        "-C link-self-contained=no -C linker-flavor=wasm-ld".to_owned(),
        format!("-L {LIBC}"),
        format!("--remap-path-prefix={home}=cargo"),
        format!("--remap-path-prefix={LIBRARY_SOURCES}=rust"),
        format!("--remap-path-prefix={}=wk", root.display()),
    ]
    .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_is_built_from_its_sources() {
        let guests: Vec<&Guest> = GUESTS.iter().collect();
        let stale = stale(&root(), &guests).expect("the guests' folders can be read");
        assert!(stale.is_empty(), "run `cargo xtask guests`:\n{}", stale.join("\n"));
    }

    #[test]
    fn a_record_reads_back() {
        let record = Record { sources: "aa".into(), binary: "bb".into() };
        let read = Record::parse(&record.to_text()).expect("parses");
        assert!(read == record);
        assert!(Record::parse("something else").is_none());
    }
}
