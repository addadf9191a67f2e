//! What machine code is made for: a kind of machine, and how much address space an instance may take there.
//!
//! Not here: how code is made (`compiler`), or which processor features this machine has (wasmtime finds out).

use std::fmt;
use std::hash::{Hash as _, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::{Config, Engine};

use crate::config;

/// The kind of machine that code is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// This machine, with all that its processor can do.
    #[default]
    Native,
    /// Every machine of one architecture, whatever its processor can do beyond the basics.
    Portable(Architecture),
    /// wasmtime's interpreter, for machines that no native backend knows. Slower by an order of magnitude.
    Pulley,
}

/// An architecture with a native backend that is whole. wasmtime 48's for RISC-V makes vector instructions of every small
/// copy, and dies where the processor has none, which is most: those interpret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit Arm.
    Aarch64,
    /// IBM Z.
    S390x,
    /// 64-bit x86.
    X86_64,
}

/// Each architecture, the name people type, and the triple of compilers.
const ARCHITECTURES: &[(Architecture, &str, &str)] = &[
    (Architecture::Aarch64, "aarch64", "aarch64-unknown-linux-gnu"),
    (Architecture::S390x, "s390x", "s390x-unknown-linux-gnu"),
    (Architecture::X86_64, "x86_64", "x86_64-unknown-linux-gnu"),
];

impl Architecture {
    /// This machine's, if there is a backend for it.
    pub fn here() -> Option<Self> {
        ARCHITECTURES
            .iter()
            .find(|(_, name, _)| *name == std::env::consts::ARCH)
            .map(|(architecture, ..)| *architecture)
    }

    fn triple(self) -> &'static str {
        ARCHITECTURES.iter().find(|(it, ..)| *it == self).map_or("", |(.., triple)| triple)
    }
}

/// A word that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no target; there are native, portable, pulley64, {}", names())]
pub struct UnknownTarget {
    text: String,
}

fn names() -> String {
    ARCHITECTURES.iter().map(|(.., triple)| *triple).collect::<Vec<_>>().join(", ")
}

impl Target {
    /// Native where there is a backend for this machine, interpreted where there is none.
    pub fn best() -> Self {
        if Architecture::here().is_some() { Self::Native } else { Self::Pulley }
    }
}

impl FromStr for Target {
    type Err = UnknownTarget;

    /// `native`, `portable` (this architecture), `pulley64`, an architecture, or a triple of one on Linux. What has no
    /// backend of its own is interpreted.
    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        let unknown = || UnknownTarget { text: text.to_owned() };
        match text {
            "native" => Ok(Self::Native),
            "pulley" | "pulley64" | "riscv64" | "riscv64gc-unknown-linux-gnu" => Ok(Self::Pulley),
            "portable" => Architecture::here().map(Self::Portable).ok_or_else(unknown),
            _ => {
                let found = ARCHITECTURES.iter().find(|(_, name, triple)| text == *name || text == *triple);
                found.map(|(architecture, ..)| Self::Portable(*architecture)).ok_or_else(unknown)
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Portable(architecture) => architecture.triple(),
            Self::Pulley => "pulley64",
        })
    }
}

/// Address space that one instance may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressSpace {
    /// 4 GiB an instance: no access needs a check. For machines that address 47 bits.
    #[default]
    Wide,
    /// 256 MiB an instance, and each access is checked. For boards that address 39 bits, and processes held to little.
    Narrow,
}

/// All that a node may choose of what its code is made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The kind of machine.
    pub target: Target,
    /// How much room an instance has there.
    pub space: AddressSpace,
}

impl Profile {
    /// wasmtime's settings for such code.
    pub(crate) fn config(&self) -> wasmtime::Result<Config> {
        let mut config = config::base(self.space);
        match &self.target {
            Target::Native => {}
            Target::Portable(architecture) => {
                config.target(architecture.triple())?;
            }
            Target::Pulley => {
                config.target("pulley64")?;
            }
        }
        Ok(config)
    }

    /// An engine that makes such code and need not be able to run it.
    pub(crate) fn compiler(&self) -> wasmtime::Result<Engine> {
        Engine::new(&self.config()?)
    }

    /// What code of this profile depends on here: the same on every node that makes the same code.
    pub fn settings(&self) -> Result<Settings, UnknownProfile> {
        let engine = self.compiler().map_err(|error| UnknownProfile { message: format!("{error:#}") })?;
        Ok(Settings::of(self.clone(), &engine))
    }
}

/// This build cannot make code of a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no code can be made for that kind of machine: {message}")]
pub struct UnknownProfile {
    message: String,
}

/// A profile, and the sum over everything outside a module that its compiled code depends on: wasmtime's version and
/// settings, the target, the processor's features, the features of WebAssembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What was chosen.
    pub profile: Profile,
    /// The sum.
    pub sum: [u8; 32],
}

impl Settings {
    pub(crate) fn of(profile: Profile, engine: &Engine) -> Self {
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Self { profile, sum: hasher.0.finalize().into() }
    }
}

/// Feeds what is hashed to SHA-256: the standard hasher has 64 bits, too few to name code that will be run.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let sum = self.0.clone().finalize();
        u64::from_le_bytes(sum[..8].try_into().expect("a SHA-256 sum has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_as_compilers_name_them() {
        for (_, name, triple) in ARCHITECTURES {
            assert_eq!(name.parse::<Target>(), triple.parse());
            assert_eq!(triple.parse::<Target>().expect("is known").to_string(), *triple);
        }
        assert_eq!("pulley64".parse(), Ok(Target::Pulley));
        let message = "sparc".parse::<Target>().expect_err("no backend").to_string();
        assert!(message.contains("aarch64-unknown-linux-gnu"), "{message}");
        assert_eq!("riscv64".parse(), Ok(Target::Pulley));
    }

    /// Whatever changes what the compiler emits changes the sum: code under one sum is never loaded under another.
    #[test]
    fn target_features_and_settings_are_in_the_sum() {
        let sum = |config: &Config| Settings::of(Profile::default(), &Engine::new(config).expect("starts")).sum;
        let config = |target: Target, space| Profile { target, space }.config().expect("is known");
        let here = Target::Portable(Architecture::here().expect("tests run where there is a backend"));
        let base = sum(&config(here.clone(), AddressSpace::Wide));
        assert_eq!(base, sum(&config(here.clone(), AddressSpace::Wide)));
        assert_ne!(base, sum(&config(here.clone(), AddressSpace::Narrow)), "address space");
        assert_ne!(base, sum(&config(Target::Pulley, AddressSpace::Wide)), "target");
        let mut other = config(here.clone(), AddressSpace::Wide);
        other.epoch_interruption(false);
        assert_ne!(base, sum(&other), "a setting");
        if Architecture::here() == Some(Architecture::X86_64) {
            let mut other = config(here, AddressSpace::Wide);
            // SAFETY and why: nothing is run, only the names of the features are hashed.
            #[expect(unsafe_code, reason = "the engine runs nothing")]
            unsafe {
                other.cranelift_flag_enable("has_avx2");
            }
            assert_ne!(base, sum(&other), "a feature of the processor");
        }
    }
}
