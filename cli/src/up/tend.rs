//! Copies of modules for those that have too few: each module shall lie on as many nodes as an upload puts it on, also when
//! the cluster was smaller then, or a node that had one is lost.
//!
//! All nodes put the members in the same order, which depends on the module; the first few of them that answer are where it
//! belongs. Whoever has it asks those and sends it to the ones that lack it. More copies than needed are left alone: the
//! nodes that run a module have it as well.
//!
//! Not here: the copies made while a module is uploaded, and those that a pod needs at once (`copies.rs`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use wk_base::body;
use wk_base::tasks::Tasks;
use wk_image::Digest;
use wk_mesh::NodeName;

use super::copies::{COPIES, Copies, HEAD_DEADLINE, PREFIX};

/// How often this node looks whether members came or went, or modules came: a module that was uploaded to one node is safe
/// this long after the next one joined, and the time to send it.
const LOOK: Duration = Duration::from_secs(5);
/// Everything is asked anew after this: a node that is silent goes on being a member, and its copies may be gone for good.
const ROUND: Duration = Duration::from_mins(5);
/// Nodes asked for one module. One that is silent costs a deadline; if so many are, the cluster has other troubles.
const ASKED_MAX: usize = 6;
/// When copies were missing that could not be made, it is tried again after this.
const RETRY: Duration = Duration::from_secs(30);

/// What this node knows of its modules. Clones share it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tended(Arc<Counts>);

#[derive(Default, Debug)]
struct Counts {
    here: AtomicU64,
    short: AtomicU64,
}

impl Tended {
    /// As `wk cluster status` shows it.
    pub(crate) fn told(&self) -> Value {
        json!({"here": self.0.here.load(Ordering::Relaxed), "short": self.0.short.load(Ordering::Relaxed)})
    }

    /// As metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl Collector for Tended {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let gauges = [
            ("wk_modules", "Modules and manifests on this node's disk", &self.0.here),
            ("wk_modules_short_of_copies", "Those of them that lie on fewer nodes than they should", &self.0.short),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value.load(Ordering::Relaxed));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

/// Looks after this node's modules for as long as the tasks run.
pub(crate) fn start(copies: Copies, tended: Tended, tasks: &Tasks) {
    tasks.spawn_until_stop("copies", async move {
        let mut known = None;
        let mut again = Instant::now();
        loop {
            let others = copies.others().into_iter().map(|member| member.name).collect::<BTreeSet<_>>();
            let state = (others, listed(&copies).await);
            if known.as_ref() != Some(&state) || again <= Instant::now() {
                let short = round(&copies, &state.0, &state.1).await;
                tended.0.here.store(state.1.len() as u64, Ordering::Relaxed);
                tended.0.short.store(short, Ordering::Relaxed);
                again = Instant::now() + if short == 0 { ROUND } else { RETRY };
                known = Some(state);
            }
            tokio::time::sleep(LOOK).await;
        }
    });
}

async fn listed(copies: &Copies) -> Vec<Digest> {
    let blobs = copies.blobs.clone();
    let listed = tokio::task::spawn_blocking(move || blobs.list()).await;
    match listed {
        Ok(Ok(listed)) => listed.into_keys().collect(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "modules not listed");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// How a node stands to a module.
enum Standing {
    /// It has it, now at the latest.
    Has,
    Lacks,
    /// It takes none: a witness.
    TakesNone,
    /// It does not answer.
    Silent,
}

/// Sends what is missing elsewhere; answers how many modules have fewer copies than they should all the same.
async fn round(copies: &Copies, others: &BTreeSet<NodeName>, here: &[Digest]) -> u64 {
    let mut takers = others.clone();
    // Not asked again in this round, so that it costs one deadline and not one a module.
    let mut silent = BTreeSet::new();
    let mut short = 0;
    for digest in here {
        let (mut found, mut asked) = (0, 0);
        for name in order(digest, others) {
            if found == COPIES || asked == ASKED_MAX {
                break;
            }
            if silent.contains(name) || !takers.contains(name) {
                continue;
            }
            asked += 1;
            match stands(copies, name, digest).await {
                Standing::Has => found += 1,
                Standing::Lacks => {}
                Standing::TakesNone => {
                    takers.remove(name);
                }
                Standing::Silent => {
                    silent.insert(name.clone());
                }
            }
        }
        short += u64::from(found < COPIES.min(takers.len()));
    }
    short
}

/// Asks a node for a module, and sends it if it is not there.
async fn stands(copies: &Copies, name: &NodeName, digest: &Digest) -> Standing {
    let head = Request::head(format!("{PREFIX}{digest}")).body(body::empty()).expect("a digest is a path");
    let Ok(answer) = copies.mesh.request(name, head, HEAD_DEADLINE).await else { return Standing::Silent };
    if answer.status().is_success() {
        return Standing::Has;
    }
    match copies.send(name, digest).await {
        Ok(StatusCode::CREATED) => {
            tracing::info!(%digest, to = %name, "module copied");
            Standing::Has
        }
        Ok(StatusCode::NOT_FOUND) => Standing::TakesNone,
        Ok(status) => {
            tracing::debug!(%digest, to = %name, %status, "module not copied");
            Standing::Lacks
        }
        Err(error) => {
            tracing::debug!(%digest, to = %name, %error, "module not copied");
            Standing::Lacks
        }
    }
}

/// The others in the order in which they are to have this module.
fn order<'a>(digest: &Digest, others: &'a BTreeSet<NodeName>) -> Vec<&'a NodeName> {
    let mut names: Vec<_> = others.iter().collect();
    names.sort_by_cached_key(|name| {
        Sha256::new().chain_update(digest.to_string()).chain_update(name.as_str()).finalize()
    });
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_agree_on_where_a_module_belongs_and_spread_them() {
        let names: BTreeSet<NodeName> = (1..=9).map(|n| format!("n{n}").parse().unwrap()).collect();
        let first = |n: u32| order(&Digest::of(&n.to_be_bytes()), &names)[0].clone();
        assert_eq!((0..50).map(first).collect::<BTreeSet<_>>().len(), names.len());
        // A node that holds it leaves itself out, and the others' order is as it was.
        let digest = Digest::of(b"x");
        let all: Vec<_> = order(&digest, &names).into_iter().cloned().collect();
        let without: BTreeSet<_> = names.iter().filter(|name| **name != all[4]).cloned().collect();
        let left: Vec<_> = all.iter().filter(|name| **name != all[4]).collect();
        assert_eq!(order(&digest, &without), left);
    }
}
