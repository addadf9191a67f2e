//! Watching how full emptyDirs are: a pod that is past a limit, or was refused a write by it, is evicted.
//!
//! Guests of this process are stopped at the write (`wk-engine` counts), so this only has to see it. What else grows a
//! directory (`kubectl cp`, a guest in another process) is found by looking it through, as often as the kubelet does. That is
//! as much work as guests make it: it has a task of its own, which takes a tenth of a thread at most.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use wk_base::tasks::Tasks;
use wk_engine::{disk_use, measure};

use crate::{agent, pod};

use super::Volumes;

/// Between looks at the counts.
const LOOK: Duration = Duration::from_millis(500);
/// Between two times that a directory itself is looked through: the kubelet's figure.
const MEASURE: Duration = Duration::from_secs(10);
/// Directories are looked through for so long at once, or until one is done.
const MEASURE_AT_ONCE: Duration = Duration::from_millis(100);
/// After that passes so many times what it took, and this at least.
const PAUSE_TIMES: u32 = 9;
const PAUSE: Duration = Duration::from_secs(1);

impl Volumes {
    /// Has the agent evict pods that are past the limit of an emptyDir.
    pub fn watch(&self, agent: mpsc::Sender<agent::Event>, tasks: &Tasks) {
        let (this, tell) = (self.clone(), agent.clone());
        tasks.spawn_until_stop("volumes-watch", async move {
            loop {
                tokio::time::sleep(LOOK).await;
                this.tell_full(None);
                let refused = this.limited().into_iter().filter_map(|dir| dir.refused());
                evict(refused.collect(), &tell).await;
            }
        });
        let this = self.clone();
        tasks.spawn_until_stop("volumes-measure", async move {
            let mut looks = Looks::default();
            loop {
                let due = looks.due(this.limited(), Instant::now());
                let looked = tokio::task::spawn_blocking(move || look_through(due)).await.unwrap_or_default();
                evict(looks.note(looked, Instant::now()), &agent).await;
                tokio::time::sleep(PAUSE.max(looks.last * PAUSE_TIMES)).await;
            }
        });
    }

    /// What to tell of a pod whose running containers were refused a write by the limit of an emptyDir.
    pub fn refused(&self, uid: &str) -> Option<String> {
        let pod = self.pods().get(uid).cloned()?;
        pod.limited().find_map(|(name, dir, limit)| Limited::new(uid, name, dir, limit).refused()).map(|past| past.1)
    }

    fn limited(&self) -> Vec<Limited> {
        let mut limited = Vec::new();
        for (uid, pod) in self.pods().iter() {
            limited.extend(pod.limited().map(|(name, dir, limit)| Limited::new(uid, name, dir, limit)));
        }
        limited
    }
}

/// A pod that is past a limit, and what to tell of it.
type Past = (String, String);

async fn evict(past: Vec<Past>, agent: &mpsc::Sender<agent::Event>) {
    for (uid, message) in past {
        let event = pod::Event::Evict(message);
        let _ = agent.send(agent::Event::Pod { uid, event }).await;
    }
}

/// An emptyDir with a limit.
#[derive(Debug, Clone)]
struct Limited {
    uid: String,
    name: String,
    dir: PathBuf,
    limit: u64,
}

impl Limited {
    fn new(uid: &str, name: &str, dir: PathBuf, limit: u64) -> Self {
        Self { uid: uid.to_owned(), name: name.to_owned(), dir, limit }
    }

    /// If a guest was refused room in it.
    fn refused(&self) -> Option<Past> {
        let disk = disk_use(&self.dir).filter(|disk| disk.refused)?;
        Some(self.past(&format!("A write past it was refused; it holds {} bytes.", disk.used)))
    }

    /// If there is more in it than may be, or what cannot be looked through: guests' own doing, if the disk is not at fault.
    fn grown(&self) -> Option<Past> {
        match measure(&self.dir) {
            Ok(used) => (used > self.limit).then(|| self.past(&format!("It holds {used} bytes."))),
            Err(error) if error.raw_os_error().is_none() => {
                Some(self.past(&format!("It cannot be measured: {error}.")))
            }
            Err(_) => None,
        }
    }

    fn past(&self, how: &str) -> Past {
        let (name, limit) = (&self.name, binary(self.limit));
        // The first sentence is the kubelet's.
        let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. {how}");
        (self.uid.clone(), message)
    }
}

