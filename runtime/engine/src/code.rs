//! Where a module's machine code comes from: this node's disk, a colleague that has it, or the compiler.
//!
//! Code is loaded only if this node made it or its [`Colleagues`] vouch for it: both go through [`Code::get`].

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;
use wasmtime::component::Component;
use wasmtime::{Module, Precompiled};
use wk_base::turns::Turns;

use crate::cache::Cache;
use crate::compiler::Compiler;
use crate::prepare::{self, PrepareError};
use crate::target::Settings;

/// Other nodes that make the same code.
#[async_trait]
pub trait Colleagues: Send + Sync {
    /// Code for a module, if another node has it, or is the one that shall make it. The implementation has proved that
    /// it comes from a node whose code may be run here, and that it was made of this module with these settings.
    async fn code(&self, digest: &str, settings: &Settings) -> Option<Vec<u8>>;
}

/// One module's turn: whoever has it compiles, the others find the result.
type Turn = Weak<tokio::sync::Mutex<()>>;

/// Where code came from since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodeCounts {
    /// Modules compiled here.
    pub compiled: u64,
    /// Modules whose code came from another node.
    pub received: u64,
    /// Modules whose code was on this disk.
    pub found: u64,
    /// Modules of which no code could be made.
    pub failed: u64,
    /// Bytes of WebAssembly that were compiled.
    pub wasm_bytes: u64,
    /// Bytes of the code made of them.
    pub code_bytes: u64,
    /// Milliseconds that took, all together.
    pub compile_millis: u64,
}

/// What makes and keeps code.
pub(crate) struct Code {
    cache: Cache,
    compiler: Compiler,
    colleagues: Option<Arc<dyn Colleagues>>,
    compilations: Turns,
    turns: Mutex<HashMap<(String, [u8; 32]), Turn>>,
    /// Modules that took more than they may, with when and what that was.
    exhausted: Mutex<HashMap<Made, (Instant, String)>>,
    counts: Mutex<CodeCounts>,
}

/// A module that took more than it may is not tried again for so long: a pod that starts again and again would keep a core
/// busy for good. Whoever raises the limits starts the node anew.
const EXHAUSTED_FOR: Duration = Duration::from_mins(30);
/// So many are remembered; of more, the oldest is tried again.
const EXHAUSTED_MAX: usize = 256;

/// In wasmtime's words for a module that does not fit the slots of this engine: the error has no type.
const TOO_MUCH: &str = "exceeds the ";

/// A module of less than this is compiled in a second or two, and does not wait behind its namespace's interpreters.
const SMALL_BYTES: u64 = 2 << 20;

/// Whose turn it is that compiles this: small modules are asked for as if by somebody else.
fn turned(asker: &str, wasm: &Path) -> String {
    let is_small = std::fs::metadata(wasm).is_ok_and(|metadata| metadata.len() < SMALL_BYTES);
    if is_small { format!("{asker} (small)") } else { asker.to_owned() }
}

/// Whether others are asked before this node compiles.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ask {
    Colleagues,
    Nobody,
}

/// A module by its digest, for settings by their sum.
type Made = (String, [u8; 32]);

impl Code {
    pub(crate) fn new(
        cache: Cache,
        compiler: Compiler,
        colleagues: Option<Arc<dyn Colleagues>>,
        compilations_max: usize,
    ) -> Self {
        let compilations = Turns::new(compilations_max);
        let (turns, counts, exhausted) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { cache, compiler, colleagues, compilations, turns, exhausted, counts }
    }

    /// The code that is on this disk.
    pub(crate) async fn stored(self: &Arc<Self>, settings: &Settings, digest: &str) -> Option<Vec<u8>> {
        let (this, settings, digest) = (Arc::clone(self), settings.clone(), digest.to_owned());
        tokio::task::spawn_blocking(move || this.cache.get(&settings, &digest)).await.ok().flatten()
    }

