//! Running one container: image, code, log, guest. Each run is a task that reports what happens to it.
//!
//! Not here: whether it runs again (`container`).

use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use wk_api::{Object, kinds};
use wk_base::error::Chain;
use wk_base::time::Clock;
use wk_engine::{Config, Exit, Failure, Input, MemoryBytes, Mounts, Output, Prepared, Sandbox, Variables, World};
use wk_image::{Blobs, Peers, PullError, Reference};

use crate::agent;
use crate::container::{CONFIG_ERROR, Event, KILLED, TRAPPED, WORKER_CRASHED};
use crate::environment::{self, Environment, EnvironmentError};
use crate::flood::Limited;
use crate::ledger::{Given, Ledger, Page};
use crate::logs::{LogWriter, Logs};
use crate::message;
use crate::net::Networks;
use crate::place::worker::Class;
use crate::place::{self, FailureSink, Place, Places};
use crate::settings::Settings;
use crate::sources::Sources;
use crate::spec::ContainerSpec;
use crate::spec::downward::Facts;
use crate::streams::console::{Console, Consoles, Registered};
use crate::streams::exec::program::{Images, Program};
use crate::traffic::{App, Apps};
use crate::usage::{Metered, Meters};
use crate::volumes::{Held, Volumes};

mod report;

pub use report::Reporter;
use report::ToLog;

/// What a component imports that passes requests on.
const MIDDLEWARE: &str = "wasi:http/handler@";

/// The longest path that a `subPathExpr` may become: Linux' own limit.
const PATH_BYTES_MAX: usize = 4096;

/// A step of a start that takes longer is told of: people wait ten seconds before they ask what is wrong.
const STEP_LONG: Duration = Duration::from_secs(3);
/// So many starts tell at once what they wait for: of a thousand pods most wait for the same.
pub(crate) const LONG_STARTS_MAX: usize = 16;

/// What every run needs.
pub struct Runner {
    /// Where guests run.
    pub places: Places,
    /// Modules on this disk.
    pub blobs: Blobs,
    /// Modules on other nodes.
    pub peers: Arc<dyn Peers>,
    /// Where output goes.
    pub logs: Logs,
    /// Where HTTP containers register.
    pub apps: Apps,
    /// Where containers can be attached to.
    pub consoles: Consoles,
    /// What containers use.
    pub meters: Meters,
    /// Pods' directories.
    pub volumes: Volumes,
    /// What answers sockets, names and outgoing requests.
    pub networks: Networks,
    /// Dates log lines.
    pub clock: Arc<dyn Clock>,
    /// What environments are made from.
    pub sources: Sources,
    /// This node.
    pub host: agent::Config,
    /// What is told of pods to whoever looks into one.
    pub ledger: Ledger,
    /// Places of starts that tell what they wait for.
    pub long_starts: Semaphore,
}

/// One run of one container.
pub struct Run {
    /// The pod's uid.
    pub pod: Arc<str>,
    /// The pod's address.
    pub ip: IpAddr,
    /// What to run.
    pub spec: Arc<ContainerSpec>,
    /// 0 for the first.
    pub restart: u32,
    /// Stops it: a command ends, an HTTP container takes no request any more and finishes those it has.
    pub cancel: CancellationToken,
    /// Ends those too.
    pub cut: CancellationToken,
    /// Set before `cancel` fires when it goes elsewhere: it answers on for as long as it is the only one who can.
    pub moves: Arc<AtomicBool>,
    /// Whose worker it runs in; none: in this process.
    pub class: Option<Class>,
}

impl Runner {
    /// Runs a container of the pod `object` until the guest ends or is cancelled, and tells which: exactly one of
    /// `StartFailed`, `Lacks` and `Ended` comes last.
    ///
    /// Thousands of HTTP containers do nothing but wait in here, each in a task as large as the largest step within: so the
    /// steps before and after have places of their own, as commands have.
    pub async fn run(self: Arc<Self>, run: Box<Run>, object: Arc<Object>, report: Arc<Reporter>) {
        let begun = match Box::pin(self.begin(&run, object, &report)).await {
            Ok(begun) => begun,
            Err(last) => return Box::pin(report.tell(last)).await,
        };
        let crashed = match &begun.runs {
            Runs::App(app, _) => run.cancel.run_until_cancelled(app.crashed()).await,
            Runs::Command(_) | Runs::Functions(_) => None,
        };
        Box::pin(self.end(&run, begun, crashed, &report)).await;
    }

