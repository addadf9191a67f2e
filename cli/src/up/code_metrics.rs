//! What became of modules on their way to machine code, as metrics of this node.
//!
//! Not here: counting (`wk_engine`).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use wk_engine::{CodeCounts, Engine};

/// Adds the engine's figures to `registry`.
pub(crate) fn register(registry: &mut Registry, engine: Engine) {
    registry.register_collector(Box::new(Code { engine }));
}

/// Looked up when it is asked for.
#[derive(Debug)]
struct Code {
    engine: Engine,
}

/// A name, what it is, and where it stands.
type Figure = (&'static str, &'static str, fn(&CodeCounts) -> f64);

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
const FIGURES: [Figure; 7] = [
    ("wk_modules_compiled", "Modules compiled on this node", |it| it.compiled as f64),
    ("wk_modules_failed", "Modules of which this node could make no code", |it| it.failed as f64),
    ("wk_modules_received", "Modules whose code came from another node", |it| it.received as f64),
    ("wk_modules_found", "Modules whose code lay on this node's disk", |it| it.found as f64),
    ("wk_compiled_wasm_bytes", "Bytes of WebAssembly that were compiled", |it| it.wasm_bytes as f64),
    ("wk_compiled_code_bytes", "Bytes of machine code made of them", |it| it.code_bytes as f64),
    ("wk_compile_seconds", "Time that took, of all compilations", |it| it.compile_millis as f64 / 1000.0),
];

impl Collector for Code {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.engine.code_counts();
        for (name, help, read) in FIGURES {
            let value = ConstCounter::new(read(&counts));
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let instances = ConstGauge::new(i64::try_from(self.engine.instances()).unwrap_or(i64::MAX));
        let help = "Instances alive: requests in the hands of guests, and commands";
        instances.encode(encoder.encode_descriptor("wk_instances", help, None, instances.metric_type())?)
    }
}
