//! What the containers of this node use, and the node itself: sampled every few seconds, so that a rate can be told.
//!
//! Not here: counting (`wk_engine::Usage`), and who may read it (the API server).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wk_base::tasks::Tasks;
use wk_engine::{Commons, CpuLimits, MemoryBytes, Usage, memory_of_machine};

use crate::spec::ContainerSpec;
use crate::worker::asked::Pot;

/// Between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Samples kept: rates are over three intervals, the window in which Kubernetes' metrics server measures.
const SAMPLES_MAX: usize = 4;
/// All containers together hold no more than three quarters of the machine: the rest is the node's own, the compiler's,
/// and the kernel's cache of files. Past it the kernel ends the process that holds most, which is the node with all pods.
const COMMONS_QUARTERS: u64 = 3;

/// So many samples are half a minute: who has to wait for so long is not just starting.
const THROTTLED_SAMPLES: u8 = 6;
/// Half minutes after which somebody who waits on and on is told of again: an event is kept for an hour.
const TOLD_AGAIN: u8 = 120;

/// Told of a breach that a sample finds: the event's reason, and what it says.
pub type BreachSink = Arc<dyn Fn(&'static str, &str) + Send + Sync>;

/// What is told of a container that was refused files or sockets. Always the same: how often is a metric.
const FILES_REFUSED: &str = "files or sockets were not opened: it has too many, or all containers of its process have";

/// What runs here uses. Clones share it.
#[derive(Clone)]
pub struct Meters {
    account: Account,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// By pod's uid; of a pod by container's name. Most have one container, for which a map would take a kilobyte.
    pods: BTreeMap<Arc<str>, Vec<(Arc<str>, Meter)>>,
    machine: VecDeque<Sample>,
}

/// The memory that all containers of a machine may hold, those of its workers among them. Clones are the same.
#[derive(Debug, Clone)]
pub struct Account {
    all: Arc<Commons>,
    unlimited: Arc<Commons>,
}

impl Account {
    /// Three quarters of the machine, of which half of the machine for those without a limit.
    pub fn of_machine() -> Self {
        let all = Commons::new(MemoryBytes(memory_of_machine() / 4 * COMMONS_QUARTERS));
        Self { unlimited: Commons::part(MemoryBytes(half_of_memory()), &all), all }
    }

    /// What these share.
    pub(crate) fn of(&self, pot: Pot) -> &Arc<Commons> {
        match pot {
            Pot::All => &self.all,
            Pot::Unlimited => &self.unlimited,
        }
    }
}

struct Meter {
    usage: Arc<Usage>,
    /// Told of limits that it ran into; of the last run.
    breach: BreachSink,
    /// Files it had been refused then.
    refused: u64,
    throttling: Throttling,
    /// Runs under way: one, or two for a moment when one follows the other.
    runs: u32,
    samples: VecDeque<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    cpu: Duration,
}

/// How long a container waited for its quota, looked at every half a minute.
#[derive(Default)]
struct Throttling {
    samples: u8,
    /// Looks since it was told, while it goes on.
    told: u8,
    /// Until the last look.
    waited: Duration,
}

impl Throttling {
    /// Takes note of what it waited since it first ran. Answers for how much of the last half a minute, if that was more
    /// than half of it and is news.
    fn sample(&mut self, waited: Duration) -> Option<Duration> {
        self.samples += 1;
        if self.samples < THROTTLED_SAMPLES {
            return None;
        }
        let lately = waited.saturating_sub(self.waited);
        (self.samples, self.waited) = (0, waited);
        let whole = SAMPLE_INTERVAL * THROTTLED_SAMPLES.into();
        if lately <= whole / 2 {
            self.told = 0;
            return None;
        }
        let is_news = self.told == 0;
        self.told = (self.told + 1) % TOLD_AGAIN;
        // A wait counts when it is over, so one may have begun before.
        is_news.then(|| lately.min(whole))
    }
}

impl Meter {
    fn of(spec: &ContainerSpec, account: &Account, breach: BreachSink) -> Self {
        let cpu = CpuLimits::of_millis(spec.cpu_request, spec.cpu_limit);
        let commons = account.of(if spec.memory_total.is_some() { Pot::All } else { Pot::Unlimited });
        let most = MemoryBytes(spec.memory_total.unwrap_or_else(half_of_memory));
        let usage = Usage::within(cpu, most, MemoryBytes(spec.memory_request), commons);
        let samples = VecDeque::from([Sample { at: Instant::now(), cpu: Duration::ZERO }]);
        Self { usage, breach, refused: 0, throttling: Throttling::default(), runs: 0, samples }
    }

    fn sample(&mut self, at: Instant) {
        let used = self.usage.used();
        push(&mut self.samples, Sample { at, cpu: used.cpu });
        if std::mem::replace(&mut self.refused, used.files_refused) < used.files_refused {
            (self.breach)("FilesLimit", FILES_REFUSED);
        }
        if let Some(quota) = self.usage.cpu_limits().quota
            && let Some(waited) = self.throttling.sample(used.throttled)
        {
            let (waited, whole) = (waited.as_secs(), SAMPLE_INTERVAL.as_secs() * u64::from(THROTTLED_SAMPLES));
            (self.breach)("CPULimit", &format!("it waited {waited} of {whole} s for its CPU limit of {quota}m"));
        }
    }
}

/// While one lives, the container is shown.
pub struct Metered {
    meters: Meters,
    pod: Arc<str>,
    container: Arc<str>,
    /// What the run counts in.
    pub usage: Arc<Usage>,
}

/// What a node and its containers use, as it tells other nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The machine as a whole, whatever runs on it.
    pub machine: Rates,
    /// Containers that run, by their pod's uid.
    pub pods: BTreeMap<String, Vec<ContainerReport>>,
}