    /// Sees a run to its end that has nothing to wait for but commands, and tells how it was.
    async fn end(&self, run: &Run, begun: Box<Begun>, crashed: Option<String>, report: &Reporter) {
        let begun = *begun;
        let end = match begun.runs {
            Runs::App(app, page) => self.close(run, &app, &page, crashed).await,
            Runs::Command(command) => self.command(run, *command, begun.image_id, report).await,
            // Its functions are called from outside, by `exec`, probes and hooks, each in an instance of its own.
            Runs::Functions(_process) => {
                report.tell(Event::Started { image_id: begun.image_id }).await;
                run.cancel.cancelled().await;
                Event::Ended { code: 0, reason: "Completed".to_owned(), message: String::new() }
            }
        };
        // What was refused is forgotten with the run, and one that gives up at once is over before anybody looks.
        self.volumes.tell_full(Some(&run.pod));
        if let Some(message) = self.volumes.refused(&run.pod) {
            report.evict(message).await;
        }
        begun.log.finish().await;
        let last = match end {
            Event::Ended { code, reason, message } => {
                let message = self.last_message(run, begun.message, &reason, code, message).await;
                Event::Ended { code, reason, message }
            }
            end => end,
        };
        drop((begun.metered, begun.console));
        report.tell(last).await;
    }

    /// Makes everything that a run needs; Err with how it ended if it cannot begin.
    async fn begin(&self, run: &Run, object: Arc<Object>, report: &Arc<Reporter>) -> Result<Box<Begun>, Event> {
        let prepared = match run.cancel.run_until_cancelled(self.prepare(&run.spec, object.namespace(), report)).await {
            None => return Err(killed()),
            Some(Err((reason, message))) => return Err(Event::StartFailed { reason, message }),
            Some(Ok(prepared)) => prepared,
        };
        let Environment { variables, args } = match self.environment(&run.spec, &object, run.ip) {
            Ok(environment) => environment,
            Err(error) => {
                let message = Chain(&error).to_string();
                return Err(Event::Lacks { message });
            }
        };
        // The usual path is made for those that end.
        let says = run.spec.message_path.is_some() || matches!(prepared.module.world(), World::Command);
        let held = run.cancel.run_until_cancelled(self.volumes(run, &variables, says)).await;
        let Some(held) = held else { return Err(killed()) };
        let mounts = match held {
            Ok(ready) => ready,
            Err(message) => {
                return Err(Event::StartFailed { reason: CONFIG_ERROR, message });
            }
        };
        let class = match run.class.clone() {
            Some(class) => Some(class.with(self.volumes.outside(&run.pod).await)),
            None => None,
        };
        let place = self.places.of(class.as_ref());
        let log = match self.logs.begin(&run.pod, &run.spec.name, run.restart, &self.clock).await {
            Ok(log) => Arc::new(log),
            Err(error) => {
                let message = format!("open the container's log: {error}");
                return Err(Event::StartFailed { reason: "CreateContainerError", message });
            }
        };
        let page = self.ledger.page(&run.pod, &run.spec.name, &self.clock);
        let given = Given { restart: run.restart, variables: variables.len(), arguments: args.len() };
        page.begins(&run.spec, &prepared.module, given);
        page.runs_in(&place);
        let metered = self.meters.begin(&run.pod, &run.spec, report.breach_sink());
        page.measured(&metered.usage);
        let message = says.then(|| mounts.clone());
        let (console, input) = Console::new(&run.spec, variables.clone(), mounts.clone(), &metered.usage);
        let output: Arc<dyn Output> = Arc::new(ToLog(Arc::clone(&log), Arc::clone(&console)));
        let output: Arc<dyn Output> =
            Arc::new(Limited::new(output, Arc::clone(&metered.usage), report.limit_sink("LogLimit")));
        let limit = report.limit_sink("ConnectionLimit");
        let network = self.networks.of(&run.pod, run.ip, &run.spec.network, &output, &metered.usage, limit);
        let sandbox = Arc::new(Sandbox {
            args,
            env: variables,
            memory_max: MemoryBytes(run.spec.memory_max),
            request_deadline: run.spec.request_timeout,
            output,
            input: input.map(Input::new),
            terminal: run.spec.tty,
            instances: run.spec.instances,
            next: Some(Arc::new(self.apps.after(&run.pod, report.container))),
            usage: Arc::clone(&metered.usage),
            mounts,
            workdir: run.spec.workdir.clone(),
            network,
            config: self.config(&run.spec, object.namespace()),
        });
        console.runs(Program {
            place: place.clone(),
            module: Arc::clone(&prepared.module),
            images: Images { blobs: self.blobs.clone(), peers: Arc::clone(&self.peers) },
            spec: Arc::clone(&run.spec),
            container: Arc::clone(&sandbox),
            cancel: run.cancel.clone(),
        });
        let console = self.consoles.insert(&run.pod, &console);
        let runs = match prepared.module.world() {
            World::Http => Runs::App(self.app(&place, run, &prepared, &sandbox, report, &page).await?, page),
            World::Command => {
                let sandbox = Sandbox::clone(&sandbox);
                Runs::Command(Box::new(Command { place, module: prepared.module, sandbox, page }))
            }
            World::Functions => Runs::Functions(run.cancel.run_until_cancelled(place.hold()).await.flatten()),
        };
        if let Runs::App(app, _) = &runs {
            if let Err(taken) = self.apps.insert(&run.pod, app) {
                // As a program's `bind` would fail.
                let message = taken.to_string();
                return Err(Event::Ended { code: 1, reason: "Error".to_owned(), message });
            }
            report.tell(Event::Started { image_id: prepared.image_id.clone() }).await;
        }
        let image_id = prepared.image_id;
        Ok(Box::new(Begun { runs, image_id, log, message, metered, console }))
    }

