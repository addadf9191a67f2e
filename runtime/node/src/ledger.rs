//! What a person who looks into a pod is told by its node (`wk debug`): what each container imports and what answers it,
//! its limits, how it failed last, its last requests.
//!
//! Not here: who may ask (the API server), and what logs and events tell already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use wk_base::time::{Clock, Timestamp};
use wk_engine::{Failure, Prepared, Surface, Usage, World};
use wk_network::Egress;

use crate::place::Place;
use crate::recent::Recent;
use crate::spec::ContainerSpec;

/// All pods of a node. Clones share them.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

/// By pod's uid.
type Pages = HashMap<Arc<str>, Vec<Arc<Page>>>;

/// One container, from its first start until its pod is gone.
pub struct Page {
    container: Arc<str>,
    recent: Arc<Recent>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    run: Option<Run>,
    usage: Option<Arc<Usage>>,
    failure: Option<Value>,
}

/// The last run of a container. Told only when somebody asks: as JSON it takes kilobytes, and hardly anybody asks.
struct Run {
    spec: Arc<ContainerSpec>,
    world: World,
    digest: Arc<str>,
    surface: Arc<Surface>,
    given: Given,
    process: Option<Box<str>>,
}

/// What a container is given when it starts, beside what its spec says.
#[derive(Debug, Clone, Copy)]
pub struct Given {
    /// Number of the run.
    pub restart: u32,
    /// How many variables its environment has.
    pub variables: usize,
    /// How many arguments.
    pub arguments: usize,
}

impl Ledger {
    /// The page of a container, begun if there is none.
    pub fn page(&self, pod: &Arc<str>, container: &Arc<str>, clock: &Arc<dyn Clock>) -> Arc<Page> {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = pods.entry(Arc::clone(pod)).or_default();
        if let Some(page) = pages.iter().find(|page| page.container == *container) {
            return Arc::clone(page);
        }
        let recent = Arc::new(Recent::new(Arc::clone(clock)));
        let page = Arc::new(Page { container: Arc::clone(container), recent, state: Mutex::default() });
        pages.reserve_exact(1);
        pages.push(Arc::clone(&page));
        page
    }

    /// Forgets a pod.
    pub fn remove(&self, pod: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);
    }

    /// What is known of a pod, as JSON; None when nothing of it ran here.
    pub fn tell(&self, pod: &str) -> Option<Value> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pod)?.clone();
        let containers: Vec<Value> = pages.iter().map(|page| page.to_value()).collect();
        Some(json!({"apiVersion": "wk.dev/v1", "kind": "PodDebug", "uid": pod, "containers": containers}))
    }
}

impl Page {
    /// Its last requests.
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// Notes that it starts.
    pub fn begins(&self, spec: &Arc<ContainerSpec>, prepared: &Prepared, given: Given) {
        let (world, digest) = (prepared.world(), Arc::clone(prepared.digest()));
        let run = Run { spec: Arc::clone(spec), world, digest, surface: prepared.surface(), given, process: None };
        self.state.lock().unwrap_or_else(PoisonError::into_inner).run = Some(run);
    }

    /// Notes in which process it runs.
    pub fn runs_in(&self, place: &Place) {
        if let Some(run) = &mut self.state.lock().unwrap_or_else(PoisonError::into_inner).run {
            run.process = Some(place.to_string().into());
        }
    }

    /// Notes where what it uses is counted.
    pub fn measured(&self, usage: &Arc<Usage>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).usage = Some(Arc::clone(usage));
    }

    /// Notes how it failed.
    pub fn failed(&self, failure: &Failure, now: Timestamp) {
        let mut value = json!({"time": now.to_string(), "reason": failure.reason(), "message": failure.to_string()});
        if let Failure::Trap { backtrace, .. } = failure {
            value["backtrace"] = backtrace.lines().collect();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failure = Some(value);
    }

    fn to_value(&self) -> Value {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut value = state.run.as_ref().map_or_else(|| json!({}), Run::to_value);
        if let Some(usage) = &state.usage {
            value["usage"] = used(usage);
        }
        value["name"] = json!(*self.container);
        value["lastFailure"] = json!(state.failure);
        value["requests"] = self.recent.to_value();
        value
    }
}

impl Run {
    fn to_value(&self) -> Value {
        let Self { spec, world, digest, surface, given, process } = self;
        let import = |name: &String| {
            let (is_given, by) = answer(name, spec, *given);
            json!({"name": name, "given": is_given, "by": by})
        };
        json!({
            "run": given.restart,
            "world": world.to_string(),
            "digest": digest,
            "process": process,
            "imports": surface.imports.iter().map(import).collect::<Vec<_>>(),
            "exports": surface.exports,
            "limits": {
                "memory": wk_engine::MemoryBytes(spec.memory_max).to_string(),
                "memoryOfAllInstances": spec.memory_total.map(|bytes| wk_engine::MemoryBytes(bytes).to_string()),
                "cpuRequestMillis": spec.cpu_request,
                "cpuMillis": spec.cpu_limit,
                "requestSeconds": spec.request_timeout.as_secs_f64(),
            },
        })
    }
}

