//! `wk compile` as typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wk_engine::{AddressSpace, Profile, Target};

/// Options of `wk compile`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CompileArgs {
    /// The WebAssembly file, a core module or a component
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Kind of machine: aarch64, s390x, x86_64 (or their triples), pulley64; riscv64 is interpreted, as pulley64
    #[arg(long, value_name = "TARGET", default_value = "portable")]
    pub(crate) target: Target,
    /// Address space of the machine: "narrow" for boards that address 39 bits
    #[arg(long, value_enum, default_value_t = Space::Wide)]
    address_space: Space,
    /// Where to write: a file, or a directory, in which the file gets the name that a node looks for
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
}

/// How much room an instance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Space {
    /// 4 GiB an instance
    Wide,
    /// 256 MiB an instance
    Narrow,
}

impl CompileArgs {
    /// What the code is made for.
    pub(crate) fn profile(&self) -> Profile {
        let space = match self.address_space {
            Space::Wide => AddressSpace::Wide,
            Space::Narrow => AddressSpace::Narrow,
        };
        Profile { target: self.target.clone(), space }
    }
}
