//! The engine: one for a node. Prepares components and starts them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::cache::{self, Cache, file_name};
use crate::capabilities;
use crate::code::{self, Ask, Code, CodeCounts};
use crate::command;
use crate::compiler::Compiler;
use crate::config::{self, EngineError, Options};
use crate::cpu::{Guest, Scheduler};
use crate::failure::{Exit, Failure};
use crate::http::HttpApp;
use crate::invoke::{self, InvokeError};
use crate::prepare::{self, Linkers, PrepareError, Prepared, World};
use crate::preview1;
use crate::sandbox::Sandbox;
use crate::target::{Settings, Target};
use crate::ticker::{Running, Ticker};

/// A prepared component was asked for what its world cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component is of the world {is}, and {wanted} is wanted")]
pub struct WrongWorld {
    /// Its world.
    pub is: World,
    /// The world that was asked for.
    pub wanted: World,
}

/// Compiles and runs guests. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// An engine without threads, which has no guest yet either: a process may give up rights between making and starting it,
/// for each thread that is there has its own.
pub struct Unstarted {
    linkers: Linkers,
    code: Code,
    settings: Settings,
    instances_of_one: u64,
}

impl Unstarted {
    /// One that compiles nothing and finds nothing: it is handed its code ([`Engine::load`]). Blocks for some milliseconds.
    pub fn without_code(target: &Target, instances_max: u32) -> Result<Self, EngineError> {
        Self::new(target, instances_max, Code::new(Cache::none(), Compiler::Here, None, 1))
    }

    fn new(target: &Target, instances_max: u32, code: Code) -> Result<Self, EngineError> {
        let config::Started { engine, profile, instances } = config::start(target, instances_max)?;
        let settings = Settings::of(profile, &engine);
        let runtime = |error: wasmtime::Error| EngineError::Runtime { message: format!("{error:#}") };
        let components = capabilities::linker(&engine).map_err(runtime)?;
        let linkers = Linkers { components, programs: preview1::linker(&engine).map_err(runtime)? };
        let instances_of_one = u64::from((instances / config::CONTAINERS_PART).max(1));
        Ok(Self { linkers, code, settings, instances_of_one })
    }

    /// The engine, which can run guests, asked on the threads of `runtime`.
    pub fn start(self, runtime: &Handle) -> Result<Engine, EngineError> {
        let Self { linkers, code, settings, instances_of_one } = self;
        let scheduler = Arc::new(Scheduler::new(runtime));
        let weak = linkers.engine().weak();
        let ticker = Ticker::start(weak, Arc::clone(&scheduler.load)).map_err(EngineError::Ticker)?;
        let (code, prepared) = (Arc::new(code), Mutex::default());
        let inner = Inner { linkers, code, settings, prepared, ticker, scheduler, instances_of_one };
        Ok(Engine { inner: Arc::new(inner) })
    }
}

/// One digest's component: made by whoever asks first, waited for by the others.
type Shared = Arc<OnceCell<Weak<Prepared>>>;

struct Inner {
    linkers: Linkers,
    code: Arc<Code>,
    settings: Settings,
    prepared: Mutex<HashMap<String, Shared>>,
    ticker: Ticker,
    scheduler: Arc<Scheduler>,
    /// Instances that one container may have alive at once.
    instances_of_one: u64,
}

impl Engine {
    /// Starts an engine, within the runtime of tokio that asks its guests. Blocks for some milliseconds; a node needs one.
    pub fn new(options: Options) -> Result<Self, EngineError> {
        let Options { cache_dir, cache_bytes_max, instances_max, compilations_max, target, compiler, colleagues } =
            options;
        let cache = match Cache::open(&cache_dir, cache_bytes_max) {
            Ok(cache) => cache,
            Err(source) => return Err(EngineError::CacheDir { dir: cache_dir, source }),
        };
        let code = Code::new(cache, compiler, colleagues, compilations_max);
        Unstarted::new(&target, instances_max, code)?.start(&Handle::current())
    }

    /// Makes the module at `wasm_path` ready to run.
    ///
    /// `digest` names its content, and the caller has verified that: code compiled for a digest is used for every
    /// file of that digest. All pods of a digest share one compiled component for as long as one of them holds it,
    /// and the compiled code outlives the process on disk. Compiles at low priority, a few modules at a time, and only what
    /// no colleague has.
    pub async fn prepare(&self, digest: &str, wasm_path: &Path) -> Result<Arc<Prepared>, PrepareError> {
        self.prepare_for("", digest, wasm_path).await
    }