fn used(usage: &Usage) -> Value {
    let used = usage.used();
    json!({
        "cpuSeconds": used.cpu.as_secs_f64(), "throttledSeconds": used.throttled.as_secs_f64(),
        "memoryBytes": used.memory, "memoryPeakBytes": used.memory_peak,
        "instances": used.instances, "instancesTotal": used.instances_total,
        "requests": used.requests, "failures": used.failures,
        "bytesIn": used.bytes_in, "bytesOut": used.bytes_out, "logBytesDropped": used.log_dropped,
    })
}

/// Whether this container was given what the interface is for, and what answers it in words.
fn answer(import: &str, spec: &ContainerSpec, given: Given) -> (bool, String) {
    let interface = import.split_once('@').map_or(import, |(interface, _version)| interface);
    let (package, interface) = interface.split_once('/').unwrap_or((interface, ""));
    let yes = |text: &str| (true, text.to_owned());
    let package = match (package, interface) {
        // What a core module calls its files by.
        ("wasi_snapshot_preview1", name) if name.starts_with("path_") => "wasi:filesystem",
        (package, _) => package,
    };
    match (package, interface) {
        ("wasi:cli", "environment") => (true, format!("{} variables, {} arguments", given.variables, given.arguments)),
        ("wasi:cli", "stdin") if spec.stdin => yes("what clients attach"),
        ("wasi:cli", "stdin") => (false, "at its end: the container has no `stdin: true`".to_owned()),
        ("wasi:cli", "stdout" | "stderr") | ("wasi:logging", _) => yes("the container's log"),
        ("wasi:cli", terminal) if terminal.starts_with("terminal-") && !spec.tty => {
            (false, "no terminal: the container has no `tty: true`".to_owned())
        }
        ("wasi:config", _) if spec.config.is_empty() => {
            (false, format!("no settings: the pod has no annotation {}", crate::spec::CONFIG))
        }
        ("wasi:config", _) => {
            let named: Vec<_> = spec.config.iter().map(|source| format!("{} {}", source.kind, source.name)).collect();
            (true, named.join(", "))
        }
        ("wasi:filesystem", _) if spec.mounts.is_empty() => {
            (false, "no directory: the container has no volumes".to_owned())
        }
        ("wasi:filesystem", _) => {
            let paths: Vec<_> = spec.mounts.iter().map(|mount| mount.path.as_str()).collect();
            (true, format!("volumes at {}", paths.join(", ")))
        }
        ("wasi:sockets", _) | ("wasi:http", "outgoing-handler" | "client") => {
            if spec.network.egress == Egress::default() {
                return (false, format!("refused: the pod has no annotation {}", crate::spec::EGRESS));
            }
            (true, format!("what {} lets it reach", crate::spec::EGRESS))
        }
        _ => yes("this node"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wk_base::time::ManualClock;

    const GIVEN: Given = Given { restart: 0, variables: 3, arguments: 1 };

    #[test]
    fn imports_are_told_with_what_answers_them() {
        let spec = ContainerSpec::default();
        let told = |import: &str| answer(import, &spec, GIVEN);
        assert_eq!(told("wasi:cli/environment@0.2.6"), (true, "3 variables, 1 arguments".to_owned()));
        assert!(!told("wasi:sockets/tcp@0.2.0").0 && !told("wasi:http/outgoing-handler@0.2.6").0);
        assert!(told("wasi:http/types@0.2.6").0 && told("wasi:logging/logging").0);
        assert!(told("wasi:config/store@0.2.0-rc.1").1.contains("wk.dev/config"));
    }

    #[test]
    fn failures_outlive_their_run_and_go_with_the_pod() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let ledger = Ledger::default();
        let trap = Failure::Trap { message: "unreachable".into(), backtrace: "0: a\n1: b".into() };
        ledger.page(&"u".into(), &"app".into(), &clock).failed(&trap, clock.now());
        let told = ledger.tell("u").unwrap();
        assert_eq!(told["containers"][0]["lastFailure"]["reason"], "Trapped");
        assert_eq!(told["containers"][0]["lastFailure"]["backtrace"], json!(["0: a", "1: b"]));
        ledger.remove("u");
        assert!(ledger.tell("u").is_none());
    }
}
