//! Places in worker processes: one process for each trust class, started when its first container is and ended with its
//! last. When one ends by itself its containers end with it, and the first that starts again brings it back.
//!
//! Not here: what happens inside a worker (`crate::worker`), which class a pod is of (`spec`).

mod callbacks;
mod link;
mod loans;
mod pool;
mod process;
mod remote;
mod run;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wk_base::backoff::Backoff;
use wk_base::error::Chain;
use wk_engine::Target;

pub use link::StartError;
pub use process::Program;
pub use remote::Remote;
pub(crate) use run::run;

use link::{Life, Link};
use process::Spare;

use crate::usage::Account;
use crate::volumes::layout::{self, Folders};
use crate::worker::wire::{Assignment, Preparation};

/// A worker that lived this long was healthy: the next starts at once.
const HEALTHY: Duration = Duration::from_secs(10);
/// Short lives in a row of which the next worker starts at once: one, so that a crash costs its pods no pause.
const SHORT_LIVES_FREE: u32 = 1;
/// Past them it waits, so that a guest that brings its worker down at every start does not keep the machine busy with
/// starting it: first so long,
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// and no longer than a container in a crash loop waits at first.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// After a worker has started, the next spare one is made this much later.
const SPARE_LATER: Duration = Duration::from_millis(200);
/// A class without a worker is forgotten after this, with how its workers ended.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);
/// Threads of a worker of one pod: a large machine has thousands of such pods. Guests that compute get more, one a core,
/// while they do.
const POD_THREADS_MAX: usize = 2;

/// Who shares a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Class {
    /// All pods of a namespace.
    Namespace(String),
    /// One pod.
    Pod {
        /// Its uid.
        uid: String,
        /// For people: `namespace/name`.
        name: String,
        /// Directories of this machine that it has besides its class' own, and whether they may only be read: what a
        /// process may open is settled when it starts, so one that others share cannot be given more.
        directories: Vec<(PathBuf, bool)>,
    },
}

impl Class {
    /// The class with these directories, if it is a pod's.
    #[must_use]
    pub fn with(self, directories: Vec<(PathBuf, bool)>) -> Self {
        match self {
            Self::Pod { uid, name, .. } => Self::Pod { uid, name, directories },
            Self::Namespace(name) => Self::Namespace(name),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(f, "namespace {name}"),
            Self::Pod { name, .. } => write!(f, "pod {name}"),
        }
    }
}

/// How workers are set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program that is one.
    pub program: Program,
    /// Where pods' volumes lie.
    pub volumes_dir: PathBuf,
    /// What code is made for.
    pub target: Target,
    /// The most instances alive at once in one worker.
    pub instances_max: u32,
}

/// A module's code, for a worker.
pub(crate) struct Code {
    /// The module's digest.
    pub(crate) digest: String,
    /// The file, which is no worker's to open.
    pub(crate) file: File,
}

/// The workers of a node. Clones share them.
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    setup: Setup,
    /// What the containers of all of them may hold, and those of the node.
    account: Account,
    /// A process that waits for its assignment, so that the next worker starts sooner.
    spare: Mutex<Option<Spare>>,
    classes: Mutex<HashMap<Class, Arc<History>>>,
    /// What should confine workers on this machine and does not, as far as it was told.
    missing: Mutex<BTreeSet<String>>,
}

/// The workers that one class had. Whoever holds the lock starts the next.
#[derive(Default)]
struct History(tokio::sync::Mutex<Past>);

#[derive(Default)]
struct Past {
    last: Option<Life>,
    /// Workers in a row that did not live long.
    short_lives: u32,
    /// When somebody last asked for one.
    asked: Option<Instant>,
}

/// A worker that stays while this is held.
pub struct Held {
    _link: Arc<Link>,
}