/// How much of a machine something uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Billionths of a core, over `window`.
    pub cpu_nanocores: u64,
    /// Bytes held now.
    pub memory: u64,
    /// The time over which the rate is.
    pub window: Duration,
}

/// What one container uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Its name in the pod.
    pub name: String,
    /// Cores and memory now.
    pub rates: Rates,
    /// Seconds on a core since it first started here.
    pub cpu_seconds: f64,
    /// Seconds it waited for its quota.
    pub throttled_seconds: f64,
    /// Periods of its quota, of a tenth of a second, in which it waited for it.
    #[serde(default)]
    pub throttled_periods: u64,
    /// The most memory it held.
    pub memory_peak: u64,
    /// What it may hold in all.
    pub memory_limit: u64,
    /// Instances alive.
    pub instances: u64,
    /// Instances ever made.
    pub instances_total: u64,
    /// Requests it was handed.
    pub requests: u64,
    /// Requests that it failed.
    pub failures: u64,
    /// Bytes of requests' bodies.
    pub bytes_in: u64,
    /// Bytes of responses' bodies.
    pub bytes_out: u64,
    /// Bytes of output that were dropped.
    pub log_dropped: u64,
    /// Files and sockets that it was refused: it had too many.
    #[serde(default)]
    pub files_refused: u64,
    /// Times that a probe asked it.
    #[serde(default)]
    pub probes: u64,
    /// Those that it failed.
    #[serde(default)]
    pub probes_failed: u64,
    /// Functions and components of it that were called from outside.
    #[serde(default)]
    pub execs: u64,
}

impl Meters {
    /// Nothing ran yet; memory is counted in `account`.
    pub fn new(account: Account) -> Self {
        Self { account, inner: Arc::default() }
    }

    /// What a run of this container counts in: what its runs before it in the same pod counted in, so that figures only
    /// grow and a quota is not had anew by crashing. `breach` is told of limits that it runs into.
    pub fn begin(&self, pod: &Arc<str>, spec: &ContainerSpec, breach: BreachSink) -> Metered {
        let mut inner = self.lock();
        let Inner { pods, .. } = &mut *inner;
        let containers = pods.entry(Arc::clone(pod)).or_default();
        let known = containers.iter().position(|(name, _)| *name == spec.name);
        let place = known.unwrap_or_else(|| {
            containers.reserve_exact(1);
            containers.push((spec.name.clone(), Meter::of(spec, &self.account, Arc::clone(&breach))));
            containers.len() - 1
        });
        let (_, meter) = &mut containers[place];
        meter.breach = breach;
        meter.runs += 1;
        let usage = Arc::clone(&meter.usage);
        Metered { meters: self.clone(), pod: Arc::clone(pod), container: Arc::clone(&spec.name), usage }
    }

    /// Forgets a pod.
    pub fn remove(&self, pod: &str) {
        self.lock().pods.remove(pod);
    }

    /// Takes samples from now on.
    pub fn start(&self, tasks: &Tasks) {
        let meters = self.clone();
        tasks.spawn_until_stop("usage", async move {
            let mut interval = tokio::time::interval(SAMPLE_INTERVAL);
            loop {
                interval.tick().await;
                meters.sample(Instant::now());
            }
        });
    }