    /// What a container has said at its end, the end of its log instead if it wants that, and what is known of a failure.
    async fn last_message(
        &self,
        run: &Run,
        mounts: Option<Mounts>,
        reason: &str,
        code: i32,
        message: String,
    ) -> String {
        let said = match mounts {
            Some(mounts) => {
                let spec = Arc::clone(&run.spec);
                let read = move || message::read(mounts.list(), message_path(&spec));
                tokio::task::spawn_blocking(read).await.unwrap_or_default()
            }
            None => String::new(),
        };
        match said.is_empty() {
            // That a program ended so is told by its code.
            false if matches!(reason, "Completed" | "Error") => said,
            false => format!("{said}\n{message}"),
            true if code != 0 && run.spec.message_from_log => self.with_log(run, message).await,
            true => message,
        }
    }

    /// What is known of a failure, and the end of the container's log.
    async fn with_log(&self, run: &Run, message: String) -> String {
        let (logs, pod, name, restart) = (self.logs.clone(), run.pod.clone(), run.spec.name.clone(), run.restart);
        let read = tokio::task::spawn_blocking(move || logs.last_words(&pod, &name, restart)).await;
        match read {
            Ok(Ok(words)) if !words.is_empty() && message.is_empty() => words,
            Ok(Ok(words)) if !words.is_empty() => format!("{message}\n{words}"),
            _ => message,
        }
    }