impl Workers {
    /// Workers of this kind; none runs yet.
    pub fn new(mut setup: Setup) -> Self {
        // Workers have another working directory.
        setup.volumes_dir = std::path::absolute(&setup.volumes_dir).unwrap_or(setup.volumes_dir);
        let (spare, classes, missing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let account = Account::of_machine();
        Self(Arc::new(Inner { setup, account, spare, classes, missing }))
    }

    /// The memory that their containers may hold, with those of this process.
    pub fn account(&self) -> &Account {
        &self.0.account
    }

    /// The process ids of the workers that run.
    pub fn processes(&self) -> Vec<(Class, u32)> {
        let pid = |history: &History| history.0.try_lock().ok()?.last.as_ref()?.link().map(|link| link.pid());
        lock(&self.0.classes).iter().filter_map(|(class, history)| Some((class.clone(), pid(history)?))).collect()
    }

    /// Keeps a class' worker there. None when it cannot start: then whoever has work for it is told why.
    pub async fn hold(&self, class: &Class) -> Option<Held> {
        self.link(class).await.ok().map(|link| Held { _link: link })
    }

    /// The worker of a class, which starts if it does not run. An error is told for a person.
    async fn link(&self, class: &Class) -> Result<Arc<Link>, String> {
        let history = self.0.history(class);
        let mut past = history.0.lock().await;
        past.asked = Some(Instant::now());
        if let Some(link) = past.last.as_ref().and_then(Life::link) {
            return Ok(link);
        }
        tokio::time::sleep(past.pause()).await;
        let began = Instant::now();
        match self.0.start(class).await {
            Ok((link, life)) => {
                past.last = Some(life);
                tracing::info!(%class, pid = link.pid(), elapsed = ?began.elapsed(), "worker runs");
                Ok(link)
            }
            Err(error) => {
                past.short_lives = past.short_lives.saturating_add(1);
                Err(format!("the worker process of {class}: {}", Chain(&error)))
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("setup", &self.0.setup).finish_non_exhaustive()
    }
}

impl Past {
    /// Judges the last worker, which is gone, and tells how long the next one waits.
    fn pause(&mut self) -> Duration {
        if let Some(last) = self.last.take() {
            let short = last.crashed_within(HEALTHY);
            self.short_lives = if short { self.short_lives.saturating_add(1) } else { 0 };
        }
        let turns = self.short_lives.saturating_sub(SHORT_LIVES_FREE);
        let mut pause = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        (0..turns.min(PAUSE_TURNS_MAX)).map(|_| pause.next_delay()).last().unwrap_or_default()
    }

    /// Whether nothing is lost when it is forgotten: nobody has asked for a worker for longer than any pause.
    fn is_over(&self) -> bool {
        let is_gone = self.last.as_ref().is_none_or(|last| last.link().is_none());
        is_gone && self.asked.is_none_or(|asked| asked.elapsed() > FORGOTTEN_AFTER)
    }
}

/// Doubled so often, the first pause is past the longest.
const PAUSE_TURNS_MAX: u32 = 16;

impl Inner {
    fn history(&self, class: &Class) -> Arc<History> {
        let mut classes = lock(&self.classes);
        if !classes.contains_key(class) {
            classes.retain(|_, it| Arc::strong_count(it) > 1 || it.0.try_lock().is_ok_and(|past| !past.is_over()));
        }
        Arc::clone(classes.entry(class.clone()).or_default())
    }

    fn assignment(&self, class: &Class) -> Assignment {
        let Folders { written, read } = layout::folders(&self.setup.volumes_dir, class);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Assignment {
            writable: written,
            readable: read,
            threads: if matches!(class, Class::Namespace(_)) { cores } else { cores.min(POD_THREADS_MAX) },
        }
    }

    fn take_spare(&self) -> Option<Spare> {
        let spare = lock(&self.spare).take();
        spare.and_then(|mut spare| spare.lives().then_some(spare))
    }

    fn spare(&self) -> Result<Spare, StartError> {
        let (target, instances_max) = (self.setup.target.to_string(), self.setup.instances_max);
        Spare::start(&self.setup.program, &Preparation { target, instances_max })
    }

    /// A worker that can start containers, and a spare process for the next.
    async fn start(self: &Arc<Self>, class: &Class) -> Result<(Arc<Link>, Life), StartError> {
        let process = match self.take_spare() {
            Some(spare) => spare,
            None => self.spare()?,
        };
        let (link, life, ready) = Link::to(process, &self.assignment(class), class, self.account.clone()).await?;
        for missing in ready.missing {
            if lock(&self.missing).insert(missing.clone()) {
                tracing::warn!(missing, "workers are confined less than they should be");
            }
        }
        let this = Arc::downgrade(self);
        tokio::spawn(async move {
            // The cores are wanted by the containers that start now.
            tokio::time::sleep(SPARE_LATER).await;
            let Some(this) = this.upgrade() else { return };
            let mut spare = lock(&this.spare);
            if spare.is_none() {
                // Without one the next worker takes longer, and says itself why it does not start.
                *spare = this.spare().ok();
            }
        });
        Ok((link, life))
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