    fn sample(&self, at: Instant) {
        let mut inner = self.lock();
        for (_, meter) in inner.pods.values_mut().flatten() {
            meter.sample(at);
        }
        push(&mut inner.machine, Sample { at, cpu: machine_cpu() });
    }

    /// Everything as it is now.
    pub fn report(&self) -> Report {
        let now = Instant::now();
        let (machine_cpu, memory) = (machine_cpu(), machine_memory());
        let inner = self.lock();
        let machine = rates(inner.machine.front(), now, machine_cpu, memory.total.saturating_sub(memory.available));
        let running = |containers: &Vec<(Arc<str>, Meter)>| -> Vec<ContainerReport> {
            let running = containers.iter().filter(|(_, meter)| meter.runs > 0);
            running.map(|(name, meter)| container(name, meter, now)).collect()
        };
        let pods = inner.pods.iter().map(|(uid, containers)| (uid.to_string(), running(containers)));
        Report { machine, pods: pods.filter(|(_, containers)| !containers.is_empty()).collect() }
    }

    /// What one container counts in, if it ever ran here: for what runs beside it on its account, and for whoever asks.
    pub fn usage(&self, pod: &str, container: &str) -> Option<Arc<Usage>> {
        let inner = self.lock();
        let (_, meter) = inner.pods.get(pod)?.iter().find(|(name, _)| **name == *container)?;
        Some(Arc::clone(&meter.usage))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        let mut inner = self.meters.lock();
        let mut containers = inner.pods.get_mut(&self.pod).into_iter().flatten();
        if let Some((_, meter)) = containers.find(|(name, _)| *name == self.container) {
            meter.runs = meter.runs.saturating_sub(1);
        }
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample) {
    if samples.len() == SAMPLES_MAX {
        samples.pop_front();
    }
    samples.push_back(sample);
}

fn rates(since: Option<&Sample>, now: Instant, cpu: Duration, memory: u64) -> Rates {
    let Some(since) = since else { return Rates { memory, ..Rates::default() } };
    let window = now.saturating_duration_since(since.at);
    let spent = cpu.saturating_sub(since.cpu).as_nanos();
    let nanocores = (spent * 1_000_000_000).checked_div(window.as_nanos()).unwrap_or(0);
    Rates { cpu_nanocores: u64::try_from(nanocores).unwrap_or(u64::MAX), memory, window }
}

fn container(name: &str, meter: &Meter, now: Instant) -> ContainerReport {
    let used = meter.usage.used();
    ContainerReport {
        name: name.to_owned(),
        rates: rates(meter.samples.front(), now, used.cpu, used.memory),
        cpu_seconds: used.cpu.as_secs_f64(),
        throttled_seconds: used.throttled.as_secs_f64(),
        throttled_periods: used.throttled_periods,
        memory_peak: used.memory_peak,
        memory_limit: meter.usage.memory_max().0,
        instances: used.instances,
        instances_total: used.instances_total,
        requests: used.requests,
        failures: used.failures,
        bytes_in: used.bytes_in,
        bytes_out: used.bytes_out,
        log_dropped: used.log_dropped,
        files_refused: used.files_refused,
        probes: used.probes,
        probes_failed: used.probes_failed,
        execs: used.execs,
    }
}

/// Memory of this machine, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What there is.
    pub total: u64,
    /// What could be had without swapping, as the kernel estimates.
    pub available: u64,
}