    /// Waits for the pod's volumes.
    async fn volumes(&self, run: &Run, variables: &Variables, says: bool) -> Result<Mounts, String> {
        let Run { pod, spec, .. } = run;
        let value_of = |name: &str| variables.get(name);
        let expand = |text: &str| environment::expand(text, value_of, PATH_BYTES_MAX).unwrap_or_default();
        let held = self.volumes.hold(pod, &spec.name, &spec.mounts, &expand).await.map_err(|it| it.to_string())?;
        let Held { mut mounts, fill } = held;
        let dir = self.volumes.message_dir(pod, run.class.as_ref());
        let message = says.then(|| message::mount(&mounts, message_path(spec), dir.clone(), &spec.name)).flatten();
        let message = message.inspect(|message| mounts.push(message.clone()));
        let path = message_path(spec).to_owned();
        if mounts.is_empty() {
            return Ok(Mounts::default());
        }
        let open = move || {
            if let Some(mount) = message {
                message::prepare(&mount, &path).map_err(|error| format!("make {path}: {error}"))?;
            }
            Mounts::with_late(mounts, fill).map_err(|error| Chain(&error).to_string())
        };
        let opened = tokio::task::spawn_blocking(open).await;
        opened.map_err(|error| error.to_string())?
    }

    /// What a container's environment and arguments are if it starts now.
    pub fn environment(&self, spec: &ContainerSpec, pod: &Object, ip: IpAddr) -> Result<Environment, EnvironmentError> {
        let node = self.sources.cluster().local_object(&kinds::NODE, None, &self.host.node);
        let allocatable = node.as_ref().and_then(|node| node.at("/status/allocatable"));
        let facts = Facts { pod, node: &self.host.node, host_ip: self.host.ip, ip, allocatable };
        self.settings(spec, pod.namespace()).check()?;
        environment::resolve(&spec.env, &spec.args, &facts, &self.sources)
    }

    /// What answers `wasi:config`; nothing when the pod names nothing to answer it from.
    fn config(&self, spec: &ContainerSpec, namespace: &str) -> Option<Arc<dyn Config>> {
        (!spec.config.is_empty()).then(|| Arc::new(self.settings(spec, namespace)) as Arc<dyn Config>)
    }

    fn settings(&self, spec: &ContainerSpec, namespace: &str) -> Settings {
        Settings::new(self.sources.clone(), namespace, &spec.config)
    }

    /// Waits for a step of a start, and tells what it is if it takes long.
    async fn step<T>(
        &self,
        report: &Reporter,
        reason: &'static str,
        message: &str,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        if let Ok(done) = tokio::time::timeout(STEP_LONG, &mut work).await {
            return done;
        }
        let _place = tokio::select! {
            done = &mut work => return done,
            place = self.long_starts.acquire() => place,
        };
        report.hint(Event::StartTakesLong { reason, message: message.to_owned() });
        let done = work.await;
        report.hint(Event::StartGoesOn);
        done
    }

    async fn prepare(
        &self,
        spec: &ContainerSpec,
        namespace: &str,
        report: &Reporter,
    ) -> Result<Ready, (&'static str, String)> {
        let reference: Reference =
            spec.image.parse().map_err(|error| ("InvalidImageName", format!("{:?}: {}", spec.image, Chain(&error))))?;
        let pulled = wk_image::pull(&self.blobs, &reference, &*self.peers);
        let pulled = self.step(report, "Pulling", "its image is on its way from another node", pulled).await;
        let wasm = pulled.map_err(|error| pull_failed(&error))?;
        let image_id = wasm.digest.to_string();
        let path: PathBuf = wasm.path;
        let module = self.places.engine().prepare_for(namespace, &image_id, &path);
        let module =
            self.step(report, "Compiling", "its module is being compiled, here or on another node", module).await;
        let module = module.map_err(|error| ("CreateContainerError", Chain(&error).to_string()))?;
        Ok(Ready { module, image_id })
    }