/// What came of a look through a directory, and how long it took.
type Looked = (PathBuf, Option<Past>, Duration);

/// Looks through directories, for a while. Blocks.
fn look_through(due: Vec<Limited>) -> Vec<Looked> {
    let begun = Instant::now();
    let look = |limited: Limited| {
        let begun = Instant::now();
        let past = limited.grown();
        (limited.dir, past, begun.elapsed())
    };
    due.into_iter().take_while(|_| begun.elapsed() < MEASURE_AT_ONCE).map(look).collect()
}

/// When directories were looked through. Those are first that take little: nobody's wait for what others have.
#[derive(Default)]
struct Looks {
    /// When each was, and what it took.
    of: HashMap<PathBuf, (Instant, Duration)>,
    /// What they took last time, all together.
    last: Duration,
}

impl Looks {
    /// The directories that are to be looked through, in this order.
    fn due(&mut self, limited: Vec<Limited>, now: Instant) -> Vec<Limited> {
        let there: HashSet<&Path> = limited.iter().map(|limited| limited.dir.as_path()).collect();
        self.of.retain(|dir, _| there.contains(dir.as_path()));
        let took = |limited: &Limited| self.of.get(&limited.dir).map_or(Duration::ZERO, |(_, took)| *took);
        let is_due = |limited: &Limited| self.of.get(&limited.dir).is_none_or(|(at, _)| now - *at >= MEASURE);
        let mut due: Vec<Limited> = limited.into_iter().filter(is_due).collect();
        due.sort_by_key(took);
        due
    }

    /// Takes note of what was looked through, and says which are past their limits.
    fn note(&mut self, looked: Vec<Looked>, now: Instant) -> Vec<Past> {
        self.last = looked.iter().map(|(_, _, took)| *took).sum();
        let note = |(dir, past, took)| {
            self.of.insert(dir, (now, took));
            past
        };
        looked.into_iter().filter_map(note).collect()
    }
}

/// As Kubernetes writes amounts: `1Mi`, `1536Ki`, `1000`.
pub(super) fn binary(bytes: u64) -> String {
    for (shift, unit) in [(30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_take_long_are_looked_through_after_those_that_do_not() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let dirs = ["slow", "slower", "one", "two"].map(|name| Limited::new("uid", name, name.into(), 1));
        let order = |looks: &mut Looks, now| {
            let due = looks.due(dirs.to_vec(), now);
            due.into_iter().map(|limited| limited.name).collect::<Vec<_>>()
        };
        let millis = Duration::from_millis;
        let looked = [("slow", 400), ("slower", 500), ("one", 1)];
        looks.note(looked.map(|(dir, took)| (dir.into(), None, millis(took))).into(), start);
        assert_eq!(looks.last, millis(901));
        assert_eq!(order(&mut looks, start + LOOK), ["two"], "the others were just now");
        assert_eq!(order(&mut looks, start + MEASURE), ["two", "one", "slow", "slower"]);
        assert!(looks.due(Vec::new(), start).is_empty() && looks.of.is_empty());
    }

    #[test]
    fn what_is_too_deep_to_be_measured_is_past_its_limit_and_what_is_gone_is_not() {
        let top = tempfile::tempdir().unwrap();
        let limited = |dir: &Path| Limited::new("uid", "data", dir.to_owned(), 1 << 30);
        assert_eq!(limited(top.path()).grown(), None);
        assert_eq!(limited(&top.path().join("gone")).grown(), None);
        std::fs::create_dir_all(top.path().join("d/".repeat(200))).unwrap();
        let (_, message) = limited(top.path()).grown().unwrap();
        assert!(
            message.starts_with("Usage of EmptyDir volume \"data\" exceeds the limit \"1Gi\". It cannot"),
            "{message}"
        );
    }

    #[test]
    fn look_through_ends_when_it_has_taken_long_enough() {
        let top = tempfile::tempdir().unwrap();
        let many: Vec<_> = (0..1_000_000).map(|_| Limited::new("uid", "data", top.path().to_owned(), 1)).collect();
        let looked = look_through(many);
        assert!(!looked.is_empty() && looked.len() < 1_000_000, "{}", looked.len());
    }
}
