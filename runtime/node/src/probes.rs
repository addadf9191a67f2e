//! Probing a container that runs: one task for each container whose spec has probes, none for the others.
//!
//! Not here: what follows from a result (`container`). A result is told when it changes; each failure is told too, for a
//! person to read, but not more often than people read.
//!
//! Source: Kubernetes' *Configure Liveness, Readiness and Startup Probes*, and `pkg/kubelet/prober/worker.go`.

use std::time::Duration;

use tokio::time::Instant;

use crate::container::Event;
use crate::run::Reporter;
use crate::spec::{Check, Probe, ProbeKind, Probes};

mod count;
mod grpc;
mod own;

use count::Count;
pub use own::{Own, Target};

/// Periods vary by this much to either side, so that pods that began together do not stay in step.
const JITTER: f64 = 0.05;
/// How often one probe's failure is told while it fails in the same way: each costs the cluster a write.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

/// Probes one run of a container until the future is dropped, or nothing is left to find out.
pub async fn watch(own: &Own, target: &Target, probes: &Probes, report: &Reporter) {
    let watch = Watch { own, target, report, begun: Instant::now() };
    if let Some(startup) = &probes.startup
        && !watch.follow(ProbeKind::Startup, startup).await
    {
        return;
    }
    let readiness = async {
        if let Some(probe) = &probes.readiness {
            watch.follow(ProbeKind::Readiness, probe).await;
        }
    };
    let liveness = async {
        if let Some(probe) = &probes.liveness {
            watch.follow(ProbeKind::Liveness, probe).await;
        }
    };
    tokio::join!(readiness, liveness);
}

struct Watch<'a> {
    own: &'a Own,
    target: &'a Target,
    report: &'a Reporter,
    begun: Instant,
}

impl Watch<'_> {
    /// Asks again and again. Ends with a startup probe's first result, and with a liveness probe's failure.
    async fn follow(&self, kind: ProbeKind, probe: &Probe) -> bool {
        let mut count = Count::new(kind, probe);
        let mut told: Option<(String, Instant)> = None;
        tokio::time::sleep_until(self.begun + probe.initial_delay).await;
        loop {
            let next = Instant::now() + probe.period.mul_f64(rand::random_range(1.0 - JITTER..=1.0 + JITTER));
            let answer = self.ask(probe).await;
            self.own.probed(self.target, answer.is_ok());
            let result = count.take(answer.is_ok());
            if let Err(message) = answer {
                let news = told.as_ref().is_none_or(|(text, at)| *text != message || at.elapsed() >= TELL_INTERVAL);
                if news || result.is_some() {
                    told = Some((message.clone(), Instant::now()));
                    self.report.tell(Event::ProbeFailed { probe: kind, message }).await;
                }
            }
            if let Some(healthy) = result {
                self.report.tell(Event::Probed { probe: kind, healthy }).await;
                if kind == ProbeKind::Startup || kind == ProbeKind::Liveness && !healthy {
                    return healthy;
                }
            }
            tokio::time::sleep_until(next).await;
        }
    }

    async fn ask(&self, probe: &Probe) -> Result<(), String> {
        let timeout = probe.timeout;
        let asked = async {
            match &probe.check {
                Check::Http(get) => self.own.get(self.target, get).await,
                Check::Tcp { port } => self.own.connect(self.target, *port),
                Check::Grpc { port, service } => grpc::check(self.own, self.target, *port, service).await,
                Check::Exec(command) => self.own.exec(self.target, command).await,
            }
        };
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
            let seconds = timeout.as_secs();
            Err(match &probe.check {
                Check::Http(get) => format!(
                    "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                    get.url(self.target)
                ),
                Check::Tcp { port } => format!("dial tcp {}: i/o timeout", self.target.address(*port)),
                Check::Grpc { port, .. } => {
                    format!("timeout: health rpc did not complete within {seconds}s at {}", self.target.address(*port))
                }
                Check::Exec(command) => format!("command {:?} timed out", command.join(" ")),
            })
        })
    }
}