    /// The code, from wherever it comes soonest. `asker` is whose module it is; `in_use` are files of the cache that stay in any case.
    pub(crate) async fn get(
        self: &Arc<Self>,
        settings: &Settings,
        digest: &str,
        wasm: &Path,
        ask: Ask,
        asker: &str,
        in_use: &(dyn Fn() -> Vec<String> + Send + Sync),
    ) -> Result<Vec<u8>, PrepareError> {
        if let Some(code) = self.stored(settings, digest).await {
            self.count(|counts| counts.found += 1);
            return Ok(code);
        }
        // Not while it is this node's turn: two nodes that ask each other would wait for each other.
        if let Some(colleagues) = self.colleagues.as_ref().filter(|_| ask == Ask::Colleagues)
            && let Some(code) = colleagues.code(digest, settings).await
        {
            tracing::info!(digest, bytes = code.len(), "code comes from another node");
            self.count(|counts| counts.received += 1);
            self.keep(settings, digest, code.clone(), in_use()).await;
            return Ok(code);
        }
        self.not_exhausted(settings, digest)?;
        let _turn = self.turn(settings, digest).await;
        if let Some(code) = self.stored(settings, digest).await {
            self.count(|counts| counts.found += 1);
            return Ok(code);
        }
        self.not_exhausted(settings, digest)?;
        let path = wasm.to_owned();
        let _place = self.compilations.take(&turned(asker, &path)).await;
        let read = tokio::task::spawn_blocking(move || prepare::read(&path)).await;
        let wasm = read.map_err(|error| PrepareError::Compiler { message: error.to_string() })??;
        let (started, wasm_bytes) = (Instant::now(), wasm.len() as u64);
        let made = self.compiler.compile(settings, wasm).await;
        self.count(|counts| match &made {
            Ok(code) => {
                counts.compiled += 1;
                counts.wasm_bytes += wasm_bytes;
                counts.code_bytes += code.len() as u64;
                counts.compile_millis += u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            }
            Err(_) => counts.failed += 1,
        });
        if let Err(PrepareError::CompileLimit { message }) = &made {
            self.remember_exhausted(settings, digest, message);
        }
        let code = made?;
        tracing::info!(digest, target = %settings.profile.target, elapsed = ?started.elapsed(), "module compiled");
        self.keep(settings, digest, code.clone(), in_use()).await;
        Ok(code)
    }

    pub(crate) fn counts(&self) -> CodeCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: impl FnOnce(&mut CodeCounts)) {
        what(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// An error for a module that took more than it may a while ago.
    fn not_exhausted(&self, settings: &Settings, digest: &str) -> Result<(), PrepareError> {
        let known = self.exhausted.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&(digest.to_owned(), settings.sum)).filter(|(at, _)| at.elapsed() < EXHAUSTED_FOR);
        found.map_or(Ok(()), |(at, message)| {
            let left = EXHAUSTED_FOR.saturating_sub(at.elapsed()).as_secs() / 60 + 1;
            Err(PrepareError::CompileLimit { message: format!("{message}; it is tried again in {left} min") })
        })
    }

    /// Why code that was made here just now cannot be loaded. A module that needs more than a pod may have is not compiled
    /// again soon; anything else is this node's trouble, and may be over the next time.
    pub(crate) fn refuse(&self, settings: &Settings, digest: &str, why: &str) -> PrepareError {
        self.forget(settings, digest);
        if !why.contains(TOO_MUCH) {
            return PrepareError::Compiler { message: format!("its code cannot be loaded: {why}") };
        }
        let message = format!("it needs more than a pod may have: {why}");
        self.remember_exhausted(settings, digest, &message);
        PrepareError::CompileLimit { message }
    }

    fn remember_exhausted(&self, settings: &Settings, digest: &str, message: &str) {
        let mut known = self.exhausted.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < EXHAUSTED_FOR);
        if known.len() >= EXHAUSTED_MAX
            && let Some(oldest) = known.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone())
        {
            known.remove(&oldest);
        }
        known.insert((digest.to_owned(), settings.sum), (Instant::now(), message.to_owned()));
    }

    /// The file of code that is on this disk.
    pub(crate) fn file(&self, settings: &Settings, digest: &str) -> io::Result<File> {
        self.cache.file(settings, digest)
    }

    /// Forgets code that cannot be loaded.
    pub(crate) fn forget(&self, settings: &Settings, digest: &str) {
        self.cache.forget(settings, digest);
    }

    async fn keep(self: &Arc<Self>, settings: &Settings, digest: &str, code: Vec<u8>, in_use: Vec<String>) {
        let (this, settings, digest) = (Arc::clone(self), settings.clone(), digest.to_owned());
        let kept = tokio::task::spawn_blocking(move || {
            let kept = this.cache.put(&settings, &digest, &code, &in_use);
            (digest, kept)
        });
        if let Ok((digest, Err(error))) = kept.await {
            // The next start of this node compiles again; nothing else is lost.
            tracing::warn!(digest, %error, "compiled code could not be stored");
        }
    }

    async fn turn(&self, settings: &Settings, digest: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let key = (digest.to_owned(), settings.sum);
            let known = turns.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(key, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

/// Code that can be linked.
pub(crate) enum Loaded {
    /// Of a component.
    Component(Component),
    /// Of a core module: a program, or a reactor.
    Program(Module),
}

/// Code as what it was made of.
pub(crate) fn load(engine: &wasmtime::Engine, code: &[u8]) -> io::Result<Loaded> {
    #[expect(
        unsafe_code,
        reason = "this is native code that wasmtime runs as it is; this node's compiler made it, or a node whose word \
                  was proved, and the checksum over module, settings and code was right on the very bytes that are \
                  loaded: see `Code::get`"
    )]
    let loaded = unsafe {
        match wasmtime::Engine::detect_precompiled(code) {
            Some(Precompiled::Module) => Module::deserialize(engine, code).map(Loaded::Program),
            _ => Component::deserialize(engine, code).map(Loaded::Component),
        }
    };
    loaded.map_err(|error| io::Error::other(format!("{error:#}")))
}