    async fn app(
        &self,
        place: &Place,
        run: &Run,
        ready: &Ready,
        sandbox: &Arc<Sandbox>,
        report: &Arc<Reporter>,
        page: &Arc<Page>,
    ) -> Result<Arc<App>, Event> {
        let usage = Arc::clone(&sandbox.usage);
        let failed: FailureSink = {
            let (report, page, clock) = (Arc::clone(report), Arc::clone(page), Arc::clone(&self.clock));
            Arc::new(move |failure| {
                page.failed(failure, clock.now());
                let limit = match failure {
                    Failure::Limit { what, .. } => what.clone(),
                    // The depth of the stack is a limit too, and told as this kind of trap.
                    Failure::Trap { message, .. } => message.clone().into(),
                    _ => "".into(),
                };
                let (reason, message) = (failure.reason().to_owned(), describe(failure));
                report.hint(Event::RequestFailed { reason, limit, message });
            })
        };
        let app = match run.cancel.run_until_cancelled(place.http(&ready.module, sandbox, &failed)).await {
            None => return Err(killed()),
            Some(Ok(app)) => app,
            Some(Err(message)) => return Err(Event::StartFailed { reason: "CreateContainerError", message }),
        };
        let passes_on = |import: &String| import.starts_with(MIDDLEWARE);
        let is_middleware = ready.module.surface().imports.iter().any(passes_on);
        let place = (report.container, Arc::clone(&run.spec), is_middleware);
        Ok(Arc::new(App::new(app, place, failed, usage, page.recent())))
    }

    /// Takes no request any more, and finishes those it has.
    async fn close(&self, run: &Run, app: &Arc<App>, page: &Page, crashed: Option<String>) -> Event {
        if crashed.is_none() && run.moves.load(Ordering::Acquire) {
            // Ingresses prefer a replica that stays, and ask this one while there is none.
            run.cut.run_until_cancelled(app.unasked()).await;
        }
        self.apps.remove(&run.pod, app);
        if let Some(message) = crashed {
            page.failed(&Failure::Crashed(message.clone()), self.clock.now());
            return Event::Ended { code: KILLED, reason: WORKER_CRASHED.to_owned(), message };
        }
        if run.cut.run_until_cancelled(app.idle()).await.is_some() {
            return Event::Ended { code: 0, reason: "Completed".to_owned(), message: String::new() };
        }
        app.cut();
        killed()
    }

    async fn command(&self, run: &Run, command: Command, image_id: String, report: &Reporter) -> Event {
        report.tell(Event::Started { image_id }).await;
        let Command { place, module, sandbox, page } = command;
        let usage = Arc::clone(&sandbox.usage);
        let (code, reason, message) = match place.run(&module, sandbox, run.cancel.clone()).await {
            Exit::Cancelled => return killed(),
            Exit::Code(0) => (0, "Completed", String::new()),
            Exit::Code(code) => (code, "Error", format!("exited with code {code}")),
            Exit::Failed(failure) => {
                page.failed(&failure, self.clock.now());
                let code = if matches!(failure, Failure::Trap { .. }) { TRAPPED } else { KILLED };
                (code, failure.reason(), describe(&failure))
            }
        };
        if code != 0 {
            usage.failure();
        }
        Event::Ended { code, reason: reason.to_owned(), message }
    }
}

/// Where the container says why it ended.
fn message_path(spec: &ContainerSpec) -> &str {
    spec.message_path.as_deref().unwrap_or(message::DEFAULT_PATH)
}

/// The end of a run that was made to end: a guest takes no signal, so it cannot have done so by itself.
fn killed() -> Event {
    Event::Ended { code: KILLED, reason: "Error".to_owned(), message: String::new() }
}

/// A run that has what it needs.
struct Begun {
    runs: Runs,
    image_id: String,
    log: Arc<LogWriter>,
    /// Where it may say why it ended.
    message: Option<Mounts>,
    /// While this lives, it is shown.
    metered: Metered,
    /// While this lives, it can be attached to.
    console: Registered,
}

/// What runs.
enum Runs {
    App(Arc<App>, Arc<Page>),
    Command(Box<Command>),
    /// With what keeps their process.
    Functions(Option<place::worker::Held>),
}

struct Command {
    place: Place,
    module: Arc<Prepared>,
    sandbox: Sandbox,
    page: Arc<Page>,
}

struct Ready {
    module: Arc<Prepared>,
    image_id: String,
}

/// Kubernetes' reasons: a name that can never work, or a pull that may work later.
fn pull_failed(error: &PullError) -> (&'static str, String) {
    ("ErrImagePull", Chain(error).to_string())
}

fn describe(failure: &Failure) -> String {
    match failure {
        Failure::Trap { backtrace, .. } if !backtrace.is_empty() => format!("{failure}\n{backtrace}"),
        other => other.to_string(),
    }
}