    /// The same on behalf of `asker`, a namespace: askers take turns where several have modules to compile.
    pub async fn prepare_for(
        &self,
        asker: &str,
        digest: &str,
        wasm_path: &Path,
    ) -> Result<Arc<Prepared>, PrepareError> {
        self.once(digest, || self.make(asker, digest.to_owned(), wasm_path.to_owned())).await
    }

    /// Loads what an engine of the same settings in another process prepared ([`Engine::stored_file`]). Compiles nothing:
    /// that takes time and memory, and belongs where no guest runs.
    pub async fn load(&self, digest: &str, code: &Arc<File>) -> Result<Arc<Prepared>, PrepareError> {
        let load = || async move {
            let (file, settings, named) = (Arc::clone(code), self.inner.settings.clone(), digest.to_owned());
            // Others may have read it before: from its start, wherever it stands.
            let read = move || {
                let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut bytes, 0)?;
                io::Result::Ok(cache::whole(&settings, &named, bytes))
            };
            let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten();
            let Ok(Some(bytes)) = read else { return Err(PrepareError::NotStored) };
            let broken = |why| PrepareError::Compiler { message: format!("its code cannot be loaded: {why}") };
            self.link(digest, bytes).await?.map(Arc::new).map_err(broken)
        };
        self.once(digest, load).await
    }

    /// The file of a prepared module's code, to be handed to another process.
    pub fn stored_file(&self, digest: &str) -> io::Result<File> {
        self.inner.code.file(&self.inner.settings, digest)
    }

    /// What `make` makes, unless it is there: one at a time for each digest.
    async fn once<F: Future<Output = Result<Arc<Prepared>, PrepareError>>>(
        &self,
        digest: &str,
        make: impl Fn() -> F,
    ) -> Result<Arc<Prepared>, PrepareError> {
        loop {
            let shared = self.shared(digest);
            let mut made = None;
            let weak = shared
                .get_or_try_init(|| async {
                    let prepared = make().await?;
                    let weak = Arc::downgrade(&prepared);
                    made = Some(prepared);
                    Ok::<_, PrepareError>(weak)
                })
                .await?
                .clone();
            if let Some(prepared) = made.or_else(|| weak.upgrade()) {
                return Ok(prepared);
            }
            self.forget(digest, &shared);
        }
    }

    fn shared(&self, digest: &str) -> Shared {
        let mut prepared = self.inner.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked through when something new is prepared, so the map never outgrows what is in use by more than one.
        if !prepared.contains_key(digest) {
            prepared.retain(|_, shared| shared.get().is_none_or(|weak| weak.strong_count() > 0));
        }
        Arc::clone(prepared.entry(digest.to_owned()).or_default())
    }

    fn forget(&self, digest: &str, dead: &Shared) {
        let mut prepared = self.inner.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if prepared.get(digest).is_some_and(|shared| Arc::ptr_eq(shared, dead)) {
            prepared.remove(digest);
        }
    }

    async fn make(&self, asker: &str, digest: String, path: std::path::PathBuf) -> Result<Arc<Prepared>, PrepareError> {
        let started = std::time::Instant::now();
        let Inner { code, settings, .. } = &*self.inner;
        let bytes = code.get(settings, &digest, &path, Ask::Colleagues, asker, &|| self.in_use()).await?;
        let prepared = match self.link(&digest, bytes).await? {
            Ok(prepared) => prepared,
            Err(why) => {
                tracing::warn!(digest, why, "compiled code cannot be loaded, compiling again");
                code.forget(settings, &digest);
                let bytes = code.get(settings, &digest, &path, Ask::Nobody, asker, &|| self.in_use()).await?;
                self.link(&digest, bytes).await?.map_err(|why| code.refuse(settings, &digest, &why))?
            }
        };
        tracing::debug!(digest, world = %prepared.world(), elapsed = ?started.elapsed(), "prepared");
        Ok(Arc::new(prepared))
    }

    /// The inner error is why wasmtime does not take the code.
    async fn link(&self, digest: &str, code: Vec<u8>) -> Result<Result<Prepared, String>, PrepareError> {
        let (inner, named) = (Arc::clone(&self.inner), digest.to_owned());
        let task = tokio::task::spawn_blocking(move || match code::load(inner.linkers.engine(), &code) {
            Ok(loaded) => prepare::link(&inner.linkers, &named, &loaded).map(Ok),
            Err(error) => Ok(Err(error.to_string())),
        });
        task.await.map_err(|error| PrepareError::Compiler { message: error.to_string() })?
    }

    /// The files of code that pods hold.
    fn in_use(&self) -> Vec<String> {
        let prepared = self.inner.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        let in_use = |shared: &Shared| shared.get().is_some_and(|weak| weak.strong_count() > 0);
        prepared
            .iter()
            .filter(|(_, shared)| in_use(shared))
            .map(|(digest, _)| file_name(&self.inner.settings, digest))
            .collect()
    }

    /// What this engine's code is made for and with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Where code came from since this engine started.
    pub fn code_counts(&self) -> CodeCounts {
        self.inner.code.counts()
    }

    /// Code of a module for another node: from this disk.
    pub async fn stored_code(&self, digest: &str, settings: &Settings) -> Option<Vec<u8>> {
        self.inner.code.stored(settings, digest).await
    }

    /// Code of a module for another node: from this disk, or compiled now. `digest` and `wasm_path` are as in
    /// [`Engine::prepare`]. Asks no other node, so that no two wait for each other.
    pub async fn make_code(
        &self,
        digest: &str,
        wasm_path: &Path,
        settings: &Settings,
    ) -> Result<Vec<u8>, PrepareError> {
        self.inner.code.get(settings, digest, wasm_path, Ask::Nobody, "", &|| self.in_use()).await
    }

    /// The application that answers requests with this component in this sandbox.
    pub fn http(&self, prepared: &Arc<Prepared>, sandbox: impl Into<Arc<Sandbox>>) -> Result<HttpApp, WrongWorld> {
        match &prepared.http {
            Some(_) => Ok(HttpApp::new(self.clone(), Arc::clone(prepared), sandbox.into())),
            None => Err(WrongWorld { is: prepared.world(), wanted: World::Http }),
        }
    }

    /// Runs a command to its end, or until `cancel`. Dropping the future ends the command too.
    pub async fn run(&self, prepared: &Arc<Prepared>, sandbox: Sandbox, cancel: CancellationToken) -> Exit {
        if let Some(pre) = &prepared.command {
            return command::run(self, pre, sandbox, cancel).await;
        }
        let error = WrongWorld { is: prepared.world(), wanted: World::Command };
        Exit::Failed(Failure::Io(error.to_string()))
    }

    /// Calls one exported function of any prepared component in a fresh instance, to its answer or until `cancel`:
    /// what `exec`, probes and hooks do. Dropping the future ends the guest too.
    ///
    /// `function` names one of the component's own (`refresh`) or one of an interface it exports
    /// (`acme:shop/admin#refresh`, with or without the version); `wasi:cli/run` is the program that it is.
    /// `args` are its arguments as text: strings, numbers, booleans, and as many as there are for a list at the end;
    /// for a program they follow the sandbox's. What it answers becomes the exit code (`bool`, `result`, numbers of up
    /// to 32 bits) or text in the sandbox's output (all else; of an error, in standard error with code 1).
    pub async fn invoke(
        &self,
        prepared: &Arc<Prepared>,
        sandbox: Sandbox,
        function: &str,
        args: Vec<String>,
        cancel: CancellationToken,
    ) -> Result<Exit, InvokeError> {
        invoke::invoke(self, prepared, sandbox, function, args, cancel).await
    }

    /// How many instances are alive: requests in the hands of guests, and commands.
    pub fn instances(&self) -> usize {
        self.inner.ticker.count()
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        self.inner.linkers.engine()
    }

    /// Does the work of a guest, within what its container may have of the cores.
    pub(crate) fn guest<T: Send + 'static>(
        &self,
        sandbox: &Sandbox,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Guest<T> {
        Guest::new(&self.inner.scheduler, &sandbox.usage, work)
    }

    /// Whether the sandbox's container may have one more instance.
    pub(crate) fn admit(&self, sandbox: &Sandbox) -> Result<(), Failure> {
        let max = self.inner.instances_of_one;
        if sandbox.usage.instances() < max {
            return Ok(());
        }
        Err(Failure::Busy { message: format!("one container may have {max} of them alive at once") })
    }

    pub(crate) fn running(&self) -> Running {
        self.inner.ticker.running()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