/// Memory of this machine now.
pub fn machine_memory() -> Memory {
    parse_memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_memory(text: &str) -> Memory {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    let total = field("MemTotal:").unwrap_or(1 << 20) << 10;
    Memory { total, available: field("MemAvailable:").map_or(total, |kib| kib << 10) }
}

/// What all instances of a container without a memory limit may hold: it may fill the machine as in Kubernetes, but not
/// take the node with it.
fn half_of_memory() -> u64 {
    memory_of_machine() / 2
}

/// Time that the machine's cores were at work since it started.
fn machine_cpu() -> Duration {
    parse_cpu(&std::fs::read_to_string("/proc/stat").unwrap_or_default()).unwrap_or_default()
}

/// The first line of `/proc/stat` (proc(5)): user nice system idle iowait irq softirq steal, in hundredths of a second,
/// which is `USER_HZ` on every machine that Linux runs on today.
fn parse_cpu(text: &str) -> Option<Duration> {
    let times: Vec<u64> =
        text.lines().next()?.strip_prefix("cpu ")?.split_whitespace().map_while(|time| time.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = times[..] else { return None };
    Some(Duration::from_millis((user + nice + system + irq + softirq) * 10))
}

#[cfg(test)]
mod tests {
    use wk_engine::Used;

    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec { name: "app".into(), cpu_request: 100, memory_total: Some(1000), ..ContainerSpec::default() }
    }

    type Told = Arc<Mutex<Vec<(&'static str, String)>>>;

    /// What is told, and who tells it.
    fn told() -> (Told, BreachSink) {
        let told = Told::default();
        let sink = Arc::clone(&told);
        (told, Arc::new(move |reason, what| sink.lock().unwrap().push((reason, what.to_owned()))))
    }

    #[test]
    fn container_is_shown_while_it_runs_and_counts_on_when_it_starts_again() {
        let meters = Meters::new(Account::of_machine());
        let first = meters.begin(&"u".into(), &spec(), Arc::new(|_, _| {}));
        first.usage.request();
        let report = meters.report();
        let shown = &report.pods["u"][0];
        assert_eq!((shown.name.as_str(), shown.requests, shown.memory_limit), ("app", 1, 1000));
        drop(first);
        assert_eq!(meters.report().pods.len(), 0);
        let again = meters.begin(&"u".into(), &spec(), Arc::new(|_, _| {}));
        again.usage.request();
        assert_eq!(meters.report().pods["u"][0].requests, 2);
        meters.remove("u");
        assert!(meters.usage("u", "app").is_none());
    }

    #[test]
    fn container_that_was_refused_files_is_told_so_by_the_next_sample() {
        let meters = Meters::new(Account::of_machine());
        let (told, sink) = told();
        let run = meters.begin(&"u".into(), &spec(), sink);
        meters.sample(Instant::now());
        assert!(told.lock().unwrap().is_empty());
        let refused = |files_refused| Used { files_refused, ..Used::default() };
        run.usage.take_over(&refused(0), &refused(3));
        meters.sample(Instant::now());
        meters.sample(Instant::now());
        assert_eq!(*told.lock().unwrap(), [("FilesLimit", FILES_REFUSED.to_owned())]);
        assert_eq!(meters.report().pods["u"][0].files_refused, 3);
    }

    #[test]
    fn container_that_waits_for_its_quota_most_of_half_a_minute_is_told_so() {
        let meters = Meters::new(Account::of_machine());
        let (told, sink) = told();
        let run = meters.begin(&"u".into(), &ContainerSpec { cpu_limit: Some(100), ..spec() }, sink);
        let waits = |each: u64| {
            for _ in 0..THROTTLED_SAMPLES {
                let waited = Used { throttled: Duration::from_millis(each), ..Used::default() };
                run.usage.take_over(&Used::default(), &waited);
                meters.sample(Instant::now());
            }
        };
        waits(2400);
        assert_eq!(*told.lock().unwrap(), [], "less than half of the time");
        waits(4500);
        let message = "it waited 27 of 30 s for its CPU limit of 100m".to_owned();
        assert_eq!(*told.lock().unwrap(), [("CPULimit", message)]);
        waits(4500);
        assert_eq!(told.lock().unwrap().len(), 1, "that is no news");
        waits(0);
        waits(4500);
        assert_eq!(told.lock().unwrap().len(), 2, "it is again");
    }

    #[test]
    fn rate_is_over_the_samples_that_are_kept() {
        let start = Instant::now();
        let mut samples = VecDeque::new();
        for second in 0..10 {
            push(
                &mut samples,
                Sample { at: start + Duration::from_secs(second), cpu: Duration::from_millis(second * 250) },
            );
        }
        let rates = rates(samples.front(), start + Duration::from_secs(10), Duration::from_millis(2500), 7);
        assert_eq!((rates.cpu_nanocores, rates.memory, rates.window.as_secs()), (250_000_000, 7, 4));
    }

    #[test]
    fn machine_is_read_from_proc() {
        let memory = parse_memory("MemTotal:       16000 kB\nMemFree: 1 kB\nMemAvailable:    4000 kB\n");
        assert_eq!(memory, Memory { total: 16_000 << 10, available: 4_000 << 10 });
        let cpu = parse_cpu("cpu  10 1 5 1000 7 2 3 9 0 0\ncpu0 1\n");
        assert_eq!(cpu, Some(Duration::from_millis(210)));
        assert_eq!(parse_cpu("cpu  1 2"), None);
    }
}
