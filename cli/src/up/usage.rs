//! What nodes and their pods use: told to other nodes over the mesh, asked of them, and as metrics of this node.
//!
//! Not here: counting (`wk_node::usage`), and the shapes of `metrics.k8s.io` (the API server).

use std::fmt;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use wk_api::Status;
use wk_api::kinds::metrics::Amounts;
use wk_apiserver::NodeUsage;
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_cluster::Cluster;
use wk_mesh::{Mesh, NodeName};
use wk_node::usage::{ContainerReport, Meters, Rates, Report};

/// Where a node tells it on the mesh.
pub(crate) const PATH: &str = "/usage";
/// A node that has not answered by then is not waited for.
const DEADLINE: Duration = Duration::from_secs(2);
/// The longest report: some 400 bytes a container, for as many pods as a node takes.
const REPORT_BYTES_MAX: usize = 16 << 20;
/// Containers with lines of their own among the metrics, those that used most CPU; a scrape of a node with ten thousand
/// pods would be megabytes. The others are added up.
const CONTAINERS_MAX: usize = 500;

/// Tells another node.
pub(crate) fn answer(meters: &Meters) -> Response<Body> {
    let text = serde_json::to_string(&meters.report()).expect("plain fields");
    Response::new(body::full(text))
}

/// Asks `node`.
pub(crate) async fn ask(mesh: &Mesh, node: &str) -> Result<NodeUsage, Status> {
    let failed = |why: String| Status::unavailable(format!("node {node} does not tell what it uses: {why}"));
    let name: NodeName = node.parse().map_err(|error| failed(Chain(&error).to_string()))?;
    let request = Request::get(PATH).body(body::empty()).map_err(|error| failed(error.to_string()))?;
    let response = mesh.request(&name, request, DEADLINE).await.map_err(|error| failed(Chain(&error).to_string()))?;
    if response.status() != StatusCode::OK {
        return Err(failed(response.status().to_string()));
    }
    let text =
        body::collect(response.into_body(), REPORT_BYTES_MAX).await.map_err(|error| failed(error.to_string()))?;
    let report: Report = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    Ok(usage(report))
}

/// What a node told, as the API server takes it.
pub(crate) fn usage(report: Report) -> NodeUsage {
    let of_pod = |containers: Vec<ContainerReport>| {
        // Containers of a pod were sampled together, but for one that has only just started.
        let window = containers.iter().map(|container| container.rates.window).max().unwrap_or_default();
        (window, containers.into_iter().map(|container| (container.name, amounts(container.rates))).collect())
    };
    NodeUsage {
        machine: amounts(report.machine),
        window: report.machine.window,
        pods: report.pods.into_iter().map(|(uid, containers)| (uid, of_pod(containers))).collect(),
    }
}

fn amounts(rates: Rates) -> Amounts {
    Amounts { nanocores: rates.cpu_nanocores, memory: rates.memory }
}

/// Adds what this node's containers use to `registry`. Names are Prometheus', with their units.
pub(crate) fn register(registry: &mut Registry, meters: Meters, cluster: Cluster) {
    registry.register_collector(Box::new(Containers { meters, cluster }));
}

/// Looked up when it is asked for.
struct Containers {
    meters: Meters,
    cluster: Cluster,
}

impl fmt::Debug for Containers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what containers use")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    namespace: String,
    pod: String,
    container: String,
}

type Row = (Labels, ContainerReport);

/// A name, what it is, whether it only grows, and where it stands.
type Figure = (&'static str, &'static str, bool, fn(&ContainerReport) -> f64);

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
const FIGURES: [Figure; 17] = [
    ("cpu_seconds", "Time on a core", true, |it| it.cpu_seconds),
    ("cpu_throttled_seconds", "Time that it wanted a core and waited for its quota", true, |it| it.throttled_seconds),
    ("cpu_throttled_periods", "Tenths of a second in which it waited for its quota", true, |it| {
        it.throttled_periods as f64
    }),
    ("memory_bytes", "Bytes held now, of all instances", false, |it| it.rates.memory as f64),
    ("memory_peak_bytes", "The most bytes held at once", false, |it| it.memory_peak as f64),
    ("memory_limit_bytes", "Bytes that all instances may hold", false, |it| it.memory_limit as f64),
    ("instances", "Instances alive", false, |it| it.instances as f64),
    ("instances_begun", "Instances made", true, |it| it.instances_total as f64),
    ("requests", "Requests it was handed", true, |it| it.requests as f64),
    ("failures", "Requests, or runs of a command, that did not end well", true, |it| it.failures as f64),
    ("received_bytes", "Bytes of requests' bodies", true, |it| it.bytes_in as f64),
    ("sent_bytes", "Bytes of responses' bodies", true, |it| it.bytes_out as f64),
    ("log_dropped_bytes", "Bytes of output that were dropped", true, |it| it.log_dropped as f64),
    ("files_refused", "Files and sockets that it was not given: too many are open", true, |it| it.files_refused as f64),
    ("probes", "Times that a probe asked it", true, |it| it.probes as f64),
    ("probes_failed", "Probes that it failed", true, |it| it.probes_failed as f64),
    ("execs", "Functions and components of it that were called from outside", true, |it| it.execs as f64),
];

impl Containers {
    fn rows(&self) -> Vec<Row> {
        let mut pods = self.meters.report().pods;
        let view = self.cluster.store().view();
        let mut rows: Vec<Row> = Vec::new();
        for pod in view.list(wk_api::kinds::POD.collection(), "") {
            for report in pods.remove(wk_cluster::brief(&pod).uid()).into_iter().flatten() {
                let (namespace, name) = pod.key().name().split_once('/').unwrap_or_default();
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                rows.push((Labels { namespace, pod: name, container: report.name.clone() }, report));
            }
        }
        rows.sort_by(|(_, left), (_, right)| right.cpu_seconds.total_cmp(&left.cpu_seconds));
        rows
    }
}

impl Collector for Containers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.rows();
        let (shown, others) = rows.split_at(rows.len().min(CONTAINERS_MAX));
        let rest = Labels { namespace: String::new(), pod: String::new(), container: "others".to_owned() };
        for (name, help, grows, read) in FIGURES {
            let values = shown.iter().map(|(labels, report)| (labels, read(report)));
            let rest = (!others.is_empty()).then(|| (&rest, others.iter().map(|(_, report)| read(report)).sum()));
            let kind = if grows { ConstCounter::new(0.0).metric_type() } else { ConstGauge::new(0.0).metric_type() };
            let name = format!("wk_container_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for (labels, value) in values.chain(rest) {
                let family = family.encode_family(labels)?;
                if grows { ConstCounter::new(value).encode(family)? } else { ConstGauge::new(value).encode(family)? }
            }
        }
        Ok(())
    }
}
